"""What is counted in a report's CSV to find out how it is made. Pure; keeps no value but times.

Belongs here: cells, and counts of them. Does not belong here: the proof that a body is whole
(`lake/csv_shape.py`), and what follows from the counts (`visit_findings.py`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from health_pipelines.dexcare.probe.time_fields import TimeFields
from health_pipelines.http import PermanentError

# How exporters write NULL where it is a word.
NULL_WORDS = ("\\N", "NULL", "null", "None", "NA", "N/A", "NaN")
_CELL = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|\Z)')


@dataclass(frozen=True)
class Cell:
    text: str
    is_quoted: bool


@dataclass
class ReportFacts:
    """`rows`: how many; `prints`: a hash of each, in their order. `nothing`: cells with nothing between
    commas, `empty`: those with an empty text in quotes. `words`: of each of `NULL_WORDS` its columns.
    """

    rows: int = 0
    prints: list[int] = field(default_factory=list)
    nothing: int = 0
    empty: int = 0
    words: dict[str, set[str]] = field(default_factory=dict)
    times: TimeFields = field(default_factory=TimeFields)


def facts_of(body: bytes) -> ReportFacts:
    """Raises `PermanentError` if the body is no CSV in UTF-8. Says no value."""
    try:
        records = records_in(body.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise PermanentError("The report is not UTF-8.") from None
    header = [cell.text for cell in next(records, [])]
    facts = ReportFacts()
    for record in records:
        facts.rows += 1
        facts.prints.append(hash(tuple(cell.text for cell in record)))
        facts.times.take(zip(header, (cell.text for cell in record), strict=False))
        for name, cell in zip(header, record, strict=False):
            if not cell.text:
                facts.empty += cell.is_quoted
                facts.nothing += not cell.is_quoted
            elif cell.text in NULL_WORDS:
                facts.words.setdefault(cell.text, set()).add(name)
    return facts


def records_in(text: str) -> Iterator[list[Cell]]:
    """Records of cells; a last one without a line end is one too."""
    at, record = 0, list[Cell]()
    while at < len(text):
        found = _CELL.match(text, at)
        if found is None:
            raise PermanentError("The report is no CSV as RFC 4180 has it.")
        quoted, plain, end = found.groups()
        record.append(
            Cell(plain, is_quoted=False)
            if quoted is None
            else Cell(quoted.replace('""', '"'), is_quoted=True)
        )
        at = found.end()
        if end != ",":
            yield record
            record = []
