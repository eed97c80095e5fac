"""`health-pipelines verify`: which partition of the lake is not what was landed.

Belongs here: which tables are looked at, and what is printed. Does not belong here: what is compared
(`lake/verification.py`, `landing/recorded.py`). Nothing is written, and no vendor is asked.
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from dagster import DagsterInstance

from health_pipelines.commands.opening import installation_of, opened
from health_pipelines.commands.problem import ProblemError
from health_pipelines.commands.progress import Showing
from health_pipelines.lake.opening import lake_of, lake_to_read
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.lake.verification import Finding, State, TableVerification
from health_pipelines.landing.holes import said
from health_pipelines.landing.recorded import Recorded, against_record
from health_pipelines.landing.verdicts import CheckedTable
from health_pipelines.settings import Settings
from health_pipelines.settings.clock import utc_now
from health_pipelines.vendors.known import landing_tables


def verify(place: str | None, *, as_json: bool = False) -> int:
    """Print it; returns the exit code: 1 if something is not as it landed.

    `place`: one of HEALTH_PLACES_DIR. Raises `ProblemError` or `SettingError` with one sentence.
    """
    # What libraries log may hold an address with its password.
    logging.disable(logging.CRITICAL)
    text, code = answer(place, as_json=as_json)
    print(text)
    return code


def answer(place: str | None, *, as_json: bool = False) -> tuple[str, int]:
    """What is printed, and the exit code. From here on the settings are the place's."""
    installation = installation_of(place, utc_now())
    settings = installation.settings
    lake = lake_of(settings)
    checked = {one.table: one for one in landing_tables(settings)}
    try:
        with opened(installation) as instance:
            findings, not_compared = _findings(lake, checked, instance), None
    except ProblemError as problem:
        findings, not_compared = _findings(lake, checked, None), str(problem)
    code = int(not all(one.state.is_well for one in findings))
    if as_json:
        return json.dumps(_as_json(place, findings, not_compared), indent=2), code
    return _text(settings, findings, not_compared), code


def _findings(
    lake: Lake, checked: Mapping[Table, CheckedTable], instance: DagsterInstance | None
) -> list[Finding]:
    """One of each partition, and those of tables."""
    looks = [TableVerification(lake, table) for table in sorted({*lake.tables(), *checked}, key=str)]
    found: list[Finding] = []
    with Showing("partitions", sum(len(look.days) for look in looks), to_stderr=True) as showing:
        done = 0
        for look in looks:
            of_days = []
            for day in look.days:
                of_days.append(look.of_day(day))
                done += 1
                showing.update(done, str(look.table))
            found += [*of_days, *look.of_table()]
            if instance is not None and (one := checked.get(look.table)):
                told = {finding.day for finding in of_days if not finding.state.is_well}
                against = against_record(lake, one, Recorded(instance, one.asset), look)
                found += [finding for finding in against if finding.day not in told]
    return found


def _text(settings: Settings, findings: Sequence[Finding], not_compared: str | None) -> str:
    """A sentence for each thing that is wrong or unfinished, and the sum."""
    lines = [one.says for one in findings if one.says]
    by_table: dict[str, list[str]] = {}
    for one in findings:
        if one.state is State.WITHOUT_MANIFEST and one.day:
            by_table.setdefault(one.table, []).append(one.day)
    lines += [
        f"{table}: {said(days)}, without a manifest, as an older version landed them; the next landing of a "
        "day makes one."
        for table, days in by_table.items()
    ]
    if not_compared:
        lines.append(f"Dagster's record was not compared: {not_compared}")
    counted = Counter(one.state for one in findings)
    sums = ", ".join(f"{counted[state]} {_words(state)}" for state in State if counted[state])
    partitions = len({(one.table, one.day) for one in findings if one.day})
    tables = len({one.table for one in findings if one.day})
    lines.append(
        f"{lake_to_read(settings)}: {partitions} partitions of {tables} tables; {sums or 'nothing'}."
    )
    return "\n\n".join(lines)


def _as_json(place: str | None, findings: Sequence[Finding], not_compared: str | None) -> dict[str, object]:
    """The keys are there whatever the values are."""
    counted = Counter(one.state for one in findings)
    return {
        "place": place,
        "is_well": all(one.state.is_well for one in findings),
        "counts": {state.value: counted[state] for state in State},
        "dagster_not_compared": not_compared,
        "findings": [asdict(one) for one in findings if one.state is not State.AS_LANDED],
    }


def _words(state: State) -> str:
    return state.value.replace("_", " ").replace("without manifest", "without a manifest")
