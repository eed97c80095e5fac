"""Planted names, numbers and keys travel through a full run of all sources while everything goes wrong."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import psycopg
import pytest
from starlette.responses import Response

from health_pipelines.drchrono.tables import SWEPT
from health_pipelines.lake.partitions import Lake
from health_pipelines.warehouse.assets import warehouse_keys
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
from health_pipelines_tests.support.waiting import wait_for

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]
pytestmark = pytest.mark.timeout(1200)

DAYS = days_from("2026-03-02", 16)
FIRST, LAST = DAYS[0], DAYS[-1]
# A vendor that repeats whom it was asked about, and with what.
PERSON = f"{NAME} {NUMBER}"
ECHO = f"Cannot process the request of {PERSON} with dc-token {SECRETS['service key']}"
TOKEN_ECHO = f"Bad client {SECRETS['client secret']} with {SECRETS['first refresh token']} for {PERSON}"


WAREHOUSE = [key.to_user_string() for key in warehouse_keys()]


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


def visits(place: CanaryPlace, run: Driver, *, all_faults: bool) -> None:
    """Reports that cannot be started, asked about or used, and then all of them."""
    sandbox, report, table = place.sandbox, "dexcare/avr_virtual_report", "dexcare/avr_virtual"
    by_day(sandbox, "start", REFUSALS, bodies(BODIES))
    assert not run.materialize(report, first=FIRST, last=LAST)
    sandbox.clear_faults()
    assert run.materialize(report, first=FIRST, last=LAST)
    by_day(sandbox, "status", REFUSALS, bodies(BODIES))
    run.tick("dexcare_report_sensor")
    if all_faults:
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


def tokens(place: CanaryPlace, run: Driver, *, all_faults: bool) -> None:
    faults = (
        http(400, {"error": "invalid_grant", "error_description": TOKEN_ECHO}),
        http(401, {"error": TOKEN_ECHO}),
        http(200, {"error": TOKEN_ECHO, "refresh_token": {NAME: NUMBER}}),
    )
    for fault in faults if all_faults else faults[:1]:
        place.sandbox.add_fault("token", fault)
        assert not run.materialize("drchrono/patients", first=FIRST, last=LAST)
        place.sandbox.clear_faults()


def records(place: CanaryPlace, run: Driver, *, all_faults: bool) -> None:
    """Lists that cannot be started or read, one fault a run, and then all of them with odd values."""
    names = [one.name for one in SWEPT][:8]
    faults = [
        *(("list_start", fault) for fault in (REFUSALS if all_faults else REFUSALS[:1])),
        ("list_start", {"kind": "dead", "detail": ECHO}),
        *(("list_poll", fault) for fault in bodies(PAGES if all_faults else PAGES[1:3])),
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
    for name in names if all_faults else ["patients"]:
        assert run.materialize(f"drchrono/{name}", first=FIRST, last=LAST)


def sweep_given_up(place: CanaryPlace, run: Driver) -> None:
    """A sweep whose day cannot land keeps its pages for an hour, for its owner alone, and then they go."""
    patients = next(one for one in SWEPT if one.name == "patients")
    with Lake(place.data / "lake").writing(patients.table, FIRST):
        assert not run.materialize("drchrono/patients", first=FIRST, last=LAST)
    journal = place.data / "drchrono" / "sweeps" / "patients"
    assert list(journal.glob("page-*.json"))
    assert not open_to_others(journal)
    run.tick("housekeeping")
    assert list(journal.glob("page-*.json"))
    for file in journal.rglob("*"):
        os.utime(file, (0, 0))
    run.tick("housekeeping")
    assert not list(journal.iterdir())


def warehouse(place: CanaryPlace, run: Driver) -> None:
    """Built; and once with a value that its column cannot hold, which DuckDB would quote."""
    # It waits a little for more that may land.
    wait_for(lambda: run.tick("warehouse_sensor")["runs"], "a build", within_seconds=120)
    sound = place.data / "lake" / "drchrono" / "patients" / f"date={FIRST}" / "patients.parquet"
    before = sound.read_bytes()
    # Behind the project's back: nothing that it writes is so.
    rows = pl.read_parquet(sound, glob=False, hive_partitioning=False)
    rows.with_columns(_extracted_at=pl.lit(PERSON), date_of_birth=pl.lit(PERSON)).write_parquet(sound)
    assert place.command("build") == 1
    assert not run.materialize(*WAREHOUSE)
    sound.write_bytes(before)
    assert place.command("build") == 0


def published(place: CanaryPlace, run: Driver, url: str) -> None:
    """Published; and into tables whose server refuses rows and says which."""
    run.tick("publish_sensor")
    with psycopg.connect(url, autocommit=True) as target:
        [(rows,)] = target.execute("SELECT count(*) FROM health_current.patients").fetchall()
        assert rows > 0
        for spoil, heal in (
            ("ADD CONSTRAINT spoilt CHECK (first_name = '') NOT VALID", "DROP CONSTRAINT spoilt"),
            ("ADD CONSTRAINT spoilt UNIQUE (first_name)", "DROP CONSTRAINT spoilt"),
        ):
            target.execute("DELETE FROM health_current.patients")
            target.execute(f"ALTER TABLE health_current.patients {spoil}")
            assert not run.materialize("publish/current/patients")
            target.execute(f"ALTER TABLE health_current.patients {heal}")
    assert place.command("publish", "--compare") == 0


def alerts(run: Driver, webhook: Receiver, mail: MailServer) -> None:
    """Receivers that repeat what they got and whom they know, and then take it."""
    take = webhook.take
    webhook.vendor.handler = lambda seen: Response(f"{ECHO} {seen.path} {SECRETS['mail password']}", 503)
    answers = dict(mail.answers)
    mail.answers = {"RCPT": f"550 {PERSON}: no {SECRETS['mail password']}"}
    assert run.tick("alerts") == {"failed": True}
    mail.answers, webhook.vendor.handler = answers, take
    run.tick("alerts")


def commands(place: CanaryPlace, *, all_faults: bool) -> None:
    """What people and cron jobs type, with what it says when it goes wrong."""
    unreached = f"postgresql://dagster:{SECRETS['storage password']}@127.0.0.1:1/dagster"
    place.command("doctor", DEXCARE_SERVICE_KEY=f"{SECRETS['service key']}x", DAGSTER_POSTGRES_URL=unreached)
    place.command("status", "--json")
    place.command("query", "SELECT first_name::DATE FROM drchrono.patients")
    if all_faults:
        place.command("doctor")
        place.command("status", DAGSTER_POSTGRES_URL=unreached.replace("@", "@/"))
        place.command("columns")
        place.command("query", "--tables")
        place.command("probe", "--yes", "--json")


@pytest.fixture
def receivers() -> Iterator[tuple[Receiver, MailServer]]:
    with receiver() as webhook, mail_server(offers=("AUTH PLAIN",)) as mail:
        yield webhook, mail


def variables(webhook: Receiver, mail: MailServer, postgres_url: str) -> dict[str, str]:
    return {
        "ALERT_WEBHOOK_URL": f"{webhook.vendor.url}/services/{SECRETS['webhook']}",
        "ALERT_SMTP_HOST": "127.0.0.1",
        "ALERT_SMTP_PORT": str(mail.port),
        "ALERT_SMTP_SECURITY": "none",
        "ALERT_EMAIL_FROM": "health@example.org",
        "ALERT_EMAIL_TO": "ops@example.org",
        "PUBLISH_URL": postgres_url.replace("postgres@", f"postgres:{SECRETS['database password']}@"),
        "PUBLISH_TABLES": "current.patients",
    }


def received(webhook: Receiver, mail: MailServer) -> bytes:
    """What people got to read."""
    seen = [call.body for call in webhook.vendor.calls]
    return b"\n".join([*seen, *(one.mail.as_bytes() for one in mail.mails)])


@pytest.mark.parametrize("all_faults", [False, pytest.param(True, marks=pytest.mark.long)])
def test_nothing_planted_is_anywhere_but_in_lake_warehouse_and_published_tables(
    sandbox: SandboxProcess,
    tmp_path: Path,
    postgres_url: str,
    receivers: tuple[Receiver, MailServer],
    all_faults: bool,
) -> None:
    webhook, mail = receivers
    place = CanaryPlace(tmp_path, sandbox, variables(webhook, mail, postgres_url))
    search = Search(WORDS)
    with watching(search, place.temporary) as watch, driver(place) as run:
        run.tick("alerts")
        visits(place, run, all_faults=all_faults)
        histories(place, run)
        tokens(place, run, all_faults=all_faults)
        records(place, run, all_faults=all_faults)
        sweep_given_up(place, run)
        warehouse(place, run)
        published(place, run, postgres_url)
        alerts(run, webhook, mail)
        commands(place, all_faults=all_faults)
    told = received(webhook, mail)
    # What was planted did arrive, and what went wrong was told.
    with duckdb.connect(str(place.data / "warehouse.duckdb"), read_only=True) as connection:
        everybody = connection.execute("SELECT first_name FROM current.patients").fetchall()
    assert any(NAME in name for (name,) in everybody)
    assert b" failed" in told
    assert len(watch.processes) > 5
    search = Search(WORDS | tokens_kept(place.data))
    hits = watch.hits | place.hits(search) | search.in_bytes("alerts", told)
    assert not hits, "\n".join(map(str, sorted(hits)))
    assert not open_to_others(place.data)
