"""The stock daemon tells of a run that it started; the receiver is down at first, and nobody sees its URL."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from dagster import DagsterInstance
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus

from health_pipelines.alerts.sensor import SENSOR_NAME
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines_tests.alerts.places import PATH, receiver
from health_pipelines_tests.support.dagster_processes import dagster_home, instance_of, sandbox_environment
from health_pipelines_tests.support.sandbox_process import SandboxProcess
from health_pipelines_tests.support.waiting import wait_for

DAY = "2026-03-10"
VIRTUAL = VISIT_REPORTS[0]
PATIENT = "Quentin Testcase"


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_day_that_cannot_be_landed_is_told_by_the_daemon_once_the_receiver_is_up(
    vendor: SandboxProcess, tmp_path: Path
) -> None:
    body = f'"id","patient"\n"1","{PATIENT}","{PATIENT}"\n'
    vendor.add_fault("data", {"kind": "body", "text": body}, day=DAY)
    with receiver() as webhook:
        webhook.up = False
        environment = sandbox_environment(
            vendor, tmp_path, ALERT_WEBHOOK_URL=webhook.url, HEALTH_UI_URL="https://dagster.example.org"
        )
        with dagster_home(environment) as home, instance_of(home) as instance:
            home.start_daemon()
            try:
                # From its first tick on there is something to tell.
                wait_for(lambda: ticks(instance, TickStatus.SKIPPED), "a tick", within_seconds=90)
                asked = home.command(
                    *("asset", "materialize", "-m", "health_pipelines.definitions"),
                    *("--select", VIRTUAL.request_key.to_user_string(), "--partition", DAY),
                )
                assert asked.returncode == 0, asked.stderr
                wait_for(lambda: ticks(instance, TickStatus.FAILURE), "a tick that fails", within_seconds=120)
                webhook.up = True
                wait_for(lambda: webhook.texts, "the alert", within_seconds=90)
            except AssertionError as error:
                raise AssertionError(f"{error}\n{home.log()}") from None
            [text] = webhook.texts
            assert text.startswith("health_pipelines.definitions: 1 run failed\n")
            assert f"- dexcare/avr_virtual {DAY}: 1 of 1 days could not be landed" in text
            [failed] = instance.get_runs(filters=None)[:1]
            assert f"https://dagster.example.org/runs/{failed.run_id}" in text
            errors = [str(tick.error) for tick in ticks(instance, TickStatus.FAILURE)]
            assert "The webhook answered 503; check ALERT_WEBHOOK_URL." in errors[0]
            shown = "\n".join([text, *errors, home.log()])
            assert PATH not in shown
            assert PATIENT not in text


def ticks(instance: DagsterInstance, status: TickStatus) -> Sequence[InstigatorTick]:
    states = [state for state in instance.all_instigator_state() if state.instigator_name == SENSOR_NAME]
    return [
        tick
        for state in states
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, statuses=[status])
    ]
