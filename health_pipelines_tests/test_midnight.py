"""Tests that are collected before midnight and run after it."""

from datetime import UTC, datetime, timedelta

from health_pipelines_tests.drchrono import test_future_changes as module
from health_pipelines_tests.support.midnight import renew


def test_a_module_that_was_loaded_yesterday_knows_what_day_it_is() -> None:
    today = datetime.now(UTC).date()
    yesterday = today - timedelta(days=1)
    module.TODAY, module.DAYS = yesterday, [yesterday.isoformat()]

    renew(module)

    assert today <= module.TODAY
    assert module.DAYS[-1] == (module.TODAY - timedelta(days=1)).isoformat()
