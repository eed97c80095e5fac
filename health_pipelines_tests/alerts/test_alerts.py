"""Who is told what and when: nothing twice, nothing lost, nobody flooded; on SQLite and on PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance

from health_pipelines.alerts.sensor import NOTHING_SET_UP, AlertProblemError
from health_pipelines.lake.partitions import Lake
from health_pipelines_tests.alerts.mail_server import mail_server
from health_pipelines_tests.alerts.places import (
    CHICAGO,
    HISTORIES,
    PAUSE,
    VISITS,
    Place,
    Receiver,
    receiver,
)

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]

MINUTE = timedelta(minutes=1)
# Tuesday morning in Chicago, an hour after the 9th is expected.
NINE = datetime(2026, 3, 10, 9, tzinfo=CHICAGO)
Opens = Callable[[], AbstractContextManager[DagsterInstance]]


@pytest.fixture(params=["sqlite", "postgres"])
def opens(request: pytest.FixtureRequest, tmp_path: Path) -> Opens:
    """Opens the instance of the test, as each process that is started does."""
    folder = tmp_path / "home"
    folder.mkdir()
    settings = ""
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        settings = f"storage:\n  postgres:\n    postgres_url: {url!r}\n"
    (folder / "dagster.yaml").write_text(settings)

    @contextmanager
    def open_instance() -> Iterator[DagsterInstance]:
        with DagsterInstance.from_config(str(folder)) as instance:
            yield instance

    return open_instance


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    # In memory: the stories of restarts are told on disk.
    with DagsterInstance.ephemeral() as one:
        yield one


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiver() as one:
        monkeypatch.setenv("ALERT_WEBHOOK_URL", one.url)
        yield one


@pytest.fixture
def place(instance: DagsterInstance, webhook: Receiver) -> Place:
    """A place whose sensor has ticked before, as it has wherever something happens."""
    place = Place(instance)
    assert place.tick() == "webhook: nothing to tell."
    return place


def mail_settings(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setenv("ALERT_SMTP_HOST", "localhost")
    monkeypatch.setenv("ALERT_SMTP_PORT", str(port))
    monkeypatch.setenv("ALERT_SMTP_SECURITY", "none")
    monkeypatch.setenv("ALERT_EMAIL_FROM", "health@example.org")
    monkeypatch.setenv("ALERT_EMAIL_TO", "team@example.org")


def test_without_a_setting_nobody_is_told_and_the_tick_says_how_to_change_that(
    instance: DagsterInstance,
) -> None:
    place = Place(instance)
    place.fail(VISITS, "2026-03-10")
    assert place.tick() == NOTHING_SET_UP


def test_the_history_of_an_old_instance_is_not_sent(opens: Opens, webhook: Receiver) -> None:
    with opens() as instance:
        place = Place(instance)
        for day in range(8, 10):
            place.fail(VISITS, f"2026-03-{day:02}")
        assert place.tick(after=MINUTE) == "webhook: nothing to tell."
        assert place.tick(after=PAUSE) == "webhook: nothing to tell."
        run = place.fail(VISITS, "2026-03-10")
        place.tick(after=MINUTE)
    [text] = webhook.taken()
    assert "health_pipelines: 1 run failed\n" in text
    assert run.run_id in text
    assert "2026-03-09" not in text


def test_a_failed_run_is_told_once_also_when_everything_restarts(opens: Opens, webhook: Receiver) -> None:
    with opens() as instance:
        place = Place(instance)
        place.tick()
        place.fail(VISITS, "2026-03-10", "2026-03-12")
        assert place.tick() == "webhook: told that health_pipelines: 1 run failed."
    [text] = webhook.taken()
    assert "- dexcare/avr_virtual 2026-03-10 to 2026-03-12: it ended outside of its steps" in text
    for _ in range(3):
        with opens() as instance:
            restarted = Place(instance, now=place.now)
            restarted.tick()
            restarted.tick(after=PAUSE)
    assert webhook.taken() == []


def test_a_burst_is_one_message_and_what_comes_later_is_collected(place: Place, webhook: Receiver) -> None:
    for number in range(80):
        place.fail(VISITS, f"2026-03-{number % 20 + 1:02}")
    for _ in range(20):
        place.fail(HISTORIES, "2026-04-01")
    place.tick(after=MINUTE)
    [text] = webhook.taken()
    assert text.startswith("health_pipelines: 100 runs failed\n")
    assert text.count("\n- dexcare/") == 5
    assert "- dexcare/avr_virtual 2026-03-01 (4 times): " in text
    assert "- and 80 more: 60 of dexcare/avr_virtual, 20 of dexcare/provider_histories." in text
    for minute in range(1, 15):
        place.fail(VISITS, f"2026-05-{minute:02}")
        assert place.tick(after=MINUTE).startswith("webhook: what comes is collected until ")
    assert webhook.taken() == []
    place.tick(after=MINUTE)
    [text] = webhook.taken()
    assert text.startswith("health_pipelines: 14 runs failed\n")
    place.tick(after=PAUSE)
    assert webhook.taken() == []


def test_a_run_is_told_when_no_event_before_it_can_appear_any_more(place: Place, webhook: Receiver) -> None:
    place.fail(VISITS, "2026-03-10", at=place.now)
    place.tick(after=timedelta(seconds=9))
    assert webhook.taken() == []
    place.tick(after=timedelta(seconds=1))
    assert len(webhook.taken()) == 1


def test_while_runs_fail_a_message_waits_for_more_but_not_for_long(place: Place, webhook: Receiver) -> None:
    began = place.now
    for seconds in range(0, 70, 5):
        place.fail(VISITS, f"2026-03-{seconds // 5 + 1:02}", at=began + timedelta(seconds=seconds))
    place.now = began
    place.tick(after=timedelta(seconds=59))
    assert webhook.taken() == []
    # The first is a minute old: it and what has settled by now go out, the others are for the next one.
    place.tick(after=timedelta(seconds=1))
    [text] = webhook.taken()
    assert text.startswith("health_pipelines: 11 runs failed\n")
    place.tick(after=PAUSE)
    [text] = webhook.taken()
    assert text.startswith("health_pipelines: 3 runs failed\n")


def test_a_run_on_a_machine_whose_clock_is_ahead_or_behind_is_told(place: Place, webhook: Receiver) -> None:
    place.fail(VISITS, "2026-03-10", at=place.now + timedelta(hours=3))
    place.fail(VISITS, "2026-03-11", at=place.now - timedelta(hours=3))
    place.tick()
    [text] = webhook.taken()
    assert text.startswith("health_pipelines: 2 runs failed\n")


def test_a_message_that_is_not_delivered_is_tried_at_each_tick_and_arrives_once(
    opens: Opens, webhook: Receiver
) -> None:
    webhook.up = False
    with opens() as instance:
        place = Place(instance)
        place.tick()
        place.fail(VISITS, "2026-03-10")
        for _ in range(2):
            with pytest.raises(AlertProblemError, match=r"answered 503; check ALERT_WEBHOOK_URL\.$"):
                place.tick()
    assert webhook.tried == 2
    with opens() as instance:
        place = Place(instance, now=place.now)
        place.fail(HISTORIES, "2026-03-11")
        webhook.up = True
        place.tick(after=MINUTE)
        place.tick(after=MINUTE)
        place.tick(after=PAUSE)
    [text] = webhook.taken()
    assert text.startswith("health_pipelines: 2 runs failed\n")


def test_a_channel_that_is_down_does_not_hold_back_the_other(
    place: Place, webhook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook.up = False
    with mail_server() as mails:
        mail_settings(monkeypatch, mails.port)
        place.fail(VISITS, "2026-03-09")
        with pytest.raises(AlertProblemError, match="503"):
            place.tick(after=MINUTE)
        # E-mail was set up with this very tick: what failed before is its history.
        assert not mails.mails
        place.fail(VISITS, "2026-03-10")
        for _ in range(3):
            with pytest.raises(AlertProblemError, match="503"):
                place.tick(after=MINUTE)
        [taken] = mails.mails
        assert taken.mail["Subject"] == "health_pipelines: 1 run failed"
        assert "2026-03-10" in taken.text
        webhook.up = True
        place.tick(after=MINUTE)
        [text] = webhook.taken()
        assert text.startswith("health_pipelines: 2 runs failed\n")
        assert len(mails.mails) == 1
    place.fail(VISITS, "2026-03-11")
    with pytest.raises(AlertProblemError, match="mail server localhost:"):
        place.tick(after=PAUSE)
    assert len(webhook.taken()) == 1


def test_a_recipient_that_is_refused_is_said_and_the_others_are_told_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALERT_WEBHOOK_URL")
    with mail_server({"RCPT TO:<GONE@EXAMPLE.ORG>": "550 unknown"}) as mails:
        mail_settings(monkeypatch, mails.port)
        monkeypatch.setenv("ALERT_EMAIL_TO", "gone@example.org,team@example.org")
        place.tick()
        place.fail(VISITS, "2026-03-10")
        with pytest.raises(AlertProblemError, match=r"refused gone@example\.org"):
            place.tick(after=MINUTE)
        place.tick(after=MINUTE)
        place.tick(after=PAUSE)
        assert len(mails.mails) == 1


def test_a_setting_that_is_wrong_is_said_at_once_and_harms_only_its_channel(
    place: Place, webhook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERT_EMAIL_TO", "team@example.org")
    place.fail(VISITS, "2026-03-10")
    with pytest.raises(AlertProblemError, match=r"^ALERT_SMTP_HOST is not set\. .+\.$"):
        place.tick(after=MINUTE)
    assert len(webhook.taken()) == 1


def test_a_wrong_setting_of_all_channels_is_said_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    mail_settings(monkeypatch, 25)
    monkeypatch.setenv("ALERT_PAUSE_MINUTES", "soon")
    with pytest.raises(AlertProblemError) as said:
        place.tick()
    assert str(said.value).count("ALERT_PAUSE_MINUTES is 'soon'") == 1


def test_who_sets_alerts_up_again_does_not_hear_what_happened_meanwhile(
    place: Place, webhook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALERT_WEBHOOK_URL")
    place.tick()
    place.fail(VISITS, "2026-03-10")
    place.tick(after=MINUTE)
    monkeypatch.setenv("ALERT_WEBHOOK_URL", webhook.url)
    assert place.tick(after=MINUTE) == "webhook: nothing to tell."
    place.fail(VISITS, "2026-03-11")
    place.tick(after=MINUTE)
    [text] = webhook.taken()
    assert "2026-03-10" not in text


def test_a_run_that_dagster_tries_again_by_itself_is_not_told(place: Place, webhook: Receiver) -> None:
    place.fail(VISITS, "2026-03-10", dagster__will_retry="true")
    place.fail(VISITS, "2026-03-11", dagster__will_retry="false")
    place.tick(after=MINUTE)
    [text] = webhook.taken()
    assert text.startswith("health_pipelines: 1 run failed\n")
    assert "2026-03-11" in text


def test_each_place_tells_of_its_own_runs(opens: Opens, webhook: Receiver) -> None:
    with opens() as instance:
        uat, prd = Place(instance, "uat"), Place(instance, "prd")
        uat.tick()
        prd.tick()
        uat.fail(VISITS, "2026-03-10")
        prd.fail(VISITS, "2026-03-11")
        # From a terminal, in front of somebody.
        Place(instance).fail(VISITS, "2026-03-12")
        uat.tick(after=MINUTE)
        [text] = webhook.taken()
        assert text.startswith("uat: 1 run failed\n")
        assert "2026-03-10" in text
        prd.tick(after=MINUTE)
        [text] = webhook.taken()
        assert text.startswith("prd: 1 run failed\n")
        assert "2026-03-11" in text


def test_a_deleted_run_takes_nothing_with_it(place: Place, webhook: Receiver) -> None:
    told = place.fail(VISITS, "2026-03-10")
    place.tick(after=MINUTE)
    place.fail(VISITS, "2026-03-11")
    gone = place.fail(VISITS, "2026-03-12")
    webhook.taken()
    place.instance.delete_run(gone.run_id)
    place.tick(after=PAUSE)
    [text] = webhook.taken()
    assert "2026-03-11" in text
    # SQLite gives their numbers in the event log away again.
    for record in place.instance.get_runs():
        place.instance.delete_run(record.run_id)
    assert not place.instance.get_run_by_id(told.run_id)
    place.tick(after=PAUSE)
    place.fail(VISITS, "2026-03-13")
    place.tick(after=MINUTE)
    [text] = webhook.taken()
    assert "2026-03-13" in text


def test_a_clock_that_was_ahead_silences_nobody(place: Place, webhook: Receiver) -> None:
    place.fail(VISITS, "2026-03-10")
    place.tick(after=timedelta(days=365))
    assert len(webhook.taken()) == 1
    place.now = datetime.now(UTC)
    place.fail(VISITS, "2026-03-11")
    place.tick(after=MINUTE)
    assert len(webhook.taken()) == 1


def test_the_message_leads_to_the_run_where_the_ui_is_known(
    place: Place, webhook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEALTH_UI_URL", "https://dagster.example.org/")
    run = place.fail(VISITS, "2026-03-10")
    place.tick(after=MINUTE)
    [text] = webhook.taken()
    assert f" https://dagster.example.org/runs/{run.run_id}\n" in text


@pytest.fixture
def morning(place: Place) -> Place:
    """Nine o'clock; both tables have something, and neither the day that is expected since eight."""
    place.now = NINE
    place.expect_from(datetime(2026, 1, 1, 12, tzinfo=UTC))
    place.land(VISITS, "2026-03-08")
    place.land(HISTORIES, "2026-03-07")
    return place


def test_missing_days_are_one_message_and_each_is_told_once(morning: Place, webhook: Receiver) -> None:
    for _ in range(4):
        morning.tick(after=PAUSE)
    [text] = webhook.taken()
    assert text.startswith("health_pipelines: a day of 2 tables is missing\n")
    newest = "2026-03-09 is expected and has not landed; the newest is"
    assert f"- dexcare/avr_virtual: {newest} 2026-03-08." in text
    assert f"- dexcare/provider_histories: {newest} 2026-03-07." in text
    morning.tick(after=timedelta(days=1))
    [text] = webhook.taken()
    assert text.count("2026-03-10 is expected") == 2


def test_nothing_is_missing_before_the_time_it_is_expected_at(morning: Place, webhook: Receiver) -> None:
    morning.now = NINE - timedelta(hours=1, minutes=1)
    morning.land(HISTORIES, "2026-03-08")
    assert morning.tick(after=timedelta()) == "webhook: nothing to tell."
    morning.tick(after=MINUTE)
    [text] = webhook.taken()
    assert "2 tables" in text


def test_what_was_told_as_missing_and_lands_is_told_once(morning: Place, webhook: Receiver) -> None:
    morning.tick()
    webhook.taken()
    morning.land(VISITS, "2026-03-09")
    morning.tick(after=PAUSE)
    [text] = webhook.taken()
    assert text == (
        "health_pipelines: 1 missing day landed\n1 missing day landed:\n"
        "- dexcare/avr_virtual: 2026-03-09 has landed."
    )
    morning.tick(after=PAUSE)
    assert webhook.taken() == []


def test_a_hole_behind_the_newest_day_is_told_once_and_so_is_its_end(
    morning: Place, webhook: Receiver, tmp_path: Path
) -> None:
    morning.lake = Lake(tmp_path / "lake")
    for table in (VISITS, HISTORIES):
        morning.land(table, "2026-03-06", "2026-03-07", "2026-03-08", "2026-03-09")
    # The partition of the 7th, which landed once, was removed by hand.
    morning.keep("2026-03-06", "2026-03-08", "2026-03-09")

    for _ in range(4):
        morning.tick(after=PAUSE)

    [text] = webhook.taken()
    assert text.startswith("health_pipelines: a day of 1 table is missing\n")
    assert "- dexcare/avr_virtual: 1 day: 2026-03-07 is missing. The daily schedule asks for " in text
    morning.keep("2026-03-07")
    morning.tick(after=PAUSE)
    [text] = webhook.taken()
    assert text.endswith("- dexcare/avr_virtual: 2026-03-07 has landed.")
    morning.tick(after=PAUSE)
    assert webhook.taken() == []


def test_what_lands_before_anybody_was_told_is_not_told(morning: Place, webhook: Receiver) -> None:
    webhook.up = False
    with pytest.raises(AlertProblemError):
        morning.tick()
    morning.land(VISITS, "2026-03-09")
    morning.land(HISTORIES, "2026-03-09")
    webhook.up = True
    assert morning.tick(after=PAUSE) == "webhook: nothing to tell."


def test_a_table_that_nothing_ever_landed_in_is_no_alarm(place: Place) -> None:
    place.now = NINE
    place.expect_from(datetime(2026, 1, 1, 12, tzinfo=UTC))
    assert place.tick() == "webhook: nothing to tell."
