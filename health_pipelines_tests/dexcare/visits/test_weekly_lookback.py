"""The weekly look-back finds what changed late, and costs a report and nothing else for another day."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from dagster import build_schedule_context, instance_for_test

from health_pipelines.dexcare.schedule import dexcare_daily
from health_pipelines.lake.partitions import Lake
from health_pipelines.settings import Settings
from health_pipelines_tests.dexcare.project import VIRTUAL, Project
from health_pipelines_tests.support.landed import days_from
from health_pipelines_tests.support.sandbox_process import SandboxProcess

# Two weeks and a half, which end on a Saturday.
DAYS = days_from("2026-03-04", 18)


def test_only_what_changed_late_is_written_and_told_as_new(
    data: Path, vendor: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The schedule's context wants an instance in a folder.
    with instance_for_test() as instance:
        project, lake = Project(instance), Lake(data / "lake")
        body = {"kind": "body", "text": "id,status\n1,booked\n"}
        vendor.add_fault("data", body, day=DAYS[3])
        project.materialize([VIRTUAL.request_key], DAYS[0], DAYS[-1])
        project.tick_and_run()
        files = {day: lake.partition_file(VIRTUAL.table, day) for day in DAYS}
        before = {day: (file.stat().st_ino, file.stat().st_mtime_ns) for day, file in files.items()}
        assert sorted(project.landed(VIRTUAL.asset_key)) == DAYS
        vendor.forget_calls()
        vendor.clear_faults()
        vendor.add_fault("data", {**body, "text": "id,status\n1,cancelled\n"}, day=DAYS[3])

        sunday = datetime(2026, 3, 22, 2, 15, tzinfo=ZoneInfo("America/Chicago"))
        context = build_schedule_context(instance, scheduled_execution_time=sunday)
        requests = dexcare_daily(Settings.of_this_process()).evaluate_tick(context).run_requests or []
        [wide] = [one for one in requests if one.asset_selection == [VIRTUAL.request_key]]
        asked = [wide.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end")]
        # The fourth day is behind the look-back of ten days.
        assert asked == [DAYS[0], DAYS[-1]]
        project.materialize([VIRTUAL.request_key], DAYS[0], DAYS[-1], tags=wide.tags)
        [landing] = project.tick_and_run()

        assert landing.success
        assert vendor.calls()["by_operation"]["start"] == len(DAYS)
        changed = {
            day for day, file in files.items() if (file.stat().st_ino, file.stat().st_mtime_ns) != before[day]
        }
        assert changed == {DAYS[3]}
        assert project.landed(VIRTUAL.asset_key)[len(DAYS) :] == [DAYS[3]]
        observed = instance.fetch_observations(VIRTUAL.asset_key, limit=100).records
        assert sorted(str(one.partition_key) for one in observed) == [day for day in DAYS if day != DAYS[3]]
