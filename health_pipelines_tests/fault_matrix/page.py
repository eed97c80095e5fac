"""The page of the matrix, `docs/faults.md`. `make faults-page` writes it; a test compares it."""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from health_pipelines_tests.fault_matrix.outcomes import Call, Fault, Kind, Outcome
from health_pipelines_tests.fault_matrix.table import CELLS, FAULTS, GROUPS, LOST_TOKEN

_HEAD = Path(__file__).with_name("head.md")
_AGAIN = {
    Call.START: "when the day is asked for again: by the next night of its look-back, or by a person",
    Call.STATUS: "with the sensor's next tick",
    Call.DATA: "after 0, 1, 5, 15 and 60 minutes, in runs of its own; a body that is no CSV by a person",
    Call.HISTORIES: "with the next night, or by a person",
    Call.TOKEN: "with the next run",
    Call.LIST_START: "with the next run; within the hour it goes on where it was",
    Call.LIST_POLL: "with the next run; within the hour it goes on where it was",
    Call.DELETIONS: "with the next run",
}


def page() -> str:
    """In Markdown."""
    calls = [f"| {call.title} | {call.about} | {_AGAIN[call]} |" for call in Call]
    head = _HEAD.read_text().format(
        faults=len(FAULTS), calls=len(Call), cells=len(CELLS), table="\n".join(calls), lost=_shown(LOST_TOKEN)
    )
    return "\n".join([head, *(_group(title, faults) for title, faults in GROUPS.items())])


def _group(title: str, faults: Sequence[Fault]) -> str:
    names = [call.title for call in Call]
    lines = [f"## {title}", "", _row(["Fault", *names]), _row(["---"] * (len(names) + 1))]
    lines += [_row([one.name, *(_cell(one.outcomes[call]) for call in Call)]) for one in faults]
    said = [line for one in faults for line in _said(one)]
    return "\n".join([*lines, "", *said, ""]) if said else "\n".join([*lines, ""])


def _cell(outcome: Outcome) -> str:
    if outcome.kind is Kind.WAITED and outcome.calls > 2:
        return f"{outcome.kind.value}, restarted"
    if outcome.kind is Kind.AS_USUAL and outcome.calls > 1:
        return f"{outcome.kind.value}, {outcome.calls} calls"
    return outcome.kind.value


def _said(one: Fault) -> list[str]:
    """Who says what, the calls that say the same together."""
    by_sentence: dict[str, list[Call]] = {}
    for call, outcome in one.outcomes.items():
        if outcome.sentence:
            by_sentence.setdefault(outcome.sentence, []).append(call)
    return [f"- {one.name}{_whose(calls)}: *{_shown(text)}*" for text, calls in _ordered(by_sentence).items()]


def _ordered(by_sentence: Mapping[str, list[Call]]) -> Mapping[str, list[Call]]:
    return dict(sorted(by_sentence.items(), key=lambda item: -len(item[1])))


def _whose(calls: Sequence[Call]) -> str:
    return "" if len(calls) == len(Call) else f" ({', '.join(call.title for call in calls)})"


def _shown(sentence: str) -> str:
    """What differs in capitals."""
    named = re.sub(r"\{(\w+)\}", lambda name: name[1].upper(), sentence)
    return named.replace("{…}", "…").replace("***", r"\*\*\*")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.stdout.write(page())
