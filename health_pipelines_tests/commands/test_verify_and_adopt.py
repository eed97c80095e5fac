"""`health-pipelines verify` and `adopt`: what landed over HTTP, and what is done when a half is lost."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetCheckKey,
    AssetKey,
    AssetRecordsFilter,
    DagsterInstance,
    RunRequest,
    SkipReason,
    build_schedule_context,
)
from dagster._core.execution.backfill import BulkActionStatus

from health_pipelines.commands.adopt import adopt
from health_pipelines.commands.status import answer as status
from health_pipelines.commands.verify import answer as verify
from health_pipelines.dexcare.schedule import dexcare_daily
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.doctor.adoption_check import adoption
from health_pipelines.doctor.finding import Mark
from health_pipelines.lake.partitions import Lake
from health_pipelines.settings import Settings, use_settings
from health_pipelines_tests.dexcare.project import Project
from health_pipelines_tests.status.planted import instance_in
from health_pipelines_tests.support.sandbox_process import SandboxProcess

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]

ROOT = Path(__file__).parents[2]
VIRTUAL, RETAIL, _ = VISIT_REPORTS
DAYS = ["2026-03-10", "2026-03-11", "2026-03-12"]
# Two in the morning, when the newest expected day is the last of them.
NIGHT = datetime(2026, 3, 13, 9, tzinfo=UTC)


@pytest.fixture
def home(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The sandbox is the vendor; two nights look back one day and never further."""
    folder = tmp_path / "home"
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    monkeypatch.setenv("HEALTH_BUILD_WAREHOUSE", "false")
    monkeypatch.setenv("HEALTH_EXPECTED_BY", "02:00")
    monkeypatch.setenv("DEXCARE_LOOKBACK_DAYS", "1")
    monkeypatch.setenv("DEXCARE_WEEKLY_LOOKBACK_DAYS", "0")
    monkeypatch.chdir(tmp_path)
    yield folder
    use_settings(os.environ)


def land(instance: DagsterInstance, days: Sequence[str] = DAYS) -> None:
    project = Project(instance)
    project.materialize([VIRTUAL.request_key, RETAIL.request_key], days[0], days[-1])
    assert all(result.success for result in project.tick_and_run())


def planned(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What would be done, by table."""
    capsys.readouterr()
    assert adopt(None, is_dry=True, as_json=True) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["is_done"] is False
    return {one["table"]: one for one in plan["tables"] if one["adopt"] or one["ask_again"] or one["left"]}


def typed(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "health_pipelines", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def verified() -> dict[str, Any]:
    text, code = verify(None, as_json=True)
    found: dict[str, Any] = json.loads(text)
    assert code == (0 if found["is_well"] else 1)
    return found


def wrong(found: dict[str, Any]) -> list[tuple[str, str | None, str]]:
    return [(one["table"], one["day"], one["state"]) for one in found["findings"]]


def doctor_says(instance: DagsterInstance) -> tuple[Mark, str]:
    finding = adoption(instance, Settings.of_this_process())
    return finding.mark, finding.says


def asked_tonight(instance: DagsterInstance) -> list[tuple[str, str, str]]:
    """What the daily schedule would ask for."""
    daily = dexcare_daily(Settings.of_this_process())
    ticked = daily.evaluate_tick(build_schedule_context(instance, scheduled_execution_time=NIGHT))
    requests: list[RunRequest] = list(ticked.run_requests or [])
    return [
        (
            (request.asset_selection or [])[0].path[-1],
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
        )
        for request in requests
        if (request.asset_selection or [])[0] in (VIRTUAL.request_key, RETAIL.request_key)
    ]


def is_well(table: str = "dexcare/avr_virtual") -> bool:
    found = json.loads(status(None, NIGHT, as_json_text=True)[0])
    [one] = [one for one in found["tables"] if one["table"] == table]
    return bool(one["is_well"] and one["newest_day"] == DAYS[-1])


def facts(instance: DagsterInstance, day: str) -> dict[str, Any]:
    of_day = AssetRecordsFilter(VIRTUAL.asset_key, asset_partitions=[day])
    event = instance.fetch_materializations(of_day, limit=1).records[0].asset_materialization
    assert event is not None
    return {name: one.value for name, one in event.metadata.items()}


def test_a_lake_is_adopted_by_a_new_database_without_a_call_to_the_vendor(
    home: Path, vendor: SandboxProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    with instance_in(home) as instance:
        land(instance)
        before = {day: facts(instance, day) for day in DAYS}
    assert wrong(verified()) == []
    shutil.rmtree(home)
    with instance_in(home) as instance:
        assert doctor_says(instance) == (
            Mark.WARNING,
            "Days that are in the lake alone: 6. `health-pipelines adopt` puts that right.",
        )
        vendor.forget_calls()
        plan = planned(capsys)
        assert {table: (one["adopt"], one["ask_again"]) for table, one in plan.items()} == {
            "dexcare/avr_virtual": (DAYS, []),
            "dexcare/avr_retail": (DAYS, []),
        }
        assert not instance.get_materialized_partitions(VIRTUAL.asset_key)

        assert adopt(None, is_agreed=True) == 0

        assert instance.get_materialized_partitions(VIRTUAL.asset_key) == set(DAYS)
        assert planned(capsys) == {}
        assert doctor_says(instance) == (Mark.OK, "The lake has the same days.")
        assert is_well()
        assert wrong(verified()) == []
        assert isinstance(Project(instance).tick(), SkipReason)
        # The trailing day is asked for every night; the adopted ones before it are not.
        assert asked_tonight(instance) == [
            ("avr_virtual_report", DAYS[-1], DAYS[-1]),
            ("avr_retail_report", DAYS[-1], DAYS[-1]),
        ]
        assert vendor.calls()["total"] == 0
        for day in DAYS:
            told = facts(instance, day)
            assert told["adopted"] is True
            same = ("content_hash", "dagster/partition_row_count", "rows_sent", "report_id", "parquet_bytes")
            assert {name: told[name] for name in same} == {name: before[day][name] for name in same}
        of_check = AssetCheckKey(VIRTUAL.asset_key, "row_count_matches_vendor")
        evaluated = instance.event_log_storage.get_asset_check_execution_history(of_check, limit=10)
        assert [one.evaluation.passed for one in evaluated if one.evaluation] == [True] * 3


def test_an_older_lake_has_asked_for_again_what_dagster_knows_and_it_lacks(
    home: Path, data: Path, vendor: SandboxProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with instance_in(home) as instance:
        land(instance, DAYS[:2])
        shutil.copytree(data / "lake", tmp_path / "older")
        # The second day comes back with other rows, and the third for the first time.
        vendor.add_fault("data", {"kind": "body", "text": '"visit_id","state"\n"1","x"\n'}, day=DAYS[1])
        land(instance, DAYS[1:])
        vendor.clear_faults()
        shutil.rmtree(data / "lake")
        shutil.copytree(tmp_path / "older", data / "lake")

        found = wrong(verified())
        assert ("dexcare/avr_virtual", None, "chain_broken") in found
        assert ("dexcare/avr_virtual", DAYS[2], "missing") in found
        assert ("dexcare/avr_virtual", DAYS[1], "changed") in found
        mark, says = doctor_says(instance)
        assert mark is Mark.WARNING
        assert "Days that landed for Dagster and are not in the lake: 2." in says
        assert "The lake is older than Dagster's record of dexcare/avr_virtual, dexcare/avr_retail." in says
        vendor.forget_calls()
        lacking = {str(report.table): DAYS[1:] for report in (VIRTUAL, RETAIL)}
        asked = {table: [day["day"] for day in one["ask_again"]] for table, one in planned(capsys).items()}
        assert asked == lacking

        assert adopt(None, is_agreed=True) == 0

        assert vendor.calls()["total"] == 0
        backfills = instance.get_backfills()
        assert {one.status for one in backfills} == {BulkActionStatus.REQUESTED}
        wanted: dict[AssetKey, list[str]] = {}
        for one in backfills:
            assert one.asset_backfill_data is not None
            subset = one.asset_backfill_data.target_subset.partitions_subsets_by_asset_key
            wanted |= {key: sorted(of.get_partition_keys()) for key, of in subset.items()}
        assert wanted == {report.request_key: lacking[str(report.table)] for report in (VIRTUAL, RETAIL)}
        # Asked for once: the second time they are under way.
        again = planned(capsys)
        assert all(not one["ask_again"] and one["left"] for one in again.values())
        # As the daemon carries the backfills out.
        project = Project(instance)
        for key, days in wanted.items():
            assert project.materialize([key], days[0], days[-1], {"dagster/backfill": key.path[-1]}).success
        project.tick_and_run()
        assert wrong(verified()) == []
        assert is_well()
        assert is_well("dexcare/avr_retail")


def test_what_is_not_what_landed_is_asked_for_again_and_not_adopted(
    home: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with instance_in(home) as instance:
        land(instance)
    file = Lake(data / "lake").partition_file(VIRTUAL.table, DAYS[1])
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    shutil.copytree(file.parent, file.parent.with_name("date=2026-03-01"))
    shutil.rmtree(home)

    with instance_in(home):
        plan = planned(capsys)["dexcare/avr_virtual"]

    assert plan["adopt"] == [DAYS[0], DAYS[2]]
    assert [one["day"] for one in plan["ask_again"]] == [DAYS[1]]
    assert [one["day"] for one in plan["left"]] == ["2026-03-01"]
    assert "never landed: it is a copy of dexcare/avr_virtual 2026-03-11" in plan["left"][0]["says"]


def test_a_chain_that_was_made_anew_is_told_by_the_head_that_dagster_knows(home: Path, data: Path) -> None:
    with instance_in(home) as instance:
        land(instance, DAYS[:1])
        assert wrong(verified()) == []
        # Somebody takes the newest line off, and makes another day of the same name that fits in every way.
        lake = Lake(data / "lake")
        chain = lake.table_folder(VIRTUAL.table) / "_chain"
        chain.write_bytes(b"".join(chain.read_bytes().splitlines(keepends=True)[:-1]))
        with lake.writing(VIRTUAL.table, DAYS[0]) as writer:
            writer.candidate.write_bytes(lake.partition_file(RETAIL.table, DAYS[0]).read_bytes())
            writer.replace()

        assert wrong(verified()) == [("dexcare/avr_virtual", None, "chain_broken")]
        assert "The lake is older than Dagster's record of dexcare/avr_virtual." in doctor_says(instance)[1]


def test_nothing_is_done_without_a_terminal_or_a_yes(home: Path) -> None:
    with instance_in(home) as instance:
        land(instance, DAYS[:1])
    shutil.rmtree(home)
    with instance_in(home) as instance:
        refused = typed("adopt")

        assert refused.returncode == 1
        assert "Dagster is told of 1 day: 2026-03-10, as they are in the lake." in refused.stdout
        assert "Nothing was done, as this is no terminal; --yes agrees to it." in refused.stderr
        assert not instance.get_materialized_partitions(VIRTUAL.asset_key)


def test_verify_says_in_a_sentence_what_was_changed_also_without_dagster(home: Path, data: Path) -> None:
    with instance_in(home) as instance:
        land(instance, DAYS[:1])
    shutil.rmtree(home)
    Lake(data / "lake").partition_file(VIRTUAL.table, DAYS[0]).unlink()

    told = typed("verify")

    assert told.returncode == 1
    assert "dexcare/avr_virtual 2026-03-10 landed on 20" in told.stdout
    assert "Dagster's record was not compared: DAGSTER_HOME is" in told.stdout
    assert "2 partitions of 2 tables; 1 as landed, 1 missing." in told.stdout
    assert "Traceback" not in told.stderr
