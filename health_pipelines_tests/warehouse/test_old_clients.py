"""The file opens in what people have: shells, drivers and BI tools of an older DuckDB."""

import subprocess
import sys
from pathlib import Path

import pytest

from health_pipelines_tests.warehouse.hospital import Hospital

# The oldest release with wheels for this Python: versions and hashes.
OLD_CLIENT = Path(__file__).with_name("old_client.txt")
READ = """
import sys
sys.path.insert(0, sys.argv[2])
import duckdb

with duckdb.connect(sys.argv[1], read_only=True) as connection:
    print(duckdb.__version__)
    for schema, name in connection.execute(
        "SELECT table_schema, table_name FROM information_schema.tables ORDER BY ALL"
    ).fetchall():
        print(f"{schema}.{name}", connection.execute(f'SELECT count(*) FROM {schema}."{name}"').fetchone()[0])
"""


@pytest.fixture(scope="module")
def old_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an older DuckDB, beside the one that this project uses."""
    folder = tmp_path_factory.mktemp("old_client")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    done = subprocess.run(
        [*install, "--target", str(folder), "-r", str(OLD_CLIENT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"the older DuckDB could not be installed: {done.stderr}"
    return folder


def test_an_older_duckdb_reads_every_table_and_view(tmp_path: Path, old_client: Path) -> None:
    hospital = Hospital(tmp_path)
    for day in ("2026-10-01", "2026-10-02"):
        visits = [{"visit_id": f"{day} 1", "scheduled_at": f"{day} 10:00:00", "state": "completed"}]
        hospital.land_visits("virtual", day, visits)
        hospital.land_histories(day, [{"id": f"{day} a", "action": "assigned"}])
        hospital.land_records(
            "line_items", day, [{"id": 1, "updated_at": f"{day}T10:00:00", "billed": "1.50"}]
        )
    hospital.build()

    said = subprocess.run(
        [sys.executable, "-c", READ, str(hospital.warehouse.file), str(old_client)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert said.returncode == 0, said.stderr
    version, *lines = said.stdout.splitlines()
    assert version.startswith("1.")
    counts = dict(line.split() for line in lines)
    assert counts["dexcare.avr_virtual"] == counts["current.avr_virtual"] == counts["marts.visits"] == "2"
    assert counts["drchrono.line_items"] == "2"
    assert counts["current.line_items"] == "1"
    assert len(counts) == len(hospital.query("SELECT table_name FROM information_schema.tables"))
