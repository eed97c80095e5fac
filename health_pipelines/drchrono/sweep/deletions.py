"""Reading which line items were deleted: a plain list of the vendor's, told in the same way as a sweep.

Belongs here: reading all of it since a day. Does not belong here: the calls (`drchrono/api/client.py`) and
what becomes of the rows.

Each page leads to the next, so that rows which come meanwhile do not move the others; the last says so. A
deletion is made once and never changes, and what comes after the reading belongs to a later day.
"""

from collections.abc import Callable
from datetime import datetime
from uuid import uuid4

from health_pipelines.drchrono.api.client import DrChronoClient, UnexpectedAnswerError
from health_pipelines.drchrono.records import LINE_ITEM_DELETIONS
from health_pipelines.drchrono.sweep.journal import Journal, Question
from health_pipelines.drchrono.sweep.pages import Page
from health_pipelines.drchrono.sweep.swept import Swept
from health_pipelines.lake.json_partition import value_text


async def read_deletions(
    client: DrChronoClient, question: Question, journal: Journal, now: Callable[[], datetime]
) -> Swept:
    """Every deletion since the question's day. Raises what the client raises.

    Always from the beginning: it is a matter of a few calls.
    """
    journal.begin(question, now())
    query_id, records, number = str(uuid4()), 0, 0
    async for rows in client.deletions(question.since):
        number += 1
        if not all(row.get(LINE_ITEM_DELETIONS.key) is not None for row in rows):
            raise UnexpectedAnswerError(
                f"DrChrono's line item deletions have a row without '{LINE_ITEM_DELETIONS.key}'."
            )
        body = f'{{"results":[{",".join(value_text(row) or "" for row in rows)}]}}'
        journal.keep(Page(number, max(1, len(rows))), query_id, body.encode(), now())
        records += len(rows)
    return Swept(
        pages=list(journal.pages),
        records=records,
        counts=(records, records),
        lists=number,
        resumed_pages=0,
        begun_at=journal.begun_at,
    )
