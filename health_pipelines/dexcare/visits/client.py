"""DexCare's All Visits Reports over HTTP: start, status, download.

Belongs here: paths, bodies, headers and answers of DexCare's reporting API, as its documentation gives
them. Does not belong here: Dagster, files, time zones, and what a status means for a partition
(`report.py`). Facts marked [doc], [seen] or [guess] say how sure they are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from health_pipelines.dexcare.connection import UnexpectedAnswerError, dexcare_http
from health_pipelines.http import (
    Call,
    CallBudget,
    Downloaded,
    NotFoundError,
    PermanentError,
    RefusedError,
    VendorClient,
)
from health_pipelines.http.answers import word_of
from health_pipelines.settings import HttpPolicy, Secret
from health_pipelines.settings.variables import DEXCARE_BASE_URL, DEXCARE_SERVICE_KEY

REPORTS_PATH = "/api/8/reporting/allvisitsreport"
# An id that the vendor never gives: a GUID is random or made of a time.
NOBODYS_REPORT = "00000000-0000-4000-8000-000000000000"


class ReportType(StrEnum):
    """What an All Visits Report can be about. The vendor's 400 text lists only the first two [doc]."""

    VIRTUAL = "virtual"
    RETAIL = "retail"
    PROVIDER_BOOKING = "provider_booking"


class ReportStatus(StrEnum):
    """The life of a report [doc]. FAILED may become QUEUED again by itself moments later [doc]."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    # Not the vendor's: 404, a report that is unknown or whose result was not kept.
    GONE = "GONE"


class ReportGoneError(PermanentError):
    """The vendor does not know the report, or no longer has its result."""


class ReportNotReadyError(PermanentError):
    """The result was asked for, but the report has not succeeded."""


@dataclass(frozen=True)
class StartedReport:
    """`lost_starts`: attempts whose answer never arrived, each of which may have started a report that
    nobody will ever collect (DexCare has no idempotency key and no list of reports)."""

    report_id: str
    lost_starts: int


class DexCareClient(VendorClient):
    """DexCare's reporting API for one health system and tier. Use as `async with`.

    `base_url`: scheme and host only. `key`: the reporting service key. `budget`: see `dexcare_http`.
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
                url_setting=DEXCARE_BASE_URL,
                key_setting=DEXCARE_SERVICE_KEY,
                budget=budget,
            )
        )

    async def start_report(self, type_: ReportType, start: datetime, end: datetime) -> StartedReport:
        """Ask for all visits from `start` to `end` (aware datetimes) and return the report's id.

        Starting is not idempotent: see `StartedReport.lost_starts`.
        """
        lost = 0

        def count_lost() -> None:
            nonlocal lost
            lost += 1

        body = {"type": type_.value, "startDate": vendor_time(start), "endDate": vendor_time(end)}
        answer = await self._http.json("POST", REPORTS_PATH, body=body, on_lost=count_lost)
        return StartedReport(id_in(answer), lost_starts=lost)

    async def report_status(self, report_id: str) -> ReportStatus:
        """Where the report is. An unknown report is `GONE`; an unknown word raises."""
        path = _report_path(report_id)
        try:
            answer = await self._http.json("GET", path, on_lost=_nothing_lost)
        except NotFoundError:
            return ReportStatus.GONE
        return status_in(report_id, answer)

    async def check_access(self) -> None:
        """Return if address and key are good, by the cheapest call that shows it: asking for the status of a
        report that nobody started. Raises as every method does, `NotFoundError` for a 404 in other words than
        DexCare's own [doc].
        """
        answer = await self._http.answer(
            Call("GET", _report_path(NOBODYS_REPORT)), accepts=_is_about_an_unknown_report
        )
        if answer.status != 404:
            raise UnexpectedAnswerError(
                f"DexCare answered {answer.status} when asked about a report that nobody started."
            )

    async def download_report(
        self, report_id: str, begin: Callable[[], Callable[[bytes], None]]
    ) -> Downloaded:
        """Stream the report's CSV into the sink that `begin()` returns (see `VendorHttp.download`).

        Raises `ReportNotReadyError` before the report has succeeded, `ReportGoneError` when DexCare has no
        such result (how long one is kept is not documented).
        """
        path = f"{_report_path(report_id)}/data"
        try:
            return await self._http.download(path, begin)
        except NotFoundError as error:
            raise ReportGoneError(str(error)) from None
        except RefusedError as error:
            if "did not succeed" in str(error):
                raise ReportNotReadyError(str(error)) from None
            raise


def id_in(answer: Mapping[str, Any]) -> str:
    """The report that was started. Raises `UnexpectedAnswerError`."""
    report_id = answer.get("id")
    if not isinstance(report_id, str) or not _is_guid(report_id):
        raise UnexpectedAnswerError("DexCare started a report but its answer has no 'id' that is a GUID.")
    return report_id


def status_in(report_id: str, answer: Mapping[str, Any]) -> ReportStatus:
    """Raises `UnexpectedAnswerError` for a word that is not documented."""
    try:
        return ReportStatus(str(answer.get("status")))
    except ValueError:
        raise UnexpectedAnswerError(
            f"DexCare gave report {report_id} a status that its documentation does not list: "
            f"{word_of(answer.get('status'))}."
        ) from None


def vendor_time(moment: datetime) -> str:
    """An aware datetime as in the vendor's examples, in UTC: `2022-04-13T15:00:00+0000` [doc]."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")


def _report_path(report_id: str) -> str:
    if not _is_guid(report_id):
        raise PermanentError(
            f"{report_id[:60]!r} is not a report id (a GUID); ask for the day again to get a new report."
        )
    return f"{REPORTS_PATH}/{report_id}"


def _is_guid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _is_about_an_unknown_report(status: int, answer: dict[str, Any]) -> bool:
    return status == 404 and any("queryexecution not found" in str(said).lower() for said in answer.values())


def _nothing_lost() -> None:
    """A GET changes nothing, so nothing is lost when its answer is."""
