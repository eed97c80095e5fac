"""What the charts of the marts show, by value, and that they become images that an event log can bear."""

import base64
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date

import duckdb
import pytest
from PIL import Image

from health_pipelines.warehouse.chart_series import (
    Receivables,
    VisitsPerDay,
    receivables,
    visits_per_day,
    waits,
)
from health_pipelines.warehouse.charts import charts, draw_receivables, draw_visits
from health_pipelines_tests.support.dagster_processes import ROOT

EIGHTH, NINTH, TENTH = (date(2026, 3, day) for day in (8, 9, 10))
BLUE = (0x00, 0x72, 0xB2)


@pytest.fixture
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    """The marts' columns that charts are made of, without a row."""
    with duckdb.connect() as connection:
        connection.execute(
            """
            CREATE SCHEMA marts;
            CREATE TABLE marts.visits (
                report_type VARCHAR, visit_day DATE, wait_seconds DOUBLE, _partition_date DATE);
            CREATE TABLE marts.daily_visits (day DATE, report_type VARCHAR, status VARCHAR, visits BIGINT);
            CREATE TABLE marts.aging_receivables (
                doctor_id VARCHAR, age VARCHAR, as_of_day DATE, patients BIGINT,
                insurer_balance DECIMAL(38, 4), patient_balance DECIMAL(38, 4));
            """
        )
        yield connection


def newest_landed_day(warehouse: duckdb.DuckDBPyConnection, day: str) -> None:
    warehouse.execute("INSERT INTO marts.visits (_partition_date) VALUES ($1)", [day])


def add_waits(warehouse: duckdb.DuckDBPyConnection, day: str, report_type: str, seconds: list[int]) -> None:
    for one in seconds:
        warehouse.execute(
            "INSERT INTO marts.visits VALUES ($1, $2, $3, '2026-03-10')", [report_type, day, one]
        )


def test_visits_are_counted_for_every_day_up_to_the_newest_that_landed(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    newest_landed_day(warehouse, "2026-03-10")
    warehouse.execute(
        """
        INSERT INTO marts.daily_visits VALUES
            ('2025-12-10', 'virtual', 'completed', 50),  -- 90 days before
            ('2026-03-08', 'virtual', 'completed', 3), ('2026-03-08', 'virtual', 'cancelled', 2),
            ('2026-03-10', 'retail', NULL, 4),
            ('2026-03-11', 'retail', 'scheduled', 9),    -- a booking for a day to come
            (NULL, 'virtual', 'completed', 7)
        """
    )
    shown = visits_per_day(warehouse)
    assert shown == VisitsPerDay((EIGHTH, NINTH, TENTH), {"virtual": (5, 0, 0), "retail": (0, 0, 4)})
    assert shown.fact == "9 visits in 3 days, 4 of them on Mar 10, 2026"


def test_a_chart_goes_back_ninety_days(warehouse: duckdb.DuckDBPyConnection) -> None:
    newest_landed_day(warehouse, "2026-03-10")
    warehouse.execute("INSERT INTO marts.daily_visits VALUES ('2025-12-11', 'virtual', 'completed', 1)")
    shown = visits_per_day(warehouse)
    assert shown is not None
    assert (len(shown.days), shown.visits["virtual"]) == (90, (1, *[0] * 89))


def test_waits_are_shown_in_minutes_where_eleven_are_known(warehouse: duckdb.DuckDBPyConnection) -> None:
    eleven = [60 * minutes for minutes in range(1, 12)]
    add_waits(warehouse, "2026-03-08", "virtual", eleven)
    # One of these is no wait.
    add_waits(warehouse, "2026-03-09", "virtual", [*eleven[1:], -60])
    add_waits(warehouse, "2026-03-10", "virtual", [120] * 11)
    add_waits(warehouse, "2026-03-10", "retail", [600] * 10)
    [virtual] = waits(warehouse)
    assert (virtual.report_type, virtual.days) == ("virtual", (EIGHTH, NINTH, TENTH))
    # Of 1 to 11 minutes the sixth is in the middle, and nine of the ten steps lead to the tenth.
    assert virtual.median == (6.0, None, 2.0)
    assert virtual.p90 == (10.0, None, 2.0)
    assert virtual.fact == "virtual: half waited up to 2 min, nine of ten up to 2 min on Mar 10, 2026"


def test_the_fact_about_waits_is_of_the_newest_day_that_is_shown(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    add_waits(warehouse, "2026-03-09", "provider_booking", [300] * 11)
    add_waits(warehouse, "2026-03-10", "provider_booking", [900])
    [bookings] = waits(warehouse)
    assert bookings.median == (5.0, None)
    assert (
        bookings.fact == "provider booking: half waited up to 5 min, nine of ten up to 5 min on Mar 9, 2026"
    )


def test_receivables_are_sums_over_doctors_and_few_patients_stay_out_of_the_bars_and_the_title(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    warehouse.execute(
        """
        INSERT INTO marts.aging_receivables VALUES
            ('a', '0-30', '2026-03-10', 6, 100.25, 20), ('b', '0-30', '2026-03-10', 5, 50, -5),
            ('a', '61-90', '2026-03-10', 10, 7000, 7000),
            ('b', 'unknown', '2026-03-10', 12, 0, 30)
        """
    )
    shown = receivables(warehouse)
    assert shown == Receivables(
        TENTH,
        ("0-30", "31-60", "61-90", "91-120", ">120", "unknown"),
        insurer=(150.25, 0.0, None, 0.0, 0.0, 0.0),
        patient=(15.0, 0.0, None, 0.0, 0.0, 30.0),
    )
    assert shown.fact == "Insurers owe $150, patients $45 on Mar 10, 2026"


def test_marts_that_are_not_there_or_have_nothing_to_show_have_no_chart(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    assert charts(warehouse) == {}
    warehouse.execute("INSERT INTO marts.aging_receivables VALUES ('a', '0-30', '2026-03-10', 10, 1, 1)")
    newest_landed_day(warehouse, "2026-03-10")
    warehouse.execute("INSERT INTO marts.daily_visits VALUES ('2026-03-11', 'retail', 'scheduled', 9)")
    assert charts(warehouse) == {}
    with duckdb.connect() as empty:
        assert charts(empty) == {}


def test_every_chart_is_a_small_image_with_its_fact_beside_it(warehouse: duckdb.DuckDBPyConnection) -> None:
    # Values that jump every day: the most that a line or a bar can cost.
    warehouse.execute(
        """
        CREATE TABLE days AS SELECT DATE '2026-03-10' - range::INTEGER AS day FROM range(90);
        CREATE TABLE types AS SELECT unnest(['virtual', 'retail', 'provider_booking']) AS report_type;
        INSERT INTO marts.visits
            SELECT report_type, day, hash(report_type, day, range) % 3600, '2026-03-10'
            FROM days, types, range(12);
        INSERT INTO marts.daily_visits
            SELECT day, report_type, 'completed', hash(day, report_type) % 300 FROM days, types;
        INSERT INTO marts.aging_receivables
            SELECT 'a', unnest(['0-30', '31-60', '61-90', '91-120', '>120']), '2026-03-10', 20, 5000, -300;
        """
    )
    drawn = charts(warehouse)
    assert {mart: set(of_mart) for mart, of_mart in drawn.items()} == {
        "marts.daily_visits": {"visits per day", "waiting time"},
        "marts.aging_receivables": {"receivables by age"},
    }
    facts = {}
    for label, chart in (item for of_mart in drawn.values() for item in of_mart.items()):
        found = re.fullmatch(r"!\[([^]]+)\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", str(chart.value))
        assert found, label
        facts[label] = found[1]
        image = Image.open(io.BytesIO(base64.b64decode(found[2])))
        assert (image.format, image.width) == ("PNG", 800)
        image.load()
        assert len(str(chart.value)) < 30_000, label
    assert facts["receivables by age"] == "Insurers owe $25,000, patients -$1,500 on Mar 10, 2026"
    assert facts["waiting time"].count("half waited up to") == 3


def test_a_bar_is_as_high_as_the_number_of_visits_and_stands_on_the_one_before() -> None:
    visits = {"virtual": (30, 10), "retail": (30, 10)}
    image = opened(draw_visits(VisitsPerDay((NINTH, TENTH), visits)))
    plot = image.crop((0, 0, image.width, image.height * 8 // 10))  # without the legend
    left, right = (
        sum(pixel == BLUE for pixel in pixels(plot.crop((start, 0, start + plot.width // 2, plot.height))))
        for start in (0, plot.width // 2)
    )
    assert right > 1000  # retail does not hide it
    assert left == pytest.approx(3 * right, rel=0.1)


def test_a_credit_goes_down_and_what_few_owe_has_no_bar() -> None:
    shown = Receivables(TENTH, ("0-30", "31-60"), (-100.0, None), (0.0, None))
    image = opened(draw_receivables(shown))
    plot = image.crop((0, 0, image.width, image.height * 7 // 10))
    rows = [place // plot.width for place, pixel in enumerate(pixels(plot)) if pixel == BLUE]
    columns = [place % plot.width for place, pixel in enumerate(pixels(plot)) if pixel == BLUE]
    assert rows
    assert min(rows) > 15  # below the title and the line of 0
    assert max(columns) < plot.width // 2 + 50


def test_nobody_waits_for_the_plotting_library_who_draws_nothing() -> None:
    code = "import sys, health_pipelines.warehouse.charts; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def pixels(image: Image.Image) -> Iterator[tuple[int, int, int]]:
    data = image.tobytes()
    return zip(data[0::3], data[1::3], data[2::3], strict=True)
