"""`health-pipelines erase`: remove a patient, or days that are not to be kept, and keep them out.

Belongs here: what a person types, is asked and sees. Does not belong here: the erasing (`erasing.py`).
No id of a patient is shown or kept.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

import click

from health_pipelines.commands.environment import user_environment
from health_pipelines.commands.erasing import TROUBLES, Erasing, Patient
from health_pipelines.commands.problem import ProblemError
from health_pipelines.commands.text_table import text_table
from health_pipelines.doctor.folder_checks import belongs_to_somebody_else
from health_pipelines.lake.ownership import keep_new_files_private
from health_pipelines.lake.partitions import Table
from health_pipelines.privacy.evidence import columns_with
from health_pipelines.privacy.patients import UnknownPatientColumnError
from health_pipelines.privacy.purge import Removed
from health_pipelines.settings import Settings, use_settings
from health_pipelines.settings.clock import utc_now
from health_pipelines.settings.place_files import settings_of_place
from health_pipelines.settings.variables import HEALTH_START_DATE
from health_pipelines.vendors.known import lake_tables
from health_pipelines.vendors.privacy_names import refuse_wrong_names

_FROM_STDIN = "-"


@dataclass(frozen=True)
class Wish:
    """`patients`: as they were typed. `tables`: of which days are removed; all without one."""

    place: str | None = None
    patients: tuple[str, ...] = ()
    before: date | None = None
    tables: tuple[str, ...] = ()
    again: bool = False
    reason: str = ""
    dry_run: bool = False
    is_agreed: bool = False
    as_json: bool = False
    wait_seconds: float = 600


def erase(wish: Wish) -> int:
    """Returns the exit code. Raises `ProblemError` or `SettingError` with one sentence."""
    environment = user_environment()
    use_settings(environment if wish.place is None else settings_of_place(wish.place, environment))
    settings = Settings.of_this_process()
    keep_new_files_private(settings.data_group)
    _refuse_what_is_unclear(wish, settings)
    if belongs_to_somebody_else(settings.data_dir):
        raise ProblemError(
            f"{settings.data_dir} belongs to another user: what root leaves there, Dagster could not read. "
            "Run this as that user."
        )
    tell = partial(print, file=sys.stderr)
    erasing = Erasing(settings, utc_now, tell, wish.wait_seconds)
    try:
        refuse_wrong_names(settings)
        return _again(erasing, wish) if wish.again else _asked_for(erasing, wish)
    except TROUBLES as error:
        raise ProblemError(
            f"{error}\nWhat was done is done, and nothing comes back; run the same again for the rest."
            if not isinstance(error, UnknownPatientColumnError)
            else str(error)
        ) from None


def _asked_for(erasing: Erasing, wish: Wish) -> int:
    patients = _patients(wish.patients, erasing)
    before = wish.before.isoformat() if wish.before else None
    tables = _tables(wish.tables, erasing) if before else []
    for source in dict.fromkeys(one.source for one in patients):
        _know_whose_rows(erasing, source, patients)
    found = [*erasing.found(patients), *(erasing.days_found(tables, before) if before else [])]
    _show(found, patients, before, wish)
    if wish.dry_run:
        _print_json(wish, found, done=False)
        return 0
    _agree(wish)
    done = erasing.patients(patients, wish.reason) if patients else []
    if before:
        done += erasing.days(tables, before, wish.reason)
        if not wish.tables and erasing.settings.start_date.isoformat() < before:
            erasing.tell(
                f"Set {HEALTH_START_DATE.name}={before}, so that Dagster's UI does not offer the days before."
            )
    erasing.tell(f"Done: {_said(done)}. The record is in {erasing.known.folder / 'record.jsonl'}.")
    _print_json(wish, done, done=True)
    return 0


def _again(erasing: Erasing, wish: Wish) -> int:
    if not erasing.known.sources:
        raise ProblemError(f"Nobody was erased here: {erasing.known.folder} names nobody.")
    _agree(wish)
    done = erasing.again()
    erasing.tell(f"Done: {_said(done)}.")
    _print_json(wish, done, done=True)
    return 0


def _refuse_what_is_unclear(wish: Wish, settings: Settings) -> None:
    if wish.again and (wish.patients or wish.before):
        raise ProblemError("--again takes neither --patient nor --before: it goes by whom the list names.")
    if not (wish.again or wish.patients or wish.before):
        raise ProblemError("Say --patient SOURCE:ID, --before DATE or --again; --help says what each does.")
    if wish.tables and not wish.before:
        raise ProblemError(
            "--table says of which tables days are removed, and is of use with --before alone."
        )
    if not wish.again and not wish.dry_run and not wish.reason.strip():
        raise ProblemError("Say --reason, such as the number of the request: the record keeps it.")
    if wish.before and wish.before > utc_now().astimezone(settings.timezone).date():
        raise ProblemError(f"--before {wish.before} is in the future; nothing would be left.")


def _patients(typed: Sequence[str], erasing: Erasing) -> list[Patient]:
    lines = list[str]()
    for one in typed:
        lines += sys.stdin.read().split("\n") if one == _FROM_STDIN else [one]
    sources = sorted({table.source for table in lake_tables(erasing.settings)})
    found = []
    for line in filter(None, map(str.strip, lines)):
        source, colon, id_ = line.partition(":")
        if not colon or not id_.strip() or source not in sources:
            # Not what was typed: it may be an id.
            raise ProblemError(f"--patient is SOURCE:ID, where SOURCE is one of {', '.join(sources)}.")
        found.append(Patient(source, id_.strip()))
    if typed and not found:
        raise ProblemError("Nobody was named on standard input.")
    return found


def _tables(typed: Sequence[str], erasing: Erasing) -> list[Table]:
    there = erasing.lake.tables()
    chosen = [one for one in there if not typed or str(one) in typed or f"{one.source}/*" in typed]
    known = {str(one) for one in there} | {f"{one.source}/*" for one in there}
    if unknown := sorted(set(typed) - known):
        raise ProblemError(
            f"--table {unknown[0]} is no table of the lake; there are {', '.join(sorted(known))}."
        )
    return chosen


def _know_whose_rows(erasing: Erasing, source: str, patients: Sequence[Patient]) -> None:
    try:
        erasing.refuse_unknown_columns(source)
    except UnknownPatientColumnError as error:
        ids = [one.id for one in patients if one.source == source]
        evidence = [
            f"  {table}: {', '.join(f'{name} ({rows} rows)' for name, rows in found.items())}"
            for table in erasing.tables_of(source)
            if (found := columns_with(erasing.lake, table, ids))
        ]
        seen = (
            "\n".join(["Columns in which what was named stands:", *evidence])
            if evidence
            else ("What was named stands in no column of any table.")
        )
        raise ProblemError(f"{error}\n{seen}") from None


def _show(found: Sequence[Removed], patients: Sequence[Patient], before: str | None, wish: Wish) -> None:
    who = [f"{len(patients)} patient{'' if len(patients) == 1 else 's'}"] if patients else []
    who += [f"all days before {before}"] if before else []
    rows: dict[tuple[str, bool], list[Removed]] = {}
    for one in found:
        rows.setdefault((str(one.table), one.is_whole), []).append(one)
    lines = [
        [
            table,
            "whole days" if whole else str(sum(one.rows for one in some)),
            str(len(some)),
            some[0].day,
            some[-1].day,
        ]
        for (table, whole), some in rows.items()
    ]
    said = text_table(("table", "rows", "days", "first", "last"), lines) if lines else "Nothing is there."
    print(
        f"To be removed for good, and kept out from now on: {' and '.join(who)}.\n\n{said}\n",
        file=sys.stderr if wish.as_json else sys.stdout,
    )


def _agree(wish: Wish) -> None:
    if wish.is_agreed:
        return
    if not sys.stdin.isatty():
        raise ProblemError("Nothing was removed: say --yes where nobody can be asked.")
    if not click.confirm("Remove it?", err=True):
        raise ProblemError("Nothing was removed.")


def _said(done: Sequence[Removed]) -> str:
    rows, days = sum(one.rows for one in done), len(done)
    return f"{rows} rows of {days} partition{'' if days == 1 else 's'} removed"


def _print_json(wish: Wish, removed: Sequence[Removed], *, done: bool) -> None:
    if wish.as_json:
        listed = [
            {"table": str(one.table), "day": one.day, "rows": one.rows, "whole_day": one.is_whole}
            for one in removed
        ]
        print(json.dumps({"place": wish.place, "is_done": done, "removed": listed}, indent=2))
