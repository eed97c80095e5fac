"""What a seed decides: which work is asked for, when kills come and whom they hit. Pure.

Belongs here: drawing. Does not belong here: doing it (`work.py`, `killing.py`). What is drawn never depends
on what happens, so that a seed means the same draws on every machine; which processes are there then does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from random import Random


class Role(Enum):
    """Which process of the system. The value is the word for people."""

    RUN = "run at work"
    STARTING = "run starting"
    DAEMON = "daemon"
    CODE = "code server"
    CODE_AND_RUNS = "code server and its runs"
    COMMAND = "command"
    BACKEND = "PostgreSQL session"
    POSTGRES = "PostgreSQL"


# Runs most: what they do is what can be lost. A server that is killed takes everything with it, so seldom.
WEIGHTS: Mapping[Role, float] = {
    Role.RUN: 60,
    Role.STARTING: 6,
    Role.DAEMON: 9,
    Role.CODE: 6,
    Role.CODE_AND_RUNS: 5,
    Role.COMMAND: 6,
    Role.BACKEND: 4,
    Role.POSTGRES: 4,
}
OF_POSTGRES = (Role.BACKEND, Role.POSTGRES)


class Wish(Enum):
    """What is asked of the system, or changed at the vendors, between two kills."""

    REPORTS = "reports"
    HISTORIES = "histories"
    SWEEP = "sweep"
    COMMAND = "command"
    VENDOR_DAY = "a day at DexCare"
    RECORDS = "records at DrChrono"


@dataclass(frozen=True)
class Kill:
    """One kill. `after_seconds`: since the one before. `roles`: the first that is there is hit.

    `index`: which of several, from 0 to 1. `into_seconds`: so long after it was found.
    """

    after_seconds: float
    roles: tuple[Role, ...]
    index: float
    into_seconds: float


@dataclass(frozen=True)
class Work:
    """One piece of work. `which`, `first`, `last`: from 0 to 1, of what there is and of its days."""

    wish: Wish
    which: float
    first: float
    last: float


@dataclass(frozen=True)
class Stroke:
    """What is asked for, and then the kill."""

    work: tuple[Work, ...]
    kill: Kill


def strokes(seed: int, kills: int, *, postgres: bool) -> Iterator[Stroke]:
    """`postgres`: whether the server with Dagster's record is hit, too."""
    # A stream for each, so that another weight of the one leaves the other as it was.
    for_kills, for_work = Random(f"{seed} kills"), Random(f"{seed} work")
    weights = {role: weight for role, weight in WEIGHTS.items() if postgres or role not in OF_POSTGRES}
    for _ in range(kills):
        pieces = for_work.choice((0, 0, 1, 1, 2))
        yield Stroke(tuple(_work(for_work) for _ in range(pieces)), _kill(for_kills, weights))


def _kill(chance: Random, weights: Mapping[Role, float]) -> Kill:
    return Kill(
        chance.uniform(1, 4.5), _in_random_order(chance, weights), chance.random(), chance.uniform(0, 1.2)
    )


def _in_random_order(chance: Random, weights: Mapping[Role, float]) -> tuple[Role, ...]:
    left, order = dict(weights), []
    while left:
        [role] = chance.choices(list(left), list(left.values()))
        order.append(role)
        del left[role]
    return tuple(order)


def _work(chance: Random) -> Work:
    [wish] = chance.choices(list(Wish), (30, 12, 22, 10, 10, 16))
    first, last = sorted((chance.random(), chance.random()))
    return Work(wish, chance.random(), first, last)
