"""Days that a backfill is to ask for: told as such from the moment that somebody asked for it."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from dagster import DagsterInstance
from dagster._core.execution.backfill import BulkActionStatus

from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.status.backfills import days_to_begin
from health_pipelines_tests.status.planted import backfill

VIRTUAL, RETAIL = VISIT_REPORTS[0].request_key, VISIT_REPORTS[1].request_key
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
EARLIER = datetime(2026, 3, 10, 11, tzinfo=UTC)
ASKED = ["2026-03-01", "2026-03-02", "2026-03-05"]


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance


def test_its_days_are_to_begin_since_it_was_asked_for(instance: DagsterInstance) -> None:
    instance.add_backfill(backfill(instance, ASKED, NOON))

    # Of what is looked at only.
    assert days_to_begin(instance, [VIRTUAL]) == {VIRTUAL: dict.fromkeys(ASKED, NOON)}


def test_a_day_of_two_backfills_is_asked_for_since_the_first(instance: DagsterInstance) -> None:
    instance.add_backfill(backfill(instance, ASKED[:2], NOON))
    instance.add_backfill(backfill(instance, ASKED[1:], EARLIER))

    [days] = days_to_begin(instance, [RETAIL]).values()
    assert days == {ASKED[0]: NOON, ASKED[1]: EARLIER, ASKED[2]: EARLIER}


def test_days_for_which_it_has_begun_runs_are_those_runs_own(instance: DagsterInstance) -> None:
    begun, whole = (backfill(instance, days, NOON) for days in (ASKED[:1], ASKED))
    assert begun.asset_backfill_data
    assert whole.asset_backfill_data
    data = whole.asset_backfill_data._replace(requested_subset=begun.asset_backfill_data.target_subset)
    instance.add_backfill(whole._replace(asset_backfill_data=data))

    assert set(days_to_begin(instance, [VIRTUAL])[VIRTUAL]) == set(ASKED[1:])


@pytest.mark.parametrize("status", [BulkActionStatus.CANCELED, BulkActionStatus.COMPLETED_FAILED])
def test_one_that_is_over_begins_nothing(instance: DagsterInstance, status: BulkActionStatus) -> None:
    instance.add_backfill(backfill(instance, ASKED, NOON)._replace(status=status))

    assert days_to_begin(instance, [VIRTUAL]) == {}
