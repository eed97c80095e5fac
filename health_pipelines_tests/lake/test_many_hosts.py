"""One lake that several hosts write: one of them at a day, whatever breaks and whoever is killed.

A folder's lock would hold among the processes of this machine, as it hardly does on a network's file system.
So where the lock among hosts is to be seen alone, the other host has a folder of its own with the same id: to
the locks that is the same lake.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from health_pipelines.lake.alone import FolderLocks
from health_pipelines.lake.host_locks import HostLocks
from health_pipelines.lake.locks import LockedElsewhereError
from health_pipelines.lake.opening import lake_to_read
from health_pipelines.lake.partitions import Lake, PartitionBusyError, Table
from health_pipelines.lake.verification import State, TableVerification
from health_pipelines.landing.storage import Storage
from health_pipelines.settings import Secret, Settings
from health_pipelines_tests.support.broken_connections import end_connections
from health_pipelines_tests.support.child_process import child
from health_pipelines_tests.support.waiting import wait_for

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]

VISITS = Table("clinic", "visits")
DAY = "2026-03-08"
DAYS = [f"2026-03-{day:02}" for day in range(1, 13)]
OLD, NEW = b"old" * 1_000, b"new" * 2_000

# A host that has the day until it is told to go on.
HOLDER = """
import sys
from pathlib import Path
from health_pipelines.lake.host_locks import HostLocks
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.settings import Secret

root, url, day = sys.argv[1:]
with Lake(Path(root), HostLocks(Secret(url))).writing(Table("clinic", "visits"), day) as writer:
    writer.candidate.write_bytes(b"half a candidate")
    print("writing", flush=True)
    sys.stdin.readline()
"""

# A host with folders of its own, which lands each day that nobody else is at until all are landed twice.
LANDING = """
import os, sys
from pathlib import Path
from health_pipelines.lake.partitions import PartitionBusyError, Table
from health_pipelines.landing.storage import Storage

VISITS, lake = Table("clinic", "visits"), Storage().lake
days = dict.fromkeys(sys.argv[1:], 0)
print("ready", flush=True)
sys.stdin.readline()
while any(times < 2 for times in days.values()):
    for day in days:
        try:
            with lake.writing(VISITS, day) as writer:
                writer.candidate.write_bytes(f"{day} by {os.environ['HOME']}".encode() * 1_000)
                writer.replace()
        except PartitionBusyError:
            continue
        lake.remember_origin(VISITS, "https://vendor.example")
        lake.remember_zone(VISITS, day, "UTC")
        days[day] += 1
        print(day, flush=True)
print("done", flush=True)
"""


@pytest.fixture
def host(postgres_url: str) -> Iterator[Callable[[Path], Lake]]:
    """Makes the lake in a folder as a host has it that is not this one."""
    with ExitStack() as made:
        yield lambda root: Lake(root, made.enter_context(closing(HostLocks(Secret(postgres_url)))))


def land(lake: Lake, content: bytes, day: str = DAY) -> Path:
    with lake.writing(VISITS, day) as writer:
        writer.candidate.write_bytes(content)
        writer.replace()
        return writer.target


def mirror_of(lake: Lake, folder: Path) -> Path:
    """Another folder that is the same lake to the locks among hosts."""
    root = folder / "the same to another host"
    root.mkdir()
    (root / "_id").write_text((lake.root / "_id").read_text())
    return root


def test_a_writer_on_another_host_is_waited_out_and_a_killed_one_is_gone(
    host: Callable[[Path], Lake], postgres_url: str, tmp_path: Path
) -> None:
    lake = host(tmp_path / "lake")
    land(lake, OLD)
    with child(HOLDER, mirror_of(lake, tmp_path), postgres_url, DAY) as holder:
        assert holder.line() == "writing"
        with pytest.raises(PartitionBusyError, match=r"^clinic/visits 2026-03-08 is being written"):
            land(lake, NEW)
        land(lake, NEW, "2026-03-09")
        assert lake.partition_file(VISITS, DAY).read_bytes() == OLD
        holder.kill()

    def lands() -> bool:
        try:
            return land(lake, NEW).read_bytes() == NEW
        except PartitionBusyError:
            return False

    wait_for(lands, "the killed host's lock is free", within_seconds=30)


def test_a_host_whose_connection_broke_puts_nothing_in_place_and_touches_no_others_work(
    host: Callable[[Path], Lake], postgres_url: str, tmp_path: Path
) -> None:
    lake = host(tmp_path / "lake")
    file = land(lake, OLD)
    why = r"^clinic/visits 2026-03-08 stays as it was: the connection to the database of DAGSTER_POSTGRES_URL"
    with pytest.raises(PartitionBusyError, match=why), lake.writing(VISITS, DAY) as writer:  # noqa: PT012
        writer.candidate.write_bytes(NEW)
        assert end_connections(postgres_url) == 1
        # What another host does, that has taken the lock by now.
        writer.candidate.write_bytes(b"theirs")
        writer.replace()

    assert file.read_bytes() == OLD
    assert writer.candidate.read_bytes() == b"theirs"
    assert TableVerification(lake, VISITS).of_day(DAY).state is State.AS_LANDED
    assert land(lake, NEW).read_bytes() == NEW
    assert not writer.candidate.exists()


@pytest.mark.parametrize("change", ["attest", "remove"])
def test_neither_a_manifest_nor_a_removal_is_written_without_the_lock(
    host: Callable[[Path], Lake], postgres_url: str, tmp_path: Path, change: str
) -> None:
    lake = host(tmp_path / "lake")
    file = land(lake, OLD)
    with pytest.raises(PartitionBusyError), lake.writing(VISITS, DAY) as writer:  # noqa: PT012
        end_connections(postgres_url)
        getattr(writer, change)(change)

    assert file.read_bytes() == OLD
    assert TableVerification(lake, VISITS).of_day(DAY).state is State.AS_LANDED


def test_notes_and_chain_of_a_table_are_one_hosts_at_a_time(
    host: Callable[[Path], Lake], tmp_path: Path
) -> None:
    lake = host(tmp_path / "lake")
    land(lake, OLD)
    other = host(mirror_of(lake, tmp_path))
    other.table_folder(VISITS).mkdir(parents=True)
    done = []

    def change() -> None:
        other.remember_origin(VISITS, "https://vendor.example")
        done.append("the note is written")

    with lake.alone_in(VISITS):
        changing = threading.Thread(target=change)
        changing.start()
        # As long as others of the table go on, this one does not.
        for day in DAYS[:3]:
            with other.writing(VISITS, day):
                pass
        assert done == []
    changing.join(60)
    assert done == ["the note is written"]


def test_verification_waits_for_no_other_host_and_blames_none(
    host: Callable[[Path], Lake], postgres_url: str, tmp_path: Path
) -> None:
    lake = host(tmp_path / "lake")
    file = land(lake, OLD)
    with child(HOLDER, mirror_of(lake, tmp_path), postgres_url, DAY) as holder:
        assert holder.line() == "writing"
        file.write_bytes(b"changed")
        assert TableVerification(lake, VISITS).of_day(DAY).state is State.BEING_WRITTEN


def test_a_lake_is_verified_though_the_database_does_not_answer(tmp_path: Path) -> None:
    land(Lake(tmp_path / "lake"), OLD).write_bytes(b"changed")

    nobody = HostLocks(Secret(f"postgresql://user@/db?host={tmp_path}"))
    look = TableVerification(Lake(tmp_path / "lake", nobody), VISITS)

    assert look.of_day(DAY).state is State.CHANGED


def test_a_lake_is_the_same_wherever_it_is_mounted_and_no_other(
    host: Callable[[Path], Lake], tmp_path: Path
) -> None:
    shared, copy = tmp_path / "shared", tmp_path / "mounted"
    land(host(shared), OLD)
    copy.symlink_to(shared)
    with host(shared).writing(VISITS, DAY):
        with pytest.raises(PartitionBusyError):
            land(host(copy), NEW)
        land(host(tmp_path / "another place's"), NEW)


def test_hosts_that_begin_a_lake_at_once_agree_on_its_id(tmp_path: Path) -> None:
    locks = [FolderLocks(tmp_path, None) for _ in range(8)]
    together, found = threading.Barrier(len(locks)), []

    def begin(one: FolderLocks) -> None:
        together.wait(60)
        found.append(one._id)

    threads = [threading.Thread(target=begin, args=[one]) for one in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(found) == len(locks)
    assert set(found) == {(tmp_path / "_id").read_text().strip()}
    assert os.listdir(tmp_path) == ["_id"]  # noqa: PTH208 - hidden files count


def test_the_storage_of_an_installation_locks_among_hosts(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEALTH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgres_url)
    with Storage().lake.writing(VISITS, DAY), closing(HostLocks(Secret(postgres_url))) as other:
        id_ = (tmp_path / "lake" / "_id").read_text().strip()
        with pytest.raises(LockedElsewhereError):
            other.take(f"lake {id_} clinic/visits/date={DAY}")


@pytest.mark.parametrize(
    ("is_in_bucket", "has_postgres"),
    [(False, True), (True, True), (True, False)],
    ids=["folder", "bucket", "bucket-without-a-common-lock"],
)
def test_two_hosts_land_the_same_days_and_a_killed_one_loses_and_doubles_nothing(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_in_bucket: bool,
    has_postgres: bool,
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    if is_in_bucket:
        monkeypatch.setenv("HEALTH_LAKE_URL", request.getfixturevalue("lake_url"))
    if has_postgres:
        monkeypatch.setenv("DAGSTER_POSTGRES_URL", request.getfixturevalue("postgres_url"))
    with ExitStack() as running:
        hosts = []
        for name in ("one", "two"):
            folder = tmp_path / name
            (folder / "data").mkdir(parents=True)
            if not is_in_bucket:
                (folder / "data" / "lake").symlink_to(shared)
            monkeypatch.setenv("HOME", name)
            monkeypatch.setenv("DAGSTER_HOME", str(folder))
            monkeypatch.setenv("HEALTH_DATA_DIR", str(folder / "data"))
            hosts.append(running.enter_context(child(LANDING, *DAYS)))
        for one in hosts:
            assert one.line() == "ready"
        for one in hosts:
            one.tell()
        for _ in range(5):
            assert hosts[0].line() in DAYS
        hosts[0].kill()
        while (said := hosts[1].line()) != "done":
            assert said in DAYS

    lake = lake_to_read(Settings.of_this_process())
    if not has_postgres:
        # What the killed one had announced when it died, the next landing of that day settles.
        look = TableVerification(lake, VISITS)
        found = {day: look.of_day(day).state for day in look.days}
        assert {state for state in found.values() if state is not State.AS_LANDED} <= {State.UNFINISHED}
        assert list(found.values()).count(State.UNFINISHED) <= 1
        for day in [day for day, state in found.items() if state is State.UNFINISHED]:
            with lake.writing(VISITS, day) as writer:
                writer.candidate.write_bytes(f"{day} by two".encode() * 1_000)
                writer.replace()
    look = TableVerification(lake, VISITS)
    assert list(look.of_table()) == []
    assert {day: look.of_day(day).state for day in look.days} == dict.fromkeys(DAYS, State.AS_LANDED)
    for day in DAYS:
        assert lake.partition_file(VISITS, day).read_bytes() == f"{day} by two".encode() * 1_000
    assert lake.days_of_other_zones(VISITS, "UTC") == {}
