"""What really goes wrong arrives: a day that cannot be landed, a report given up, a day that is missing.

The vendor is the sandbox, steps and sensors are real, and so is the receiver.
"""

from datetime import UTC, datetime, timedelta

import pytest
from dagster import (
    AssetCheckKey,
    AssetCheckResult,
    AssetKey,
    DagsterInstance,
    Definitions,
    Failure,
    asset,
    asset_check,
)
from dagster._core.test_utils import create_run_for_test

from health_pipelines.alerts.failed_runs import Origin, failed_runs, reason_of
from health_pipelines_tests.alerts.mail_server import mail_server
from health_pipelines_tests.alerts.places import CHICAGO, PATH, PAUSE, Place, Receiver, receiver
from health_pipelines_tests.dexcare.conftest import project  # noqa: F401 (a fixture)
from health_pipelines_tests.dexcare.project import VIRTUAL, Project
from health_pipelines_tests.support.sandbox_process import SandboxProcess

PATIENT = "Quentin Testcase"
MINUTE = timedelta(minutes=1)


def test_a_failed_day_a_report_given_up_and_a_missing_day_each_arrive_without_a_patient_or_a_key(
    project: Project,  # noqa: F811
    vendor: SandboxProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEXCARE_MAX_ATTEMPTS", "1")
    with receiver() as webhook, mail_server() as mails:
        monkeypatch.setenv("ALERT_WEBHOOK_URL", webhook.url)
        monkeypatch.setenv("ALERT_SMTP_HOST", "localhost")
        monkeypatch.setenv("ALERT_SMTP_PORT", str(mails.port))
        monkeypatch.setenv("ALERT_SMTP_SECURITY", "none")
        monkeypatch.setenv("ALERT_EMAIL_FROM", "health@example.org")
        monkeypatch.setenv("ALERT_EMAIL_TO", "team@example.org")
        place = Place(project.instance, tables=[VIRTUAL.asset_key])
        place.tick()

        body = f'"id","patient"\n"1","{PATIENT}","{PATIENT}"\n'
        vendor.add_fault("data", {"kind": "body", "text": body}, day="2026-03-10")
        project.materialize([VIRTUAL.request_key], "2026-03-10")
        # The first run leaves what cannot be landed to a run of its own, which fails.
        project.tick_and_run()
        [failed] = project.tick_and_run()
        assert not failed.success
        said = [told(place, webhook)]
        assert "health_pipelines: 1 run failed\n" in said[0]
        assert "- dexcare/avr_virtual 2026-03-10: 1 of 1 days could not be landed, 2026-03-10 the" in said[0]
        assert failed.run_id in said[0]

        vendor.add_fault("status", {"kind": "status", "status": "CANCELLED"}, day="2026-03-11")
        project.materialize([VIRTUAL.request_key], "2026-03-11")
        given_up = project.tick_and_run(after=timedelta(hours=2))
        assert [run.success for run in given_up] == [False]
        said.append(told(place, webhook))
        assert "- dexcare/avr_virtual_report 2026-03-11: 1 days were given up" in said[1]
        assert "Materialize the day again to start afresh." in said[1]
        assert said[1].count("given up") == 1

        vendor.clear_faults()
        project.materialize([VIRTUAL.request_key], "2026-03-12")
        project.tick_and_run(after=timedelta(hours=2))
        place.expect_from(datetime(2026, 1, 1, 12, tzinfo=UTC))
        said.append(told(place, webhook))
        assert "health_pipelines: a day of 1 table is missing\n" in said[2]
        assert "- dexcare/avr_virtual: 20" in said[2]
        assert "the newest is 2026-03-12." in said[2]

        assert [mail.text.splitlines()[0] for mail in mails.mails] == [text.splitlines()[1] for text in said]
        everything = "\n".join([*said, *(str(mail.mail) for mail in mails.mails)])
        for secret in (PATIENT, "Quentin", "SECRET_TOKEN", PATH, vendor.url):
            assert secret not in everything


def told(place: Place, webhook: Receiver) -> str:
    """The one message since the last look, for which the pause is waited out."""
    place.tick(after=PAUSE)
    [text] = webhook.taken()
    return text


def test_the_words_of_an_exception_that_is_not_ours_stay_in_the_house() -> None:
    one, two, three, four = (AssetKey(["vendor", name]) for name in ("one", "two", "three", "four"))

    @asset(key=one)
    def odd() -> None:
        raise ValueError(f"cannot read {PATIENT}")

    @asset(key=two)
    def ours() -> None:
        raise Failure("vendor/two: the day is not there.")

    @asset(key=three, deps=[two])
    def skipped() -> None: ...

    @asset(key=four)
    def good() -> None: ...

    @asset_check(asset=four)
    def check() -> AssetCheckResult:
        raise ValueError(PATIENT)

    definitions = Definitions(assets=[odd, ours, skipped, good], asset_checks=[check])
    job = definitions.resolve_implicit_global_asset_job_def()
    with DagsterInstance.ephemeral() as instance:
        for selected in ([one], [two], [one, two, three, four]):
            job.execute_in_process(instance=instance, asset_selection=selected, raise_on_error=False)
        checks = frozenset([AssetCheckKey(four, "check")])
        for selection in (checks, None):
            run = create_run_for_test(instance, "some_job", asset_check_selection=selection)
            instance.report_run_failed(run)
        failed = failed_runs(instance, Origin(None, None), 0, datetime.now(UTC) + MINUTE).runs
        reasons = [reason_of(instance, run) for run in failed]
    odd_reason = "an unexpected ValueError in the step vendor__one; its log says more."
    assert [(run.about, run.days) for run in failed[:3]] == [
        ("vendor/one", ""),
        ("vendor/two", ""),
        ("vendor/four, vendor/one, vendor/three and 1 more", ""),
    ]
    assert reasons[:2] == [odd_reason, "the day is not there."]
    assert odd_reason in reasons[2]
    assert "vendor/two: the day is not there." in reasons[2]
    assert [run.about for run in failed[3:]] == ["vendor/four", "some_job"]
    assert PATIENT not in " ".join(reasons)


def test_the_end_of_a_pause_is_said_in_the_time_zone_of_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as webhook, DagsterInstance.ephemeral() as instance:
        monkeypatch.setenv("ALERT_WEBHOOK_URL", webhook.url)
        monkeypatch.setenv("ALERT_PAUSE_MINUTES", "90")
        place = Place(instance)
        place.tick()
        place.fail(VIRTUAL.asset_key, "2026-03-10")
        place.tick(after=MINUTE)
        until = (place.now + 90 * MINUTE).astimezone(CHICAGO)
        assert place.tick(after=MINUTE) == f"webhook: what comes is collected until {until:%H:%M}."
