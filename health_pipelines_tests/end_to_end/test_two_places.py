"""UAT and PRD side by side: two code locations, one Dagster instance, one stock daemon."""

import json
import math
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml  # type: ignore[import-untyped]
from dagster import AssetKey, DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus

from health_pipelines.dexcare.tables import VISIT_REPORTS, VisitReport
from health_pipelines.dexcare.visits.ledger import Ledger
from health_pipelines.dexcare.visits.sensor import SENSOR_NAME
from health_pipelines_tests.support.dagster_processes import (
    ROOT,
    DagsterHome,
    dagster_home,
    instance_of,
    run_processes,
    sandbox_environment,
)
from health_pipelines_tests.support.landed import rows_in_warehouse, true_rows
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox
from health_pipelines_tests.support.waiting import wait_for

VIRTUAL, RETAIL = VISIT_REPORTS[:2]
# The same day and the same asset in both places: nothing but the prefix keeps them apart.
DAY = "2026-03-10"
# In the environment of every process, and right for neither place.
STRAY = "a key of nobody"

pytestmark = pytest.mark.timeout(300)

Sandboxes = Mapping[str, SandboxProcess]


@pytest.fixture
def sandboxes() -> Iterator[Sandboxes]:
    with ExitStack() as stack:
        yield {
            place: stack.enter_context(
                running_sandbox(
                    seed=seed, volume="0.1", queue_seconds="0", run_seconds="1", service_key=f"{place}-key"
                )
            )
            for seed, place in enumerate(("uat", "prd"), start=1)
        }


@pytest.fixture
def home(sandboxes: Sandboxes, tmp_path: Path) -> Iterator[DagsterHome]:
    places = tmp_path / "places"
    places.mkdir()
    for place, sandbox in sandboxes.items():
        (places / f"{place}.env").write_text(
            f"DEXCARE_BASE_URL={sandbox.url}\nDEXCARE_SERVICE_KEY={place}-key\nDEXCARE_POLL_SECONDS=5\n"
            f"HEALTH_DATA_DIR={data_of(tmp_path, place)}\n"
        )
    environment = sandbox_environment(
        sandboxes["prd"], tmp_path, DEXCARE_SERVICE_KEY=STRAY, HEALTH_PLACES_DIR=str(places)
    )
    with dagster_home(environment) as home:
        yield home


@pytest.fixture
def production_home(home: DagsterHome) -> Iterator[DagsterHome]:
    """The same with the dagster.yaml for production, but for its storage."""
    production = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    production.pop("storage")
    places = Path(home.environment["HEALTH_PLACES_DIR"])
    # What hangs is to hang for longer than the story takes.
    with (places / "uat.env").open("a") as file:
        file.write("DEXCARE_HTTP_TIMEOUT_SECONDS=300\n")
    with dagster_home(home.environment, json.dumps(production)) as home_of_production:
        yield home_of_production


@pytest.mark.long
def test_two_places_land_the_same_day_each_from_its_own_vendor(
    home: DagsterHome, sandboxes: Sandboxes, tmp_path: Path
) -> None:
    # Opened here first: two commands at once could both make the tables of a new instance.
    with instance_of(home) as instance:
        with ThreadPoolExecutor() as side_by_side:
            for asked in side_by_side.map(lambda place: ask(home, place), sandboxes):
                assert asked.returncode == 0, asked.stderr
        home.start_daemon("-w", str(workspace(tmp_path, sandboxes)))
        try:
            wait_for(
                lambda: all(settled(instance, place) for place in sandboxes),
                "the day landed in both places",
                within_seconds=120,
            )
        except AssertionError as error:
            raise AssertionError(f"{error}\n{home.log()}") from None
        tickets = {place: Ledger(instance, request_key(place)).newest_tickets([DAY]) for place in sandboxes}
        for place, sandbox in sandboxes.items():
            [report] = sandbox.reports()
            assert tickets[place][DAY].report_id == report["id"]
            columns, rows = true_rows(sandbox, VIRTUAL, DAY, ZoneInfo("UTC"))
            assert rows_in_warehouse(data_of(tmp_path, place), VIRTUAL, columns) == {DAY: rows}
            [landed] = instance.fetch_materializations(asset_key(place), limit=10).records
            run = instance.get_run_by_id(landed.run_id)
            assert run is not None
            assert run.asset_selection == {asset_key(place)}
        assert not instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.FAILURE]))
        assert not failed_ticks(instance), home.log()
        # Without a prefix there is nothing.
        assert instance.get_asset_keys()
        assert all(key.path[0] in sandboxes for key in instance.get_asset_keys())


@pytest.mark.long
def test_a_place_whose_vendor_hangs_keeps_no_other_place_waiting(
    production_home: DagsterHome, sandboxes: Sandboxes, tmp_path: Path
) -> None:
    home, uat = production_home, sandboxes["uat"]
    # The run of one table hangs, and so does every tick that asks about another.
    uat.add_fault("data", {"kind": "slow", "seconds": 3600})
    uat.add_fault("status", {"kind": "slow", "seconds": 3600}, type="retail")
    with instance_of(home) as instance:
        asked = ask(home, "uat", VIRTUAL, RETAIL)
        assert asked.returncode == 0, asked.stderr
        home.start_daemon("-w", str(workspace(tmp_path, sandboxes)))
        wait_for(lambda: hanging_runs(instance), "a run of UAT that hangs", within_seconds=120)
        asked = ask(home, "prd")
        assert asked.returncode == 0, asked.stderr

        wait_for(lambda: settled(instance, "prd"), "the day landed in PRD", within_seconds=120)
        assert hanging_runs(instance)
        assert not settled(instance, "uat")
        wait_for(
            lambda: any(
                one.timestamp < other.timestamp and other.end_timestamp < (one.end_timestamp or math.inf)
                for one in report_ticks(instance, "uat")
                for other in report_ticks(instance, "prd")
                if other.end_timestamp
            ),
            "a whole tick of PRD during one of UAT",
        )


def data_of(folder: Path, place: str) -> Path:
    return folder / "data" / place


def asset_key(place: str) -> AssetKey:
    return AssetKey([place, "dexcare", "avr_virtual"])


def request_key(place: str) -> AssetKey:
    return AssetKey([place, "dexcare", "avr_virtual_report"])


def ask(home: DagsterHome, place: str, *reports: VisitReport) -> "subprocess.CompletedProcess[str]":
    """As a person does with Dagster's own command. For virtual visits without another word."""
    keys = [AssetKey([place, *report.request_key.path]) for report in reports or (VIRTUAL,)]
    return home.command(
        *("asset", "materialize", "-m", "health_pipelines.locations", "-a", place),
        *("--select", ",".join(key.to_user_string() for key in keys), "--partition", DAY),
    )


def workspace(folder: Path, places: Sandboxes) -> Path:
    """The file that the README shows, in JSON, which is YAML."""
    file = folder / "workspace.yaml"
    module = "health_pipelines.locations"
    entries = [
        {"python_module": {"module_name": module, "attribute": place, "location_name": place}}
        for place in places
    ]
    file.write_text(json.dumps({"load_from": entries}))
    return file


def settled(instance: DagsterInstance, place: str) -> bool:
    return DAY in Ledger(instance, request_key(place)).settlements([DAY])


def hanging_runs(instance: DagsterInstance) -> list[str]:
    """Runs of UAT that are in the middle of a step."""
    started = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED]))
    return [
        run.run_id
        for run in started
        if asset_key("uat") in (run.asset_selection or ()) and run_processes(instance, run.run_id)
    ]


def report_ticks(instance: DagsterInstance, place: str) -> list[InstigatorTick]:
    return [
        tick
        for state in instance.all_instigator_state()
        if state.name == SENSOR_NAME
        and state.origin.repository_origin.code_location_origin.location_name == place
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)
    ]


def failed_ticks(instance: DagsterInstance) -> list[str]:
    """What went wrong in any tick of a sensor or schedule: a refused key, for example."""
    states = instance.all_instigator_state()
    locations = {state.origin.repository_origin.code_location_origin.location_name for state in states}
    assert locations == {"uat", "prd"}
    return [
        str(tick.error)
        for state in states
        for tick in instance.get_ticks(
            state.instigator_origin_id, state.selector_id, statuses=[TickStatus.FAILURE]
        )
    ]
