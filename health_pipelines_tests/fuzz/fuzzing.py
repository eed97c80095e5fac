"""Cases for a parser, one after the other, and what became of them.

Belongs here: seeds, counting and what counts as a crash. Does not belong here: parsers (`parsers.py`).
"""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from health_pipelines_tests.fuzz.mutations import PATIENT
from health_pipelines_tests.fuzz.parsers import KEY, Parser

# Of the processor, as machines have other work. Inputs are small: what takes so long with one of them would
# take for ever with a large one.
LONGEST_SECONDS = 5.0
_MOST_CRASHES = 20


@dataclass
class Tally:
    """What became of a parser's cases. `crashes`: the number of the case and what was wrong."""

    parser: Parser
    cases: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    crashes: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0


def case_of(parser: Parser, seed: int, number: int) -> Any:
    """The input of that number, the same every time."""
    return parser.make(Random(f"{seed} {parser.name} {number}"))


def fuzz(parser: Parser, cases: int, seed: int) -> Tally:
    """Give the parser so many cases; it stops after twenty crashes."""
    tally = Tally(parser)
    begun = time.monotonic()
    for number in range(cases):
        given = case_of(parser, seed, number)
        tally.cases += 1
        if wrong := _wrong_with(tally, given):
            tally.crashes[number] = wrong
            if len(tally.crashes) == _MOST_CRASHES:
                break
    tally.seconds = time.monotonic() - begun
    return tally


def _wrong_with(tally: Tally, given: Any) -> str | None:
    begun = time.process_time()
    try:
        tally.parser.read(given)
        tally.accepted += 1
    except tally.parser.refusals as error:
        tally.refused[type(error).__name__] += 1
        if shown := [one for one in (PATIENT, KEY) if one in str(error)]:
            return f"{type(error).__name__} says {', '.join(shown)}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    took = time.process_time() - begun
    return f"took {took:.1f} s" if took > LONGEST_SECONDS else None


def table(tallies: list[Tally]) -> Iterator[str]:
    """Lines of Markdown."""
    yield "| Parser | cases | accepted | refused | cases/s | crashes |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for one in tallies:
        refused = ", ".join(f"{count:,} {kind}" for kind, count in one.refused.most_common()) or "0"
        speed = one.cases / one.seconds if one.seconds else 0
        yield (
            f"| {one.parser.name} | {one.cases:,} | {one.accepted:,} | {refused} | {speed:,.0f} "
            f"| {len(one.crashes)} |"
        )
    cases, crashes = sum(one.cases for one in tallies), sum(len(one.crashes) for one in tallies)
    yield f"| **all** | {cases:,} | | | | {crashes} |"
