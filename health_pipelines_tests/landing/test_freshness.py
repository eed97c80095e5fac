"""Whether the newest expected day has landed, on a real instance; the clock is played, and only it."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    Definitions,
    SensorResult,
    asset,
    build_sensor_context,
)

from health_pipelines.landing.calendar import daily_partitions
from health_pipelines.landing.freshness import (
    NEWEST_DAY_HAS_LANDED,
    Expectation,
    freshness_checks,
    freshness_sensor,
)
from health_pipelines.settings import SettingError, Settings

CHICAGO = ZoneInfo("America/Chicago")
BY_EIGHT = Expectation(CHICAGO, time(8), date(2026, 1, 1))
VISITS, HISTORIES = AssetKey(["dexcare", "avr_virtual"]), AssetKey(["dexcare", "provider_histories"])
# Tuesday morning in Chicago, an hour after the 9th is expected.
NINE = datetime(2026, 3, 10, 9, tzinfo=CHICAGO)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (datetime(2026, 3, 10, 7, 59, 59, tzinfo=CHICAGO), date(2026, 3, 8)),
        (datetime(2026, 3, 10, 8, tzinfo=CHICAGO), date(2026, 3, 9)),
        (datetime(2026, 3, 10, 23, 59, tzinfo=CHICAGO), date(2026, 3, 9)),
        (datetime(2026, 3, 10, 13, tzinfo=UTC), date(2026, 3, 9)),  # 08:00 in Chicago
        (datetime(2026, 3, 10, 12, 59, tzinfo=UTC), date(2026, 3, 8)),
        (datetime(2026, 3, 8, 13, tzinfo=UTC), date(2026, 3, 7)),  # the clocks went forward at night
        (datetime(2026, 3, 7, 13, 59, tzinfo=UTC), date(2026, 3, 5)),  # and had not the day before
        (datetime(2026, 1, 2, 8, tzinfo=CHICAGO), date(2026, 1, 1)),
        (datetime(2026, 1, 2, 7, tzinfo=CHICAGO), None),  # before HEALTH_START_DATE
        (datetime(2025, 6, 1, 8, tzinfo=CHICAGO), None),
    ],
)
def test_yesterday_is_expected_from_the_time_of_day_on_and_before_it_the_day_before(
    now: datetime, expected: date | None
) -> None:
    assert BY_EIGHT.newest_day(now) == expected


@pytest.mark.parametrize("by", [time(1, 30), time(2, 30)])
@pytest.mark.parametrize("night", [date(2026, 3, 8), date(2026, 11, 1)])  # clocks forward, clocks back
def test_what_was_expected_stays_expected_when_clocks_change(by: time, night: date) -> None:
    expectation = Expectation(CHICAGO, by, date(2026, 1, 1))
    start = datetime(night.year, night.month, night.day, 6, tzinfo=UTC)
    days = [expectation.newest_day(start + timedelta(minutes=minute)) for minute in range(0, 8 * 60)]
    known = [day for day in days if day is not None]
    assert known == sorted(known)
    assert known[-1] == night - timedelta(days=1)


def test_the_expectation_is_that_of_the_settings() -> None:
    settings = Settings({"HEALTH_TIMEZONE": "America/Chicago", "HEALTH_START_DATE": "2026-01-01"})
    assert Expectation.of(settings) == BY_EIGHT
    with pytest.raises(SettingError, match="HEALTH_EXPECTED_BY"):
        Expectation.of(Settings({"HEALTH_EXPECTED_BY": "eight"}))


class Clock:
    """The daemon's part: ticks at times of our choosing, and the events that a tick asks for."""

    def __init__(self, instance: DagsterInstance, expectation: Expectation = BY_EIGHT) -> None:
        self.instance = instance
        self.now = NINE
        self.sensor = freshness_sensor([VISITS, HISTORIES], expectation, lambda: self.now)

    def tick(self, now: datetime) -> list[AssetCheckEvaluation]:
        """What the tick logged."""
        self.now = now
        result = self.sensor(build_sensor_context(instance=self.instance))
        assert isinstance(result, SensorResult)
        logged = [event for event in result.asset_events if isinstance(event, AssetCheckEvaluation)]
        for event in logged:
            self.instance.report_runless_asset_event(event)
        return logged

    def land(self, asset: AssetKey, *days: str) -> None:
        for day in days:
            self.instance.report_runless_asset_event(AssetMaterialization(asset, partition=day))

    def shown(self, asset: AssetKey = VISITS) -> AssetCheckEvaluation:
        return shown(self.instance, asset)


def shown(instance: DagsterInstance, asset: AssetKey = VISITS) -> AssetCheckEvaluation:
    """The newest evaluation, which is the one that Dagster shows."""
    key = AssetCheckKey(asset, NEWEST_DAY_HAS_LANDED)
    [record] = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert isinstance(record.evaluation, AssetCheckEvaluation)
    return record.evaluation


@pytest.fixture
def clock() -> Iterator[Clock]:
    with DagsterInstance.ephemeral() as instance:
        yield Clock(instance)


def test_a_fresh_install_warns_that_nothing_has_landed_yet(clock: Clock) -> None:
    clock.tick(NINE)
    evaluation = clock.shown()
    assert (evaluation.passed, evaluation.severity.value) == (False, "WARN")
    assert evaluation.description == "Nothing has landed yet; 2026-03-09 is expected."


def test_it_is_green_by_the_expected_day_and_red_by_the_clock_alone(clock: Clock) -> None:
    clock.land(VISITS, "2026-03-09")
    clock.tick(NINE)
    assert clock.shown().passed
    clock.tick(NINE + timedelta(hours=22, minutes=59))
    assert clock.shown().passed
    clock.tick(NINE + timedelta(hours=23))  # 08:00 of the next day
    red = clock.shown()
    assert (red.passed, red.severity.value) == (False, "ERROR")
    assert red.description == "2026-03-10 is expected and has not landed; the newest is 2026-03-09."
    clock.land(VISITS, "2026-03-10")
    clock.tick(NINE + timedelta(hours=23, minutes=10))
    assert clock.shown().passed


def test_a_backfill_of_other_days_does_not_make_it_green(clock: Clock) -> None:
    clock.land(VISITS, "2026-03-08", "2026-02-01")
    clock.tick(NINE)
    assert not clock.shown().passed
    clock.land(VISITS, "2026-01-01", "2026-02-02", "2026-03-08", "2026-03-10")
    clock.tick(NINE + timedelta(minutes=10))
    assert not clock.shown().passed


def test_each_table_has_its_own_verdict(clock: Clock) -> None:
    clock.land(VISITS, "2026-03-09")
    clock.land(HISTORIES, "2026-03-08")
    clock.tick(NINE)
    assert clock.shown(VISITS).passed
    assert not clock.shown(HISTORIES).passed


def test_a_tick_without_news_logs_nothing(clock: Clock) -> None:
    clock.land(VISITS, "2026-03-09")
    assert len(clock.tick(NINE)) == 2
    assert clock.tick(NINE + timedelta(minutes=10)) == []
    assert clock.tick(NINE + timedelta(hours=3)) == []
    # Another expected day is news, for both tables.
    assert len(clock.tick(NINE + timedelta(days=1))) == 2
    assert clock.tick(NINE + timedelta(days=1, minutes=10)) == []


def test_a_later_landing_is_news_because_dagster_hides_what_was_said_before_it(clock: Clock) -> None:
    clock.land(VISITS, "2026-03-09")
    clock.tick(NINE)
    clock.land(VISITS, "2026-02-01")
    [evaluation] = clock.tick(NINE + timedelta(minutes=10))
    assert evaluation.passed
    newest = clock.instance.get_latest_materialization_event(VISITS)
    assert newest is not None
    assert evaluation.target_materialization_data is not None
    assert evaluation.target_materialization_data.timestamp == newest.timestamp


def test_a_first_day_in_the_future_expects_nothing(clock: Clock) -> None:
    future = Clock(clock.instance, Expectation(CHICAGO, time(8), date(2030, 1, 1)))
    future.tick(NINE)
    assert future.shown().passed
    assert future.shown().description == "No day is expected yet; the first is HEALTH_START_DATE."


def test_a_person_can_run_the_check() -> None:
    days = daily_partitions(date(2026, 1, 1), CHICAGO)

    @asset(key=VISITS, partitions_def=days)
    def visits() -> None: ...

    definitions = Definitions(assets=[visits], asset_checks=freshness_checks([VISITS], BY_EIGHT))
    with DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_implicit_global_asset_job_def().get_subset(
            asset_selection=set(), asset_check_selection={AssetCheckKey(VISITS, NEWEST_DAY_HAS_LANDED)}
        )
        assert job.execute_in_process(instance=instance).success
        assert not shown(instance).passed
