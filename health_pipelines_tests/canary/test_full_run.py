"""Planted names, numbers and keys travel through a full run of all sources while everything goes wrong."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from starlette.responses import Response

from health_pipelines.drchrono.tables import SWEPT
from health_pipelines_tests.alerts.mail_server import MailServer, mail_server
from health_pipelines_tests.alerts.places import Receiver, receiver
from health_pipelines_tests.canary.place import (
    NAME,
    NUMBER,
    SECRETS,
    WORDS,
    CanaryPlace,
    Driver,
    driver,
    open_to_others,
    tokens_kept,
)
from health_pipelines_tests.canary.search import Search, watching
from health_pipelines_tests.support.landed import days_from
from health_pipelines_tests.support.sandbox_process import NO_WAITING, SandboxProcess, running_sandbox

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]
pytestmark = pytest.mark.timeout(300)

DAYS = days_from("2026-03-02", 16)
FIRST, LAST = DAYS[0], DAYS[-1]
# A vendor that repeats whom it was asked about, and with what.
PERSON = f"{NAME} {NUMBER}"
ECHO = f"Cannot process the request of {PERSON} with dc-token {SECRETS['service key']}"
TOKEN_ECHO = f"Bad client {SECRETS['client secret']} with {SECRETS['first refresh token']} for {PERSON}"


def http(status: int, body: Any) -> dict[str, Any]:
    return {"kind": "http", "status": status, "body": body}


# In the order of the days.
REFUSALS = [
    http(400, {"error": ECHO}),
    http(404, {"error": ECHO}),
    http(500, {"message": ECHO}),
    http(503, {"detail": ECHO}),
    http(429, {"msg": ECHO}),
    http(400, {"error": {PERSON: [ECHO]}, ECHO: [PERSON]}),
    {"kind": "http", "status": 502, "text": f"<html><h1>{ECHO}</h1></html>"},
    {"kind": "redirect", "to": f"https://elsewhere.example/{NAME}?ssn={NUMBER}"},
]
BODIES = [
    f"<html>{ECHO}</html>",
    json.dumps({"id": PERSON, "status": NAME}),
    json.dumps([PERSON]),
    json.dumps({"id": {"name": PERSON}, "status": [NUMBER]}),
    f'{{"id": "{PERSON}", ',
    json.dumps({"status": f"{NAME} {NAME}", "id": NUMBER, "count": PERSON, "data": [PERSON]}),
    f"{PERSON}",
    "",
]
RECORDS = [
    f'"id","name"\n"1","{PERSON}\n',
    f'"id","name"\n"1","{PERSON}","{NUMBER}"\n',
    f'"id","name"\n"{PERSON}"\n',
    f'"id","name"\n"1","{PERSON}"x\n',
    f'"id","id"\n"1","{PERSON}"\n',
    f"<html>{ECHO}</html>",
    json.dumps({"error": ECHO}),
    f'"id","name"\n"1","{PERSON}"',
]
PAGES = [
    json.dumps({"status": NAME}),
    json.dumps({"status": f"{NAME} {NAME}", "detail": ECHO}),
    json.dumps({"status": "Complete", "results": [{"id": PERSON}], "pagination": PERSON}),
    f'{{"status": "Complete", "results": [{{"first_name": "{PERSON}"',
    json.dumps({"status": "In progress", "uuid": PERSON}),
    json.dumps({"status": "Complete", "uuid": PERSON, "results": PERSON}),
]


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with running_sandbox(
        now="2026-03-20T12:00:00+00:00",
        volume="0.1",
        queue_seconds="0",
        run_seconds="0",
        drchrono_volume=8,
        drchrono_history_start="2026-02-25",
        **NO_WAITING,
    ) as sandbox:
        # Not on its command line, which is searched as well.
        sandbox.change_settings(
            planted_name=NAME,
            planted_number=NUMBER,
            service_key=SECRETS["service key"],
            apr_key=SECRETS["APR key"],
            drchrono_client_id="canary-client",
            drchrono_client_secret=SECRETS["client secret"],
            drchrono_refresh_token=SECRETS["first refresh token"],
        )
        yield sandbox


def by_day(sandbox: SandboxProcess, operation: str, *faults: list[dict[str, Any]]) -> None:
    """A fault for each day, as far as there are some."""
    for day, fault in zip(DAYS, [one for some in faults for one in some], strict=False):
        sandbox.add_fault(operation, fault, day=day)


def bodies(texts: list[str]) -> list[dict[str, Any]]:
    return [{"kind": "body", "text": text} for text in texts]


def visits(place: CanaryPlace, run: Driver) -> None:
    """Reports that cannot be started, asked about or used, and then all of them."""
    sandbox, report, table = place.sandbox, "dexcare/avr_virtual_report", "dexcare/avr_virtual"
    by_day(sandbox, "start", REFUSALS, bodies(BODIES))
    assert not run.materialize(report, first=FIRST, last=LAST)
    sandbox.clear_faults()
    assert run.materialize(report, first=FIRST, last=LAST)
    by_day(sandbox, "status", REFUSALS, bodies(BODIES))
    run.tick("dexcare_report_sensor")
    run.materialize(table, first=FIRST, last=LAST)
    sandbox.clear_faults()
    by_day(sandbox, "data", REFUSALS, bodies(RECORDS))
    assert not run.materialize(table, first=FIRST, last=LAST)
    sandbox.clear_faults()
    assert run.materialize(report, first=FIRST, last=LAST)
    assert run.materialize(table, first=FIRST, last=LAST)


def histories(place: CanaryPlace, run: Driver) -> None:
    by_day(place.sandbox, "provider_histories", REFUSALS, bodies(BODIES))
    assert not run.materialize("dexcare/provider_histories", first=FIRST, last=LAST)
    place.sandbox.clear_faults()
    assert run.materialize("dexcare/provider_histories", first=FIRST)


def tokens(place: CanaryPlace, run: Driver) -> None:
    for fault in (
        http(400, {"error": "invalid_grant", "error_description": TOKEN_ECHO}),
        http(401, {"error": TOKEN_ECHO}),
        http(200, {"error": TOKEN_ECHO, "refresh_token": {NAME: NUMBER}}),
    ):
        place.sandbox.add_fault("token", fault)
        assert not run.materialize("drchrono/patients", first=FIRST, last=LAST)
        place.sandbox.clear_faults()


def records(place: CanaryPlace, run: Driver, *, all_faults: bool) -> None:
    """Lists that cannot be started or read, one fault a run, and then all of them with odd values."""
    names = [one.name for one in SWEPT][:8]
    faults = [
        *(("list_start", fault) for fault in (REFUSALS if all_faults else REFUSALS[:1])),
        ("list_start", {"kind": "dead", "detail": ECHO}),
        *(("list_poll", fault) for fault in bodies(PAGES if all_faults else PAGES[:4])),
        ("list_poll", {"kind": "dead", "status": "Error", "detail": ECHO}),
        *(("list_poll", fault) for fault in (REFUSALS if all_faults else [])),
    ]
    for number, (operation, fault) in enumerate(faults):
        place.sandbox.add_fault(operation, fault)
        assert not run.materialize(f"drchrono/{names[number % 8]}", first=FIRST, last=LAST)
        place.sandbox.clear_faults()
    following = {"kind": "body", "text": json.dumps({"data": [{PERSON: NUMBER}], "next": ECHO})}
    place.sandbox.add_fault("deletions", following)
    assert not run.materialize("drchrono/line_item_deletions", first=FIRST, last=LAST)
    place.sandbox.clear_faults()
    patients = place.sandbox.drchrono_records("patients", since=FIRST)
    odd = {
        "date_of_birth": PERSON,
        "copay": PERSON,
        "disable_sms_messages": NUMBER,
        "nick_name": f"\x00{PERSON}",
        "new_field": {NAME: NUMBER},
    }
    place.sandbox.change_records("patients", plant={str(patients[0]["id"]): odd})
    for name in names if all_faults else ["patients", "appointments", "clinical_notes"]:
        assert run.materialize(f"drchrono/{name}", first=FIRST, last=LAST)


@pytest.fixture
def place(sandbox: SandboxProcess, tmp_path: Path, postgres_url: str) -> Iterator[tuple[CanaryPlace, Receiver, MailServer, str]]:
    with ExitStack() as stack:
        webhook = stack.enter_context(receiver())
        mail = stack.enter_context(mail_server(offers=("AUTH PLAIN",)))
        with_password = postgres_url.replace("postgres@", f"postgres:{SECRETS['database password']}@")
        more = {
            "ALERT_WEBHOOK_URL": f"{webhook.vendor.url}/services/{SECRETS['webhook']}",
            "ALERT_SMTP_HOST": "127.0.0.1",
            "ALERT_SMTP_PORT": str(mail.port),
            "ALERT_SMTP_SECURITY": "none",
            "ALERT_SMTP_USER": "canary",
            "ALERT_SMTP_PASSWORD": SECRETS["mail password"],
            "ALERT_EMAIL_FROM": "health@example.org",
            "ALERT_EMAIL_TO": "ops@example.org",
            "PUBLISH_URL": with_password,
            "PUBLISH_TABLES": "current.patients, current.avr_virtual, marts.visits",
            "DEXCARE_AVR_VIRTUAL_KEY": "visit_id",
        }
        yield CanaryPlace(tmp_path, sandbox, more), webhook, mail, postgres_url


def test_nothing_planted_is_anywhere_but_in_lake_warehouse_and_published_tables(place) -> None:
    place, webhook, mail, url = place
    search = Search(WORDS)
    with watching(search, place.temporary) as watch, driver(place) as run:
        import time
        for step in (visits, histories, tokens, records):
            at = time.monotonic()
            step(place, run, **({'all_faults': False} if step is records else {}))
            print(step.__name__, time.monotonic() - at)
    hits = place.hits(search) | watch.hits
    for hit in sorted(hits): print(hit)
    print(open_to_others(place.data), open_to_others(place.home))
    assert not hits
