"""The work that each call is a part of: one day, from the vendor into the lake, and what must be there then.

The clients, the decisions and the landing are the pipeline's own. What a sensor, a run and a schedule do
between them, which is to come again, is played here by doing the work once more.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import httpx
import polars as pl

from health_pipelines.dexcare.histories.client import HistorySearch, ProviderHistoriesClient
from health_pipelines.dexcare.histories.landing import UnusableHistoriesError, land_histories
from health_pipelines.dexcare.tables import PROVIDER_HISTORIES, VISIT_REPORTS
from health_pipelines.dexcare.visits.client import (
    DexCareClient,
    ReportGoneError,
    ReportNotReadyError,
    vendor_time,
)
from health_pipelines.dexcare.visits.landing import UnusableReportError, land_report
from health_pipelines.dexcare.visits.ledger import OpenTicket
from health_pipelines.dexcare.visits.poll import Poll
from health_pipelines.dexcare.visits.report import LandingFailure, Policy, Ticket, Verdict
from health_pipelines.drchrono.api.client import DrChronoClient
from health_pipelines.drchrono.api.pace import Pace
from health_pipelines.drchrono.api.quota import Quota
from health_pipelines.drchrono.api.quota_store import MemoryStore
from health_pipelines.drchrono.api.token_file import TokenFile
from health_pipelines.drchrono.api.tokens import RenewedTokens
from health_pipelines.drchrono.landing.range_landing import SweptRange, UnusablePagesError, stage_sweep
from health_pipelines.drchrono.records import LINE_ITEM_DELETIONS, RECORD_TYPES
from health_pipelines.drchrono.sweep.deletions import read_deletions
from health_pipelines.drchrono.sweep.journal import Journal, Question, opened
from health_pipelines.drchrono.sweep.reading import Sweep
from health_pipelines.drchrono.sweep.swept import Swept
from health_pipelines.http import TransientError, VendorError
from health_pipelines.lake.csv_partition import LINEAGE_COLUMNS
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.landing.calendar import day_window
from health_pipelines.settings import HttpPolicy, Secret
from health_pipelines_tests.drchrono.project import changed_on, parsed_row, true_rows, without_lineage
from health_pipelines_tests.fault_matrix.outcomes import Bounds, Call
from health_pipelines_tests.support.sandbox_process import SandboxProcess

DAY = "2026-03-19"
ZONE = ZoneInfo("UTC")
KEY, CLIENT_SECRET = "SECRET_TOKEN", "sandbox-secret"
REPORT = VISIT_REPORTS[0]
PATIENTS = next(one for one in RECORD_TYPES if one.name == "patients")
_MOST_TURNS = 12


@dataclass(frozen=True)
class Said:
    """What comes of work that did not end well. `later`: it is something of the moment."""

    text: str
    later: bool


@dataclass
class World:
    """What the work meets: the vendor, the way there, the clock, how patient we are, the lake.

    `arm` is called right before the struck call is made. `waited`: the seconds for which a quota was waited,
    `waited_for_lists` those for lists.
    """

    sandbox: SandboxProcess
    folder: Path
    url: str = ""
    refresh_token: str = "sandbox-refresh"
    bounds: Bounds = field(default_factory=Bounds)
    calls_per_hour: int = 10_000
    used_before: int = 0
    arm: Callable[[], None] = lambda: None
    waited: float = 0
    waited_for_lists: float = 0
    ahead: timedelta = field(default_factory=timedelta)

    def __post_init__(self) -> None:
        self.url = self.url or self.sandbox.url
        self.ahead = datetime.fromisoformat(self.sandbox.control("GET", "clock")["now"]) - datetime.now(UTC)

    @property
    def lake(self) -> Lake:
        return Lake(self.folder / "lake")

    def kept(self, name: str) -> set[str]:
        """The tokens of that name that are kept at this moment."""
        tokens = self.folder / "tokens" / "tokens.json"
        kept = json.loads(tokens.read_text()).values() if tokens.exists() else ()
        return {str(one[name]) for one in kept if one[name]}

    @property
    def secrets(self) -> set[str]:
        """Everything that nobody may see."""
        kept = self.kept("access_token") | self.kept("refresh_token")
        return {KEY, CLIENT_SECRET, self.refresh_token, *kept}

    @property
    def policy(self) -> HttpPolicy:
        return HttpPolicy(
            concurrency=2,
            attempts=2,
            timeout_seconds=self.bounds.timeout,
            longest_seconds=self.bounds.longest,
            largest_answer_bytes=self.bounds.largest,
            largest_download_bytes=self.bounds.largest,
            wait_initial_seconds=0.01,
            wait_max_seconds=0.01,
            wait_jitter_seconds=0,
        )

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    async def wait_for_quota(self, seconds: float) -> None:
        """The hour passes for everybody."""
        self.waited += seconds
        self.ahead += timedelta(seconds=seconds)
        await asyncio.to_thread(self.sandbox.advance_clock, seconds)

    async def wait_for_list(self, seconds: float) -> None:
        """The lists of this sandbox are ready at once."""
        self.waited_for_lists += seconds
        self.ahead += timedelta(seconds=seconds)


class Visits:
    """A visit report: asked for, asked after, landed."""

    def __init__(self, world: World, struck: Call) -> None:
        self._world = world
        self._struck = struck
        self._ticket: Ticket | None = None
        self._failure: LandingFailure | None = None

    async def run(self) -> Said | None:
        """One try of everything that is due now. None: the day has landed."""
        world = self._world
        async with DexCareClient(world.url, Secret(KEY), world.policy) as client:
            for _ in range(_MOST_TURNS):
                try:
                    said = await self._turn(client)
                except (VendorError, UnusableReportError) as error:
                    return said_by(error)
                if said is not True:
                    return said or None
        raise AssertionError("it never ends")

    def has_landed(self) -> bool:
        return self._world.lake.partition_file(REPORT.table, DAY).exists()

    def person_asks_anew(self) -> None:
        """As somebody does who materializes the day again."""
        self._ticket = None

    async def _turn(self, client: DexCareClient) -> Said | bool:
        """True: there is more to do at once. False: it has landed."""
        world = self._world
        if self._ticket is None:
            self._ticket = await self._start(client, attempt=1)
        ticket, policy = self._ticket, Policy(failed_grace=timedelta(0))
        self._arm(Call.STATUS)
        [polled] = await Poll(policy, world.now(), 1).ask(client, [OpenTicket(ticket, self._failure)])
        match polled.verdict:
            case Verdict.LAND:
                return await self._land(client, ticket)
            case Verdict.RESTART | Verdict.RESTART_LATE:
                self._ticket = await self._start(client, attempt=ticket.attempt + 1)
                return True
            case Verdict.WAIT_QUEUED | Verdict.WAIT_RUNNING:
                return True
        later = polled.verdict is Verdict.WAIT_SILENT
        return Said(polled.reason, later)

    async def _start(self, client: DexCareClient, attempt: int) -> Ticket:
        now, window = self._world.now(), day_window(DAY, ZONE)
        self._arm(Call.START)
        started = await client.start_report(REPORT.type, window.start, window.end)
        self._failure = None
        return Ticket(DAY, started.report_id, now, "matrix", now, attempt=attempt)

    async def _land(self, client: DexCareClient, ticket: Ticket) -> bool:
        self._arm(Call.DATA)
        now = self._world.now()
        try:
            await land_report(client, self._world.lake, REPORT.table, ticket, now)
        except (ReportGoneError, ReportNotReadyError) as error:
            self._failure = LandingFailure(1, now, final=False, reason=str(error), gone=True)
            return True
        return False

    def _arm(self, call: Call) -> None:
        if call is self._struck:
            self._world.arm()

    def in_lake(self) -> object:
        return rows_in(self._world.lake, REPORT.table)

    def truth(self) -> object:
        window = day_window(DAY, ZONE)
        rows = self._world.sandbox.truth(
            REPORT.type.value, vendor_time(window.start), vendor_time(window.end)
        )
        return Counter(tuple(sorted(row.items())) for row in rows)


class Histories:
    """A day of provider histories."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def run(self) -> Said | None:
        world = self._world
        async with ProviderHistoriesClient(world.url, Secret(KEY), world.policy) as client:
            world.arm()
            try:
                await land_histories(
                    client,
                    world.lake,
                    PROVIDER_HISTORIES,
                    DAY,
                    window=day_window(DAY, ZONE),
                    search=HistorySearch(),
                    extracted_at=world.now(),
                    at_once=2,
                    pause_seconds=0.01,
                )
            except (VendorError, UnusableHistoriesError) as error:
                return said_by(error)
        return None

    def has_landed(self) -> bool:
        return self._world.lake.partition_file(PROVIDER_HISTORIES, DAY).exists()

    def person_asks_anew(self) -> None:
        """The next run is as good."""

    def in_lake(self) -> object:
        return rows_in(self._world.lake, PROVIDER_HISTORIES)

    def truth(self) -> object:
        window = day_window(DAY, ZONE)
        body = {"startDate": window.start.isoformat(), "endDate": window.end.isoformat()}
        headers = {"Authorization": f"dc-token {KEY}"}
        found: list[dict[str, Any]] = []
        while True:
            page = httpx.post(
                f"{self._world.sandbox.url}/v1/reporting/providerhistories",
                json={**body, "offset": len(found)},
                headers=headers,
                timeout=60,
            ).json()
            found += page["data"]
            if len(found) >= page["count"]:
                return Counter(
                    tuple(sorted((name, as_text(value)) for name, value in one.items())) for one in found
                )


class Records:
    """DrChrono's records of a day: a token, a list, its page; or its deletions, which are no list."""

    def __init__(self, world: World, struck: Call) -> None:
        self._world = world
        self._struck = struck
        self._type = LINE_ITEM_DELETIONS if struck is Call.DELETIONS else PATIENTS

    async def run(self) -> Said | None:
        world = self._world
        question = Question("the sandbox", self._type.name, date.fromisoformat(DAY) - timedelta(1), False)
        try:
            with opened(world.folder / "sweep", question, world.now()) as journal:
                swept = await self._read(question, journal)
                self._land(swept, journal.work_folder())
                journal.discard()
        except (VendorError, UnusablePagesError) as error:
            return said_by(error)
        return None

    async def _read(self, question: Question, journal: Journal) -> Swept:
        world = self._world
        quota = Quota(
            MemoryStore(),
            per_hour=world.calls_per_hour,
            per_second=1000,
            now=world.now,
            sleep=world.wait_for_quota,
            say=lambda _: None,
            spread=lambda: 0.0,
        )
        tokens = RenewedTokens(
            world.url,
            client_id="sandbox-client",
            client_secret=Secret(CLIENT_SECRET),
            refresh_token=Secret(world.refresh_token),
            store=TokenFile(world.folder / "tokens" / "tokens.json"),
            policy=world.policy,
            now=world.now,
            budget=quota,
        )
        for _ in range(world.used_before):
            await quota.acquire()
        if self._struck is Call.TOKEN:
            world.arm()
        await tokens.header()
        if self._struck is Call.LIST_START:
            world.arm()
        async with DrChronoClient(world.url, tokens, world.policy, quota) as client:
            if self._type is LINE_ITEM_DELETIONS:
                return await read_deletions(client, question, journal, self._now_and_then_struck)
            return await Sweep(
                client,
                self._type,
                question,
                journal,
                Pace(),
                zone=ZONE,
                at_once=2,
                now=world.now,
                sleep=self._list_is_waited_for,
            ).run()

    def _now_and_then_struck(self) -> datetime:
        """Deletions begin, and then something happens to their call: also to a clock, as in other sweeps."""
        now = self._world.now()
        if self._struck is Call.DELETIONS:
            self._world.arm()
        return now

    async def _list_is_waited_for(self, seconds: float) -> None:
        await self._world.wait_for_list(seconds)
        if self._struck is Call.LIST_POLL:
            self._world.arm()

    def _land(self, swept: Swept, work: Path) -> None:
        staged = stage_sweep(self._type, swept.pages, ZONE, work, swept.begun_at)
        with SweptRange(self._world.lake, self._type, staged, [DAY], work) as days:
            days.land(DAY, swept.pages[0].uuid)

    def has_landed(self) -> bool:
        return self._world.lake.partition_file(self._type.table, DAY).exists()

    def person_asks_anew(self) -> None:
        """The application is authorised again, which gives another refresh token."""
        self._world.refresh_token = f"refresh-{uuid4()}"
        self._world.sandbox.change_settings(drchrono_refresh_token=self._world.refresh_token)

    def in_lake(self) -> object:
        file = self._world.lake.partition_file(self._type.table, DAY)
        rows = [parsed_row(self._type, row) for row in pl.read_parquet(file).to_dicts()]
        found = without_lineage({row[self._type.key]: row for row in rows})
        assert len(found) == len(rows), "a key is there twice"
        return found

    def truth(self) -> object:
        true = true_rows(self._world.sandbox, self._type, DAY, zone=ZONE)
        return changed_on(true, self._type, DAY)


Work = Visits | Histories | Records


def work_of(call: Call, world: World) -> Work:
    """The work that has that call in it."""
    if call is Call.HISTORIES:
        return Histories(world)
    return Visits(world, call) if call.vendor == "DexCare" else Records(world, call)


def done(work: Coroutine[Any, Any, Said | None]) -> Said | None:
    return asyncio.run(work)


def said_by(error: Exception) -> Said:
    assert error.__cause__ is None, "an exception behind it may hold anything"
    return Said(str(error), isinstance(error, TransientError))


def rows_in(lake: Lake, table: Table) -> object:
    """A day's rows with the vendor's columns, each as often as it is there."""
    rows = pl.read_parquet(lake.partition_file(table, DAY)).drop(*LINEAGE_COLUMNS).to_dicts()
    return Counter(tuple(sorted(row.items())) for row in rows)


def as_text(value: Any) -> str | None:
    """A value as a column of text, told here a second time on purpose."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def left_over(folder: Path) -> list[str]:
    """Files of the lake that are no partition, nor a note beside one."""
    return [
        str(one.relative_to(folder))
        for one in (folder / "lake").rglob("*")
        if one.is_file() and one.suffix != ".parquet" and not one.name.startswith("_")
    ]
