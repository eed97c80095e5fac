"""Charts: images that Dagster's UI shows at a mart's materialization, or at that of late changes.

Belongs here: which mart has which chart, and how each is drawn. Does not belong here: the numbers in it
(`chart_series.py`, `landing/late_changes.py`), and when the warehouse is built (`build.py`).

A PNG of few colours inside Markdown is what Dagster's UI shows without a file or a server of its own. It is
kept small because it becomes a row of the event log with every build that changed the mart.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from dagster import MetadataValue

from health_pipelines.landing.late_changes import LateChanges
from health_pipelines.warehouse.chart_series import (
    FEWEST,
    REPORT_TYPES,
    Receivables,
    VisitsPerDay,
    Waits,
    receivables,
    spoken,
    visits_per_day,
    waits,
)

if TYPE_CHECKING:
    import duckdb
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart by colour-blind people too (the palette of Okabe and Ito), and by their lightness.
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#E69F00", "#009E73", "#555555"
_TYPE_COLOURS = dict(zip(REPORT_TYPES, (_BLUE, _ORANGE, _GREEN), strict=True))
_INCHES_WIDE = 8.0
_DOTS_PER_INCH = 100
# More of them do not make letters any smoother.
_COLOURS = 24


def charts(connection: duckdb.DuckDBPyConnection) -> Mapping[str, Mapping[str, MetadataValue]]:
    """Charts by the full name of the mart, e.g. `marts.daily_visits`, and by their label.

    `connection`: to a warehouse with its marts. A mart that is not there, or has nothing that can be shown,
    has no chart.
    """
    known = {
        name
        for (name,) in connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'marts'"
        ).fetchall()
    }
    found: dict[str, dict[str, MetadataValue]] = {}
    if {"visits", "daily_visits"} <= known:
        drawn = {}
        if visits := visits_per_day(connection):
            drawn["visits per day"] = _markdown(visits.fact, draw_visits(visits))
        if of_types := waits(connection):
            drawn["waiting time"] = _markdown("; ".join(one.fact for one in of_types), draw_waits(of_types))
        found["marts.daily_visits"] = drawn
    if "aging_receivables" in known and (owed := receivables(connection)):
        found["marts.aging_receivables"] = {
            "receivables by age": _markdown(owed.fact, draw_receivables(owed))
        }
    return {name: drawn for name, drawn in found.items() if drawn}


def late_chart(late: Mapping[str, LateChanges]) -> MetadataValue:
    """`late`: by table, at least one of which was ever watched."""
    return _markdown("changes by age of the day", draw_late(late))


def draw_visits(shown: VisitsPerDay) -> bytes:
    """A PNG: a bar for each day, stacked by report type."""
    figure, [axes] = _figure(1, inches_high=2.9)
    below = [0] * len(shown.days)
    for report_type, counts in shown.visits.items():
        colour = _TYPE_COLOURS[report_type]
        axes.bar(_numbers(shown.days), counts, 0.8, below, color=colour, label=spoken(report_type))
        below = [one + count for one, count in zip(below, counts, strict=True)]
    _finish(axes, shown.fact, "visits a day")
    _show_days(axes, shown.days)
    return _png(figure)


def draw_waits(shown: Sequence[Waits]) -> bytes:
    """A PNG: a panel for each report type, with the median and the p90 of every day."""
    figure, panels = _figure(len(shown), inches_high=0.9 + 1.4 * len(shown))
    for axes, one in zip(panels, shown, strict=True):
        edges = [number - 0.5 for number in (*_numbers(one.days), one.days[-1].toordinal() + 1)]
        lines = (("nine of ten (p90)", one.p90, _GREY, 0.8), ("half (median)", one.median, _BLUE, 2))
        for name, values, colour, width in lines:
            gaps = [float("nan") if value is None else value for value in values]
            label = name if axes is panels[0] else None
            # Steps: slanting lines make the file half as big again.
            axes.stairs(gaps, edges, baseline=None, color=colour, linewidth=width, label=label)
        axes.set_ylim(bottom=0)
        _finish(axes, one.fact, "minutes")
        _show_days(axes, one.days)
        axes.tick_params(labelbottom=axes is panels[-1])
    panels[-1].set_xlabel(f"A day has no line if fewer than {FEWEST} waits are known.", fontsize=8)
    return _png(figure)


def draw_receivables(shown: Receivables) -> bytes:
    """A PNG: a bar for each age, stacked by who owes. What is below 0, a credit, goes down."""
    figure, [axes] = _figure(1, inches_high=2.9)
    insurer, patient = ([value or 0.0 for value in values] for values in (shown.insurer, shown.patient))
    on_top = [one if one * other > 0 else 0.0 for one, other in zip(insurer, patient, strict=True)]
    axes.bar(range(len(insurer)), insurer, 0.6, color=_BLUE, label="insurers")
    axes.bar(range(len(patient)), patient, 0.6, on_top, color=_ORANGE, label="patients")
    axes.axhline(0, color=_GREY, linewidth=0.8)
    names = [
        age if value is not None else f"{age}\nnot shown: fewer\nthan {FEWEST} patients"
        for age, value in zip(shown.ages, shown.insurer, strict=True)
    ]
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel("days since the service", fontsize=9)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    _finish(axes, shown.fact, "dollars")
    return _png(figure)


def draw_late(late: Mapping[str, LateChanges]) -> bytes:
    """A PNG: a panel for each table, with the rows that changed at every age, for each day watched."""
    figure, panels = _figure(len(late), inches_high=0.7 + 1.5 * len(late))
    oldest = max((age.age for one in late.values() for age in one.ages), default=0)
    for axes, (table, one) in zip(panels, late.items(), strict=True):
        for label, ages, colour in (
            ("enough days to go by", one.known, _BLUE),
            ("too few days", [age for age in one.ages if age not in one.known], _ORANGE),
        ):
            rates = [age.rows / age.watched for age in ages]
            shown = label if axes is panels[0] else None
            axes.bar([age.age for age in ages], rates, 0.8, color=colour, label=shown)
        if one.lookback_days is not None:
            axes.axvline(one.lookback_days + 0.5, color=_GREY, linewidth=1)
        # The same ages in every panel, so that tables can be compared.
        axes.set_xlim(0, oldest + 1)
        axes.set_ylim(bottom=0)
        days = "too few to say" if one.lookback_days is None else f"look back {one.lookback_days} days"
        _finish(axes, f"{table}: {days}", "rows a day")
    panels[-1].set_xlabel("age of the day, in days", fontsize=8)
    return _png(figure)


def _figure(panels: int, *, inches_high: float) -> tuple[Figure, list[Axes]]:
    # Here, as it takes half a second and no other step of a run needs it.
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(_INCHES_WIDE, inches_high), dpi=_DOTS_PER_INCH, layout="constrained")
    return figure, [figure.add_subplot(panels, 1, place + 1) for place in range(panels)]


def _finish(axes: Axes, title: str, unit: str) -> None:
    # No formulas: a text with two dollars would be one.
    axes.set_title(title, loc="left", fontsize=10, parse_math=False)
    axes.set_ylabel(unit, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _show_days(axes: Axes, days: Sequence[date]) -> None:
    """Ticks on some of the days, the newest among them; if not on all then on the same day of the week."""
    step = 1 if len(days) <= 7 else 7 * -(-len(days) // 49)
    ticked = days[::-1][::step]
    axes.set_xticks(_numbers(ticked), [f"{day:%b} {day.day}" for day in ticked])
    axes.set_xlim(days[0].toordinal() - 0.6, days[-1].toordinal() + 0.6)


def _numbers(days: Sequence[date]) -> list[int]:
    return [day.toordinal() for day in days]


def _png(figure: Figure) -> bytes:
    from PIL import Image  # noqa: PLC0415

    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(_COLOURS).save(small, "PNG", optimize=True)
    return small.getvalue()


def _markdown(fact: str, png: bytes) -> MetadataValue:
    return MetadataValue.md(f"![{fact}](data:image/png;base64,{base64.b64encode(png).decode()})")
