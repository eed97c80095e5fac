"""Whoever tampers with the lake is found, and a crash is never taken for tampering."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from health_pipelines.lake.chain import Chain, Link
from health_pipelines.lake.manifests import Facts, Manifest, file_hash, text_hash
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.lake.replacing import Found
from health_pipelines.lake.verification import State, TableVerification
from health_pipelines_tests.support.child_process import CRASHER, child, crashes

VISITS, PATIENTS = Table("clinic", "visits"), Table("clinic", "patients")
DAY, EARLIER = "2026-03-08", "2026-03-07"


def rows(day: str, version: int = 1, name: str = "visits") -> pl.DataFrame:
    """As a day's rows look; each version says something else of each visit."""
    return pl.DataFrame({name: [f"{day}-{n}" for n in range(50)], "state": [f"s{version}"] * 50})


def land(lake: Lake, table: Table, day: str, version: int = 1) -> Path:
    with lake.writing(table, day) as writer:
        rows(day, version, table.name).write_parquet(
            writer.candidate, metadata={"content_hash": f"v{version}"}
        )
        writer.replace(Facts(rows=50, keys=50))
        return writer.target


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two tables of two days, one of which has landed twice."""
    lake = Lake(tmp_path / "lake")
    for table in (VISITS, PATIENTS):
        land(lake, table, EARLIER)
        land(lake, table, DAY)
        land(lake, table, DAY, version=2)
    return lake


def states(lake: Lake, table: Table = VISITS) -> dict[str | None, State]:
    """Of each day, and of the table, whatever is not as landed."""
    found = TableVerification(lake, table)
    findings = [*(found.of_day(day) for day in found.days), *found.of_table()]
    assert all(one.says.endswith(".") and str(table) in one.says for one in findings if one.says)
    return {one.day: one.state for one in findings if one.state is not State.AS_LANDED}


def said(lake: Lake, day: str = DAY) -> str:
    return TableVerification(lake, VISITS).of_day(day).says


def folder(lake: Lake, day: str = DAY, table: Table = VISITS) -> Path:
    return lake.partition_file(table, day).parent


def rewrite(file: Path, frame: pl.DataFrame) -> None:
    """As somebody would who knows Parquet: the same columns, the same footer."""
    frame.write_parquet(file, metadata=pl.read_parquet_metadata(file) | {"ARROW:schema": ""})


# What somebody does to the lake, and what must be said of it.


def a_byte_is_changed(lake: Lake) -> None:
    file = lake.partition_file(VISITS, DAY)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def a_value_is_changed(lake: Lake) -> None:
    file = lake.partition_file(VISITS, DAY)
    frame = pl.read_parquet(file, hive_partitioning=False)
    rewrite(
        file,
        frame.with_columns(
            state=pl.when(pl.col("visits") == f"{DAY}-7").then(pl.lit("paid")).otherwise("state")
        ),
    )


def a_row_is_removed(lake: Lake) -> None:
    file = lake.partition_file(VISITS, DAY)
    rewrite(file, pl.read_parquet(file, hive_partitioning=False).slice(1))


def a_row_is_added(lake: Lake) -> None:
    file = lake.partition_file(VISITS, DAY)
    frame = pl.read_parquet(file, hive_partitioning=False)
    rewrite(file, pl.concat([frame, frame.head(1)]))


def a_file_is_cut_off(lake: Lake) -> None:
    file = lake.partition_file(VISITS, DAY)
    os.truncate(file, file.stat().st_size // 2)


def a_file_is_deleted(lake: Lake) -> None:
    lake.partition_file(VISITS, DAY).unlink()


def a_day_is_deleted(lake: Lake) -> None:
    shutil.rmtree(folder(lake))


def a_day_is_put_over_another(lake: Lake) -> None:
    shutil.rmtree(folder(lake))
    shutil.copytree(folder(lake, EARLIER), folder(lake))


def a_day_is_put_where_none_was(lake: Lake) -> None:
    shutil.copytree(folder(lake), folder(lake, "2026-03-09"))


def rows_are_put_where_no_day_was(lake: Lake) -> None:
    made = folder(lake, "2026-03-09")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    rows("2026-03-09").write_parquet(made / "visits.parquet")


def a_partition_of_another_table_is_put_in(lake: Lake) -> None:
    shutil.copy(lake.partition_file(PATIENTS, EARLIER), lake.partition_file(VISITS, DAY))


def an_older_version_is_put_back(lake: Lake) -> None:
    newer = {file.name: file.read_bytes() for file in folder(lake).iterdir()}
    with lake.writing(VISITS, DAY) as writer:
        rows(DAY, 3).write_parquet(writer.candidate)
        writer.replace()
    for name, content in newer.items():
        (folder(lake) / name).write_bytes(content)


def a_manifest_is_edited(lake: Lake) -> None:
    file = lake.partition_file(VISITS, DAY).with_name("_manifest.json")
    file.write_text(file.read_text().replace('"rows": 50', '"rows": 49'))


def a_manifest_is_deleted(lake: Lake) -> None:
    lake.partition_file(VISITS, DAY).with_name("_manifest.json").unlink()


def a_file_and_its_manifest_are_changed_together(lake: Lake) -> None:
    a_row_is_removed(lake)
    file = lake.partition_file(VISITS, DAY).with_name("_manifest.json")
    partition = lake.partition_file(VISITS, DAY)
    found = json.loads(file.read_text())
    found |= {"file_hash": file_hash(partition), "file_bytes": partition.stat().st_size}
    file.write_text(json.dumps(found, indent=1) + "\n")


def the_chain_loses_its_end(lake: Lake) -> None:
    file = lake.table_folder(VISITS) / "_chain"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))


def the_chain_loses_half_of_its_last_line(lake: Lake) -> None:
    file = lake.table_folder(VISITS) / "_chain"
    os.truncate(file, file.stat().st_size - 100)


def the_chain_loses_a_line(lake: Lake) -> None:
    file = lake.table_folder(VISITS) / "_chain"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:1], *lines[2:]]))


def a_line_of_the_chain_is_edited(lake: Lake) -> None:
    file = lake.table_folder(VISITS) / "_chain"
    file.write_bytes(file.read_bytes().replace(b'"number":1', b'"number":2', 1))


def the_chain_is_deleted(lake: Lake) -> None:
    (lake.table_folder(VISITS) / "_chain").unlink()


def a_file_is_put_into_a_day(lake: Lake) -> None:
    rows(DAY).write_parquet(folder(lake) / "more.parquet")


def a_file_is_put_beside_the_days(lake: Lake) -> None:
    rows(DAY).write_parquet(lake.table_folder(VISITS) / "more.parquet")


KINDS: list[tuple[Callable[[Lake], None], dict[str | None, State]]] = [
    (a_byte_is_changed, {DAY: State.CHANGED}),
    (a_value_is_changed, {DAY: State.CHANGED}),
    (a_row_is_removed, {DAY: State.CHANGED}),
    (a_row_is_added, {DAY: State.CHANGED}),
    (a_file_is_cut_off, {DAY: State.CHANGED}),
    (a_file_is_deleted, {DAY: State.MISSING}),
    (a_day_is_deleted, {DAY: State.MISSING}),
    (a_day_is_put_over_another, {DAY: State.CHANGED}),
    (a_day_is_put_where_none_was, {"2026-03-09": State.EXTRA}),
    (rows_are_put_where_no_day_was, {"2026-03-09": State.EXTRA}),
    (a_partition_of_another_table_is_put_in, {DAY: State.CHANGED}),
    (an_older_version_is_put_back, {DAY: State.CHANGED}),
    (a_manifest_is_edited, {DAY: State.MANIFEST_CHANGED}),
    (a_manifest_is_deleted, {DAY: State.MANIFEST_MISSING}),
    (a_file_and_its_manifest_are_changed_together, {DAY: State.CHANGED}),
    # The day's newest line is then that of the version before.
    (the_chain_loses_its_end, {DAY: State.CHANGED}),
    (the_chain_loses_half_of_its_last_line, {DAY: State.CHANGED}),
    (the_chain_loses_a_line, {EARLIER: State.CHAIN_BROKEN, None: State.CHAIN_BROKEN}),
    (a_line_of_the_chain_is_edited, {None: State.CHAIN_BROKEN}),
    (
        the_chain_is_deleted,
        {DAY: State.CHAIN_BROKEN, EARLIER: State.CHAIN_BROKEN, None: State.CHAIN_BROKEN},
    ),
    (a_file_is_put_into_a_day, {None: State.EXTRA}),
    (a_file_is_put_beside_the_days, {None: State.EXTRA}),
]


@pytest.mark.parametrize(("tamper", "expected"), KINDS, ids=lambda one: getattr(one, "__name__", ""))
def test_every_kind_of_tampering_is_found_and_nothing_else_is_blamed(
    lake: Lake, tamper: Callable[[Lake], None], expected: dict[str | None, State]
) -> None:
    assert states(lake) == {}

    tamper(lake)

    assert states(lake) == expected
    assert not any(state.is_well for state in expected.values())
    assert states(lake, PATIENTS) == {}


def test_what_was_put_in_is_named_where_some_chain_knows_it(lake: Lake) -> None:
    an_older_version_is_put_back(lake)
    assert "it is an older version, of 20" in said(lake)
    a_day_is_put_over_another(lake)
    assert "it is clinic/visits 2026-03-07;" in said(lake)
    shutil.copy(lake.partition_file(PATIENTS, DAY), lake.partition_file(VISITS, DAY))
    assert "it is clinic/patients 2026-03-08;" in said(lake)
    a_day_is_put_where_none_was(lake)
    assert "it is a copy of clinic/visits 2026-03-07;" in said(lake, "2026-03-09")
    rows_are_put_where_no_day_was(lake)
    assert "nothing says where it is from;" in said(lake, "2026-03-09")
    a_file_and_its_manifest_are_changed_together(lake)
    assert "both were changed together or lines were taken off the chain;" in said(lake)


def test_a_lake_of_an_older_version_has_no_manifests_and_the_next_landing_makes_one(lake: Lake) -> None:
    before = lake.table_folder(VISITS)
    for file in [lake.table_folder(VISITS) / "_chain", *before.rglob("_manifest.json")]:
        file.unlink()
    assert states(lake) == {EARLIER: State.WITHOUT_MANIFEST, DAY: State.WITHOUT_MANIFEST}
    assert all(state.is_well for state in states(lake).values())

    stood = lake.partition_file(VISITS, DAY).read_bytes()
    with lake.writing(VISITS, DAY) as writer:
        assert writer.found is Found.WITHOUT_MANIFEST
        writer.attest(Facts(rows=50))

    assert lake.partition_file(VISITS, DAY).read_bytes() == stood
    assert states(lake) == {EARLIER: State.WITHOUT_MANIFEST}
    # The chain began with what stood there: one that goes and one that comes are told from it.
    lake.partition_file(VISITS, EARLIER).unlink()
    rows_are_put_where_no_day_was(lake)
    assert states(lake) == {EARLIER: State.MISSING, "2026-03-09": State.EXTRA}


def test_a_manifest_has_what_is_known_and_its_place_in_the_chain(lake: Lake) -> None:
    file, chain = lake.partition_file(VISITS, DAY), lake.chain(VISITS)
    text = lake.partition_file(VISITS, DAY).with_name("_manifest.json").read_bytes()
    manifest, links = Manifest.of_text(text), list(chain.links([]))

    assert (manifest.table, manifest.day, manifest.facts.rows) == ("clinic/visits", DAY, 50)
    assert (manifest.file_hash, manifest.file_bytes) == (file_hash(file), file.stat().st_size)
    assert [(link.number, link.day) for link in links] == [(0, None), (1, EARLIER), (2, DAY), (3, DAY)]
    assert links[3] == Link(3, manifest.at, links[2].hash, DAY, "landed", manifest.file_hash, text_hash(text))
    assert manifest.previous == links[2].hash
    assert chain.head == links[3].hash
    assert all(TableVerification(lake, VISITS).knows(link.hash) for link in links)


def test_a_day_that_is_removed_for_a_reason_is_not_missing_and_may_not_come_back_by_itself(
    lake: Lake,
) -> None:
    kept = lake.partition_file(VISITS, DAY).read_bytes()
    with lake.writing(VISITS, DAY) as writer:
        writer.remove("erased")

    found = TableVerification(lake, VISITS)
    assert states(lake) == {}
    assert (found.removed(DAY), found.removed(EARLIER)) == (True, False)
    assert lake.days(VISITS) == [EARLIER]

    lake.partition_file(VISITS, DAY).write_bytes(kept)
    assert states(lake) == {DAY: State.EXTRA}
    assert "was removed (erased) on 20" in said(lake)


# Lands a third version of a day, or gives it a manifest anew, or removes it.
WORKER = """
from pathlib import Path
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.lake.manifests import Facts, code_version

code_version()  # once, and not in every fork
TRACED = ("replacing.py", "chain.py", "<string>")

def work(argument):
    root, what = argument.split("|")
    with Lake(Path(root)).writing(Table("clinic", "visits"), "2026-03-08") as writer:
        if what == "replace":
            writer.candidate.write_bytes(b"new" * 500)
            writer.replace()
        elif what == "attest":
            writer.attest(Facts(rows=50))
        else:
            writer.remove("erased")
"""


@pytest.mark.parametrize(
    "what", ["replace", *(pytest.param(what, marks=pytest.mark.long) for what in ("attest", "remove"))]
)
def test_a_crash_before_any_line_is_never_taken_for_tampering_and_is_healed_by_the_next_landing(
    tmp_path: Path, what: str
) -> None:
    seen: set[State | None] = set()
    number, crashed, old = 0, True, b"old" * 500
    with child(WORKER + CRASHER) as crasher:
        while crashed:
            number += 1
            lake = Lake(tmp_path / str(number))
            with lake.writing(VISITS, DAY) as writer:
                writer.candidate.write_bytes(old)
                writer.replace()
            file = writer.target
            crashed = crashes(crasher, number, f"{lake.root}|{what}")

            found = states(lake)
            assert set(found) <= {DAY}
            assert set(found.values()) <= {State.UNFINISHED}
            seen.add(found.get(DAY))
            stands = file.read_bytes() if file.exists() else None
            with lake.writing(VISITS, DAY):
                assert set(os.listdir(file.parent)) <= {"visits.parquet", "_manifest.json"}  # noqa: PTH208
            assert states(lake) == {}
            now = file.read_bytes() if file.exists() else None
            new = {"replace": b"new" * 500, "attest": old, "remove": None}[what]
            assert stands in (old, new)
            assert now == new if found or stands != old else now in (old, new)

    assert number > 40
    assert seen == {None, State.UNFINISHED}


def test_a_crash_in_the_first_landing_over_an_older_versions_day_is_no_tampering_either(
    lake: Lake, tmp_path: Path
) -> None:
    for file in [lake.table_folder(VISITS) / "_chain", *lake.table_folder(VISITS).rglob("_manifest.json")]:
        file.unlink()
    shutil.copytree(lake.root, tmp_path / "lake after a crash")
    new = land(lake, VISITS, DAY, version=3)

    # The line is there, and neither of the two files has its name.
    crashed = Lake(tmp_path / "lake after a crash")
    shutil.copy(lake.table_folder(VISITS) / "_chain", crashed.table_folder(VISITS) / "_chain")
    shutil.copy(new, folder(crashed) / ".candidate")
    shutil.copy(lake.partition_file(VISITS, DAY).with_name("_manifest.json"), folder(crashed) / ".manifest")
    assert states(crashed) == {EARLIER: State.WITHOUT_MANIFEST, DAY: State.UNFINISHED}

    with crashed.writing(VISITS, DAY):
        pass
    assert states(crashed) == {EARLIER: State.WITHOUT_MANIFEST}
    assert crashed.partition_file(VISITS, DAY).read_bytes() == new.read_bytes()


def test_half_a_line_that_a_crash_left_is_cut_off_by_the_next_landing(lake: Lake) -> None:
    with (lake.table_folder(VISITS) / "_chain").open("ab") as file:
        file.write(b'{"number":4,"at":"20')
    assert states(lake) == {}

    land(lake, VISITS, DAY, version=3)

    assert states(lake) == {}
    assert [link.number for link in lake.chain(VISITS).links([])] == [0, 1, 2, 3, 4]


def test_a_chain_of_any_length_has_its_newest_line_found(tmp_path: Path) -> None:
    # More days stood there than a first look at the end of the file has room for.
    lake = Lake(tmp_path / "lake")
    chain = Chain(lake.table_folder(VISITS) / "_chain")
    chain.file.parent.mkdir(parents=True)
    stood = [f"2026-01-01-{number}" for number in range(3_000)]

    head = chain.begin("2026-03-08T00:00:00+00:00", stood)

    assert chain.head == head
    assert chain.stood == set(stood)
    land(lake, VISITS, DAY)
    assert [link.day for link in chain.links([])] == [None, DAY]


def test_a_day_that_lands_while_it_is_looked_at_is_not_blamed(lake: Lake) -> None:
    found = TableVerification(lake, VISITS)
    land(lake, VISITS, DAY, version=3)
    assert found.of_day(DAY).state is State.AS_LANDED

    found = TableVerification(lake, VISITS)
    land(lake, VISITS, DAY, version=4)
    with lake.writing(VISITS, DAY):
        assert found.of_day(DAY).state is State.BEING_WRITTEN
    assert found.of_day(DAY).state is State.AS_LANDED


def test_a_file_that_cannot_be_read_is_told_and_stops_nothing(lake: Lake) -> None:
    file = lake.partition_file(VISITS, DAY)
    file.unlink()
    file.mkdir()

    assert states(lake) == {DAY: State.UNREADABLE}
    assert "cannot be read (Is a directory); look at the disk" in said(lake)


def test_a_writer_that_fails_once_its_line_is_written_still_lands(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, really_sync = lake.table_folder(VISITS) / "_chain", os.fsync

    def fail_at_the_chain(handle: int) -> None:
        really_sync(handle)
        if os.fstat(handle).st_ino == chain.stat().st_ino:
            raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail_at_the_chain)
        with pytest.raises(OSError, match="the disk is full"):
            land(lake, VISITS, DAY, version=3)

    assert states(lake) == {}
    assert pl.read_parquet(lake.partition_file(VISITS, DAY))["state"][0] == "s3"


def test_what_cannot_be_carried_out_now_is_left_for_the_next_writer(lake: Lake) -> None:
    file = lake.partition_file(VISITS, DAY)
    file.unlink()
    (file / "in the way").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        land(lake, VISITS, DAY, version=3)

    shutil.rmtree(file)
    with lake.writing(VISITS, DAY):
        pass

    assert states(lake) == {}
    assert pl.read_parquet(file)["state"][0] == "s3"
