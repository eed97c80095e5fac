"""DrChrono's bulk lists over HTTP, one call each: start a list, poll it, read deletions of line items.

Belongs here: paths, answers and status words, as the vendor's documentation gives them. Does not belong
here: Dagster, files, which pages make a list whole (`drchrono/sweep/reading.py`), what can be asked
(`list_query.py`), tokens (`tokens.py`) and the quota (`quota.py`). Facts marked [doc], [seen] or [guess]
say how sure they are.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl

from health_pipelines.drchrono.api.list_query import ListQuery, parameters
from health_pipelines.drchrono.records import RecordType
from health_pipelines.http import (
    Answer,
    Authorization,
    Call,
    CallBudget,
    PermanentError,
    TransientError,
    VendorClient,
    VendorHttp,
    WrongAddressError,
)
from health_pipelines.http.answers import word_of
from health_pipelines.libraries import loaded_when_used
from health_pipelines.settings import HttpPolicy

if TYPE_CHECKING:
    import httpx
else:
    httpx = loaded_when_used("httpx")

DELETIONS_PATH = "/api/line_item_deletions"
URL_SETTING = "DRCHRONO_BASE_URL"
_IN_PROGRESS, _COMPLETE = "in progress", "complete"
# The first two are documented as statuses of a list; Error comes with an HTTP 500 [doc].
_DEAD = frozenset({"failed", "canceled", "cancelled", "error"})
_UUID = re.compile(r"[0-9A-Za-z-]{1,64}")


class UnexpectedAnswerError(PermanentError):
    """An answer without what the documentation says is in it. Says no values."""


class ListDeadError(TransientError):
    """The list failed, was canceled, or is older than an hour: it will never be complete. Post it again."""


class Tokens(Authorization, Protocol):
    """The bearer tokens of one DrChrono application (see `tokens.py`)."""

    @property
    def settings(self) -> str:
        """The names of the settings to change when DrChrono refuses the token."""


@dataclass(frozen=True)
class ListPage:
    """A complete list: one page of the records that a query found, at a moment while it was in progress.

    `body`: the whole answer as it came. `results`: its records, each with the key of its record type; a
    number that is not whole is a `Decimal`. `count` records and `pages` pages exist in all. `page` (from 1)
    and `page_size` are what DrChrono says this is, which is not compared with what was asked.
    """

    uuid: str
    count: int
    pages: int
    page: int
    page_size: int
    body: bytes = field(repr=False)
    results: list[dict[str, Any]] = field(repr=False)


class DrChronoClient(VendorClient):
    """One DrChrono application. Use as `async with`.

    `base_url`: scheme and host only. Every HTTP attempt first gets its turn from `budget`, and a throttle is
    waited for and never fails a call (`on_throttle`: see `VendorHttp`).
    Every method raises `VendorError`: `TransientError` when trying later may help, `PermanentError` if not.
    """

    def __init__(
        self,
        base_url: str,
        tokens: Tokens,
        policy: HttpPolicy,
        budget: CallBudget,
        on_throttle: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> None:
        self._counted = _Counted(budget)
        http = VendorHttp(
            vendor="DrChrono",
            base_url=base_url,
            authorization=tokens,
            policy=policy,
            url_setting=URL_SETTING,
            key_setting=tokens.settings,
            budget=self._counted,
            on_throttle=on_throttle,
            follow_redirects=True,
        )
        super().__init__(http)
        self._base_url = httpx.URL(base_url)

    @property
    def calls(self) -> int:
        """How many it has made, the renewals of its token not counted."""
        return self._counted.calls

    async def start(self, record_type: RecordType, query: ListQuery) -> str:
        """Ask for one page and return the uuid of the list that will be it.

        Asked again after a lost answer, which may leave a list that nobody collects: it dies within the hour.
        Raises `ListQueryError` before any call for what DrChrono would refuse.
        """
        call = Call("POST", record_type.path, query=parameters(record_type, query))
        answer = await self._http.answer(call)
        # A list may be born dead; there is nothing else to read from its status yet.
        _status(record_type, answer)
        uuid = answer.json.get("uuid")
        if not isinstance(uuid, str) or not _UUID.fullmatch(uuid):
            raise UnexpectedAnswerError(
                f"DrChrono started a list of {record_type.name} but its answer has no 'uuid'."
            )
        return uuid

    async def poll(self, record_type: RecordType, uuid: str) -> ListPage | None:
        """The list, or None while it is in progress. Raises `ListDeadError` if it will never be complete."""
        answer = await self._http.answer(
            Call("GET", record_type.path, query=[("uuid", uuid)]), accepts=_is_of_a_dead_list
        )
        if answer.status in (400, 404):
            raise ListDeadError(
                f"DrChrono no longer has the list of {record_type.name} ({answer.words}); ask for it again."
            )
        if _status(record_type, answer) == _IN_PROGRESS:
            return None
        return _page(record_type, uuid, answer)

    async def deletions(
        self, since: date, *, appointment_id: int | None = None
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """The line items deleted on that day (in the account's zone) or later, a page at a time.

        Each has `billing_line_item_id`, `created_at` (of the deletion) and `appointment_id` [doc].
        `appointment_id`: only those of one appointment.
        """
        query = [("since", since.isoformat())]
        if appointment_id is not None:
            query.append(("appointment_id", str(appointment_id)))
        asked = {tuple(query)}
        while True:
            answer = (await self._http.answer(Call("GET", DELETIONS_PATH, query=query))).json
            # This endpoint documents `data`; all other plain lists of this vendor have `results` [seen].
            rows = answer.get("data", answer.get("results"))
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise UnexpectedAnswerError(
                    "DrChrono's line item deletions have no 'data' or 'results' that is a list of objects."
                )
            yield rows
            following = answer.get("next")
            if not following:
                return
            query = query_of_next(self._base_url, following)
            if tuple(query) in asked:
                raise UnexpectedAnswerError(
                    "DrChrono's line item deletions lead back to a page that was read already."
                )
            asked.add(tuple(query))


class _Counted:
    """A budget that counts who gets a turn."""

    def __init__(self, budget: CallBudget) -> None:
        self._budget = budget
        self.calls = 0

    async def acquire(self) -> None:
        await self._budget.acquire()
        self.calls += 1

    async def throttled(self, seconds: float | None) -> None:
        await self._budget.throttled(seconds)


def query_of_next(base_url: httpx.URL, following: object) -> list[tuple[str, str]]:
    """Only the query of the address is used, so that the token goes nowhere else.

    The scheme may differ: servers behind a proxy that does their TLS write http.
    """
    here = base_url.copy_with(path=DELETIONS_PATH)
    try:
        target = here.join(following) if isinstance(following, str) else None
    except (httpx.InvalidURL, ValueError):  # as in `redirect_target`
        target = None
    if (
        target is None
        or (target.host, target.port) != (here.host, here.port)
        or target.path.rstrip("/") != DELETIONS_PATH
    ):
        raise WrongAddressError(
            f"The next page of DrChrono's line item deletions is not at {here.host}{DELETIONS_PATH}; "
            f"check {URL_SETTING}."
        )
    return parse_qsl(target.query.decode(), keep_blank_values=True)


def _is_of_a_dead_list(status: int, answer: dict[str, Any]) -> bool:
    """Whether an answer that is no success says that the list is dead, rather than that the call failed.

    An expired one is 404 [doc] or 400 [guess] with "Invalid uuid specified", a failed one 500 with its
    status [doc].
    """
    if status == 500:
        return str(answer.get("status")).strip().lower() in _DEAD
    return status in (400, 404) and "invalid uuid" in str(answer.get("detail")).lower()


def _status(record_type: RecordType, answer: Answer) -> str:
    """`in progress` or `complete`."""
    said = answer.json.get("status")
    word = said.strip().lower() if isinstance(said, str) else ""
    if word in _DEAD:
        words = f": {answer.words}" if answer.words else ""
        raise ListDeadError(
            f"DrChrono gave up the list of {record_type.name} ({word}{words}); ask for it again."
        )
    if word not in (_IN_PROGRESS, _COMPLETE):
        raise UnexpectedAnswerError(
            f"DrChrono gave a list of {record_type.name} a status that its documentation does not list: "
            f"{word_of(said)}."
        )
    return word


def _page(record_type: RecordType, uuid: str, answer: Answer) -> ListPage:
    said = f"DrChrono's list of {record_type.name}"
    if answer.json.get("uuid") != uuid:
        raise UnexpectedAnswerError(f"{said} does not have the 'uuid' that was asked for.")
    pagination = answer.json.get("pagination")
    if not isinstance(pagination, dict):
        raise UnexpectedAnswerError(f"{said} has no 'pagination'.")
    numbers = {
        name: _whole_number(said, pagination, name) for name in ("count", "pages", "page", "page_size")
    }
    results = answer.json.get("results")
    if not isinstance(results, list):
        raise UnexpectedAnswerError(f"{said} has no 'results' that is a list.")
    _refuse_without_key(said, results, record_type.key)
    return ListPage(uuid=uuid, body=answer.body, results=results, **numbers)


def _whole_number(said: str, pagination: dict[str, Any], name: str) -> int:
    value = pagination.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UnexpectedAnswerError(f"{said} has no '{name}' in its 'pagination' that is a whole number.")
    return value


def _refuse_without_key(said: str, results: Sequence[Any], key: str) -> None:
    for record in results:
        value = record.get(key) if isinstance(record, dict) else None
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal) or value == "":
            raise UnexpectedAnswerError(f"{said} has a record without '{key}'.")
