"""What a publishing sends, what it leaves alone, and what it puts right."""

import shutil
import threading
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from health_pipelines.lake.locks import locked
from health_pipelines.publish.publisher import Published
from health_pipelines.publish.target import Merged
from health_pipelines_tests.publish.clinic import Clinic

ROWS = 2000


def visits(count: int = ROWS, *, changed: str = "false", where: str = "true") -> str:
    """`changed`: SQL that says which rows have another status. `where`: which rows are there."""
    return (
        f"SELECT id, CASE WHEN {changed} THEN 'changed' ELSE 'status ' || id END AS status, "
        f"id % 3 = 0 AS is_deleted FROM range({count}) AS rows(id) WHERE {where}"
    )


def test_what_has_changed_is_sent_and_nothing_else(clinic: Clinic) -> None:
    clinic.build({"current.t": visits()})
    first = clinic.publish()
    assert (first.way, first.merged) == ("made", Merged(inserted=ROWS))

    clinic.build({"current.t": visits(ROWS + 5, changed="id BETWEEN 10 AND 19", where="id <> 100")})
    second = clinic.publish()

    assert (second.way, second.merged) == ("changes", Merged(inserted=5, updated=10, deleted=1))
    assert 0 < second.bytes_sent < first.bytes_sent / 50
    assert clinic.differences() == []


def test_publishing_again_changes_nothing_and_asks_nothing(clinic: Clinic) -> None:
    clinic.build({"current.t": visits()})
    clinic.publish()
    before = clinic.ask("SELECT xmin, ctid FROM health_current.t ORDER BY id")
    again = clinic.publish()
    assert (again.way, again.bytes_sent) == ("unchanged", 0)
    compared = clinic.publish(compare=True)
    assert (compared.way, compared.merged) == ("compared", Merged())
    assert clinic.ask("SELECT xmin, ctid FROM health_current.t ORDER BY id") == before


HAND_EDITS = {
    "a cell": "UPDATE health_current.t SET status = 'by hand' WHERE id = 7",
    "a cell and its hash": "UPDATE health_current.t SET status = 'by hand', _row_hash = 1 WHERE id = 7",
    "a key": "UPDATE health_current.t SET id = 900000 WHERE id = 7",
    "a row less": "DELETE FROM health_current.t WHERE id = 7",
    "a row more": "INSERT INTO health_current.t (id, status, _row_hash) VALUES (900000, 'by hand', 5)",
    "all rows": "TRUNCATE health_current.t",
    "two that swap": "UPDATE health_current.t SET status = CASE id WHEN 7 THEN 'status 8' "
    "ELSE 'status 7' END WHERE id IN (7, 8)",
    "a column less": "ALTER TABLE health_current.t DROP COLUMN status",
    "no key": "ALTER TABLE health_current.t DROP CONSTRAINT t_pkey",
    "no key and a double": "ALTER TABLE health_current.t DROP CONSTRAINT t_pkey; "
    "INSERT INTO health_current.t SELECT * FROM health_current.t WHERE id = 7",
    "the table": "DROP TABLE health_current.t",
    "the note": "DELETE FROM health_current._published",
    "the schema": "DROP SCHEMA health_current CASCADE",
}


def test_what_a_publisher_killed_at_its_very_end_left_behind_goes_though_nothing_has_changed(
    clinic: Clinic,
) -> None:
    clinic.build({"current.t": visits()})
    clinic.publish()
    known = clinic.memory.of("current.t")
    assert known is not None
    left, of_another = (
        clinic.memory.folder / f"{name}.killed.parquet" for name in ("current.t", "current.u")
    )
    for file in (left, of_another):
        shutil.copyfile(known.files[0], file)

    assert clinic.publish().way == "unchanged"

    assert not left.exists()
    assert of_another.exists()
    assert all(file.exists() for file in known.files)


@pytest.mark.parametrize("edit", HAND_EDITS.values(), ids=HAND_EDITS)
def test_what_somebody_did_by_hand_is_put_right_by_a_comparison(clinic: Clinic, edit: str) -> None:
    clinic.build({"current.t": visits()})
    clinic.publish()
    for statement in edit.split("; "):
        clinic.ask(statement)
    clinic.publish(compare=True)
    assert clinic.differences() == []
    assert clinic.ask(KEY, "t") == [("id",)]
    assert clinic.publish(compare=True).merged == Merged()


KEY = (
    "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid "
    "AND a.attnum = ANY(i.indkey) WHERE i.indisprimary AND i.indrelid = ('health_current.' || %s)::regclass"
)


@pytest.mark.parametrize("edit", ["a row less", "a row more", "all rows", "the table", "the note"])
def test_rows_that_are_missing_or_too_many_are_found_when_anything_is_published(
    clinic: Clinic, edit: str
) -> None:
    clinic.build({"current.t": visits()})
    clinic.publish()
    clinic.ask(HAND_EDITS[edit])
    clinic.build({"current.t": visits(changed="id = 3")})
    clinic.publish()
    assert clinic.differences() == []


def test_every_row_is_compared_once_a_day(clinic: Clinic) -> None:
    clinic.build({"current.t": visits()})
    clinic.publish()
    clinic.ask(HAND_EDITS["a cell"])
    clinic.now += timedelta(hours=23)
    clinic.build({"current.t": visits(changed="id = 3")})
    assert clinic.publish().way == "changes"
    assert len(clinic.differences()) == 2  # of the one row
    clinic.now += timedelta(hours=1)
    found = clinic.publish()
    assert (found.way, found.merged) == ("compared", Merged(updated=1))
    assert clinic.differences() == []


def test_what_is_forgotten_or_of_another_machine_is_compared(clinic: Clinic, tmp_path: Path) -> None:
    clinic.build({"current.t": visits()})
    clinic.publish()
    other = Clinic(tmp_path / "other machine", clinic.url)
    other.build({"current.t": visits(changed="id < 5")})
    assert (found := other.publish()).way == "compared"
    assert found.merged == Merged(updated=5)
    # This machine's memory is of a state that the other one has replaced.
    clinic.build({"current.t": visits(changed="id = 1")})
    back = clinic.publish()
    assert (back.way, back.merged) == ("compared", Merged(updated=4))
    assert clinic.differences() == []
    for number, pattern in enumerate(("*.parquet", "*.json"), start=2):
        for file in clinic.memory.folder.glob(pattern):
            file.write_bytes(b"damaged")
        clinic.build({"current.t": visits(changed=f"id = {number}")})
        assert clinic.publish().way == "compared"
        assert clinic.differences() == []


def test_a_key_of_another_type_is_compared(clinic: Clinic) -> None:
    clinic.build({"current.t": "SELECT 'a' AS id, 1 AS number UNION ALL SELECT 'b', 2"})
    clinic.publish()
    clinic.build({"current.t": "SELECT 1 AS id, 1 AS number"})
    assert clinic.publish().way == "compared"
    assert clinic.ask("SELECT id, number FROM health_current.t") == [("1", 1)]


def test_what_killed_publishers_spilled_is_removed_and_what_others_spill_is_not(
    clinic: Clinic, tmp_path: Path
) -> None:
    left, others = tmp_path / "spill" / "left", tmp_path / "spill" / "others"
    for folder in (left, others):
        folder.mkdir(parents=True)
        (folder / "rows").write_text("rows of patients")
    clinic.build({"current.t": visits(20)})
    with locked(others, wait=False):
        clinic.publish()
    assert list((tmp_path / "spill").iterdir()) == [others]


def test_what_others_put_on_a_table_stays(clinic: Clinic) -> None:
    clinic.build({"current.t": visits()})
    clinic.publish()
    for statement in (
        "CREATE VIEW public.busy AS SELECT id FROM health_current.t WHERE status = 'changed'",
        "CREATE INDEX by_status ON health_current.t (status)",
        "CREATE ROLE analyst_of_a_test",
        "GRANT SELECT ON health_current.t TO analyst_of_a_test",
        "ALTER TABLE health_current.t ADD COLUMN remark text DEFAULT 'none yet'",
        "UPDATE health_current.t SET remark = 'mine' WHERE id = 4",
    ):
        clinic.ask(statement)
    try:
        clinic.build({"current.t": visits(changed="id < 7")})
        clinic.publish(compare=True)
        assert clinic.ask("SELECT count(*) FROM public.busy") == [(7,)]
        assert clinic.ask("SELECT has_table_privilege('analyst_of_a_test', 'health_current.t', 'SELECT')")[0][
            0
        ]
        assert clinic.ask("SELECT to_regclass('health_current.by_status') IS NOT NULL")[0][0]
        assert clinic.ask("SELECT remark FROM health_current.t WHERE id = 4") == [("mine",)]
    finally:
        clinic.ask("DROP OWNED BY analyst_of_a_test")
        clinic.ask("DROP ROLE analyst_of_a_test")


def test_new_columns_are_added_wider_types_widened_and_nothing_is_dropped(clinic: Clinic) -> None:
    clinic.build(
        {"current.t": "SELECT 1 AS id, 2::SMALLINT AS number, 'x' AS gone, 1.5::DECIMAL(5,2) AS money"}
    )
    clinic.publish()
    wider = "1.123::DECIMAL(18,3) AS money, 'y' AS new"
    clinic.build({"current.t": f"SELECT 1 AS id, 70000::INTEGER AS number, {wider}"})
    assert clinic.publish().way == "compared"
    assert clinic.differences() == []
    assert clinic.ask("SELECT gone FROM health_current.t") == [("x",)]
    # A type that became narrower is left as it is.
    clinic.build({"current.t": "SELECT 1 AS id, 3::SMALLINT AS number"})
    clinic.publish()
    assert clinic.differences() == []
    clinic.build({"current.t": "SELECT 1 AS id, 'many' AS number"})
    clinic.publish()
    assert clinic.differences() == []


def test_a_table_without_a_key_is_replaced_whole_if_it_differs(clinic: Clinic) -> None:
    tables = {"current.t": "SELECT 'a' AS word, NULL AS other FROM range(3) UNION ALL SELECT 'b', 'c'"}
    clinic.build(tables, keys={"current.t": ()})
    clinic.publish()
    assert clinic.differences() == []
    assert clinic.publish(compare=True).merged == Merged()
    clinic.ask("DELETE FROM health_current.t WHERE ctid = (SELECT min(ctid) FROM health_current.t)")
    assert clinic.publish(compare=True).merged == Merged(inserted=4, deleted=3)
    assert clinic.differences() == []


def test_a_key_that_is_missing_somewhere_is_none_and_one_that_is_complete_again_is_one(
    clinic: Clinic,
) -> None:
    with_null = visits(50) + " UNION ALL SELECT NULL, 'nobody', false"
    for sql, key in ((visits(50), [("id",)]), (with_null, []), (with_null, []), (visits(50), [("id",)])):
        clinic.build({"current.t": sql})
        clinic.publish()
        assert clinic.differences() == []
        assert clinic.ask(KEY, "t") == key


def test_names_are_quoted_and_long_ones_shortened_and_told(clinic: Clinic) -> None:
    long = "ä" * 40
    odd = 'a ""b"" %; DROP'
    clinic.build(
        {f"current.{long}": f'SELECT 1 AS id, 2 AS "{long}", 3 AS "{long}b", 4 AS "{odd}", 5 AS "B"'}
    )
    published = clinic.publish(f"current.{long}")
    assert set(published.shortened) == {long, f"{long}b"}
    table = published.full_name.removeprefix("health_current.")
    names = [table, *published.shortened.values()]
    assert all(len(name.encode()) <= 63 for name in names)
    columns = f'"{published.shortened[long]}", "{published.shortened[f"{long}b"]}", "{odd}", "B"'
    assert clinic.ask(f'SELECT {columns} FROM health_current."{table}"') == [(2, 3, 4, 5)]
    clinic.build(
        {f"current.{long}": f'SELECT 1 AS id, 7 AS "{long}", 3 AS "{long}b", 4 AS "{odd}", 5 AS "B"'}
    )
    clinic.publish(f"current.{long}")
    assert clinic.ask(f'SELECT {columns} FROM health_current."{table}"') == [(7, 3, 4, 5)]


def test_deleted_records_can_be_left_out(clinic: Clinic) -> None:
    clinic.build({"current.t": visits(30)})
    clinic.publish()
    assert clinic.publish(deleted=False).merged == Merged(deleted=10)
    assert clinic.ask("SELECT count(*) FROM health_current.t WHERE is_deleted") == [(0,)]
    assert clinic.publish().merged == Merged(inserted=10)
    assert clinic.differences() == []


def test_two_publishers_at_once_neither_wait_for_ever_nor_double(clinic: Clinic, tmp_path: Path) -> None:
    other = Clinic(tmp_path / "other", clinic.url)
    for one in (clinic, other):
        one.build({"current.t": visits(20000), "current.u": visits(20000)})
    problems: list[BaseException] = []
    done: list[Published] = []

    together = threading.Barrier(2)

    def work(one: Clinic, tables: list[str]) -> None:
        try:
            together.wait(60)
            # The table is not there yet, and both would make it.
            done.append(one.publish("current.t"))
            done.extend(one.publish(table, compare=True) for _ in range(3) for table in tables)
        except BaseException as error:
            problems.append(error)

    threads = [
        threading.Thread(target=work, args=(clinic, ["current.t", "current.u"])),
        threading.Thread(target=work, args=(other, ["current.u", "current.t"])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert problems == []
    assert len(done) == 14
    assert sum(one.merged.inserted for one in done) == 40000
    for table in ("current.t", "current.u"):
        assert clinic.differences(table) == []


def test_whoever_reads_sees_the_old_state_until_the_new_one_is_whole(clinic: Clinic) -> None:
    clinic.build({"current.t": visits()})
    clinic.publish()
    with psycopg.connect(clinic.url) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM health_current.t")
        clinic.build({"current.t": visits(10)})
        clinic.publish()
        assert reader.execute("SELECT count(*) FROM health_current.t").fetchone() == (ROWS,)
    assert clinic.ask("SELECT count(*) FROM health_current.t") == [(10,)]


def test_comments_say_what_tables_and_columns_are(clinic: Clinic) -> None:
    clinic.build({"current.t": visits()})
    clinic.publish()
    about = "SELECT obj_description('health_current.t'::regclass)"
    assert clinic.ask(about) == [("What current.t is.",)]
    clinic.ask("COMMENT ON TABLE health_current.t IS 'it''s mine'")
    clinic.publish(compare=True)
    assert clinic.ask(about) == [("What current.t is.",)]
    assert clinic.ask("SELECT obj_description('health_current._published'::regclass) IS NOT NULL") == [
        (True,)
    ]


def test_nothing_of_ours_is_left_in_the_target(clinic: Clinic) -> None:
    clinic.build({"current.t": visits()})
    clinic.publish()
    clinic.build({"current.t": visits(changed="id < 5")})
    clinic.publish()
    left = clinic.ask(
        "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
    )
    assert left == [("health_current._published",), ("health_current.t",)]
    assert sorted(file.suffix for file in clinic.memory.folder.iterdir()) == [".json", ".parquet"]
