"""The calendar as a picture.

Belongs here: where what is drawn, and in which colour. Does not belong here: the states (`calendar.py`).

Drawn with Pillow alone: a grid needs no more, and the sensor that draws it keeps matplotlib out of the code
server. A sign stands in every cell that is not landed, so that nobody needs to tell colours apart.
"""

import io
from datetime import date
from typing import TYPE_CHECKING

from health_pipelines.status.calendar import SIGNS, Calendar, Month, State

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

# Told apart by colour-blind people (the palette of Okabe and Ito), and by their lightness.
COLOURS = {
    State.LANDED: "#009E73",
    State.EMPTY: "#A6D9C9",
    State.OTHER_ZONE: "#CC79A7",
    State.ON_ITS_WAY: "#56B4E9",
    State.FAILED: "#E69F00",
    State.GIVEN_UP: "#000000",
    State.MISSING: "#D55E00",
    State.NOT_EXPECTED: "#EEEEEE",
}
_INK, _FAINT, _PAPER = "#222222", "#777777", "#FFFFFF"
_CELL, _MONTH_WIDE, _NAMES_WIDE, _EDGE = 22, 60, 260, 12
_TEXT, _SMALL = 14, 12
_COLOURS_OF_THE_FILE = 256


def draw(calendar: Calendar) -> bytes:
    """A PNG: for each table a row of days and below it a row of months; then the legend."""
    # Here, as the code server needs it only when something has changed.
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415

    text, small = ImageFont.load_default(_TEXT), ImageFont.load_default(_SMALL)
    rows = len(calendar.lines)
    wide = _EDGE * 2 + _NAMES_WIDE + max(_CELL * len(calendar.days), _MONTH_WIDE * len(calendar.months))
    block = 44 + _CELL * rows
    high = _EDGE * 2 + 2 * block + 20 + 26 * (-(-len(SIGNS) // 4))
    image = Image.new("RGB", (wide, high), _PAPER)
    canvas = ImageDraw.Draw(image)
    _days(canvas, calendar, text, small, top=_EDGE)
    _months(canvas, calendar, text, small, top=_EDGE + block)
    _legend(canvas, text, top=_EDGE + 2 * block + 16, wide=wide)
    file = io.BytesIO()
    image.quantize(_COLOURS_OF_THE_FILE).save(file, "PNG", optimize=True)
    return file.getvalue()


def _days(canvas: "ImageDraw", calendar: Calendar, text: "Font", small: "Font", *, top: int) -> None:
    left = _EDGE + _NAMES_WIDE
    canvas.text((_EDGE, top + 20), "Days", _INK, text)
    for place, day in enumerate(calendar.days):
        on = date.fromisoformat(day)
        if place == 0 or on.day == 1:
            canvas.text((left + place * _CELL, top), f"{on:%B %Y}", _INK, small)
        canvas.text((left + place * _CELL + _CELL // 2, top + 28), str(on.day), _FAINT, small, anchor="mm")
    for number, line in enumerate(calendar.lines):
        y = top + 40 + number * _CELL
        canvas.text((_EDGE, y + _CELL // 2), line.table, _INK, text, anchor="lm")
        for place, state in enumerate(line.states):
            _cell(canvas, state, left + place * _CELL, y, text)


def _months(canvas: "ImageDraw", calendar: Calendar, text: "Font", small: "Font", *, top: int) -> None:
    left = _EDGE + _NAMES_WIDE
    canvas.text((_EDGE, top + 20), "Months: landed of expected", _INK, text)
    for place, name in enumerate(calendar.months):
        middle = left + place * _MONTH_WIDE + _MONTH_WIDE // 2
        canvas.text((middle, top + 28), name, _FAINT, small, anchor="mm")
    for number, line in enumerate(calendar.lines):
        y = top + 40 + number * _CELL
        canvas.text((_EDGE, y + _CELL // 2), line.table, _INK, text, anchor="lm")
        for place, month in enumerate(line.months):
            state, words = _of_month(month)
            box = (left + place * _MONTH_WIDE, y, left + (place + 1) * _MONTH_WIDE - 3, y + _CELL - 3)
            canvas.rectangle(box, COLOURS[state])
            at = ((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)
            canvas.text(at, words, _on(state), small, anchor="mm")


def _of_month(month: Month) -> tuple[State, str]:
    expected = month.landed + month.missing
    if not expected:
        return State.NOT_EXPECTED, ""
    return State.MISSING if month.missing else State.LANDED, f"{month.landed}/{expected}"


def _legend(canvas: "ImageDraw", text: "Font", *, top: int, wide: int) -> None:
    step = (wide - 2 * _EDGE) // 4
    for place, state in enumerate(SIGNS):
        x, y = _EDGE + place % 4 * step, top + place // 4 * 26
        _cell(canvas, state, x, y, text)
        canvas.text((x + _CELL + 4, y + _CELL // 2), state.value, _INK, text, anchor="lm")


def _cell(canvas: "ImageDraw", state: State, x: int, y: int, text: "Font") -> None:
    canvas.rectangle((x, y, x + _CELL - 3, y + _CELL - 3), COLOURS[state])
    if state not in (State.LANDED, State.NOT_EXPECTED):
        middle = (x + (_CELL - 3) // 2, y + (_CELL - 3) // 2)
        canvas.text(middle, SIGNS[state], _on(state), text, anchor="mm")


def _on(state: State) -> str:
    """A colour that can be read on that of the state."""
    return _PAPER if state in (State.GIVEN_UP, State.LANDED, State.MISSING) else _INK
