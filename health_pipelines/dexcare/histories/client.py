"""DexCare's All Providers Report (provider histories) over HTTP: one page of one search.

Belongs here: the path, the body and the answer, as the vendor's documentation gives them. Does not belong
here: Dagster, files, time zones, and which pages make a window whole (`sweep.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from health_pipelines.dexcare.connection import UnexpectedAnswerError, dexcare_http
from health_pipelines.http import CallBudget, VendorClient
from health_pipelines.lake.json_partition import JsonRow
from health_pipelines.settings import HttpPolicy, Secret
from health_pipelines.settings.variables import DEXCARE_APR_API_KEY, DEXCARE_APR_BASE_URL

HISTORIES_PATH = "/v1/reporting/providerhistories"


@dataclass(frozen=True, repr=False)
class HistorySearch:
    """The twelve optional search terms [doc]; None means that a term is not used.

    A row is found when it fits all the terms. Each term must equal the field of its name, whatever the
    case of the letters, except `provider_credentials`, which the field must contain.
    """

    action: str | None = None
    """What happened, e.g. `assigned`."""
    visit_id: str | None = None
    """The visit it happened to."""
    provider_id: str | None = None
    """The provider it is about, by id ..."""
    provider_email_address: str | None = None
    """... by e-mail address ..."""
    provider_name: str | None = None
    """... by whole name ..."""
    provider_first_name: str | None = None
    """... by first name ..."""
    provider_last_name: str | None = None
    """... by last name ..."""
    provider_credentials: str | None = None
    """... or by part of the credentials: `MD` finds `MD DO` as well."""
    actor_id: str | None = None
    """Who did it, by id ..."""
    actor_email: str | None = None
    """... by e-mail address ..."""
    actor_first_name: str | None = None
    """... by first name ..."""
    actor_last_name: str | None = None
    """... or by last name."""

    def terms(self) -> dict[str, str]:
        """The terms that are used, by the vendor's names: `provider_id` is `providerId`."""
        used = {_vendor_name(field.name): getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in used.items() if value is not None}

    def __repr__(self) -> str:
        # The values are names and addresses of people, and a repr ends in a log sooner or later.
        return f"HistorySearch({', '.join(self.terms())})"


@dataclass(frozen=True)
class HistoryPage:
    """One answer: some rows, each with an `id` that is a string or a number, and how many match in all.

    Numbers that are not whole are `Decimal`, with every digit that came.
    """

    count: int
    rows: Sequence[JsonRow]


class ProviderHistoriesClient(VendorClient):
    """Provider histories of one health system and tier. Use as `async with`.

    `base_url`: scheme and host only; `key`: the APR API key. Both may differ from those of the visit reports.
    `budget`: see `dexcare_http`.
    Every method raises `VendorError`: `TransientError` when trying later may help, `PermanentError` if not.
    """

    def __init__(
        self, base_url: str, key: Secret, policy: HttpPolicy, budget: CallBudget | None = None
    ) -> None:
        super().__init__(
            dexcare_http(
                base_url,
                key,
                policy,
                url_setting=DEXCARE_APR_BASE_URL,
                key_setting=DEXCARE_APR_API_KEY,
                budget=budget,
            )
        )

    async def page(
        self, start: datetime, end: datetime, search: HistorySearch, *, offset: int, limit: int | None
    ) -> HistoryPage:
        """The rows from `offset` on of all that match from `start` to `end` (aware datetimes).

        The server may answer fewer rows than `limit`: its largest page is not documented. Without a limit it
        takes its own default. In which order rows come is not documented either.
        """
        body: dict[str, Any] = {
            "startDate": history_time(start),
            "endDate": history_time(end),
            "offset": offset,
            **search.terms(),
        }
        if limit is not None:
            body["limit"] = limit
        answer = await self._http.json("POST", HISTORIES_PATH, body=body, on_lost=_nothing_lost)
        return page_in(answer)


def page_in(answer: Mapping[str, Any]) -> HistoryPage:
    """The page that was asked for. Raises `UnexpectedAnswerError`."""
    count, rows = answer.get("count"), answer.get("data")
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise UnexpectedAnswerError("DexCare's provider histories have no 'count' that is a whole number.")
    if not isinstance(rows, list):
        raise UnexpectedAnswerError("DexCare's provider histories have no 'data' that is a list.")
    if not all(isinstance(row, dict) and _is_id(row.get("id")) for row in rows):
        raise UnexpectedAnswerError("DexCare's provider histories have a row without an 'id'.")
    return HistoryPage(count, rows)


def history_time(moment: datetime) -> str:
    """An aware datetime as in the vendor's APR examples, in UTC: `2023-10-12T07:00:00.000Z` [doc]."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _vendor_name(field: str) -> str:
    first, *others = field.split("_")
    return first + "".join(word.capitalize() for word in others)


def _is_id(value: object) -> bool:
    return isinstance(value, str | int | Decimal) and not isinstance(value, bool)


def _nothing_lost() -> None:
    """This POST is a search: it changes nothing, so nothing is lost when its answer is."""
