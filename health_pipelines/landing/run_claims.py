"""Which Dagster runs are alive: a run's process holds a lock for as long as it lives.

Belongs here: claiming a run and noticing claims whose process is gone. Does not belong here: what runs do.

Why this exists: Dagster's default run launcher cannot tell that a run's process was killed together with
the code server that started it (a machine that loses power, `kill -9` of a process group). Such a run
stays "started" for ever, and a backfill waits for it. A lock that the operating system frees tells.
"""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, Failure, RunRecord, RunsFilter

from health_pipelines.lake.disk import UnusableDiskError, naming_the_disk
from health_pipelines.lake.locks import LockedElsewhereError, locked, take

_SUFFIX = ".run"
_held: dict[Path, int] = {}


# Which machine carries a run out. A run without it has not come to its first step.
CLAIMED_BY_TAG = "health_pipelines/claimed_by"
# Nobody tells which of these it was: a process that the kernel ends for its memory says nothing any more.
_ENDED = (
    "The process of this run ended without finishing it. If nobody stopped it, it had too little memory: "
    "give its service more."
)
_BEFORE_THE_CLAIM = [
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def claim_run(folder: Path, run_id: str, instance: DagsterInstance | None = None) -> None:
    """Say that this process carries out the run, until the process ends.

    With an `instance` its storage knows, too: who does not see this folder must not take the run for dead.
    Raises `Failure` if the folder cannot be written.
    """
    try:
        with naming_the_disk():
            _take_claim(folder, run_id)
    except UnusableDiskError as error:
        raise Failure(str(error), allow_retries=False) from None
    # After the claim: a process that dies in between leaves one that is free.
    if instance is not None:
        instance.add_run_tags(run_id, {CLAIMED_BY_TAG: socket.gethostname()})


def _take_claim(folder: Path, run_id: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    claim = folder / f"{run_id}{_SUFFIX}"
    if claim not in _held:
        # Locked before it has its name: a claim that can be seen and is free has no living process.
        unseen = folder / f".{run_id}.{os.getpid()}"
        unseen.touch()
        _held[claim] = take(unseen, wait=True)
        unseen.replace(claim)


def is_alive(folder: Path, run_id: str) -> bool:
    """Whether a living process claims the run."""
    claim = folder / f"{run_id}{_SUFFIX}"
    return claim.exists() and not _is_free(claim)


def is_under_way(record: RunRecord, folder: Path, *, now: datetime, starts_within: timedelta) -> bool:
    """Whether an unfinished run waits for its turn, is starting, or has a living process here."""
    is_new = now - record.update_timestamp.astimezone(UTC) < starts_within
    run = record.dagster_run
    return run.status is DagsterRunStatus.QUEUED or is_new or is_alive(folder, run.run_id)


def end_dead_runs(
    instance: DagsterInstance,
    folder: Path,
    *,
    is_ours: Callable[[DagsterRun], bool],
    now: datetime,
    starts_within: timedelta,
) -> list[str]:
    """Mark as failed every run whose process is gone without having ended it; returns their ids.

    Dagster's own run retries take it from there, if they are switched on. A process may also have died
    before it claimed its run: `is_ours` says which runs would have been claimed within `starts_within`.
    """
    _remove_unseen(folder, made_before=now - starts_within)
    return [
        *_end_claimed(instance, folder),
        *_end_unclaimed(instance, folder, is_ours, now, starts_within),
    ]


def _end_unclaimed(
    instance: DagsterInstance,
    folder: Path,
    is_ours: Callable[[DagsterRun], bool],
    now: datetime,
    starts_within: timedelta,
) -> list[str]:
    dead: list[str] = []
    for record in instance.get_run_records(RunsFilter(statuses=_BEFORE_THE_CLAIM)):
        run = record.dagster_run
        if CLAIMED_BY_TAG in run.tags or not is_ours(run):
            continue
        if is_under_way(record, folder, now=now, starts_within=starts_within):
            continue
        if run.status == DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, "The process of this run ended while it was being cancelled.")
            continue
        instance.report_run_failed(run, "The process of this run ended before it came to its first step.")
        dead.append(run.run_id)
    return dead


def _end_claimed(instance: DagsterInstance, folder: Path) -> list[str]:
    dead: list[str] = []
    for claim in sorted(folder.glob(f"*{_SUFFIX}")):
        if not _is_free(claim):
            continue
        run = instance.get_run_by_id(claim.name.removesuffix(_SUFFIX))
        if run is not None and run.status == DagsterRunStatus.STARTED:
            instance.report_run_failed(run, _ENDED)
            dead.append(run.run_id)
        if run is not None and run.status == DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, "The process of this run ended while it was being cancelled.")
        claim.unlink(missing_ok=True)
    return dead


def _remove_unseen(folder: Path, made_before: datetime) -> None:
    """Remove what processes left that were killed on their way to a claim, which takes a moment."""
    for unseen in folder.glob(".*"):
        with suppress(FileNotFoundError):  # it has become a claim
            if unseen.stat().st_mtime < made_before.timestamp() and _is_free(unseen):
                unseen.unlink()


def _is_free(claim: Path) -> bool:
    try:
        with locked(claim, wait=False):
            return True
    except LockedElsewhereError:
        return False
    except FileNotFoundError:  # removed by another process that saw it free
        return False
