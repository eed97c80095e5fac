"""`health-pipelines status`: what there is and what is missing, in one screen.

Belongs here: which place is meant, and what the answer looks like. Does not belong here: where it is read and
what it says of a missing day (`status/`).
"""

import json
import logging
from collections.abc import Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

from health_pipelines.commands.opening import installation_of, opened, without
from health_pipelines.commands.text_table import text_table
from health_pipelines.landing.holes import said
from health_pipelines.landing.vendor import CallsLeft
from health_pipelines.settings.clock import utc_now
from health_pipelines.status.reading import Reading
from health_pipelines.status.reasons import clock, grouped
from health_pipelines.status.report import (
    Currency,
    Status,
    Story,
    TableStatus,
    as_json,
    stories_as_json,
)
from health_pipelines.status.stories import Stories

# On the screen; the JSON has all.
_MOST_REASONS, _LONGEST = 6, 400


def status(place: str | None, *, as_json_text: bool = False, day: date | None = None) -> int:
    """Print it; returns the exit code: 0 if nothing is missing and everything is current.

    `place`: one of HEALTH_PLACES_DIR. `day`: tell what happened to that one instead. Raises `ProblemError` or
    `SettingError` with one sentence.
    """
    # What libraries log may hold an address with its password.
    logging.disable(logging.CRITICAL)
    text, code = answer(place, utc_now(), as_json_text=as_json_text, day=day)
    print(text)
    return code


def answer(
    place: str | None, now: datetime, *, as_json_text: bool = False, day: date | None = None
) -> tuple[str, int]:
    """What is printed at `now` (aware), and the exit code. From here on the settings are the place's."""
    installation = installation_of(place, now)
    settings, hidden = installation.settings, installation.hidden()
    with opened(installation) as instance:
        reading = Reading(instance, settings, now)
        if day is not None:
            stories = Stories(reading).of(day)
            code = int(any(story.is_missing for story in stories))
            text = stories_text(stories, settings.timezone)
            found = stories_as_json(stories, now)
        else:
            status = reading.status()
            code = int(not status.is_well)
            text = status_text(status, settings.timezone)
            found = as_json(status, settings.timezone)
    named = {"place": place, **found}
    return (json.dumps(without(named, hidden), indent=2) if as_json_text else without(text, hidden)), code


def status_text(status: Status, zone: ZoneInfo) -> str:
    """One screen."""
    newest = status.newest_expected_day
    expected = f"the newest expected day is {newest}" if newest else "no day is expected yet"
    shown = [one for one in status.tables if one.is_set_up or one.first_day]
    parts = [
        f"{clock(status.now, zone)} {status.now.astimezone(zone):%Z}; {expected}.",
        text_table(
            ("table", "newest day", "missing", "last landing", "rows", "usual"),
            [_row(one, zone) for one in shown],
        )
        if shown
        else "No vendor is set up, and nothing has landed.",
    ]
    parts += [text for one in shown if (text := _missing(one, zone))]
    parts += [_late(shown)] if any(one.late for one in shown) else []
    others = len(status.tables) - len(shown)
    lines = [
        f"The warehouse {_currency(status.warehouse, zone)}.",
        f"Publishing {_currency(status.publishing, zone)}.",
        *(_calls(one, zone) for one in status.calls),
    ]
    if others and shown:
        lines.append(f"Not set up, and nothing has landed: {others} tables.")
    return "\n\n".join([*parts, "\n".join(lines)])


def stories_text(stories: list[Story], zone: ZoneInfo) -> str:
    """A block for each table."""
    if not stories:
        return "No vendor is set up, and nothing has landed."
    return "\n\n".join(
        "\n".join(
            [
                f"{story.table} {story.day}: {story.stands}.",
                *(
                    f"  {one.at.astimezone(zone):%Y-%m-%d %H:%M:%S}  {_shortened(one.says)}"
                    for one in story.moments
                ),
            ]
        )
        for story in stories
    )


def _row(one: TableStatus, zone: ZoneInfo) -> list[str]:
    last, rows = one.last_landing, one.rows
    return [
        one.table,
        one.newest_day or ("none" if one.first_day else "nothing yet"),
        str(len(one.missing)),
        clock(last.at, zone) if last else "",
        f"{rows.landed}{' (few)' if rows.is_few else ''}" if rows else "",
        f"{rows.usual:g}" if rows and rows.usual is not None else "",
    ]


def _missing(one: TableStatus, zone: ZoneInfo) -> str:
    """What is missing and why, in lines; empty if nothing is."""
    lines = []
    groups = grouped(one.missing)
    for days, reason in groups[:_MOST_REASONS]:
        lines.append(f"  {said(days)}: {_shortened(reason.says(zone))}.".replace("..", "."))
    if len(groups) > _MOST_REASONS:
        more = sum(len(days) for days, _ in groups[_MOST_REASONS:])
        lines.append(f"  and {more} more, for {len(groups) - _MOST_REASONS} other reasons: --json has all.")
    if one.of_other_zones:
        zones = " and ".join(sorted(set(one.of_other_zones.values())))
        lines.append(f"  {said(list(one.of_other_zones))}: landed as days of {zones}.")
    if one.left_out and lines:
        lines.append(f"  {said(one.left_out)}: left out by HEALTH_DAYS_LEFT_OUT, which does not count.")
    return "\n".join([one.table, *lines]) if lines else ""


def _late(tables: Sequence[TableStatus]) -> str:
    """How late days change here: a line for each table of which it was counted."""
    lines = [f"  {one.table}: {one.late.says}." for one in tables if one.late]
    return "\n".join(["Late changes", *lines])


def _currency(one: Currency, zone: ZoneInfo) -> str:
    return one.says + (f", since {clock(one.since, zone)}" if one.since else "")


def _calls(one: CallsLeft | str, zone: ZoneInfo) -> str:
    if isinstance(one, str):
        return one
    throttled = f"; it takes none before {clock(one.throttled_until, zone)}" if one.throttled_until else ""
    return f"{one.vendor}: {one.left} of {one.per_hour} calls are left in this hour{throttled}."


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 2]} …"
