"""When the warehouse is built again. Pure.

Belongs here: the decision. Does not belong here: coming by what it is made of, and Dagster's run requests
(`sensor.py`).

Builds that follow each other closely are a stretch, such as those during a backfill. Each of them makes the
next one wait longer: for landings to pause, or else for its turn. So a landing that stands alone is built
within a minute, and a year of days is built a handful of times.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from health_pipelines.warehouse.backlog import Backlog

# Landings have paused when there was none for this long: for every build of the stretch once more.
PAUSE, LONGEST_PAUSE = timedelta(seconds=15), timedelta(seconds=45)
# While landings go on: so long after the first that waits, or after the build before.
TURN, LONGEST_TURN = timedelta(minutes=1), timedelta(minutes=30)
# What landed no later after a build belongs to its stretch.
STRETCH = timedelta(minutes=1)
# The same state of the lake is not tried again at once if that build did not help.
RETRY, LONGEST_RETRY = timedelta(seconds=30), timedelta(hours=1)


@dataclass(frozen=True)
class Build:
    """A build that ended at `ended` (aware), the so-manieth of its stretch, from 1 on."""

    ended: datetime
    number: int


@dataclass(frozen=True)
class Attempts:
    """Builds of exactly this state that ended, whatever became of them, and did not help."""

    count: int
    last_ended: datetime


@dataclass(frozen=True)
class Wait:
    """Not now. `reason`: a sentence."""

    reason: str


@dataclass(frozen=True)
class Start:
    """Build now, as the so-manieth of a stretch."""

    number: int


def decide(now: datetime, backlog: Backlog, last: Build | None, attempts: Attempts | None) -> Start | Wait:
    """`now`: aware. `last`: the newest build. No build is under way."""
    if backlog.newest is None:
        return Wait("Nothing has landed yet.")
    if backlog.is_current:
        return Wait("The warehouse is current.")
    before = last if last is not None and _is_of_its_stretch(backlog, last) else None
    if attempts is not None:
        wait = _until_the_next_attempt(now, attempts)
    else:
        wait = _until_landings_pause(now, backlog.newest, backlog.waiting_since, before)
    return wait or Start(before.number + 1 if before else 1)


def next_attempt(attempts: Attempts) -> datetime:
    """When the same is to be tried once more."""
    return attempts.last_ended + _doubled(RETRY, attempts.count - 1, LONGEST_RETRY)


def _is_of_its_stretch(backlog: Backlog, last: Build) -> bool:
    return backlog.waiting_since is not None and backlog.waiting_since - last.ended <= STRETCH


def _until_the_next_attempt(now: datetime, attempts: Attempts) -> Wait | None:
    again = next_attempt(attempts)
    if now >= again:
        return None
    return Wait(
        f"The last build of what has landed did not help (attempt {attempts.count}); the next one at "
        f"{_clock(again)}, or when something lands."
    )


def _until_landings_pause(
    now: datetime, newest: datetime, waiting_since: datetime | None, before: Build | None
) -> Wait | None:
    done = before.number if before else 0
    # As a distance: the clock of whoever wrote the file may be ahead.
    if abs(now - newest) >= min((done + 1) * PAUSE, LONGEST_PAUSE):
        return None
    since = before.ended if before else waiting_since or now
    turn = since + _doubled(TURN, done, LONGEST_TURN)
    if now >= turn:
        return None
    return Wait(f"Landings go on; the next build when they pause, at the latest at {_clock(turn)}.")


def _doubled(first: timedelta, times: int, longest: timedelta) -> timedelta:
    # More often makes anything here longer than the longest, and in the end too long for a timedelta.
    return min(first * (1 << min(times, 20)), longest)


def _clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%H:%M:%S} UTC"
