"""What people find in SQL Server after a publishing: exactly the rows of the warehouse."""

import pytest

from health_pipelines.publish.mssql import statements
from health_pipelines.publish.tables import PublishError
from health_pipelines.publish.target import Merged
from health_pipelines_tests.publish.mssql.clinic import CHANGED, VISITS, Clinic, model
from health_pipelines_tests.publish.mssql.conftest import Database
from health_pipelines_tests.publish.mssql.fake_server import FakeServer

# Two UTF-16 code units.
SMILE = "\U0001f600"


def test_every_cell_is_as_in_the_warehouse_from_first_to_last(
    any_clinic: Clinic, any_database: Database
) -> None:
    made = any_clinic.publish()
    assert (made.way, made.merged, made.altered) == ("made", Merged(inserted=5), {})
    assert any_database.rows(any_clinic) == any_clinic.wanted()
    any_clinic.change(CHANGED)
    changed = any_clinic.publish()
    assert (changed.way, changed.merged) == ("changes", Merged(2, 2, 1))
    assert any_database.rows(any_clinic) == any_clinic.wanted()
    any_clinic.forget()
    assert (any_clinic.publish().way, any_clinic.publish().way) == ("compared", "unchanged")
    any_database.edit("""UPDATE {} SET [order] = N'TRAILING' WHERE [id] = N'a' AND [part] = 2""")
    any_database.edit("""UPDATE {} SET [score] = 5 WHERE [id] = N'a' AND [part] = 1""")
    any_database.edit("""DELETE FROM {} WHERE [id] = N'new'""")
    any_database.edit("""INSERT INTO {} ([id], [part], [_row_hash]) VALUES (N'by hand', 9, 1)""")
    compared = any_clinic.publish(compare=True)
    assert (compared.way, compared.merged) == ("compared", Merged(1, 2, 1))
    assert any_database.rows(any_clinic) == any_clinic.wanted()


def test_rows_without_a_key_are_as_in_the_warehouse(any_clinic: Clinic, any_database: Database) -> None:
    any_clinic.change(
        "CREATE TABLE current.log AS FROM (VALUES ('a', 1), ('a', 1), (NULL, 2), ('b ', 3)) t(x, n)"
    )
    log = model("log")
    assert any_clinic.publish(log).merged == Merged(inserted=4)
    assert any_database.rows(any_clinic, "log") == any_clinic.wanted("log")
    assert any_clinic.publish(log, compare=True).merged == Merged()
    for statement in (
        "UPDATE {} SET [x] = N'b' WHERE [n] = 3",
        "DELETE FROM {} WHERE [n] = 2",
        "INSERT INTO {} ([x], [n], [_row_hash]) SELECT [x], [n], [_row_hash] FROM {} WHERE [n] = 2",
    ):
        any_database.edit(statement, "log")
        assert any_database.rows(any_clinic, "log") != any_clinic.wanted("log")
        assert any_clinic.publish(log, compare=True).merged
        assert any_database.rows(any_clinic, "log") == any_clinic.wanted("log")


def test_a_row_that_is_there_more_often_than_it_should_be_is_found(
    any_clinic: Clinic, any_database: Database
) -> None:
    any_clinic.change("CREATE TABLE current.log AS FROM (VALUES ('a', 1), ('b', 2), ('b', 2)) t(x, n)")
    any_clinic.publish(model("log"))
    copied = "INSERT INTO {} ([x], [n], [_row_hash]) SELECT [x], [n], [_row_hash] FROM {} WHERE [n] = 1"
    any_database.edit(copied, "log")
    assert any_clinic.publish(model("log"), compare=True).merged == Merged(inserted=3, deleted=4)
    assert any_database.rows(any_clinic, "log") == any_clinic.wanted("log")


def test_columns_come_and_widen_and_keep_what_others_added(
    any_clinic: Clinic, any_database: Database
) -> None:
    any_clinic.publish()
    any_database.edit("ALTER TABLE {} ADD [theirs] int NULL")
    any_database.edit("UPDATE {} SET [theirs] = 5")
    any_clinic.change(
        "ALTER TABLE current.visits ALTER small TYPE BIGINT; "
        "ALTER TABLE current.visits ALTER part TYPE VARCHAR; "
        "ALTER TABLE current.visits ADD COLUMN late TIMESTAMP; UPDATE current.visits SET late = '2026-02-03';"
        "ALTER TABLE current.visits ALTER born TYPE VARCHAR; UPDATE current.visits SET big = 3"
    )
    assert any_clinic.publish().way == "compared"
    assert any_database.rows(any_clinic) == any_clinic.wanted()
    [(theirs,)] = any_database.session.ask(
        f"SELECT COUNT_BIG(*) FROM [{any_database.schema}].[visits] WHERE [theirs] = 5"
    )
    assert theirs == 5
    any_clinic.change("INSERT INTO current.visits (id, part) VALUES ('a', 'x')")
    assert any_clinic.publish().merged == Merged(inserted=1)
    assert any_database.rows(any_clinic) == any_clinic.wanted()


def test_a_key_is_lost_with_a_null_and_comes_back(any_clinic: Clinic, any_database: Database) -> None:
    any_clinic.publish()
    any_clinic.change(f"INSERT INTO current.visits (id, part) VALUES (NULL, 1), ('{'x' * 451}', NULL)")
    any_clinic.publish()
    assert any_database.rows(any_clinic) == any_clinic.wanted()
    any_clinic.change("DELETE FROM current.visits WHERE id IS NULL OR part IS NULL")
    any_clinic.publish()
    any_clinic.change(CHANGED)
    assert any_clinic.publish().way == "changes"
    assert any_database.rows(any_clinic) == any_clinic.wanted()


def test_comments_are_the_warehouses_even_if_they_change(clinic: Clinic, server: FakeServer) -> None:
    said = "SELECT part, said FROM catalog.comments JOIN catalog.objects USING (number) WHERE name = 'visits'"
    clinic.publish()
    assert dict(server.query(said))["cost"] == "What it costs"
    clinic.change(f"COMMENT ON COLUMN current.visits.cost IS '{SMILE * 2000}'")
    clinic.change(
        "COMMENT ON TABLE current.visits IS NULL; COMMENT ON COLUMN current.visits.id IS 'It''s ] new'"
    )
    clinic.publish()
    now = dict(server.query(said))
    assert now["cost"] == SMILE * 1875
    assert now["id"] == "It's ] new"
    assert "" not in now


def test_a_text_in_another_row_than_the_array_has_room_for_is_sent_alone(
    any_clinic: Clinic, any_database: Database
) -> None:
    any_clinic.change(
        "CREATE TABLE current.notes AS SELECT i AS id, "
        f"repeat('{SMILE}', CASE WHEN i % 3 = 0 THEN 2001 ELSE i END) "
        "|| CASE WHEN i = 0 THEN chr(0) || 'x' ELSE '' END AS said FROM range(1200) t(i)"
    )
    published = any_clinic.publish(model("notes", "id"))
    assert published.altered == {"said": 1}
    found = any_database.rows(any_clinic, "notes")
    assert found[1:] == any_clinic.wanted("notes")[1:]
    assert found[0] == (0, SMILE * 2001 + "\ufffdx")


def test_a_batch_of_long_texts_has_few_rows(clinic: Clinic, server: FakeServer) -> None:
    columns = ", ".join(f"repeat('x', 4000) AS c{number}" for number in range(10))
    clinic.change(f"CREATE TABLE current.wide AS SELECT i AS id, {columns} FROM range(300) t(i)")
    clinic.publish(model("wide", "id"))
    assert sum(server.batches) == 300
    assert max(server.batches) <= 201
    server.batches.clear()
    clinic.change("CREATE TABLE current.long AS SELECT i AS id FROM range(1500) t(i)")
    clinic.publish(model("long", "id"))
    assert server.batches == [1000, 500]


def test_what_was_sent_is_counted_in_bytes(clinic: Clinic) -> None:
    clinic.change(f"CREATE TABLE current.one AS SELECT 1::INTEGER AS id, 'x{SMILE}' AS x")
    assert clinic.publish(model("one", "id")).bytes_sent == 4 + 6 + 8


def test_what_is_no_float_becomes_null_and_is_told(any_clinic: Clinic, any_database: Database) -> None:
    any_clinic.change(
        "CREATE TABLE current.odd AS FROM (VALUES (1, 'nan'::DOUBLE), (2, 'inf'), (3, '-inf'), "
        "(4, 5e-324), (5, -0.0), "
        "(6, 2.5e-308)) t(id, x)"
    )
    assert any_clinic.publish(model("odd", "id")).altered == {"x": 4}
    assert [x for _, x in any_database.rows(any_clinic, "odd")] == [None, None, None, None, 0, 2.5e-308]


def test_keys_that_a_padded_comparison_takes_for_one_are_refused(clinic: Clinic, database: Database) -> None:
    clinic.publish()
    before = database.rows(clinic)
    clinic.change("INSERT INTO current.visits (id, part) VALUES ('a ', 1)")
    with pytest.raises(PublishError, match=r"visits is as it was: a key of it ends in a blank \(id\)"):
        clinic.publish()
    assert database.rows(clinic) == before


def test_a_blank_behind_a_key_by_hand_is_put_right(clinic: Clinic, database: Database) -> None:
    clinic.publish()
    database.edit("UPDATE {} SET [id] = N'A ' WHERE [id] = N'A'")
    assert clinic.publish(compare=True).merged == Merged(updated=1)
    assert database.rows(clinic) == clinic.wanted()


def test_a_blank_behind_a_text_by_hand_is_put_right(any_clinic: Clinic, any_database: Database) -> None:
    any_clinic.publish()
    any_database.edit("UPDATE {} SET [order] = N'x ' WHERE [id] = N'a' AND [part] = 1")
    assert any_clinic.publish(compare=True).merged == Merged(updated=1)
    assert any_database.rows(any_clinic) == any_clinic.wanted()


@pytest.mark.parametrize(("characters", "fits"), [(448, True), (449, False)])
def test_a_key_has_900_bytes_with_all_its_parts(
    clinic: Clinic, database: Database, characters: int, fits: bool
) -> None:
    clinic.change(f"INSERT INTO current.visits (id, part) VALUES (repeat('\u00e9', {characters}), 1)")
    if fits:
        clinic.publish()
        assert database.rows(clinic) == clinic.wanted()
    else:
        with pytest.raises(PublishError, match="a key of it is longer than the 900 bytes"):
            clinic.publish()


def test_names_of_more_than_128_characters_are_shortened(any_clinic: Clinic, any_database: Database) -> None:
    name = "t" * 129
    any_clinic.change(
        f"""CREATE TABLE current."{name}" AS SELECT 1 AS id, 'x' AS "{"c" * 128}", 'y' AS "{"c" * 129}" """
    )
    shortened = any_clinic.publish(model(name, "id")).shortened
    assert set(shortened) == {name, "c" * 129}
    assert all(len(short.encode("utf-16-le")) <= 256 for short in shortened.values())
    [(one, other)] = any_database.session.ask(
        f"SELECT [{'c' * 128}], [{shortened['c' * 129]}] FROM [{any_database.schema}].[{shortened[name]}]"
    )
    assert (one, other) == ("x", "y")


def test_a_table_that_would_be_a_temporary_one_is_refused(clinic: Clinic, server: FakeServer) -> None:
    clinic.change('CREATE TABLE current."#x" AS SELECT 1 AS id')
    with pytest.raises(PublishError, match="its name begins with #"):
        clinic.publish(model("#x", "id"))
    assert not any("[#x]" in one for one in server.said)


def test_a_view_of_the_same_name_is_not_touched(clinic: Clinic, server: FakeServer) -> None:
    server.query("INSERT INTO catalog.objects VALUES ('health_current', 'visits', 7, 'V ', 'dbo', 1)")
    with pytest.raises(PublishError, match="no table in the target, but something else"):
        clinic.publish()


def test_a_table_of_others_is_not_touched(clinic: Clinic, server: FakeServer) -> None:
    clinic.publish()
    server.query("UPDATE catalog.objects SET owner = 'maria', is_ours = 0 WHERE name = 'visits'")
    with pytest.raises(PublishError, match="belongs to maria"):
        clinic.publish(compare=True)


def test_a_column_of_others_that_must_not_be_null_is_said(
    clinic: Clinic, database: Database, server: FakeServer
) -> None:
    clinic.publish()
    database.edit("ALTER TABLE {} ADD [theirs] int NULL")
    server.query("UPDATE catalog.columns SET nullable = false WHERE name = 'theirs'")
    with pytest.raises(PublishError, match="the column theirs in the target, which must not be NULL"):
        clinic.publish(compare=True)


def test_a_text_in_another_collation_is_not_taken_for_ours(clinic: Clinic, server: FakeServer) -> None:
    clinic.publish()
    server.query("UPDATE catalog.columns SET sorting = 'Latin1_General_CI_AS' WHERE name = 'order'")
    with pytest.raises(PublishError, match=r"order as nvarchar\(max\) COLLATE Latin1_General_CI_AS"):
        clinic.publish(compare=True)


def test_nothing_of_the_table_is_locked_before_all_rows_are_staged(
    clinic: Clinic, server: FakeServer
) -> None:
    clinic.publish()
    clinic.change(CHANGED)
    for compare in (False, True):
        begun = len(server.said)
        clinic.publish(VISITS, compare=compare)
        said = server.said[begun:]
        [lock] = [place for place, one in enumerate(said) if "TABLOCKX" in one]
        staged = [
            place for place, one in enumerate(said) if one.startswith("INSERT INTO #") or "INDEX" in one
        ]
        written = [
            place
            for place, one in enumerate(said)
            if one.startswith(("INSERT INTO [", "UPDATE", "DELETE", "ALTER"))
        ]
        assert max(staged) < lock < min(written)
        assert statements.index(statements.STAGED, VISITS.key) in said


def test_nothing_staged_stays_in_a_session(clinic: Clinic, server: FakeServer) -> None:
    clinic.publish()
    assert server.turns == {}
    assert server.open == []
