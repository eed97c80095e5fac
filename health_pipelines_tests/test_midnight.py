"""Tests that are collected before midnight and run after it."""

import sys
from datetime import UTC, datetime, timedelta

import pytest

from health_pipelines_tests.conftest import pytest_runtest_setup

TODAY = datetime.now(UTC).date()
YESTERDAY = TODAY - timedelta(days=1)


def test_a_module_that_was_loaded_yesterday_knows_what_day_it_is(request: pytest.FixtureRequest) -> None:
    today = datetime.now(UTC).date()
    own = sys.modules[__name__]
    own.TODAY = own.YESTERDAY = today - timedelta(days=1)  # type: ignore[attr-defined]

    pytest_runtest_setup(request.node)

    assert today <= TODAY
    assert TODAY - timedelta(days=1) == YESTERDAY
