"""What goes wrong is one sentence with the setting or the table, and everything is as it was."""

import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import psycopg
import pytest
import trustme

from health_pipelines.publish.databases import publication_of, published_models
from health_pipelines.publish.mssql.address import MssqlAddress
from health_pipelines.publish.postgres.target import PostgresTarget
from health_pipelines.publish.tables import PublishError
from health_pipelines.settings import SettingError, Settings
from health_pipelines.settings.secret import Secret
from health_pipelines_tests.publish.clinic import Clinic
from health_pipelines_tests.support.postgres_server import can_mount, running_postgres
from health_pipelines_tests.support.waiting import wait_for

PASSWORD = "not-to-be-shown"
VISITS = "SELECT id, 'status ' || id AS status FROM range(100) AS rows(id)"


def refused(clinic: Clinic, table: str = "current.t") -> str:
    """What is said when the table cannot be published; never a password or a cell."""
    with pytest.raises(PublishError) as error:
        clinic.publish(table, compare=True)
    said = str(error.value)
    assert PASSWORD not in said
    assert not re.search(r"status \d", said)
    assert said.count("\n") == 0
    # Nor in what Python prints below it.
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__ or error.value.__context__ is None
    return said


def as_user(clinic: Clinic, folder: Path, name: str = "clerk_of_a_test") -> Clinic:
    """The same database, as a user who may do little in it."""
    return Clinic(folder, f"{clinic.url}&options=-crole%3D{name}")


@pytest.fixture
def clerk(clinic: Clinic) -> Iterator[str]:
    name = "clerk_of_a_test"
    clinic.ask(f"CREATE ROLE {name}")
    yield name
    clinic.ask(f"DROP OWNED BY {name}")
    clinic.ask(f"DROP ROLE {name}")


def test_who_may_not_make_a_schema_is_told(clinic: Clinic, clerk: str, tmp_path: Path) -> None:
    other = as_user(clinic, tmp_path / "other")
    other.build({"current.t": VISITS})
    said = refused(other)
    assert "schema health_current cannot be made" in said
    assert "PUBLISH_URL may not" in said
    assert other.target.examine(["health_current"]).problems == [
        "Its user may not make the schema health_current; GRANT CREATE ON DATABASE, or make it."
    ]


def test_a_table_of_somebody_else_is_not_touched(clinic: Clinic, clerk: str, tmp_path: Path) -> None:
    clinic.build({"current.t": VISITS})
    clinic.publish()
    clinic.ask(f"GRANT ALL ON ALL TABLES IN SCHEMA health_current TO {clerk}")
    clinic.ask(f"GRANT ALL ON SCHEMA health_current TO {clerk}")
    other = as_user(clinic, tmp_path / "other")
    other.build({"current.t": "SELECT 1 AS id, 'x' AS status"})
    said = refused(other)
    assert "health_current.t belongs to postgres in the target" in said
    assert clinic.differences() == []


OTHERS = {
    "a table with other columns": ("CREATE TABLE health_current.t (a text)", "was not made by this project"),
    "a view": ("CREATE VIEW health_current.t AS SELECT 1 AS id", "is no table in the target"),
    "a sequence": ("CREATE SEQUENCE health_current.t", "is no table in the target"),
}


@pytest.mark.parametrize(("made", "said"), OTHERS.values(), ids=OTHERS)
def test_what_has_the_name_already_is_not_touched(clinic: Clinic, made: str, said: str) -> None:
    clinic.build({"current.t": VISITS, "current.u": VISITS})
    clinic.publish("current.u")
    clinic.ask(made)
    assert said in refused(clinic)
    assert "health_current.t" in refused(clinic)
    assert clinic.publish("current.u", compare=True).totals.rows == 100


def test_a_column_of_a_type_that_cannot_hold_the_values_is_named_with_both_types(clinic: Clinic) -> None:
    clinic.build({"current.t": VISITS, "current.u": VISITS})
    clinic.publish()
    clinic.ask("ALTER TABLE health_current.t ALTER COLUMN status TYPE bytea USING 'x'::bytea")
    assert "has the column status as bytea in the target, and the warehouse has it as text" in refused(clinic)
    clinic.build({"current.t": "SELECT DATE '2026-01-01' AS id, 'x' AS status", "current.u": VISITS})
    assert "the column id as bigint in the target, and the warehouse has it as date" in refused(clinic)
    clinic.publish("current.u")


def test_a_column_that_others_require_is_named(clinic: Clinic) -> None:
    clinic.build({"current.t": VISITS})
    clinic.publish()
    clinic.ask("ALTER TABLE health_current.t ADD COLUMN theirs text NOT NULL DEFAULT 'x'")
    assert "has the column theirs in the target, which must not be NULL" in refused(clinic)


def test_a_view_in_the_way_of_a_wider_type_is_said(clinic: Clinic) -> None:
    clinic.build({"current.t": "SELECT 1 AS id, 1::SMALLINT AS number"})
    clinic.publish()
    clinic.ask("CREATE VIEW public.v AS SELECT number FROM health_current.t")
    clinic.build({"current.t": "SELECT 1 AS id, 1 AS number"})
    assert "a view or rule of others uses it" in refused(clinic)
    assert clinic.ask("SELECT number FROM public.v") == [(1,)]


def test_a_key_that_repeats_is_said_and_the_table_stays(clinic: Clinic) -> None:
    clinic.build({"current.t": VISITS})
    clinic.publish()
    clinic.build({"current.t": f"{VISITS} UNION ALL SELECT 5, 'again'"})
    assert "current.t has rows that share a key (id)" in refused(clinic)
    assert clinic.ask("SELECT count(*) FROM health_current.t") == [(100,)]


def test_a_key_that_is_too_long_for_an_index_is_said(clinic: Clinic) -> None:
    digits = "(SELECT string_agg(md5(i::VARCHAR), '') FROM range(500) AS r(i))"
    clinic.build({"current.t": f"SELECT {digits} AS id, 1 AS number"})
    assert "a key is too long for an index" in refused(clinic)


def test_a_trigger_that_changes_rows_is_suspected(clinic: Clinic) -> None:
    clinic.build({"current.t": VISITS})
    clinic.publish()
    clinic.ask(
        "CREATE FUNCTION public.keep_out() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    )
    clinic.ask(
        "CREATE TRIGGER keep_out BEFORE INSERT ON health_current.t FOR EACH ROW "
        "EXECUTE FUNCTION public.keep_out()"
    )
    clinic.build({"current.t": f"{VISITS} UNION ALL SELECT 1000, 'new'"})
    assert "does a trigger or a rule in the target change rows?" in refused(clinic)


def test_a_lock_of_somebody_elses_transaction_is_waited_for_and_named(
    postgres_url: str, tmp_path: Path
) -> None:
    clinic = Clinic(tmp_path, postgres_url, lock_within_seconds=0.5)
    clinic.build({"current.t": VISITS})
    clinic.publish()
    with psycopg.connect(postgres_url, application_name="a report of theirs") as other:
        other.execute("SELECT count(*) FROM health_current.t")
        assert clinic.publish(compare=True).way == "compared", "a reader is in nobody's way"
        other.execute("UPDATE health_current.t SET status = 'theirs' WHERE id = 1")
        [(pid,)] = other.execute("SELECT pg_backend_pid()").fetchall()
        said = refused(clinic)
        assert f"locked by the session {pid} of postgres (a report of theirs) since 20" in said
        other.rollback()
    assert clinic.publish(compare=True).way == "compared"


def test_a_server_that_takes_no_changes_is_said(clinic: Clinic) -> None:
    clinic.build({"current.t": VISITS})
    clinic.publish()
    clinic.ask("ALTER ROLE postgres SET default_transaction_read_only = on")
    try:
        assert "let PUBLISH_URL lead to the primary" in refused(clinic)
    finally:
        with psycopg.connect(clinic.url, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute("ALTER ROLE postgres RESET default_transaction_read_only")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


UNREACHABLE: dict[str, tuple[Callable[[], str], str]] = {
    "nobody listens": (
        lambda: f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/d",
        "no server listens there",
    ),
    "no such host": (lambda: f"postgresql://u:{PASSWORD}@no-such-host.invalid/d", "the host is not known"),
}


@pytest.mark.parametrize(("url", "said"), UNREACHABLE.values(), ids=UNREACHABLE)
def test_a_server_that_is_not_reached_is_said_by_the_settings_name(
    tmp_path: Path, url: Callable[[], str], said: str
) -> None:
    clinic = Clinic(tmp_path, url())
    clinic.build({"current.t": VISITS})
    told = refused(clinic)
    assert "The database of PUBLISH_URL cannot be used" in told
    assert said in told


def test_a_wrong_password_is_said_and_not_shown(tmp_path: Path) -> None:
    with running_postgres() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            [(data,)] = connection.execute("SHOW data_directory").fetchall()
            connection.execute("CREATE ROLE clerk LOGIN PASSWORD 'another'")
            (Path(data) / "pg_hba.conf").write_text("local all postgres trust\nlocal all all scram-sha-256\n")
            connection.execute("SELECT pg_reload_conf()")
        clinic = Clinic(tmp_path, url.replace("postgres@", f"clerk:{PASSWORD}@"))
        clinic.build({"current.t": VISITS})
        said = refused(clinic)
        assert "PUBLISH_URL cannot be used: the server refuses the user or the password" in said


def test_a_connection_is_encrypted_unless_the_address_says_otherwise() -> None:
    def mode(url: str) -> tuple[str, bool]:
        parts = PostgresTarget(Secret(url)).address.parts
        return parts["sslmode"], "sslrootcert" in parts

    assert mode("postgresql://u@db.example.com/d") == ("verify-full", True)
    assert mode("postgresql://u@db.example.com/d?sslmode=disable") == ("disable", False)
    assert mode("postgresql://u@db.example.com/d?sslmode=verify-ca&sslrootcert=/x.pem") == ("verify-ca", True)


def test_a_server_that_goes_in_the_middle_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    with running_postgres() as url:
        clinic = Clinic(tmp_path, url)
        clinic.build({"current.t": VISITS})
        clinic.publish()
        clinic.build({"current.t": "SELECT id, repeat('x', 100) AS status FROM range(3000000) AS rows(id)"})
        said: list[str] = []
        publishing = threading.Thread(target=lambda: said.append(refused(clinic)))
        publishing.start()
        copying = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active'"
        [(pid,)] = wait_for(lambda: clinic.ask(copying), "rows are being copied")
        clinic.ask("SELECT pg_terminate_backend(%s)", pid)
        publishing.join(60)
        assert "health_current.t is as it was: the connection to the server broke" in said[0]
        assert clinic.ask("SELECT count(*) FROM health_current.t") == [(100,)]
        clinic.build({"current.t": f"{VISITS} LIMIT 50"})
        clinic.publish()
        assert clinic.differences() == []


@pytest.mark.skipif(not can_mount(), reason="only root may give the server a disk that is too small")
def test_a_full_disk_of_the_server_is_said_and_once_there_is_room_the_next_publishing_goes_on(
    tmp_path: Path,
) -> None:
    # Where the server, another user, may go.
    with TemporaryDirectory() as disk, running_postgres(small_disk=Path(disk)) as url:
        Path(disk).chmod(0o755)
        clinic = Clinic(tmp_path, url)
        clinic.ask(f"CREATE TABLESPACE small LOCATION '{disk}'")
        clinic.ask("ALTER DATABASE postgres SET default_tablespace = small")
        clinic.ask("CREATE TABLE ballast AS SELECT repeat('x', 1000) FROM generate_series(1, 14000)")
        clinic.build({"current.t": VISITS, "current.other": VISITS})
        clinic.publish()
        clinic.publish("current.other")

        # Eight megabytes, and once more while they are merged: too many beside the fourteen of somebody else.
        many = "SELECT id, repeat('status ' || id, 10) AS status FROM range(60000) AS rows(id)"
        clinic.build({"current.t": many, "current.other": VISITS})
        said = refused(clinic)
        assert said == "health_current.t is as it was: the server's disk is full; make room there."
        assert clinic.ask("SELECT count(*), max(id) FROM health_current.t") == [(100, 99)]
        assert clinic.differences("current.other") == []

        clinic.ask("DROP TABLE ballast")
        for table in ("current.t", "current.other"):
            clinic.publish(table)
            assert clinic.differences(table) == []
        left = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relpersistence = 't'"
        assert clinic.ask(left) == [(0,)]


def test_no_warehouse_and_a_damaged_one_are_said(clinic: Clinic) -> None:
    clinic.build({"current.t": VISITS})
    clinic.publish()
    clinic.warehouse.file.write_bytes(b"damaged" * 5000)
    assert "warehouse.duckdb cannot be opened" in refused(clinic)
    clinic.warehouse.file.unlink()
    assert "build the warehouse" in refused(clinic)


def test_a_folder_that_cannot_be_written_is_said(clinic: Clinic, tmp_path: Path) -> None:
    clinic.build({"current.t": VISITS})
    (tmp_path / "spill").write_text("a file")
    assert "spill cannot be used" in refused(clinic)


def test_a_memory_that_cannot_be_written_is_said_and_the_next_publishing_goes_on(
    clinic: Clinic, tmp_path: Path
) -> None:
    clinic.build({"current.t": VISITS})
    clinic.memory.folder.write_text("a file")
    assert "or what was published not be remembered" in refused(clinic)
    assert clinic.differences() == []
    clinic.memory.folder.unlink()
    assert clinic.publish().way == "compared"


def test_a_warehouse_that_somebody_writes_into_is_said(clinic: Clinic) -> None:
    clinic.build({"current.t": VISITS})
    with duckdb.connect(str(clinic.warehouse.file)):
        assert "close whatever writes into it" in refused(clinic)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"PUBLISH_URL": "mysql://u@h/d"}, "PUBLISH_URL is no URL of a database"),
        ({"PUBLISH_URL": f"postgresql://u:p@{PASSWORD}@h/d"}, "PUBLISH_URL is not a URL like"),
        (
            {"PUBLISH_URL": "postgresql://h/d", "PUBLISH_HOST": "h"},
            "PUBLISH_URL and PUBLISH_HOST are both set",
        ),
        (
            {"PUBLISH_HOST": "h", "PUBLISH_KIND": "oracle"},
            "PUBLISH_KIND is 'oracle', neither postgresql nor mssql",
        ),
        ({"PUBLISH_URL": "postgresql://h/d", "PUBLISH_SCHEMA": "a b"}, "PUBLISH_SCHEMA is 'a b', not a name"),
        ({"PUBLISH_URL": "postgresql://h/d", "PUBLISH_DELETED": "maybe"}, "neither mark nor remove"),
        ({"PUBLISH_URL": "postgresql://h/d", "PUBLISH_TABLES": "visits"}, "where 'visits' is not like"),
        (
            {"PUBLISH_URL": "postgresql://h/d", "PUBLISH_TABLES": "marts.vists"},
            "names marts.vists, which the",
        ),
    ],
)
def test_a_setting_that_cannot_be_meant_is_said(settings: dict[str, str], said: str) -> None:
    def read() -> None:
        publication_of(Settings(settings))
        published_models(Settings(settings))

    with pytest.raises((SettingError, PublishError), match=re.escape(said)) as error:
        read()
    assert PASSWORD not in str(error.value)


def test_parts_make_an_address_and_a_place_has_schemas_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p@ss/word\n")
    settings = Settings(
        {
            "PUBLISH_HOST": "db.example.com",
            "PUBLISH_PASSWORD_FILE": str(tmp_path / "password"),
            "HEALTH_ASSET_PREFIX": "uat",
            "PUBLISH_TABLES": "marts.visits, current.*",
        }
    )
    publication = publication_of(settings)
    assert publication is not None
    assert publication.target.identity == "postgresql db.example.com:5432, database health"
    assert publication.schemas == {"current": "uat_health_current", "marts": "uat_health_marts"}
    names = [model.full_name for model in published_models(settings)]
    assert "marts.visits" in names
    assert "marts.charges" not in names
    assert "current.patients" in names
    assert publication_of(Settings({})) is None


def test_parts_make_an_address_of_a_sql_server_too() -> None:
    parts = {"PUBLISH_KIND": "mssql", "PUBLISH_HOST": "sql.example.com", "PUBLISH_DB": "the db"}
    secrets = {"PUBLISH_USER": "an@na", "PUBLISH_PASSWORD": "p@ss/w?rd#%"}
    url = Settings(parts | secrets).publish_url
    assert url is not None
    found = MssqlAddress.of(url).parameters
    assert (found["Server"], found["Database"]) == ("tcp:sql.example.com,1433", "the db")
    assert (found["UID"], found["PWD"]) == ("an@na", "p@ss/w?rd#%")
    url = Settings({**parts, "PUBLISH_DB": "db", "PUBLISH_HOST": "::1", "PUBLISH_PORT": "1444"}).publish_url
    assert url is not None
    assert MssqlAddress.of(url).parameters["Server"] == "tcp:::1,1444"


@contextmanager
def greeting(answer: bytes) -> Iterator[int]:
    """The port of a server that says whether it can encrypt, and then shows a certificate of nobody known."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    class Greeter(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(8)
            self.request.sendall(answer)
            with suppress(OSError):
                context.wrap_socket(self.request, server_side=True).recv(1)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeter) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            serving.join()


@pytest.mark.parametrize("answer", [b"S", b"N"], ids=["a certificate of nobody known", "no encryption"])
def test_a_server_that_cannot_show_who_it_is_gets_no_password(tmp_path: Path, answer: bytes) -> None:
    with greeting(answer) as port:
        clinic = Clinic(tmp_path, f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/d")
        clinic.build({"current.t": VISITS})
        said = refused(clinic)
    assert "PUBLISH_URL cannot be used: the server's certificate cannot be verified; sslrootcert" in said
