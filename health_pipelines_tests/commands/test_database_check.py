"""What the doctor says of the way to Dagster's database."""

import pytest

from health_pipelines.doctor.database_check import on_its_way

CLEAR = " The connection to db.example.org is not encrypted: write ?sslmode=verify-full behind "
DOUBTED = " The connection to db.example.org is encrypted, to a server that nobody has verified: "


@pytest.mark.parametrize(
    ("parts", "encrypted", "said"),
    [
        ({}, False, ""),
        ({"host": "/var/run/postgresql"}, False, ""),
        ({"host": "127.0.0.1"}, False, ""),
        ({"host": "localhost"}, False, ""),
        ({"host": "db.example.org"}, False, CLEAR),
        ({"host": "db.example.org", "sslmode": "disable"}, False, CLEAR),
        ({"host": "db.example.org"}, True, DOUBTED),
        ({"host": "db.example.org", "sslmode": "require"}, True, DOUBTED),
        ({"host": "db.example.org", "sslmode": "verify-ca"}, True, ""),
        ({"host": "db.example.org", "sslmode": "verify-full"}, True, ""),
    ],
)
def test_a_connection_to_another_machine_that_is_not_protected_is_told(
    parts: dict[str, str], encrypted: bool, said: str
) -> None:
    told = on_its_way(parts, encrypted=encrypted)
    assert told.startswith(said)
    assert bool(told) is bool(said)
