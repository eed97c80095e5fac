"""What a check says. Pure.

Belongs here: the marks and the line of a finding. Does not belong here: any check.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


class Mark(StrEnum):
    """How bad it is. Only a problem makes the exit code 1."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    NOT_SET_UP = "not set up"


@dataclass(frozen=True)
class Finding:
    """`says`: what was seen and, unless all is well, what to do. No secrets, no data of a vendor."""

    mark: Mark
    says: str


def ok(says: str) -> Finding:
    return Finding(Mark.OK, says)


def warning(says: str) -> Finding:
    return Finding(Mark.WARNING, says)


def problem(says: str) -> Finding:
    return Finding(Mark.PROBLEM, says)


def not_set_up(says: str) -> Finding:
    return Finding(Mark.NOT_SET_UP, says)


def line(subject: str, finding: Finding, hidden: Collection[str]) -> str:
    """The finding as one line, with everything that is `hidden` taken out.

    Findings hold no secrets; this is for what a library or a vendor says in words that nobody foresaw.
    """
    says = " ".join(finding.says.split())
    for secret in sorted(filter(None, hidden), key=len, reverse=True):
        says = says.replace(secret, "***")
    width = max(len(mark) for mark in Mark)
    return f"{finding.mark.value:<{width}}  {subject}: {says}"
