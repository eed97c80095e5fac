"""Locks among hosts: on a real PostgreSQL, with processes that are killed and connections that break."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest

from health_pipelines.lake.host_locks import HostLocks, host_locks
from health_pipelines.lake.locks import LockedElsewhereError
from health_pipelines.settings import Secret
from health_pipelines.settings.postgres_address import PostgresError
from health_pipelines_tests.support.broken_connections import connections, end_connections
from health_pipelines_tests.support.child_process import child
from health_pipelines_tests.support.small_disk import few_open_files
from health_pipelines_tests.support.waiting import wait_for

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]

HOLDER = """
import sys
from health_pipelines.lake.host_locks import HostLocks
from health_pipelines.settings import Secret

locks = HostLocks(Secret(sys.argv[1]))
locks.take("a day")
print("locked", flush=True)
sys.stdin.readline()
"""

# Says whether it still has the lock after a fork of it used locks of its own and ended.
FORKING = """
import os, sys
from health_pipelines.lake.host_locks import host_locks
from health_pipelines.settings import Secret

locks = host_locks(Secret(sys.argv[1]))
lock = locks.take("a day")
fork = os.fork()
if fork == 0:
    with locks.holding("another day", wait=False):
        pass
    sys.exit(0)
print(os.waitpid(fork, 0)[1], locks.is_held(lock), flush=True)
"""


@pytest.fixture
def host(postgres_url: str) -> Iterator[Callable[[], HostLocks]]:
    """Makes hosts: each has a connection of its own."""
    with ExitStack() as made:
        yield lambda: made.enter_context(closing(HostLocks(Secret(postgres_url))))


def is_free(locks: HostLocks, name: str = "a day") -> bool:
    try:
        with locks.holding(name, wait=False):
            return True
    except LockedElsewhereError:
        return False


def test_one_host_at_a_time_has_a_lock_and_other_locks_are_free(host: Callable[[], HostLocks]) -> None:
    one, other = host(), host()
    with one.holding("a day", wait=False):
        assert not is_free(other)
        assert not is_free(one)  # nor another thread of the same process
        assert is_free(other, "another day")
        assert other.taken(["a day", "another day"]) == {"a day"}

    assert is_free(other)
    assert not other.taken(["a day"])


def test_one_look_finds_which_of_many_locks_are_had(host: Callable[[], HostLocks]) -> None:
    one, other, third = host(), host(), host()
    other.keep("run 20")
    third.keep("run 20")  # shared with the other: one lock all the same
    with one.holding("run 7", wait=False), one.holding("a day", wait=False):
        assert one.taken(f"run {number}" for number in range(40)) == {"run 7", "run 20"}


def test_who_looks_for_nothing_needs_no_server(tmp_path: Path) -> None:
    assert HostLocks(Secret(f"postgresql://user@/db?host={tmp_path}")).taken([]) == set()


def test_who_waits_has_the_lock_when_it_is_free(host: Callable[[], HostLocks]) -> None:
    one, other = host(), host()
    had = []

    def wait() -> None:
        with other.holding("a day", wait=True):
            had.append(lock.name in one._taken)

    lock = one.take("a day")
    waiting = threading.Thread(target=wait)
    waiting.start()
    one.release(lock)
    waiting.join(60)

    assert had == [False]


def test_a_killed_process_frees_its_locks(postgres_url: str, host: Callable[[], HostLocks]) -> None:
    with child(HOLDER, postgres_url) as holder:
        assert holder.line() == "locked"
        other = host()
        assert not is_free(other)
        holder.kill()
        wait_for(lambda: is_free(other), "the server frees it", within_seconds=30)


def test_a_lock_whose_connection_broke_is_lost_for_good(
    postgres_url: str, host: Callable[[], HostLocks]
) -> None:
    one, other = host(), host()
    with one.holding("a day", wait=False) as lost, one.holding("another day", wait=False):
        assert one.is_held(lost)
        assert end_connections(postgres_url) == 1

        assert not one.is_held(lost)
        with other.holding("a day", wait=False):
            assert not is_free(one)
        # Taken anew it is another one.
        with one.holding("a day", wait=False) as anew:
            assert (one.is_held(anew), one.is_held(lost)) == (True, False)


def test_what_is_kept_is_had_again_after_a_broken_connection(
    postgres_url: str, host: Callable[[], HostLocks]
) -> None:
    one, other = host(), host()
    one.keep("a run")
    one.keep("a run")
    assert end_connections(postgres_url) == 1

    wait_for(lambda: other.taken(["a run"]), "it is had again", within_seconds=60)
    assert not is_free(other, "a run")


def test_what_is_kept_is_had_again_also_where_a_look_failed_for_another_reason(
    postgres_url: str, host: Callable[[], HostLocks]
) -> None:
    one, other = host(), host()
    one.keep("a run")
    assert end_connections(postgres_url) == 1
    with few_open_files(0):
        wait_for(lambda: one._connection is None, "a look finds it broken", within_seconds=60)
        with one._guard:  # and that look has ended
            pass
        with pytest.raises(PostgresError, match="may open no more files"):
            other.take("a day")

    wait_for(lambda: other.taken(["a run"]), "it is had again", within_seconds=60)


def test_nobody_looks_after_locks_that_were_closed(host: Callable[[], HostLocks]) -> None:
    one, before = host(), set(threading.enumerate())
    one.keep("a run")
    [keeper] = set(threading.enumerate()) - before
    one.close()
    assert not keeper.is_alive()
    one.keep("a run")
    assert one.taken(["a run"])


def test_processes_may_keep_the_same_which_is_free_when_all_have_ended(host: Callable[[], HostLocks]) -> None:
    one, other, third = host(), host(), host()
    one.keep("a run")
    other.keep("a run")
    assert not is_free(third, "a run")
    one.close()
    wait_for(lambda: not one._connection, "it ends")
    assert not is_free(third, "a run")
    other.close()
    wait_for(lambda: is_free(third, "a run"), "all have ended")


def test_the_connection_ends_with_the_last_lock(postgres_url: str, host: Callable[[], HostLocks]) -> None:
    one = host()
    with one.holding("a day", wait=False):
        with one.holding("another day", wait=False):
            assert len(connections(postgres_url)) == 1
        assert len(connections(postgres_url)) == 1
    wait_for(lambda: not connections(postgres_url), "it is closed")
    assert not one.taken(["a day"])
    wait_for(lambda: not connections(postgres_url), "it is closed")


def test_a_silent_lock_is_neither_ended_by_the_servers_settings_nor_holds_up_a_vacuum(
    postgres_url: str, host: Callable[[], HostLocks]
) -> None:
    with closing(psycopg.connect(postgres_url, autocommit=True)) as other:
        database = other.info.dbname
        other.execute(f"ALTER DATABASE {database} SET idle_in_transaction_session_timeout TO '100ms'")
        one = host()
        with one.holding("a day", wait=False) as lock:
            [pid] = connections(postgres_url)
            silent = "SELECT now() - state_change > interval '1 second' FROM pg_stat_activity WHERE pid = %s"
            wait_for(lambda: other.execute(silent, (pid,)).fetchone() == (True,), "it is silent for a while")

            query = "SELECT state, backend_xmin, backend_xid FROM pg_stat_activity WHERE pid = %s"
            assert other.execute(query, (pid,)).fetchone() == ("idle in transaction", None, None)
            assert one.is_held(lock)


def test_a_fork_leaves_its_parents_locks_alone(postgres_url: str) -> None:
    with child(FORKING, postgres_url) as process:
        assert process.line() == "0 True"


def test_a_server_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    locks = HostLocks(Secret(f"postgresql://user:hidden@/db?host={tmp_path}"))
    uses: list[Callable[[str], object]] = [locks.take, lambda name: locks.taken([name]), locks.keep]
    for use in uses:
        with pytest.raises(PostgresError, match=r"^The database of DAGSTER_POSTGRES_URL cannot be used") as e:
            use("a day")
        assert "hidden" not in str(e.value)


def test_without_a_server_there_are_none() -> None:
    assert host_locks(None) is None
