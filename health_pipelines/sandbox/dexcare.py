"""DexCare's All Visits Report: start, status, data, in the paths, bodies and words of the vendor's page."""

from datetime import datetime
from uuid import UUID, uuid4

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.routing import Route

from health_pipelines.sandbox.answers import Answer, json_answer
from health_pipelines.sandbox.athena_csv import NULL, csv_line
from health_pipelines.sandbox.faults import Call, Fault, Operation, StatusLie
from health_pipelines.sandbox.gate import Describe, gated, json_object, with_key
from health_pipelines.sandbox.reports import Report
from health_pipelines.sandbox.seeding import stable_random
from health_pipelines.sandbox.settings import Nulls, Settings
from health_pipelines.sandbox.state import Sandbox
from health_pipelines.sandbox.visits import VisitSearch, columns, visits
from health_pipelines.sandbox.windows import UNKNOWN_TYPE, Refused, read_type, read_window_or_default

NOT_FOUND = json_answer(404, {"error": "QueryExecution Not Found"})
NOT_SUCCEEDED = json_answer(400, {"error": "QueryExecution did not succeed"})
NULLS: dict[Nulls, str] = {"nothing": NULL, "quoted": '""', "word": r'"\N"'}
NOT_A_GUID = json_answer(400, {"error": "'reportId' must be a valid GUID"})


def read_search(body: dict[str, object], now: datetime, settings: Settings) -> VisitSearch:
    """The search a start body asks for; a type that is missing is complained of before the dates are."""
    kind = read_type(body)
    if kind in settings.refused_types.split(","):
        raise Refused(UNKNOWN_TYPE)
    return VisitSearch(
        seed=settings.seed,
        volume=settings.volume,
        type=kind,
        window=read_window_or_default(body, now),
        searched=settings.searched,
        end_inclusive=settings.end_inclusive,
        column_names=settings.column_names,
        planted=settings.planted,
    )


def result_csv(report: Report, settings: Settings) -> bytes:
    """The CSV of a report that has run, the same bytes every time.

    What it contains is fixed by the day it began to run. Its order means nothing, and differs between reports
    unless `row_order` says otherwise.
    """
    assert report.runs_from is not None
    null = NULLS[settings.nulls]
    lines = [csv_line(row.values(), null) for row in visits(report.search, report.runs_from.date())]
    if settings.row_order == "shuffled":
        stable_random("order", report.id).shuffle(lines)
    return "".join([csv_line(columns(report.search.type, report.search.column_names)), *lines]).encode()


async def _start(sandbox: Sandbox, request: Request, _: Fault | None) -> Answer:
    body, now = await json_object(request), sandbox.clock.now()
    search = read_search(body, now, sandbox.settings)
    report = sandbox.reports.start(str(uuid4()), search, body, now, sandbox.settings)
    return json_answer(200, {"id": report.id})


async def _status(sandbox: Sandbox, request: Request, fault: Fault | None) -> Answer:
    asked = request.path_params["report_id"]
    if not is_guid(asked):
        error = "invalid input syntax for type uuid"
        return json_answer(400, {"msg": f"getAvrQueryStatus bad request', {asked}, {error}"})
    report = sandbox.reports.get(asked.lower())
    if report is None:
        return NOT_FOUND
    return json_answer(
        200, {"status": fault.word if isinstance(fault, StatusLie) else _truth(sandbox, report)}
    )


async def _data(sandbox: Sandbox, request: Request, _: Fault | None) -> Answer:
    asked = request.path_params["report_id"]
    if not is_guid(asked):
        return NOT_A_GUID
    report = sandbox.reports.get(asked.lower())
    if report is None:
        return NOT_FOUND
    if _truth(sandbox, report) != "SUCCEEDED":
        return NOT_SUCCEEDED
    if report.has_expired(sandbox.clock.now(), sandbox.settings.result_life_seconds):
        return NOT_FOUND
    report.downloads += 1
    body = await run_in_threadpool(result_csv, report, sandbox.settings)
    return Answer(200, body, content_type="text/csv; charset=utf-8", framing=sandbox.settings.framing)


def _truth(sandbox: Sandbox, report: Report) -> str:
    now = sandbox.clock.now()
    sandbox.reports.advance(now, sandbox.settings.max_running)
    return report.status(now)


def is_guid(text: str) -> bool:
    """Whether it is a GUID as the vendor writes them: hexadecimal in groups, joined by hyphens."""
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


async def _about_to_start(sandbox: Sandbox, request: Request) -> Call:
    try:
        search = read_search(await json_object(request), sandbox.clock.now(), sandbox.settings)
    except Refused:
        return Call("start")
    return Call("start", search.type, search.window.day, attempt=sandbox.reports.next_attempt(search))


def _about(operation: Operation) -> Describe:
    async def describe(sandbox: Sandbox, request: Request) -> Call:
        report = sandbox.reports.get(request.path_params["report_id"].lower())
        if report is None:
            return Call(operation)
        return Call(operation, report.search.type, report.search.window.day, report.id, report.attempt)

    return describe


def _key(settings: Settings) -> str:
    return settings.service_key


_PATH = "/api/8/reporting/allvisitsreport"

ROUTES = [
    Route(_PATH, gated("start", with_key(_key), _about_to_start, _start), methods=["POST"]),
    Route(
        _PATH + "/{report_id}", gated("status", with_key(_key), _about("status"), _status), methods=["GET"]
    ),
    Route(_PATH + "/{report_id}/data", gated("data", with_key(_key), _about("data"), _data), methods=["GET"]),
]
