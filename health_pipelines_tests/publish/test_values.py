"""What is in the warehouse is in the database, to the last digit and character."""

import math
from datetime import date

import pytest

from health_pipelines_tests.publish.clinic import Clinic

ROWS = r"""
SELECT * FROM (VALUES
    (1, 'plain', 1.0000::DECIMAL(18,4), TIMESTAMPTZ '2026-03-10 23:59:59.123456+00', DATE '0001-01-01', 0.1),
    (2, '', -99999999999999.9999, TIMESTAMPTZ '1970-01-01 00:00:00-11', DATE '9999-12-31', -1e308),
    (3, NULL, NULL, NULL, NULL, NULL),
    (4, '\N', 0.0001, TIMESTAMPTZ '2099-12-31 23:59:59.999999+00', DATE '2024-02-29', 1.7976931348623157e308),
    (5, '\.', 0, TIMESTAMPTZ '2026-11-01 01:30:00-05', DATE '1900-01-01', 5e-324),
    (6, 'a "quoted", b' || chr(10) || chr(13) || chr(9) || '\', 7, now(), DATE '1582-10-10', 'inf'),
    (7, 'Zoë 李 ' || chr(128512) || chr(120120) || ' e' || chr(769) || chr(8203), 7, now(), NULL, '-inf'),
    (8, '{"a": [1, "x", null], "b": "\u0000"}', 7, now(), current_date, -0.0),
    (9, repeat('long ' || chr(128512), 500000), 7, now(), current_date, 3),
    (10, ' blank ', 7, now(), current_date, 123456789.123456789),
    (11, 'NULL', 7, now(), current_date, 1)
) AS rows(id, words, money, instant, day, number), (VALUES (true), (false), (NULL)) AS flags(flag)
WHERE flag OR (NOT flag AND id < 4)
"""


def test_values_come_out_as_they_went_in(clinic: Clinic) -> None:
    clinic.build({"current.t": ROWS}, keys={"current.t": ("id", "flag")})
    clinic.publish()
    assert clinic.differences() == []
    assert [column for (column,) in clinic.ask(TYPES, "t")] == [
        "integer",
        "text",
        "numeric(18,4)",
        "timestamp with time zone",
        "date",
        "double precision",
        "boolean",
        "bigint",
    ]
    assert clinic.publish(compare=True).merged.updated == 0, "the comparison finds a difference where none is"


TYPES = """
SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = ('health_current.' || %s)::regclass
AND attnum > 0 ORDER BY attnum
"""


def test_not_a_number_stays_one(clinic: Clinic) -> None:
    clinic.build({"current.t": "SELECT 1 AS id, 'nan'::DOUBLE AS number"})
    clinic.publish()
    [(number,)] = clinic.ask("SELECT number FROM health_current.t")
    assert math.isnan(number)


def test_what_the_database_cannot_hold_is_altered_and_counted(clinic: Clinic) -> None:
    clinic.build(
        {
            "current.t": """
            SELECT * FROM (VALUES (1, 'a' || chr(0) || 'b', DATE '0044-03-15 (BC)', 'infinity'::TIMESTAMPTZ),
                (2, 'a', 'infinity'::DATE, TIMESTAMPTZ '10000-01-01 00:00:00+00'),
                (3, NULL, NULL, NULL)) AS rows(id, words, day, instant)
            """
        }
    )
    published = clinic.publish()
    assert published.altered == {"words": 1, "day": 2, "instant": 2}
    assert clinic.ask("SELECT words, day, instant FROM health_current.t ORDER BY id") == [
        ("a�b", None, None),
        ("a", None, None),
        (None, None, None),
    ]


@pytest.mark.parametrize(
    ("type_", "spelled"),
    [
        ("SMALLINT", "smallint"),
        ("UINTEGER", "bigint"),
        ("UBIGINT", "numeric(20,0)"),
        ("DECIMAL(38,10)", "numeric(38,10)"),
        ("FLOAT", "double precision"),
        ("TIMESTAMP", "timestamp without time zone"),
        ("HUGEINT", "text"),
        ("INTEGER[]", "text"),
        ("JSON", "text"),
    ],
)
def test_a_type_becomes_one_that_holds_all_its_values(clinic: Clinic, type_: str, spelled: str) -> None:
    clinic.build({"current.t": f"SELECT 1 AS id, NULL::{type_} AS cell"})
    clinic.publish()
    # The hash of the row stands right behind the key.
    assert clinic.ask(TYPES, "t") == [("integer",), ("bigint",), (spelled,)]


def test_keys_that_differ_in_case_or_blanks_are_different_keys(clinic: Clinic) -> None:
    keys = ["a", "A", "a ", "\uff41", "ä", "a\u0308"]
    rows = ", ".join(f"('{key}', {number})" for number, key in enumerate(keys))
    clinic.build({"current.t": f"SELECT * FROM (VALUES {rows}) AS rows(id, number)"})
    clinic.publish()
    assert clinic.differences() == []
    assert clinic.ask("SELECT count(*) FROM health_current.t") == [(len(keys),)]


def test_a_day_is_no_time(clinic: Clinic) -> None:
    clinic.build({"current.t": "SELECT 1 AS id, DATE '2026-03-08' AS day"})
    clinic.publish()
    assert clinic.ask("SELECT day FROM health_current.t") == [(date(2026, 3, 8),)]
