"""How many rows 500 calls of DrChrono's quota bring, and how long a sweep takes, in simulated time.

The sandbox, a process of its own, has a practice with 250,000 appointments, prepares each list for 5 to 60 s
and keeps the vendor's quota of 500 calls an hour. The clock of both sides jumps ahead whenever nobody has
anything to do but wait, so that hours pass in a minute. Everything else is real: the sweep, its journal on
disk, the client, HTTP, and the quota. Every run begins at a full hour.

Beside the sweeps of this project: the schedule of the vendor's own script (one list after the other, asked
about every 10 s) through the same client and quota, over some of the pages and scaled; the same with as many
lists at a time as the sweep has; and the best that is possible, two calls for each page of 1,000. Then the
nights of a small practice, whose records of any type are one page: all eight types, every night.

    make benchmark-quota
    PYTHONPATH=. python benchmarks/drchrono_quota.py --rows 50000
"""

import argparse
import asyncio
import heapq
import itertools
import math
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from health_pipelines.drchrono.api.client import DrChronoClient, ListPage
from health_pipelines.drchrono.api.list_query import ListQuery
from health_pipelines.drchrono.api.pace import Pace
from health_pipelines.drchrono.api.pace_notes import PaceFile
from health_pipelines.drchrono.api.quota import HOUR, Quota, top_of_hour
from health_pipelines.drchrono.api.quota_store import MemoryStore
from health_pipelines.drchrono.api.tokens import StaticToken
from health_pipelines.drchrono.records import RECORD_TYPES, RecordType
from health_pipelines.drchrono.sweep.journal import Question, opened
from health_pipelines.drchrono.sweep.reading import Sweep
from health_pipelines.http.fan_out import for_each
from health_pipelines.settings import HttpPolicy, Secret
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox

APPOINTMENTS = RECORD_TYPES[0]
ROWS, DAYS = 250_000, 250
BEGINS = datetime(2026, 3, 20, 8, 50, tzinfo=UTC)
FIRST_DAY = BEGINS.date() - timedelta(days=DAYS)
LIST_SECONDS = "5-60"
# The defaults of the settings, and the vendor's largest page.
CALLS_PER_HOUR, CALLS_PER_SECOND, AT_ONCE, PAGE_SIZE = 500, 10, 25, 1000
VENDORS_PAUSE_SECONDS = 10
# Enough to know its calls a page.
VENDORS_PAGES = 100
CHANGES_PER_LIST = 1
NIGHTS, APPOINTMENTS_A_DAY, LOOKBACK = 15, 40, timedelta(days=4)
POLICY = HttpPolicy(concurrency=AT_ONCE, timeout_seconds=120)
_LOOK_AGAIN_SECONDS = 0.001


class JumpingClock:
    """Time of the sandbox and of what calls it: jumps to the next end of a sleep while no call is under way.

    Real seconds count too: an answer takes as long as it takes.
    """

    def __init__(self, sandbox: SandboxProcess) -> None:
        self._sandbox = sandbox
        self._ahead = datetime.fromisoformat(sandbox.control("GET", "clock")["now"]) - datetime.now(UTC)
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self.calling: set[asyncio.Task[object] | None] = set()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    async def sleep(self, seconds: float) -> None:
        awake = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now() + timedelta(seconds=seconds), next(self._numbers), awake))
        await awake

    def jump_to(self, moment: datetime) -> None:
        if (left := moment - self.now()) > timedelta(0):
            self._sandbox.advance_clock(left.total_seconds())
            self._ahead += left

    @asynccontextmanager
    async def jumping(self) -> AsyncIterator[None]:
        jumps = asyncio.create_task(self._jump())
        try:
            yield
        finally:
            jumps.cancel()

    async def _jump(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            if self._sleepers and not self.calling:
                self.jump_to(self._sleepers[0][0])
            while self._sleepers and self._sleepers[0][0] <= self.now():
                heapq.heappop(self._sleepers)[2].set_result(None)


class CountedQuota(Quota):
    """The quota; it counts, and tells the clock who is calling."""

    def __init__(self, clock: JumpingClock) -> None:
        super().__init__(
            MemoryStore(),
            per_hour=CALLS_PER_HOUR,
            per_second=CALLS_PER_SECOND,
            now=clock.now,
            sleep=clock.sleep,
            say=lambda _: None,
            spread=lambda: 0.5,
        )
        self._clock = clock
        self.calls = 0

    async def acquire(self) -> None:
        self._clock.calling.discard(asyncio.current_task())
        await super().acquire()
        self._clock.calling.add(asyncio.current_task())
        self.calls += 1

    async def throttled(self, seconds: float | None) -> None:
        raise AssertionError("the quota was exceeded")


class CountedClient(DrChronoClient):
    """The client; it counts, and tells the clock who has come back."""

    def __init__(self, sandbox: SandboxProcess, clock: JumpingClock) -> None:
        self.quota = CountedQuota(clock)
        super().__init__(sandbox.url, StaticToken(Secret("sandbox-token")), POLICY, self.quota)
        self._clock = clock
        self.lists = self.early = 0

    async def start(self, record_type: RecordType, query: ListQuery) -> str:
        self.lists += 1
        try:
            return await super().start(record_type, query)
        finally:
            self._clock.calling.discard(asyncio.current_task())

    async def poll(self, record_type: RecordType, uuid: str) -> ListPage | None:
        try:
            page = await super().poll(record_type, uuid)
        finally:
            self._clock.calling.discard(asyncio.current_task())
        self.early += page is None
        return page


Work = Callable[[CountedClient, JumpingClock], Awaitable[int]]


@dataclass(frozen=True)
class Cost:
    """What rows cost. `early`: polls that found their list in progress."""

    rows: int
    lists: int
    early: int
    calls: int
    hours: float

    def scaled(self, rows: int) -> "Cost":
        factor = rows / self.rows
        lists, early, calls = (round(number * factor) for number in (self.lists, self.early, self.calls))
        return Cost(rows, lists, early, calls, self.hours * factor)


def sweep_of(folder: Path, record_type: RecordType, since: date) -> Work:
    async def sweep(client: CountedClient, clock: JumpingClock) -> int:
        question = Question("the sandbox", record_type.name, since, verbose=False)
        with opened(folder / record_type.name, question, clock.now()) as journal:
            swept = await Sweep(
                client,
                record_type,
                question,
                journal,
                Pace(PaceFile(folder / "pace.json")),
                zone=ZoneInfo("UTC"),
                at_once=AT_ONCE,
                now=clock.now,
                sleep=clock.sleep,
            ).run()
            journal.discard()
        return swept.records

    return sweep


def vendors_schedule(pages: int, at_once: int) -> Work:
    """As the script is meant: as it is printed, it waits for a status that it never asks for again."""

    async def read_all(client: CountedClient, clock: JumpingClock) -> int:
        rows = 0

        async def read(page: int) -> None:
            nonlocal rows
            query = ListQuery(since=FIRST_DAY, page=page, page_size=PAGE_SIZE)
            uuid, answer = await client.start(APPOINTMENTS, query), None
            while answer is None:
                await clock.sleep(VENDORS_PAUSE_SECONDS)
                answer = await client.poll(APPOINTMENTS, uuid)
            rows += len(answer.results)

        await for_each(range(1, pages + 1), read, at_once=at_once)
        return rows

    return read_all


def measured(sandbox: SandboxProcess, work: Work) -> Cost:
    """Do the work, from the next full hour on."""

    async def run() -> Cost:
        clock = JumpingClock(sandbox)
        began = top_of_hour(clock.now()) + HOUR
        clock.jump_to(began)
        async with clock.jumping(), CountedClient(sandbox, clock) as client:
            rows = await work(client, clock)
            hours = (clock.now() - began) / HOUR
        return Cost(rows, client.lists, client.early, client.quota.calls, hours)

    return asyncio.run(run())


@contextmanager
def practice(appointments_a_day: float, **settings: object) -> Iterator[SandboxProcess]:
    with running_sandbox(
        now=BEGINS.isoformat(),
        drchrono_volume=appointments_a_day,
        drchrono_list_seconds=LIST_SECONDS,
        drchrono_calls_per_hour=CALLS_PER_HOUR,
        # The sandbox counts real seconds here, of which there are few. Our own quota counts simulated ones.
        drchrono_calls_per_second=0,
        **settings,
    ) as sandbox:
        yield sandbox
        assert sandbox.drchrono_quota()["throttled"] == 0


def large_practice(rows: int, folder: Path) -> None:
    with practice(rows / DAYS, drchrono_history_start=FIRST_DAY.isoformat()) as sandbox:
        sweep = sweep_of(folder, APPOINTMENTS, FIRST_DAY)
        first, later = measured(sandbox, sweep), measured(sandbox, sweep)
        sandbox.change_settings(drchrono_churn=CHANGES_PER_LIST)
        busy = measured(sandbox, sweep)
        sandbox.change_settings(drchrono_churn=0)
        pages = min(VENDORS_PAGES, first.rows // PAGE_SIZE)
        script, many = (measured(sandbox, vendors_schedule(pages, at_once)) for at_once in (1, AT_ONCE))
    pages = math.ceil(first.rows / PAGE_SIZE)
    best = Cost(first.rows, lists=pages, early=0, calls=2 * pages, hours=0)
    lines = {
        "the best that is possible": best,
        "this project, first sweep": first,
        "this project, later": later,
        f"this project, later, {CHANGES_PER_LIST} change before each list": busy,
        "the vendor's script, one list after the other": script.scaled(first.rows),
        f"its schedule, {AT_ONCE} lists at a time": many.scaled(first.rows),
    }
    header = ("", "lists", "too early", "calls", "calls a page", "rows per 500 calls", "of the best", "hours")
    print_row(header)
    print_row(["---"] * len(header))
    for name, cost in lines.items():
        # Some of the pages are too few to use up an hour's calls, so that their waiting cannot be scaled.
        hours = hours_of_calls(cost.calls) if cost is best or name.startswith("its") else cost.hours
        per_500 = cost.rows / cost.calls * 500
        print_row(
            [
                name,
                f"{cost.lists:,}",
                f"{cost.early:,}",
                f"{cost.calls:,}",
                f"{cost.calls / (cost.rows / PAGE_SIZE):.2f}",
                f"{per_500:,.0f}",
                f"{per_500 / (best.rows / best.calls * 500):.2f}",
                f"{hours:.1f}",
            ]
        )


def hours_of_calls(calls: int) -> float:
    """After how many hours the last of so many calls can be made, the first at a full hour."""
    return (math.ceil(calls / CALLS_PER_HOUR) - 1) + (calls % CALLS_PER_HOUR or CALLS_PER_HOUR) / (
        CALLS_PER_SECOND * 3600
    )


def nights(folder: Path) -> None:
    """A practice of which a few days are one page of every type."""
    costs = []
    with practice(APPOINTMENTS_A_DAY) as sandbox:
        for _ in range(NIGHTS):
            since = JumpingClock(sandbox).now().date() - LOOKBACK
            costs.append([measured(sandbox, sweep_of(folder, one, since)) for one in RECORD_TYPES])
            sandbox.advance_clock(16 * 3600)
    print_row(("a night of eight types, a page each", "calls", "of the best", "slowest type, s"))
    print_row(["---"] * 4)
    for name, some in {"first": costs[:1], f"mean of the next {NIGHTS - 1}": costs[1:]}.items():
        calls = sum(cost.calls for night in some for cost in night) / len(some)
        slowest = max(cost.hours * 3600 for night in some for cost in night)
        print_row((name, f"{calls:.1f}", f"{2 * len(RECORD_TYPES) / calls:.2f}", f"{slowest:.0f}"))
        assert all(cost.lists == 1 for night in some for cost in night), "more than a page"


def print_row(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as name:
        large_practice(rows, Path(name) / "large")
        print()
        nights(Path(name) / "small")


if __name__ == "__main__":
    main()
