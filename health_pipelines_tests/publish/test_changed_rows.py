"""Publishing after a build that says which records it made anew: no others are looked at, none is missed."""

from collections.abc import Iterable
from datetime import timedelta

import duckdb
import pytest

from health_pipelines.publish.publisher import MOST_FILES
from health_pipelines.publish.target import Merged
from health_pipelines_tests.publish.clinic import Clinic
from health_pipelines_tests.publish.test_publisher import ROWS, visits

# A row that no build changes in silence: only who looks at all rows sees it.
UNTOLD = "UPDATE current.t SET status = 'untold' WHERE id = 1500"


def rows(ids: Iterable[int], status: str) -> str:
    values = ", ".join(f"({id_})" for id_ in ids)
    return (
        f"SELECT id::BIGINT AS id, '{status}' AS status, false AS is_deleted "
        f"FROM (VALUES {values or '(0)'}) AS t(id)" + ("" if values else " WHERE false")
    )


@pytest.fixture
def published(clinic: Clinic) -> Clinic:
    clinic.build({"current.t": visits()})
    clinic.publish()
    return clinic


def test_only_the_records_that_a_build_made_anew_are_looked_at(published: Clinic) -> None:
    published.build_part("current.t", gone="id = 100", added=rows([5, 6, ROWS + 1], "new"), untold=UNTOLD)

    found = published.publish()

    assert (found.way, found.merged) == ("changes", Merged(inserted=1, updated=2, deleted=1))
    assert found.totals.rows == ROWS
    assert {row for _, row in published.differences()} == {
        "[1500, 'untold', True]",
        "[1500, 'status 1500', True]",
    }


def test_a_comparison_finds_even_what_no_build_told(published: Clinic) -> None:
    published.build_part("current.t", added=rows([5], "new"), untold=UNTOLD)
    published.publish()
    published.now += timedelta(days=1)
    published.build_part("current.t", added=rows([6], "new"))

    found = published.publish()

    assert (found.way, found.merged) == ("compared", Merged(updated=2))
    assert published.differences() == []


def test_builds_between_two_publishings_add_up(published: Clinic) -> None:
    published.build_part("current.t", gone="id = 8", added=rows([5, 6], "first"))
    published.build_part("current.t", gone="id IN (6, 9)", added=rows([7, 8], "second"))
    published.build_part("current.t", added=rows([], "nothing"), untold=UNTOLD)

    found = published.publish()

    assert (found.way, found.merged) == ("changes", Merged(updated=3, deleted=2))
    assert {row for _, row in published.differences()} == {
        "[1500, 'untold', True]",
        "[1500, 'status 1500', True]",
    }


def test_what_was_sent_before_is_remembered(published: Clinic) -> None:
    for gone, ids, status, merged in [
        ("id = 8", [5, 6], "first", Merged(updated=2, deleted=1)),
        ("id = 5", [6, 8], "second", Merged(inserted=1, updated=1, deleted=1)),
        ("false", [6], "second", Merged()),
        ("false", [5, 6], "first", Merged(inserted=1, updated=1)),
    ]:
        published.build_part("current.t", gone=gone, added=rows(ids, status))
        found = published.publish()
        assert (found.way, found.merged) == ("changes", merged)
        assert published.differences() == []
    # All rows are looked at, beside what is remembered in five files.
    published.build({"current.t": visits(fewer := ROWS - 10)})
    found = published.publish()
    assert (found.way, found.merged) == ("changes", Merged(updated=3, deleted=10))
    assert found.totals.rows == fewer
    assert published.differences() == []


def test_a_table_that_was_made_whole_since_is_looked_at_whole(published: Clinic) -> None:
    published.build_part("current.t", added=rows([5], "new"))
    published.build({"current.t": visits(changed="id = 1500")})
    published.build_part("current.t", added=rows([6], "new"))

    found = published.publish()

    assert (found.way, found.merged) == ("changes", Merged(updated=2))
    assert published.differences() == []


def test_more_builds_than_are_written_down_have_all_rows_looked_at(published: Clinic) -> None:
    for number in range(21):
        published.build_part("current.t", added=rows([number], "new"))

    found = published.publish()

    assert (found.way, found.merged) == ("changes", Merged(updated=21))
    assert published.differences() == []


def test_rows_that_do_not_add_up_have_all_of_them_looked_at(published: Clinic) -> None:
    published.build_part("current.t", added=rows([5], "new"), untold="DELETE FROM current.t WHERE id = 1500")

    found = published.publish()

    assert (found.way, found.merged) == ("compared", Merged(updated=1, deleted=1))
    assert published.differences() == []


def test_a_hand_edit_of_a_hash_is_found_by_the_sums_and_all_rows_are_compared(published: Clinic) -> None:
    published.ask("UPDATE health_current.t SET status = 'by hand', _row_hash = 1 WHERE id = 7")
    published.build_part("current.t", added=rows([5], "new"))

    found = published.publish()

    assert (found.way, found.merged) == ("compared", Merged(updated=2))
    assert published.differences() == []


def test_deleted_records_go_where_they_are_not_wanted(clinic: Clinic) -> None:
    clinic.build({"current.t": visits()})
    clinic.publish(deleted=False)
    marked = rows([1], "gone").replace("false AS is_deleted", "true AS is_deleted")
    back = rows([3], "back")
    clinic.build_part("current.t", added=f"{marked} UNION ALL {back}")

    found = clinic.publish(deleted=False)

    assert (found.way, found.merged) == ("changes", Merged(inserted=1, deleted=1))
    assert clinic.ask("SELECT id FROM health_current.t WHERE id IN (1, 2, 3) ORDER BY 1") == [(2,), (3,)]


def test_what_the_target_cannot_hold_is_told_though_its_row_was_not_made_anew(published: Clinic) -> None:
    published.build_part("current.t", added=rows([5], "a' || chr(0) || 'b"))
    assert published.publish().altered == {"status": 1}
    published.build_part("current.t", added=rows([6], "new"))

    found = published.publish()

    assert (found.altered, found.merged) == ({"status": 1}, Merged(updated=1))


def test_files_of_changes_do_not_become_more_and_more(published: Clinic) -> None:
    counts = set()
    for number in range(MOST_FILES + 1):
        published.build_part("current.t", added=rows([number], f"changed {number}"))
        published.publish()
        counts.add(len(list(published.memory.folder.glob("current.t.*.parquet"))))

    assert max(counts) == MOST_FILES
    assert published.differences() == []


@pytest.mark.parametrize("number", [0, 1])
def test_a_damaged_file_has_all_rows_compared(published: Clinic, number: int) -> None:
    published.build_part("current.t", added=rows([5], "new"))
    published.publish()
    known = published.memory.of("current.t")
    assert known is not None
    known.files[number].write_bytes(b"damaged")
    published.build_part("current.t", added=rows([6], "new"))

    found = published.publish()

    assert (found.way, found.merged) == ("compared", Merged(updated=1))
    assert published.differences() == []


def test_what_is_remembered_is_not_believed_where_the_sum_of_all_rows_is_another(published: Clinic) -> None:
    published.build({"current.t": visits(changed="id = 7")})
    known = published.memory.of("current.t")
    assert known is not None
    [file] = known.files
    [(now,)] = published.warehouse_rows(
        "SELECT (hash(id, status, is_deleted) >> 1)::BIGINT FROM current.t WHERE id = 7"
    )
    wrong = file.with_suffix(".wrong")
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT id, CASE WHEN id = 7 THEN {now} ELSE _row_hash END AS _row_hash "
            f"FROM read_parquet('{file}')) TO '{wrong}' (FORMAT parquet)"
        )
    wrong.replace(file)

    found = published.publish()

    assert (found.way, found.merged) == ("compared", Merged(updated=1))
    assert published.differences() == []
