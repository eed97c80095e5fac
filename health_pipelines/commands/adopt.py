"""`health-pipelines adopt`: bring Dagster's record and the lake together again after one of them was lost.

Belongs here: the plan in words and the consent to it. Does not belong here: what is done about a day
(`landing/adoption.py`). No vendor is asked: what has to come again, Dagster's daemon asks for.
"""

import json
import logging
import sys
from collections.abc import Sequence

import click
from dagster import DagsterInstance

from health_pipelines.commands.opening import installation_of, opened
from health_pipelines.commands.problem import ProblemError
from health_pipelines.commands.progress import Showing
from health_pipelines.lake.opening import lake_to_read
from health_pipelines.lake.ownership import keep_new_files_private
from health_pipelines.landing.adoption import Plan, ask_again, planned
from health_pipelines.landing.adoption import adopt as tell
from health_pipelines.landing.holes import said
from health_pipelines.landing.recorded import Recorded, apart
from health_pipelines.settings import Settings
from health_pipelines.settings.clock import utc_now
from health_pipelines.status.reading import Reading
from health_pipelines.status.reasons import Kind

_UNDER_WAY = (Kind.RUN_UNDER_WAY, Kind.IN_FLIGHT, Kind.BACKFILL_TO_BEGIN)


def adopt(place: str | None, *, is_agreed: bool = False, is_dry: bool = False, as_json: bool = False) -> int:
    """Say what is to be done, ask, and do it; returns the exit code.

    `place`: one of HEALTH_PLACES_DIR. `is_agreed`: do not ask first. `is_dry`: only say it. Raises
    `ProblemError` or `SettingError` with one sentence.
    """
    # What libraries log may hold an address with its password.
    logging.disable(logging.CRITICAL)
    installation = installation_of(place, utc_now())
    settings = installation.settings
    keep_new_files_private(settings.data_group)
    with opened(installation, may_make_files=True) as instance:
        plans = _plans(instance, settings)
        adopted, asked = sum(len(plan.adopt) for plan in plans), sum(len(plan.ask) for plan in plans)
        print(_text(plans), file=sys.stderr if as_json else sys.stdout)
        is_done = bool(adopted or asked) and not is_dry
        if is_done:
            _agree(adopted, asked, is_agreed=is_agreed)
            _carry_out(instance, settings, plans, adopted + asked)
            done = f"Told Dagster of {adopted} days, and left {asked} for its daemon to ask for."
            print(done, file=sys.stderr if as_json else sys.stdout)
        if as_json:
            print(json.dumps(_as_json(place, plans, is_done=is_done), indent=2))
    return 0


def _plans(instance: DagsterInstance, settings: Settings) -> list[Plan]:
    now = utc_now()
    reading, lake, plans = Reading(instance, settings, now), lake_to_read(settings), list[Plan]()
    with Showing("tables compared", len(reading.tables), to_stderr=True) as showing:
        for done, checked in enumerate(reading.tables):
            showing.update(done, str(checked.table))
            found = apart(lake, checked, Recorded(instance, checked.asset))
            lacking = [day for day, difference in found.items() if not difference.is_adopted]
            reasons = reading.reasons({checked: lacking})[checked]
            orders = reading.orders({checked.table: lacking}).get(checked.table)
            plans.append(
                planned(
                    lake,
                    checked,
                    found,
                    settings=settings,
                    now=now,
                    asked_by=orders.asked_by if orders else checked.asset,
                    under_way={day for day, reason in reasons.items() if reason.kind in _UNDER_WAY},
                )
            )
    return plans


def _text(plans: Sequence[Plan]) -> str:
    """What is to be done about each table, in sentences."""
    lines = []
    for plan in plans:
        table = plan.checked.table
        if plan.adopt:
            lines.append(f"{table}: Dagster is told of {said(plan.adopt)}, as they are in the lake.")
        by_reason: dict[str, list[str]] = {}
        for day, why in plan.ask.items():
            by_reason.setdefault(why, []).append(day)
        lines += [
            f"{table}: {said(days)}: {why}; asked for again by {plan.asked_by.to_user_string()}."
            for why, days in by_reason.items()
        ]
        lines += plan.left.values()
    return "\n".join(lines) or "The lake and Dagster's record say the same; there is nothing to do."


def _agree(adopted: int, asked: int, *, is_agreed: bool) -> None:
    if is_agreed:
        return
    if not sys.stdin.isatty():
        raise ProblemError("Nothing was done, as this is no terminal; --yes agrees to it.")
    if not click.confirm(f"Tell Dagster of {adopted} days, and ask again for {asked}?", err=True):
        raise ProblemError("Nothing was done.")


def _carry_out(instance: DagsterInstance, settings: Settings, plans: Sequence[Plan], total: int) -> None:
    lake, done = lake_to_read(settings), 0
    with Showing("days", total, to_stderr=True) as showing:
        for plan in plans:
            for day in plan.adopt:
                tell(instance, lake, plan.checked, day)
                done += 1
                showing.update(done, str(plan.checked.table))
            if plan.ask:
                ask_again(instance, plan, settings, utc_now())
                done += len(plan.ask)
                showing.update(done, str(plan.checked.table))


def _as_json(place: str | None, plans: Sequence[Plan], *, is_done: bool) -> dict[str, object]:
    """The keys are there whatever the values are."""
    return {
        "place": place,
        "is_done": is_done,
        "tables": [
            {
                "table": str(plan.checked.table),
                "adopt": list(plan.adopt),
                "ask_again": [{"day": day, "why": why} for day, why in plan.ask.items()],
                "asked_by": plan.asked_by.to_user_string(),
                "left": [{"day": day, "says": says} for day, says in plan.left.items()],
            }
            for plan in plans
        ],
    }
