"""`health-pipelines publish`, as a person types it: what it prints, and how it ends."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg

from health_pipelines_tests.warehouse.hospital import Hospital
from health_pipelines_tests.warehouse.test_models import visit

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]


def publish(folder: Path, url: str, *options: str) -> "subprocess.CompletedProcess[str]":
    variables = {
        "HEALTH_DATA_DIR": str(folder),
        "PUBLISH_URL": url,
        "PUBLISH_TABLES": "current.avr_virtual, current.patients",
        "DEXCARE_AVR_VIRTUAL_KEY": "visit_id",
    }
    return subprocess.run(
        [sys.executable, "-m", "health_pipelines", "publish", *options],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_publishes_compares_and_fails_for_one_table_alone(tmp_path: Path, postgres_url: str) -> None:
    hospital = Hospital(tmp_path)
    hospital.land_visits("virtual", "2026-10-01", [visit("v1", "2026-10-01 10:00:00", "waiting")])
    hospital.warehouse.build()

    first = publish(tmp_path, postgres_url)
    assert first.returncode == 0, first.stderr
    assert "health_current.avr_virtual     1  made" in first.stdout
    assert "0 of 2 tables published; 0 rows, now current.avr_virtual" in first.stderr
    assert "1 of 2 tables published; 1 rows, now current.patients" in first.stderr
    assert "unchanged" in publish(tmp_path, postgres_url).stdout
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("UPDATE health_current.avr_virtual SET status = 'by hand'")
        compared = publish(tmp_path, postgres_url, "--compare")
        assert (compared.returncode, "compared" in compared.stdout) == (0, True)
        statuses = connection.execute("SELECT status FROM health_current.avr_virtual").fetchall()
        assert statuses == [("waiting",)]
        connection.execute("DROP TABLE health_current.patients")
        connection.execute("CREATE VIEW health_current.patients AS SELECT 1 AS id")
    failed = publish(tmp_path, postgres_url, "--compare")
    assert failed.returncode == 1
    assert "health_current.patients is no table in the target" in failed.stderr
    assert "health_current.avr_virtual" in failed.stdout


def test_without_a_database_it_says_so(tmp_path: Path) -> None:
    done = publish(tmp_path, "")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == "PUBLISH_URL is not set, so that nothing is published."
