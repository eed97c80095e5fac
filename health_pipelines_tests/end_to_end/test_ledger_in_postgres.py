"""The sensor's tests that are about what the event log says, once more on a real instance in PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from health_pipelines.commands.places import embedded_home
from health_pipelines_tests.dexcare.project import Project
from health_pipelines_tests.dexcare.visits.test_sensor import (
    test_a_bad_day_gets_a_run_of_its_own_that_fails_while_its_neighbours_land,
    test_a_lost_cursor_loses_nothing,
    test_a_run_that_ended_without_landing_is_started_again_under_another_key_but_not_at_once,
    test_after_three_reports_a_day_is_given_up_where_people_look_and_can_start_afresh,
    test_days_that_wait_inside_a_range_are_left_for_a_later_run,
    test_everything_that_is_ready_lands_in_one_run,
    test_the_same_reports_are_not_requested_twice_at_once,
)

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]

# Found by pytest here too, with the project below.
__all__ = [
    "test_a_bad_day_gets_a_run_of_its_own_that_fails_while_its_neighbours_land",
    "test_a_lost_cursor_loses_nothing",
    "test_a_run_that_ended_without_landing_is_started_again_under_another_key_but_not_at_once",
    "test_after_three_reports_a_day_is_given_up_where_people_look_and_can_start_afresh",
    "test_days_that_wait_inside_a_range_are_left_for_a_later_run",
    "test_everything_that_is_ready_lands_in_one_run",
    "test_the_same_reports_are_not_requested_twice_at_once",
]


@pytest.fixture
def project(
    data: Path, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgres_url)
    (tmp_path / "dagster.yaml").write_text(embedded_home(tmp_path, in_postgres=True))
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        yield Project(instance)
