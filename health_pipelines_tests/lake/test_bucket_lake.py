"""The lake in a bucket, over real HTTP: what lands is there, whole, with one writer; readers get files."""

import os
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from health_pipelines.lake.bucket_lake import BucketLake
from health_pipelines.lake.chain import DayLines, Link
from health_pipelines.lake.csv_partition import column_types, content_hash_of, row_count
from health_pipelines.lake.opening import lake_of, lake_to_read
from health_pipelines.lake.partitions import Lake, OtherOriginError, PartitionBusyError, Table
from health_pipelines.lake.replacing import Found
from health_pipelines.settings import SettingError, Settings
from health_pipelines_tests.lake.test_verification import DAY, EARLIER, VISITS, land, rows, states
from health_pipelines_tests.support.bucket_tree import bucket_lake, objects, written_to
from health_pipelines_tests.support.s3_server import Server

LATER = "2026-03-09"


@pytest.fixture
def lake(lake_url: str, tmp_path: Path) -> BucketLake:
    return bucket_lake(lake_url, tmp_path)


def versions(file: Path) -> set[str]:
    return set(pl.read_parquet(file, hive_partitioning=False)["state"])


def test_a_partition_is_one_object_where_a_folder_would_have_its_file(lake: BucketLake) -> None:
    file = land(lake, VISITS, DAY)

    found = objects(lake.url)
    assert sorted(found) == [
        "clinic/visits/_chain",
        "clinic/visits/date=2026-03-08/_manifest.json",
        "clinic/visits/date=2026-03-08/visits.parquet",
    ]
    assert found["clinic/visits/date=2026-03-08/visits.parquet"] == file.read_bytes()
    assert str(lake) == lake.url
    assert lake.pattern(VISITS) == f"{lake.url}/clinic/visits/date=*/visits.parquet"


def test_an_empty_bucket_has_no_partitions(lake: BucketLake) -> None:
    assert (lake.tables(), lake.days(VISITS), lake.partition_files(VISITS)) == ([], [], [])
    assert lake.signatures(VISITS) == {}
    assert not lake.partition_file(VISITS, DAY).exists()
    assert lake.manifest_text(VISITS, DAY) is None
    assert states(lake) == {}


def test_what_another_machine_landed_is_listed_read_and_replaced(lake: BucketLake, tmp_path: Path) -> None:
    for day in (LATER, EARLIER, DAY):
        land(lake, VISITS, day)
    land(lake, Table("clinic", "visits_report"), DAY)
    other = bucket_lake(lake.url, tmp_path / "other")

    assert other.days(VISITS) == [EARLIER, DAY, LATER]
    assert [str(table) for table in other.tables()] == ["clinic/visits", "clinic/visits_report"]
    files = other.partition_files(VISITS)
    assert [file.parent.name for file in files] == [f"date={day}" for day in (EARLIER, DAY, LATER)]
    assert [versions(file) for file in files] == [{"s1"}] * 3
    before = other.signatures(VISITS)
    assert other.sizes(VISITS) == [file.stat().st_size for file in files]

    with other.writing(VISITS, DAY) as writer:
        assert writer.current == files[1]
        assert writer.found is Found.AS_LANDED
    land(other, VISITS, DAY, version=2)

    assert versions(lake.partition_file(VISITS, DAY)) == {"s2"}
    now = lake.signatures(VISITS)
    assert [day for day in now if now[day] != before[day]] == [DAY]
    # The end of a signature is a time, which says what waits to be built.
    assert abs(int(now[DAY].rsplit("-", 1)[1]) / 1e9 - time.time()) < 600
    assert states(lake) == states(other) == {}


def test_a_copy_is_fetched_once_and_again_when_the_day_is_another(lake: BucketLake, tmp_path: Path) -> None:
    land(lake, VISITS, DAY)
    other = bucket_lake(lake.url, tmp_path / "other")
    first = other.partition_file(VISITS, DAY)
    inode, written = first.stat().st_ino, first.stat().st_mtime_ns

    again = other.partition_file(VISITS, DAY)
    assert (again, again.stat().st_ino, again.stat().st_mtime_ns) == (first, inode, written)

    land(lake, VISITS, DAY, version=2)
    assert other.partition_file(VISITS, DAY) != first
    assert versions(first) == {"s1"}, "who opened the old version goes on reading it"


def test_a_footer_comes_without_the_rows(lake: BucketLake, s3_server: Server, tmp_path: Path) -> None:
    with lake.writing(VISITS, DAY) as writer:
        frame = pl.DataFrame({"visits": [os.urandom(16).hex() for _ in range(20_000)]})
        frame.write_parquet(writer.candidate, metadata={"content_hash": "v1"})
        writer.replace()
        size = writer.target.stat().st_size
    other = bucket_lake(lake.url, tmp_path / "other")
    s3_server.counts()

    footer = other.footer_file(VISITS, DAY)

    assert s3_server.counts().received < size / 2
    assert (row_count(footer), content_hash_of(footer)) == (20_000, "v1")
    assert column_types(footer) == {"visits": "VARCHAR"}
    assert other.footer_files(VISITS) == {DAY: footer}
    # What is here whole is not asked for again.
    whole = other.partition_file(VISITS, DAY)
    assert other.footer_file(VISITS, DAY) == whole


def test_ten_years_of_a_table_are_listed_in_a_call_for_a_thousand_keys(
    lake: BucketLake, s3_server: Server
) -> None:
    bucket = lake.url.removeprefix("s3://").partition("/")[0]
    days = [f"{2016 + number // 365}-{number % 12 + 1:02}-{number % 28 + 1:02}" for number in range(3_650)]
    unique = sorted(set(days))
    keys = [
        f"health/clinic/visits/date={day}/{name}"
        for day in unique
        for name in ("visits.parquet", "_manifest.json")
    ]
    s3_server.fill(bucket, keys)
    s3_server.counts()

    assert lake.days(VISITS) == unique

    calls = s3_server.counts().calls
    assert calls == {"LIST": -(-len(keys) // 1_000)}
    look = lake.for_one_look()
    assert look.days(VISITS) == look.days(VISITS)
    assert s3_server.counts().calls == calls


def test_copies_keep_to_their_room_and_the_longest_unused_go(lake: BucketLake, tmp_path: Path) -> None:
    for day in (EARLIER, DAY, LATER):
        land(lake, VISITS, day)
    small = bucket_lake(lake.url, tmp_path / "small", most_bytes=2 * 4096)
    files = small.partition_files(VISITS)
    yesterday = time.time_ns() - 86_400 * 10**9
    for number, file in enumerate(files):
        os.utime(file, ns=(yesterday + number, file.stat().st_mtime_ns))
    half = files[0].with_name(".fetching.1.x")
    half.write_bytes(b"half")
    os.utime(half, ns=(yesterday, yesterday))

    small.partition_file(VISITS, EARLIER)
    small.copies.tidy()

    assert [file.exists() for file in files] == [True, False, True]
    assert not half.exists()
    assert versions(small.partition_file(VISITS, DAY)) == {"s1"}, "fetched again"


def test_older_copies_are_forgotten_where_that_is_asked_for(lake: BucketLake) -> None:
    first = land(lake, VISITS, DAY)
    second = land(lake, VISITS, DAY, version=2)
    lake.forget_older_copies([VISITS], unused=True)
    assert first.exists(), "a reader may be at it"

    lake.forget_older_copies([VISITS])

    assert (first.exists(), second.exists()) == (False, True)
    with lake.writing(VISITS, DAY) as writer:
        writer.remove("erased")
        writer.forget_older_copies()
    assert not second.exists()


def test_notes_are_in_the_bucket_and_seen_by_all(lake: BucketLake, tmp_path: Path) -> None:
    land(lake, VISITS, DAY)
    lake.remember_origin(VISITS, "the sandbox")
    lake.remember_zone(VISITS, DAY, "America/Chicago")
    lake.keep_from(VISITS, EARLIER)
    other = bucket_lake(lake.url, tmp_path / "other")

    other.refuse_other_origin(VISITS, "the sandbox")
    with pytest.raises(OtherOriginError, match="own HEALTH_LAKE_URL") as refused:
        other.remember_origin(VISITS, "api.dexcare.com")
    assert lake.url in str(refused.value)
    other.remember_zone(VISITS, DAY, "UTC")
    other.keep_from(VISITS, "2026-01-01")
    assert lake.kept_from(VISITS) == EARLIER, "the later one stays"
    assert lake.days_of_other_zones(VISITS, "America/Chicago") == {DAY: "UTC"}


def test_a_second_writer_on_this_machine_is_refused_at_once(lake: BucketLake) -> None:
    with (
        lake.writing(VISITS, DAY),
        pytest.raises(PartitionBusyError, match="is being written by another run"),
    ):
        land(lake, VISITS, DAY)


def test_of_two_machines_without_a_common_lock_the_slower_is_refused_and_nothing_is_mixed(
    lake: BucketLake, tmp_path: Path
) -> None:
    land(lake, VISITS, DAY)
    other = bucket_lake(lake.url, tmp_path / "other")

    def write_slowly() -> None:
        with other.writing(VISITS, DAY) as writer:
            rows(DAY, 2).write_parquet(writer.candidate)
            land(lake, VISITS, DAY, version=3)
            writer.replace()

    with pytest.raises(PartitionBusyError, match=r"^clinic/visits 2026-03-08 .*HEALTH_LAKE_URL") as refused:
        write_slowly()

    assert lake.url in str(refused.value)
    assert versions(lake.partition_file(VISITS, DAY)) == {"s3"}
    assert states(lake) == {}
    land(other, VISITS, DAY, version=4)
    assert versions(lake.partition_file(VISITS, DAY)) == {"s4"}
    assert states(lake) == {}


def test_two_machines_that_add_to_one_chain_at_once_both_add(lake: BucketLake, tmp_path: Path) -> None:
    other = bucket_lake(lake.url, tmp_path / "other")
    with lake.writing(VISITS, DAY) as one, other.writing(VISITS, LATER) as two:
        for writer in (one, two):
            rows(writer.day).write_parquet(writer.candidate)
        # Both have read the chain, which neither has begun.
        assert (one.chain_head, two.chain_head) == (None, None)
        one.replace()
        two.replace()
    assert states(lake) == {}
    problems: list[str] = []
    assert [link.day for link in lake.chain(VISITS).links(problems)] == [None, DAY, DAY, LATER, LATER]
    assert problems == []


def link(number: int, manifest: str, *, announced: bool = False) -> Link:
    made = Link(number, "2026-03-08T00:00:00+00:00", None, DAY, "landed", f"file of {manifest}", manifest)
    return made.announced if announced else made


def test_a_line_closes_its_own_announcement_and_older_ones_and_no_later_one() -> None:
    lines = DayLines()
    for one in (link(1, "a", announced=True), link(2, "b", announced=True), link(3, "c", announced=True)):
        lines.add(one)
    assert (lines.final, [one.manifest for one in lines.open]) == (None, ["a", "b", "c"])

    lines.add(link(4, "b"))

    assert lines.final == link(4, "b")
    assert [one.manifest for one in lines.open] == ["c"]
    lines.add(link(5, "c"))
    assert (lines.before, lines.final, lines.open) == (link(4, "b"), link(5, "c"), [])


def test_the_setting_decides_where_the_lake_is_and_a_folder_with_partitions_is_not_left_behind(
    lake_url: str, tmp_path: Path
) -> None:
    settings = {"HEALTH_DATA_DIR": str(tmp_path), "HEALTH_LAKE_URL": lake_url}
    in_bucket = lake_of(Settings(settings))
    assert isinstance(in_bucket, BucketLake)
    assert (str(in_bucket), in_bucket.root) == (lake_url, tmp_path / "lake_copy")
    in_folder = lake_to_read(Settings({"HEALTH_DATA_DIR": str(tmp_path)}))
    assert (type(in_folder), in_folder.root) == (Lake, tmp_path / "lake")

    land(in_folder, VISITS, DAY)
    with pytest.raises(SettingError, match=r"HEALTH_LAKE_URL is .* while partitions are in .*/lake; copy"):
        lake_to_read(Settings(settings))


def test_a_lake_that_is_copied_as_it_is_is_the_same_lake(lake: BucketLake, tmp_path: Path) -> None:
    land(lake, VISITS, EARLIER)
    land(lake, VISITS, DAY)
    land(lake, VISITS, DAY, version=2)
    folder = tmp_path / "home"

    written_to(lake.url, folder)

    at_home = Lake(folder)
    assert at_home.days(VISITS) == [EARLIER, DAY]
    assert states(at_home) == {}
    land(at_home, VISITS, DAY, version=3)
    assert states(at_home) == {}


def test_a_folder_needs_no_library_of_buckets() -> None:
    code = (
        "import sys; from health_pipelines.lake.opening import lake_of; "
        "from health_pipelines.settings import Settings; "
        "lake_of(Settings({'HEALTH_DATA_DIR': '/nowhere'})); "
        "print({name for name in sys.modules if name.startswith('obstore') or 'bucket' in name})"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "set()\n"
