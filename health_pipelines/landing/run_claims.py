"""Which Dagster runs are alive: a run's process holds a lock for as long as it lives.

Belongs here: claiming a run and noticing claims whose process is gone. Does not belong here: what runs do.

Why this exists: Dagster's default run launcher cannot tell that a run's process was killed together with
the code server that started it (a machine that loses power, `kill -9` of a process group). Such a run
stays "started" for ever, and a backfill waits for it. A lock that the operating system frees tells.

With PostgreSQL the lock is one of the server's, which frees it when the process's connection ends, so that
all hosts see it. A connection may also break under a process that lives, which has its lock again soon. So
there a run is dead only when its lock has been free for a while.
"""

import json
import os
import socket
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, Failure, RunRecord, RunsFilter

from health_pipelines.lake.disk import UnusableDiskError, naming_the_disk
from health_pipelines.lake.host_locks import HostLocks
from health_pipelines.lake.locks import LockedElsewhereError, locked, take
from health_pipelines.settings.postgres_address import PostgresError

_SUFFIX = ".run"
_held: dict[Path, int] = {}


# Which machine carries a run out. A run without it has not come to its first step.
CLAIMED_BY_TAG = "health_pipelines/claimed_by"
# Of which run that was said: Dagster gives a retry the tags of the run before it. Older versions did not say.
CLAIMED_RUN_TAG = "health_pipelines/claimed_run"
# Of a run whose claim all hosts see, where it is.
CLAIMED_IN_TAG, _IN_POSTGRES = "health_pipelines/claimed_in", "PostgreSQL"
# Several times what a process that lives takes to have its lock again (`LOOK_EVERY_SECONDS`).
DEAD_AFTER = timedelta(seconds=30)
# Two looks that are further apart say nothing of what was between them.
_LOOKS_WITHIN = timedelta(minutes=3)
# Where Dagster's storage keeps which locks were free, since when, and when that was seen last. Not in this
# process: Dagster's daemon starts the one that looks anew every minute, unless it is a code server.
_LOOKS = "health_pipelines/runs_without_a_process"
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


@dataclass(frozen=True)
class RunClaims:
    """Where runs are claimed: in files of `folder`, or, with `hosts`, in their database."""

    folder: Path
    hosts: HostLocks | None = None


def claim_run(claims: RunClaims, run_id: str, instance: DagsterInstance | None = None) -> None:
    """Say that this process carries out the run, until the process ends.

    With an `instance` its storage knows, too: who does not see this folder must not take the run for dead.
    Raises `Failure` if the folder cannot be written, or the database not be reached.
    """
    tags = {CLAIMED_BY_TAG: socket.gethostname(), CLAIMED_RUN_TAG: run_id}
    try:
        if claims.hosts is not None:
            claims.hosts.keep(_lock_name(run_id))
            tags[CLAIMED_IN_TAG] = _IN_POSTGRES
        else:
            with naming_the_disk():
                _take_claim(claims.folder, run_id)
    except UnusableDiskError as error:
        raise Failure(str(error), allow_retries=False) from None
    except PostgresError as error:
        raise Failure(str(error)) from None
    # After the claim: a process that dies in between leaves one that is free.
    if instance is not None:
        instance.add_run_tags(run_id, tags)


def _take_claim(folder: Path, run_id: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    claim = folder / f"{run_id}{_SUFFIX}"
    if claim not in _held:
        # Locked before it has its name: a claim that can be seen and is free has no living process.
        unseen = folder / f".{run_id}.{os.getpid()}"
        unseen.touch()
        _held[claim] = take(unseen, wait=True)
        unseen.replace(claim)


def is_alive(claims: RunClaims, run_id: str) -> bool:
    """Whether a living process claims the run; with a database, as it is known there at this moment."""
    claim = claims.folder / f"{run_id}{_SUFFIX}"
    if claim.exists() and not _is_free(claim):
        return True
    return claims.hosts is not None and bool(claims.hosts.taken([_lock_name(run_id)]))


def is_under_way(record: RunRecord, claims: RunClaims, *, now: datetime, starts_within: timedelta) -> bool:
    """Whether an unfinished run waits for its turn, is starting, or has a living process here."""
    is_new = now - record.update_timestamp.astimezone(UTC) < starts_within
    run = record.dagster_run
    return run.status is DagsterRunStatus.QUEUED or is_new or is_alive(claims, run.run_id)


def end_dead_runs(
    instance: DagsterInstance,
    claims: RunClaims,
    *,
    is_ours: Callable[[DagsterRun], bool],
    now: datetime,
    starts_within: timedelta,
) -> list[str]:
    """Mark as failed every run whose process is gone without having ended it; returns their ids.

    Dagster's own run retries take it from there, if they are switched on. A process may also have died
    before it claimed its run: `is_ours` says which runs would have been claimed within `starts_within`.
    Of runs that were claimed in the database it takes two looks, `DEAD_AFTER` apart.
    """
    _remove_unseen(claims.folder, made_before=now - starts_within)
    return [
        # Also with a database: an older version, or one without it, may have claimed some.
        *_end_claimed(instance, claims.folder),
        *(_end_claimed_among_hosts(instance, claims.hosts, now) if claims.hosts else ()),
        *_end_unclaimed(instance, claims, is_ours, now, starts_within),
    ]


def _end_unclaimed(
    instance: DagsterInstance,
    claims: RunClaims,
    is_ours: Callable[[DagsterRun], bool],
    now: datetime,
    starts_within: timedelta,
) -> list[str]:
    dead: list[str] = []
    for record in instance.get_run_records(RunsFilter(statuses=_BEFORE_THE_CLAIM)):
        run = record.dagster_run
        if _was_claimed(run) or not is_ours(run):
            continue
        if is_under_way(record, claims, now=now, starts_within=starts_within):
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
        run_id = claim.name.removesuffix(_SUFFIX)
        if _end(instance, run_id):
            dead.append(run_id)
        claim.unlink(missing_ok=True)
    return dead


def _end_claimed_among_hosts(instance: DagsterInstance, hosts: HostLocks, now: datetime) -> list[str]:
    claimed = RunsFilter(
        statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING], tags={CLAIMED_IN_TAG: _IN_POSTGRES}
    )
    runs = [record.dagster_run for record in instance.get_run_records(claimed)]
    run_ids = [run.run_id for run in runs if _was_claimed(run)]
    taken = hosts.taken(map(_lock_name, run_ids))
    free = [run_id for run_id in run_ids if _lock_name(run_id) not in taken]
    dead: list[str] = []
    for run_id, since in sorted(_free_since(instance, free, now).items()):
        if now - since < DEAD_AFTER:
            continue
        # Held meanwhile: neither its process nor another host's housekeeping gets in between.
        with suppress(LockedElsewhereError), hosts.holding(_lock_name(run_id), wait=False):
            if _end(instance, run_id):
                dead.append(run_id)
    return dead


def _free_since(instance: DagsterInstance, free: Collection[str], now: datetime) -> Mapping[str, datetime]:
    """Since when each of these runs had no lock at any look, this one included."""
    storage = instance.daemon_cursor_storage
    noted = storage.get_cursor_values({_LOOKS}).get(_LOOKS)
    before = {
        run_id: [datetime.fromisoformat(at) for at in looks]
        for run_id, looks in json.loads(noted or "{}").items()
    }
    since = {
        run_id: before[run_id][0] if run_id in before and now - before[run_id][1] <= _LOOKS_WITHIN else now
        for run_id in free
    }
    if since or before:
        looks = {run_id: [first.isoformat(), now.isoformat()] for run_id, first in since.items()}
        storage.set_cursor_values({_LOOKS: json.dumps(looks)})
    return since


def _was_claimed(run: DagsterRun) -> bool:
    return CLAIMED_BY_TAG in run.tags and run.tags.get(CLAIMED_RUN_TAG, run.run_id) == run.run_id


def _end(instance: DagsterInstance, run_id: str) -> bool:
    """Whether the run, whose process is gone, was under way and is marked as failed now."""
    run = instance.get_run_by_id(run_id)
    if run is not None and run.status == DagsterRunStatus.STARTED:
        instance.report_run_failed(run, _ENDED)
        return True
    if run is not None and run.status == DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, "The process of this run ended while it was being cancelled.")
    return False


def _lock_name(run_id: str) -> str:
    return f"run {run_id}"


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
