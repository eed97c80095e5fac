"""DrChrono's quota: by the hour and the second, shared by processes, in files and in a real PostgreSQL."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest
from pyrate_limiter import FixedWindow, Rate, RateItem

from health_pipelines.drchrono.api.quota import Quota, clock_time, nobody_before, shared_quota, top_of_hour
from health_pipelines.drchrono.api.quota_store import (
    FileStore,
    MemoryStore,
    PostgresStore,
    QuotaFileError,
    QuotaStore,
    QuotaUnreachableError,
)
from health_pipelines.settings import Secret
from health_pipelines_tests.support.child_process import Child, child

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]

T = TypeVar("T")
TWO_O_CLOCK = datetime(2026, 3, 10, 14, tzinfo=UTC)
NAME = "drchrono_test"

# Opens the store that it is told (a URL or a path), with a clock that is shifted by so many seconds.
CHILD = """
import asyncio, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from health_pipelines.drchrono.api.quota import Quota
from health_pipelines.drchrono.api.quota_store import FileStore, PostgresStore
from health_pipelines.settings import Secret

where, shift = sys.argv[1], timedelta(seconds=float(sys.argv[2]))
store = PostgresStore(Secret(where), "drchrono_test") if "://" in where else FileStore(Path(where))

def quota(**options):
    return Quota(store, now=lambda: datetime.now(UTC) + shift, say=lambda said: None, **options)
"""

# Makes 15 calls, all asked for at once, when it is told the shift of its clock.
CALLER = (
    CHILD
    + """
async def call():
    global shift
    calls = quota(per_hour=20, per_second=10, spread=lambda: 0.0)
    await calls.remaining()
    print("ready", flush=True)
    shift = timedelta(seconds=float(sys.stdin.readline()))
    async with asyncio.TaskGroup() as group:
        for _ in range(15):
            group.create_task(calls.acquire())
    print("called", flush=True)

asyncio.run(call())
"""
)

THROTTLED = (
    CHILD
    + """
calls = quota(per_hour=500, per_second=10)
for line in sys.stdin:
    asyncio.run(calls.throttled(float(line)))
    print("throttled", flush=True)
"""
)

# Is alone with the counts for as long as it lives, a call half counted.
HOLDER = (
    CHILD
    + """
calls = quota(per_hour=500, per_second=10)

def hold():
    with store.alone():
        calls._count_call()
        print("alone", flush=True)
        sys.stdin.readline()

asyncio.run(calls.remaining())
asyncio.run(store.run(hold))
"""
)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self, at: datetime) -> None:
        self.at = at
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += timedelta(seconds=seconds)
        await asyncio.sleep(0)


class Place:
    """A store that can be opened more than once; `where` tells another process which."""

    def __init__(self, where: str, make: Callable[[], QuotaStore]) -> None:
        self.where = where
        self._make = make
        self._opened: list[QuotaStore] = []

    def open(self) -> QuotaStore:
        self._opened.append(self._make())
        return self._opened[-1]

    def close(self) -> None:
        for store in self._opened:
            store.close()


def file_place(folder: Path) -> Place:
    path = folder / "new" / "calls.sqlite"
    return Place(str(path), lambda: FileStore(path))


def postgres_place(url: str) -> Place:
    return Place(url, lambda: PostgresStore(Secret(url), NAME))


def memory_place() -> Place:
    store = MemoryStore()
    return Place("", lambda: store)


@pytest.fixture(params=["file", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A place that processes can share."""
    if request.param == "file":
        place = file_place(tmp_path)
    else:
        place = postgres_place(request.getfixturevalue("postgres_url"))
    with closing(place):
        yield place


@pytest.fixture(params=["memory", "file", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "memory":
        place = memory_place()
    elif request.param == "file":
        place = file_place(tmp_path)
    else:
        place = postgres_place(request.getfixturevalue("postgres_url"))
    with closing(place):
        yield place


@pytest.fixture
def said() -> list[str]:
    return []


def make_quota(
    store: QuotaStore,
    clock: Clock,
    said: list[str] | None = None,
    *,
    per_hour: int = 500,
    per_second: int = 10,
    spread: float = 0.0,
) -> Quota:
    return Quota(
        store,
        per_hour=per_hour,
        per_second=per_second,
        now=clock.now,
        sleep=clock.sleep,
        say=ignore if said is None else said.append,
        spread=lambda: spread,
    )


def ignore(said: str) -> None:
    pass


async def acquire(quota: Quota, times: int) -> None:
    for _ in range(times):
        await quota.acquire()


async def asked_at_once(quota: Quota, times: int) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(times):
            group.create_task(quota.acquire())


def counted(place: Place, name: str) -> list[datetime]:
    """When the calls in a bucket were counted, oldest first."""
    store = place.open()

    def read() -> list[int]:
        with store.alone():
            bucket = store.bucket(name, Rate(1, 1), FixedWindow())
            number = bucket.count()
            assert isinstance(number, int)
            items = [bucket.peek(index) for index in reversed(range(number))]
        return [item.timestamp for item in items if isinstance(item, RateItem)]

    return [datetime.fromtimestamp(stamp / 1000, UTC) for stamp in asyncio.run(store.run(read))]


def most_within(stamps: list[datetime], span: timedelta) -> int:
    """The most stamps in any window of that length."""
    return max(sum(start <= stamp < start + span for stamp in stamps) for start in stamps)


async def pending(task: "asyncio.Task[T]", seconds: float = 0.3) -> bool:
    """Whether the task still waits after that time, during which the event loop runs on."""
    await asyncio.wait([task], timeout=seconds)
    return not task.done()


def ready(process: Child, word: str) -> None:
    assert process.line() == word


def test_two_processes_together_exceed_neither_the_hour_nor_the_second(shared: Place) -> None:
    with child(CALLER, shared.where, 0) as one, child(CALLER, shared.where, 0) as other:
        for process in (one, other):
            ready(process, "ready")
        # The full hour comes while they call.
        shift = (TWO_O_CLOCK - timedelta(seconds=3) - datetime.now(UTC)).total_seconds()
        for process in (one, other):
            process.tell(str(shift))
        for process in (one, other):
            ready(process, "called")

    stamps = counted(shared, "hour")
    assert len(stamps) == 30
    assert sum(stamp < TWO_O_CLOCK for stamp in stamps) <= 20
    assert sum(stamp >= TWO_O_CLOCK for stamp in stamps) <= 20
    assert most_within(counted(shared, "second"), timedelta(seconds=1)) == 10


def test_a_call_of_one_process_is_counted_for_the_other(shared: Place, said: list[str]) -> None:
    clock = Clock(TWO_O_CLOCK + timedelta(minutes=20))
    one, other = (make_quota(shared.open(), clock, said, per_hour=3) for _ in range(2))

    asyncio.run(acquire(one, 2))
    asyncio.run(acquire(other, 2))

    assert clock.at == TWO_O_CLOCK + timedelta(hours=1)
    assert asyncio.run(one.remaining()) == asyncio.run(other.remaining()) == 2


def test_the_hours_calls_are_back_at_the_stroke_of_the_hour_and_not_before(place: Place) -> None:
    clock = Clock(TWO_O_CLOCK - timedelta(milliseconds=1))
    quota = make_quota(place.open(), clock, per_hour=3)

    asyncio.run(acquire(quota, 3))
    assert clock.slept == []
    assert asyncio.run(quota.remaining()) == 0
    asyncio.run(quota.acquire())

    assert clock.at == TWO_O_CLOCK
    assert clock.slept == [pytest.approx(0.001)]
    assert asyncio.run(quota.remaining()) == 2
    assert counted(place, "hour")[-2:] == [TWO_O_CLOCK - timedelta(milliseconds=1), TWO_O_CLOCK]


def test_an_unused_hour_gives_its_calls_to_no_other(place: Place) -> None:
    clock = Clock(TWO_O_CLOCK + timedelta(minutes=59))
    quota = make_quota(place.open(), clock, per_hour=4)
    asyncio.run(acquire(quota, 2))
    clock.at = TWO_O_CLOCK + timedelta(hours=1)

    assert asyncio.run(quota.remaining()) == 4
    asyncio.run(acquire(quota, 5))

    assert clock.at == TWO_O_CLOCK + timedelta(hours=2)


def test_any_second_holds_no_more_calls_than_allowed_wherever_it_starts(place: Place) -> None:
    # Half of them just before a full second, as a window that starts with the clock's second would allow.
    clock = Clock(TWO_O_CLOCK + timedelta(seconds=10, milliseconds=950))
    quota = make_quota(place.open(), clock, per_second=4)

    asyncio.run(acquire(quota, 13))

    stamps = counted(place, "second")
    assert len(stamps) == 13
    assert most_within(stamps, timedelta(seconds=1)) == 4
    assert timedelta(seconds=3) < clock.at - stamps[0] < timedelta(seconds=4)


def test_a_thousand_simulated_calls_take_the_hours_they_must_and_no_real_time(said: list[str]) -> None:
    clock = Clock(TWO_O_CLOCK + timedelta(minutes=30))
    quota = make_quota(MemoryStore(), clock, said, spread=1.5)

    asyncio.run(asked_at_once(quota, 1200))

    assert clock.at - (TWO_O_CLOCK + timedelta(hours=2)) < timedelta(minutes=1)
    assert said == [
        "All 500 calls to DrChrono of this hour are used up; waits for the quota until 15:00 UTC.",
        "All 500 calls to DrChrono of this hour are used up; waits for the quota until 16:00 UTC.",
    ]
    assert asyncio.run(quota.remaining()) == 300


def test_after_the_full_hour_a_little_longer_is_waited(said: list[str]) -> None:
    clock = Clock(TWO_O_CLOCK + timedelta(minutes=59, seconds=30))
    quota = make_quota(MemoryStore(), clock, said, per_hour=1, spread=1.25)

    asyncio.run(acquire(quota, 2))

    assert clock.at == TWO_O_CLOCK + timedelta(hours=1, seconds=1.25)
    assert said[0].endswith("until 15:00 UTC.")


def test_a_moments_wait_for_the_second_is_not_worth_a_word(said: list[str]) -> None:
    clock = Clock(TWO_O_CLOCK + timedelta(minutes=1))
    quota = make_quota(MemoryStore(), clock, said, spread=60)

    asyncio.run(acquire(quota, 30))

    assert said == []
    assert clock.at < TWO_O_CLOCK + timedelta(minutes=1, seconds=3)


def test_calls_that_wait_together_say_it_once_and_go_in_the_order_of_asking(said: list[str]) -> None:
    clock = Clock(TWO_O_CLOCK + timedelta(minutes=1))
    quota = make_quota(MemoryStore(), clock, said, per_hour=5)
    order: list[int] = []

    async def call(number: int) -> None:
        await quota.acquire()
        order.append(number)

    async def all_calls() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(call(number))

    asyncio.run(all_calls())

    assert order == list(range(10))
    assert len(said) == 1


def test_a_call_that_is_given_up_lets_the_next_one_go(said: list[str]) -> None:
    clock = Clock(TWO_O_CLOCK + timedelta(minutes=1))
    asleep = asyncio.Event()

    async def sleep_for_ever(seconds: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    quota = Quota(
        MemoryStore(), per_hour=1, per_second=10, now=clock.now, sleep=sleep_for_ever, say=said.append
    )

    async def story() -> None:
        await quota.acquire()
        first, second = asyncio.create_task(quota.acquire()), asyncio.create_task(quota.acquire())
        await asyncio.wait_for(asleep.wait(), 10)
        first.cancel()
        clock.at = TWO_O_CLOCK + timedelta(hours=1)
        await asyncio.wait_for(second, 10)

    asyncio.run(story())


def test_a_quota_serves_one_event_loop_after_another(place: Place) -> None:
    clock = Clock(TWO_O_CLOCK)
    quota = make_quota(place.open(), clock)

    # At once, so that they queue.
    asyncio.run(asked_at_once(quota, 3))
    asyncio.run(asked_at_once(quota, 3))

    assert asyncio.run(quota.remaining()) == 494


def test_a_clock_that_is_set_while_waiting_is_noticed() -> None:
    clock = Clock(TWO_O_CLOCK)

    async def sleep(seconds: float) -> None:
        # The machine slept longer than it was asked to.
        clock.slept.append(seconds)
        clock.at = TWO_O_CLOCK + timedelta(hours=1)

    quota = Quota(
        MemoryStore(),
        per_hour=1,
        per_second=10,
        now=clock.now,
        sleep=sleep,
        say=ignore,
        spread=lambda: 0.0,
    )

    asyncio.run(acquire(quota, 2))

    assert clock.slept == [60]


def test_a_throttle_in_one_process_holds_the_others(shared: Place, said: list[str]) -> None:
    start = datetime.now(UTC)
    clock = Clock(start)
    quota = make_quota(shared.open(), clock, said)
    asyncio.run(quota.acquire())

    with child(THROTTLED, shared.where, 0) as other:
        other.tell("600")
        ready(other, "throttled")

    clock.at = datetime.now(UTC)
    asyncio.run(quota.acquire())

    assert timedelta(seconds=600) <= clock.at - start < timedelta(seconds=660)
    assert said == [f"DrChrono throttled the calls; waits for the quota until {clock_time(clock.at)}."]


def test_a_throttle_reaches_calls_that_wait_already(shared: Place, said: list[str]) -> None:
    clock = Clock(datetime.now(UTC))
    quota = make_quota(shared.open(), clock, said, per_second=1)
    asyncio.run(quota.acquire())

    with child(THROTTLED, shared.where, 0) as other:

        async def sleep(seconds: float) -> None:
            if not clock.slept:
                other.tell("600")
                ready(other, "throttled")
            await clock.sleep(seconds)

        waiting = Quota(
            shared.open(), per_hour=500, per_second=1, now=clock.now, sleep=sleep, say=said.append
        )
        asyncio.run(waiting.acquire())

    assert sum(clock.slept) > 590
    assert len(said) == 1


def test_a_later_throttle_makes_a_pause_longer_never_shorter(place: Place) -> None:
    start = TWO_O_CLOCK + timedelta(minutes=10)
    clock = Clock(start)
    quota = make_quota(place.open(), clock)

    async def story() -> None:
        await quota.throttled(300)
        await quota.throttled(10)
        await quota.throttled(600)
        await quota.throttled(20)
        await quota.acquire()

    asyncio.run(story())

    assert clock.at == start + timedelta(seconds=600)
    assert len(counted(place, "pause")) == 2


def test_a_throttle_that_says_nothing_lasts_until_the_full_hour(place: Place, said: list[str]) -> None:
    clock = Clock(TWO_O_CLOCK + timedelta(minutes=21, seconds=45, milliseconds=123))
    quota = make_quota(place.open(), clock, said)

    asyncio.run(quota.throttled(None))
    assert asyncio.run(quota.remaining()) == 0
    asyncio.run(quota.acquire())

    assert clock.at == TWO_O_CLOCK + timedelta(hours=1)
    assert said == ["DrChrono throttled the calls; waits for the quota until 15:00 UTC."]
    assert asyncio.run(quota.remaining()) == 499


def test_a_pause_within_the_hour_leaves_the_hours_calls(place: Place) -> None:
    clock = Clock(TWO_O_CLOCK + timedelta(minutes=21))
    quota = make_quota(place.open(), clock)

    asyncio.run(quota.throttled(30))

    assert asyncio.run(quota.remaining()) == 500


@pytest.mark.parametrize(
    ("at", "seconds", "until"),
    [
        ("14:21:45.000", 2295.0, "15:00:00"),
        ("14:21:45.250", 2.5, "14:21:48"),
        ("14:21:45.250", None, "15:00:00"),
        ("14:59:59.999", None, "15:00:00"),
        # A vendor's clock that is behind ours: the old hour is not over there.
        ("14:00:00.000", None, "14:01:00"),
        ("14:00:59.999", None, "14:01:00"),
        ("14:01:00.000", None, "15:00:00"),
        # Nonsense does not stop us for longer than an hour.
        ("14:10:00.000", 1e300, "15:10:00"),
        ("14:10:00.000", float("inf"), "15:00:00"),
        ("14:10:00.000", float("nan"), "15:00:00"),
        ("14:10:00.000", -5.0, "14:10:00"),
    ],
)
def test_a_throttle_ends(at: str, seconds: float | None, until: str) -> None:
    day = "2026-03-10T"
    expected = datetime.fromisoformat(f"{day}{until}+00:00")
    assert nobody_before(datetime.fromisoformat(f"{day}{at}+00:00"), seconds) == expected
    # Whatever zone the clock speaks.
    assert nobody_before(datetime.fromisoformat(f"{day}{at}+00:00").astimezone(), seconds) == expected


def test_a_full_hour_is_one_of_utc() -> None:
    assert top_of_hour(datetime.fromisoformat("2026-03-10T14:20:00+05:30")) == datetime(
        2026, 3, 10, 8, tzinfo=UTC
    )


def test_hours_that_are_over_leave_nothing_behind(place: Place) -> None:
    clock = Clock(TWO_O_CLOCK + timedelta(minutes=50))
    quota = make_quota(place.open(), clock)

    async def hour() -> None:
        await acquire(quota, 8)
        await quota.throttled(1)
        clock.at += timedelta(hours=1)

    for _ in range(4):
        asyncio.run(hour())
    asyncio.run(quota.acquire())

    # This hour and the one before it.
    assert len(counted(place, "hour")) == 9
    assert len(counted(place, "second")) <= 18
    assert len(counted(place, "pause")) <= 3


def test_calls_of_a_machine_whose_clock_is_behind_still_count_at_the_full_hour(shared: Place) -> None:
    ahead, behind = Clock(TWO_O_CLOCK), Clock(TWO_O_CLOCK - timedelta(seconds=2))
    early, late = make_quota(shared.open(), ahead, per_hour=5), make_quota(shared.open(), behind, per_hour=5)
    asyncio.run(acquire(late, 5))

    asyncio.run(early.acquire())

    assert ahead.at == TWO_O_CLOCK
    assert asyncio.run(late.remaining()) == 0


def test_a_killed_process_keeps_nobody_waiting(shared: Place) -> None:
    quota = make_quota(shared.open(), Clock(datetime.now(UTC)))

    async def story(holder: Child) -> int:
        task = asyncio.create_task(quota.acquire())
        assert await pending(task), "two were alone with the counts"
        holder.kill()
        await asyncio.wait_for(task, 10)
        return await quota.remaining()

    with child(HOLDER, shared.where, 0) as holder:
        ready(holder, "alone")
        # The killed process' half counted call may count, or not.
        assert asyncio.run(story(holder)) in (498, 499)


def test_a_quota_outlives_its_processes(shared: Place) -> None:
    clock = Clock(TWO_O_CLOCK + timedelta(minutes=5))
    first = shared.open()
    asyncio.run(acquire(make_quota(first, clock), 7))
    first.close()

    assert asyncio.run(make_quota(shared.open(), clock).remaining()) == 493


def test_limits_may_be_changed_between_two_runs(place: Place) -> None:
    clock = Clock(TWO_O_CLOCK + timedelta(minutes=5))
    asyncio.run(acquire(make_quota(place.open(), clock), 7))

    if place.where:  # a store in memory ends with its limits
        assert asyncio.run(make_quota(place.open(), clock, per_hour=5).remaining()) == 0
        assert asyncio.run(make_quota(place.open(), clock, per_hour=9).remaining()) == 2


def shared_by(folder: Path, url: str | None, application: str) -> Quota:
    return shared_quota(
        folder,
        Secret(url) if url else None,
        application,
        per_hour=500,
        per_second=10,
        say=ignore,
        now=lambda: TWO_O_CLOCK,
    )


@pytest.mark.parametrize("kind", ["file", "postgres"])
def test_an_application_has_one_quota_and_two_have_two(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if kind == "postgres" else None
    one, same, other = (shared_by(tmp_path, url, name) for name in ("Client-Ä 1", "Client-Ä 1", "client 2"))
    with closing(one), closing(same), closing(other):
        asyncio.run(one.acquire())

        assert asyncio.run(same.remaining()) == 499
        assert asyncio.run(other.remaining()) == 500
    assert not any("lient" in path.name for path in tmp_path.iterdir())
    assert (kind == "file") == any(tmp_path.iterdir())


async def fails(work: Awaitable[object], kind: type[Exception]) -> str:
    with pytest.raises(kind) as failed:
        await work
    return str(failed.value)


def test_a_file_that_is_none_of_ours_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    path.write_text("not a database, and long enough to be taken for none at the first look" * 20)
    with closing(FileStore(path)) as store:
        said = asyncio.run(fails(make_quota(store, Clock(TWO_O_CLOCK)).acquire(), QuotaFileError))

    assert str(path) in said
    assert "remove the file" in said


def test_a_folder_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with closing(FileStore(tmp_path / "file" / "calls.sqlite")) as store:
        said = asyncio.run(fails(make_quota(store, Clock(TWO_O_CLOCK)).remaining(), QuotaFileError))

    assert "make room on its disk, and see that this user may write there" in said


@pytest.mark.parametrize(
    "url", ["postgresql://me:hidden-word@127.0.0.1:1/none", "postgresql://me:hidden-word@[/none"]
)
def test_a_database_that_cannot_be_reached_names_the_setting_and_no_password(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(PostgresStore(Secret(url), NAME, patience_seconds=0.3)) as store:
        said = asyncio.run(fails(make_quota(store, Clock(TWO_O_CLOCK)).acquire(), QuotaUnreachableError))

    assert "DAGSTER_POSTGRES_URL" in said
    assert "hidden-word" not in said + caplog.text


def test_the_address_may_name_a_driver_as_dagster_allows(postgres_url: str) -> None:
    with closing(postgres_place(postgres_url.replace("postgresql://", "postgresql+psycopg2://", 1))) as place:
        asyncio.run(make_quota(place.open(), Clock(TWO_O_CLOCK)).acquire())


def test_connections_that_the_server_ended_are_made_again(postgres_url: str) -> None:
    with closing(postgres_place(postgres_url)) as place:
        quota = make_quota(place.open(), Clock(TWO_O_CLOCK))
        asyncio.run(quota.acquire())
        with psycopg.connect(postgres_url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        asyncio.run(quota.acquire())

        assert asyncio.run(quota.remaining()) == 498


def test_the_databases_time_zone_does_not_matter(postgres_url: str) -> None:
    database = postgres_url.partition("?")[0].rpartition("/")[2]
    clock = Clock(TWO_O_CLOCK + timedelta(minutes=5))
    with closing(postgres_place(postgres_url)) as place:
        asyncio.run(acquire(make_quota(place.open(), clock), 3))
        with psycopg.connect(postgres_url, autocommit=True) as other:
            other.execute(f"ALTER DATABASE \"{database}\" SET timezone TO 'Asia/Tokyo'")

        assert asyncio.run(make_quota(place.open(), clock).remaining()) == 497


@pytest.mark.parametrize("name", ["second", "hour", "pause"])
def test_a_table_that_the_server_is_busy_with_is_waited_for_in_silence(
    postgres_url: str, name: str, said: list[str]
) -> None:
    clock = Clock(TWO_O_CLOCK + timedelta(minutes=5))

    async def story(quota: Quota, other: "psycopg.Connection[tuple[object, ...]]") -> int:
        other.execute(f"LOCK TABLE ratelimit___{NAME}_{name} IN SHARE UPDATE EXCLUSIVE MODE")
        work = quota.throttled(0) if name == "pause" else quota.acquire()
        task = asyncio.create_task(work)
        assert await pending(task)
        other.rollback()
        await asyncio.wait_for(task, 10)
        return await quota.remaining()

    with closing(postgres_place(postgres_url)) as place, psycopg.connect(postgres_url) as other:
        quota = make_quota(place.open(), clock, said)
        asyncio.run(quota.remaining())  # makes the tables
        assert asyncio.run(story(quota, other)) == (500 if name == "pause" else 499)
    assert said == []


def test_a_machine_that_disappears_while_it_is_alone_loses_its_lock(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("health_pipelines.drchrono.api.quota_store.LONGEST_HOLD_MS", 300)

    async def story(gone: QuotaStore, quota: Quota, leave: asyncio.Event) -> None:
        loop, held = asyncio.get_running_loop(), asyncio.Event()

        def hold() -> None:
            with gone.alone():
                loop.call_soon_threadsafe(held.set)
                asyncio.run_coroutine_threadsafe(leave.wait(), loop).result(10)

        holding = asyncio.create_task(gone.run(hold))
        await held.wait()
        await asyncio.wait_for(quota.acquire(), 5)
        leave.set()
        await fails(holding, QuotaUnreachableError)

    with closing(postgres_place(postgres_url)) as place:
        quota = make_quota(place.open(), Clock(TWO_O_CLOCK))
        asyncio.run(story(place.open(), quota, asyncio.Event()))


def test_what_is_stored_tells_nothing_but_times(tmp_path: Path) -> None:
    with closing(shared_by(tmp_path, None, "the client's id")) as quota:
        asyncio.run(quota.acquire())

    (path,) = tmp_path.glob("*.sqlite")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM hour").fetchall() == [
            ("call", int(TWO_O_CLOCK.timestamp()) * 1000)
        ]
