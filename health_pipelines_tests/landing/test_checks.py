"""What the checks of a landed partition say, and what they read from a file."""

from pathlib import Path

import polars as pl
import pytest
from dagster import AssetCheckSeverity, AssetKey

from health_pipelines.lake.partitions import Table
from health_pipelines.landing.checks import read_standing
from health_pipelines.landing.usual_rows import Odd, usual, weeks_before
from health_pipelines.landing.verdicts import (
    CheckedTable,
    Compared,
    KeyCounts,
    Standing,
    columns_verdict,
    keys_verdict,
    row_count_verdict,
    usual_verdict,
)

VISITS = CheckedTable(
    AssetKey(["dexcare", "avr_virtual"]), Table("dexcare", "avr_virtual"), "id", "THE_KEY", True
)
HISTORIES = CheckedTable(AssetKey(["dexcare", "x"]), Table("dexcare", "x"), "id", None, False)
NO_KEY = CheckedTable(AssetKey(["dexcare", "x"]), Table("dexcare", "x"), None, "DEXCARE_AVR_RETAIL_KEY", True)
ERROR, WARN = AssetCheckSeverity.ERROR, AssetCheckSeverity.WARN


def test_as_many_rows_as_the_vendor_sent_pass_and_others_are_an_error_with_both_numbers() -> None:
    assert row_count_verdict(3, 3).passed
    wrong = row_count_verdict(3, 2)
    assert (wrong.passed, wrong.severity) == (False, ERROR)
    assert wrong.description == "The vendor sent 3 rows and the day's file has 2; land it again."


def test_rows_that_nobody_counted_are_a_warning() -> None:
    verdict = row_count_verdict(None, 2)
    assert (verdict.passed, verdict.severity) == (False, WARN)


def test_the_first_columns_of_a_table_are_known_by_themselves() -> None:
    assert columns_verdict(None, ["a", "b"]).passed


@pytest.mark.parametrize("columns", [["a", "b", "c"], ["c", "a", "b"]])
def test_the_same_columns_in_any_order_are_known(columns: list[str]) -> None:
    assert columns_verdict(["a", "b", "c"], columns).passed


@pytest.mark.parametrize(
    ("known", "columns", "says"),
    [
        (["a", "b"], ["a", "b", "c"], "new: 'c'"),
        (["a", "b", "c"], ["a", "c"], "missing: 'b'"),
        (["a", "b"], ["a", "x"], "new: 'x'; missing: 'b'; perhaps renamed: 'b' to 'x'"),
        (["a", "b"], ["x", "a"], "new: 'x'; missing: 'b'"),
        (["a", "b"], ["A", "b"], "new: 'A'; missing: 'a'; perhaps renamed: 'a' to 'A'"),
    ],
)
def test_other_columns_are_a_warning_that_names_them(known: list[str], columns: list[str], says: str) -> None:
    verdict = columns_verdict(known, columns)
    assert (verdict.passed, verdict.severity) == (False, WARN)
    assert verdict.description == f"Other columns than before, {says}. All that came has landed."


def test_of_thousands_of_columns_a_few_are_named_and_the_rest_counted() -> None:
    verdict = columns_verdict(["a"], ["a", *(f"c{number}" for number in range(5_000))])
    assert verdict.description is not None
    assert "'c19' and 4980 more" in verdict.description
    assert len(verdict.metadata["columns_new"]) == 20


def test_without_a_key_the_check_says_which_setting_to_fill() -> None:
    verdict = keys_verdict(NO_KEY, Standing(2, ("a",), None))
    assert (verdict.passed, verdict.severity) == (True, WARN)
    assert verdict.description is not None
    assert "DEXCARE_AVR_RETAIL_KEY" in verdict.description


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (KeyCounts(without=2, repeated=0), "2 have none."),
        (KeyCounts(without=0, repeated=1), "1 repeat that of another row."),
        (KeyCounts(without=2, repeated=1), "2 have none and 1 repeat that of another row."),
    ],
)
def test_rows_without_a_key_of_their_own_are_an_error_with_counts(keys: KeyCounts, says: str) -> None:
    verdict = keys_verdict(VISITS, Standing(9, ("id",), keys))
    assert (verdict.passed, verdict.severity) == (False, ERROR)
    assert verdict.description == f"Of 9 rows, by the key 'id', {says} All rows have landed."
    assert keys_verdict(VISITS, Standing(9, ("id",), KeyCounts(0, 0))).passed


def test_a_key_column_that_did_not_come_is_an_error_that_names_it_and_its_setting() -> None:
    verdict = keys_verdict(VISITS, Standing(0, ("a",), None))
    assert (verdict.passed, verdict.severity) == (False, ERROR)
    assert verdict.description == "The day has no column 'id'; ask the vendor or change THE_KEY."
    assert not keys_verdict(HISTORIES, Standing(1, ("a",), None)).passed


def test_a_day_of_no_json_rows_has_no_keys_to_be_wrong() -> None:
    assert keys_verdict(HISTORIES, Standing(0, (), None)).passed


@pytest.mark.parametrize("key", ["id", "ID"])
def test_rows_without_a_key_and_rows_that_repeat_one_are_counted(key: str, tmp_path: Path) -> None:
    file = tmp_path / "p.parquet"
    # Two without a key; `1` twice and `2` three times: three rows repeat a key.
    ids = [None, "", "1", "1", "2", "2", "2", "3"]
    pl.DataFrame({"id": ids, "_report_id": ["r"] * 8}).write_parquet(file)

    assert read_standing(file, key) == Standing(8, ("id",), KeyCounts(without=2, repeated=3))


def test_keys_that_differ_in_case_or_spaces_are_different(tmp_path: Path) -> None:
    file = tmp_path / "p.parquet"
    pl.DataFrame({"id": ["a", "A", "a ", "01", "1"]}).write_parquet(file)

    assert read_standing(file, "id").keys == KeyCounts(0, 0)


@pytest.mark.parametrize("key", [None, "visit_id"])
def test_without_a_key_column_there_are_no_keys_to_count(key: str | None, tmp_path: Path) -> None:
    file = tmp_path / "p.parquet"
    pl.DataFrame({"id": ["a"]}).write_parquet(file)

    assert read_standing(file, key) == Standing(1, ("id",), None)


def test_a_file_without_rows_has_no_bad_keys(tmp_path: Path) -> None:
    file = tmp_path / "p.parquet"
    pl.DataFrame({"id": []}, schema={"id": pl.String}).write_parquet(file)

    assert read_standing(file, "id") == Standing(0, ("id",), KeyCounts(0, 0))


TENTH = Odd(below=0.1, of=20)
TUESDAY = "2026-03-10"


@pytest.mark.parametrize(
    ("rows", "compared", "odd", "says"),
    [
        (0, Compared(before=500), TENTH, "The day has 0 rows; it had 500 before."),
        (49, Compared(before=500), TENTH, "it had 500 before."),
        (50, Compared(before=500), TENTH, None),
        (700, Compared(before=500), TENTH, None),
        (3, Compared(usual=80.5), TENTH, "The day has 3 rows; a Tuesday usually has 80.5."),
        (0, Compared(before=30, usual=60), TENTH, "it had 30 before and a Tuesday usually has 60."),
        # Too few rows to say anything.
        (0, Compared(before=19, usual=19), TENTH, None),
        (0, Compared(), TENTH, None),
        (0, Compared(before=500, usual=500), Odd(below=0, of=20), None),
        (249, Compared(before=500), Odd(below=0.5, of=20), "it had 500 before."),
    ],
)
def test_few_rows_are_a_warning_that_names_both_numbers(
    rows: int, compared: Compared, odd: Odd, says: str | None
) -> None:
    verdict = usual_verdict(TUESDAY, rows, compared, odd)

    assert verdict.passed is (says is None)
    if says:
        assert verdict.severity is WARN
        assert says in (verdict.description or "")


def test_a_day_is_compared_with_its_weekday() -> None:
    assert weeks_before(TUESDAY)[:2] == ["2026-03-03", "2026-02-24"]
    assert len(weeks_before(TUESDAY)) == 8
    assert usual([80, 100, 0, 90]) == 85
    assert usual([80, 100, 90]) is None
    assert usual([]) is None
