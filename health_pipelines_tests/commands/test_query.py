"""`health-pipelines query`, started as a person starts it: with SQL, in a pipe, and at a prompt."""

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from health_pipelines.commands.problem import ProblemError
from health_pipelines.commands.query import query
from health_pipelines_tests.support.child_process import child
from health_pipelines_tests.support.dagster_processes import ROOT
from health_pipelines_tests.support.waiting import wait_for
from health_pipelines_tests.warehouse.hospital import Hospital

# Longer than any test may take, if nobody stops it.
ENDLESS = "SELECT count(*) FROM range(1000000000000) AS many(n) WHERE n % 7 = 3"
VISIT = {"visit_id": "1", "scheduled_at": "2026-03-10 09:00:00", "state": "completed"}
WAIT = {"entered_at": "2026-03-10 09:00:00", "left_at": "2026-03-10 09:20:00"}
PROMPT, MORE = r"warehouse> $", r"[.]{3}> $"
CTRL_C, CTRL_D = b"\x03", b"\x04"
COMMAND = [sys.executable, "-m", "health_pipelines", "query"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory, of somebody who has a vendor; and no `.env` in the working directory."""
    for name in [
        name for name in os.environ if name.startswith(("DEXCARE_", "DRCHRONO_", "HEALTH_", "PUBLISH_"))
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HEALTH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HEALTH_TIMEZONE", "America/Chicago")
    monkeypatch.setenv("DEXCARE_BASE_URL", "https://dexcare.example.com")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def warehouse_of(data: Path, *statements: str) -> Path:
    """A file made by hand, put in its place as a build does."""
    file, building = data / "warehouse.duckdb", data / "building.duckdb"
    data.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(building)) as connection:
        for statement in statements:
            connection.execute(statement)
    building.replace(file)
    return file


def run(*arguments: str, told: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments], input=told, capture_output=True, text=True, timeout=60, check=False
    )


def ask(sql: str | None, *, place: str | None = None, csv: bool = True, tables: bool = False) -> None:
    query(sql, place=place, csv=csv, tables=tables, rows=40)


def test_answers_are_tables_that_show_nulls_and_times_of_the_health_system(data: Path) -> None:
    file = warehouse_of(data, "CREATE TABLE visits AS SELECT range AS visit, NULL AS wait FROM range(100)")
    done = run(
        "SET threads = 1; FROM visits; SELECT TIMESTAMPTZ '2026-03-10 12:00+00' AS noon; EXPLAIN FROM visits",
        "--rows",
        "4",
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if re.search(r"│ +(0|1|50|98|99) │ NULL +│", line)] == [
        line for line in lines if "NULL" in line
    ]
    assert "100 rows (4 shown)" in " ".join(done.stdout.split())
    assert "2026-03-10 07:00:00-05" in done.stdout
    # The plan as the drawing that it is.
    assert any(line.startswith("╭─ ") for line in lines)
    assert "Success" not in done.stdout  # of what has no answer
    assert done.stderr.startswith(f"{file}, written 20")


def test_csv_has_every_row_and_keeps_null_an_empty_text_and_quotes_apart(data: Path) -> None:
    warehouse_of(
        data,
        "CREATE TABLE sent (a VARCHAR, b VARCHAR)",
        "INSERT INTO sent VALUES (NULL, ''), ('NA', '007'), ('say \"no\"', 'a,b'), (E'two\\nlines', 'null')",
    )
    done = run("--csv", "-", told="FROM sent; SELECT range AS n, 1 AS n, true AS t FROM range(20000)")
    first, rest = done.stdout[: done.stdout.index("n,n,t")], done.stdout[done.stdout.index("n,n,t") :]
    assert first == 'a,b\n,""\nNA,007\n"say ""no""","a,b"\n"two\nlines",null\n'
    assert rest == "n,n,t\n" + "".join(f"{number},1,true\n" for number in range(20000))


def test_without_sql_a_pipe_gets_the_list_of_tables_and_how_new_they_are(data: Path) -> None:
    warehouse_of(
        data,
        "CREATE SCHEMA marts; CREATE SCHEMA current; CREATE SCHEMA dexcare; CREATE SCHEMA other",
        "CREATE TABLE marts.daily_visits AS SELECT DATE '2026-03-10' AS day FROM range(3)",
        "CREATE TABLE current.avr_retail (_partition_date DATE, _extracted_at TIMESTAMPTZ)",
        """CREATE VIEW dexcare.avr_retail AS SELECT * FROM (VALUES
            (DATE '2026-03-09', TIMESTAMPTZ '2026-03-11 08:00:00.7+00'),
            (DATE '2026-03-10', TIMESTAMPTZ '2026-03-11 07:00:00+00'))
            AS landed (_partition_date, _extracted_at)""",
        "CREATE TABLE other.table_of_a_stranger (x INTEGER)",
    )
    done = run()
    assert [line.split() for line in done.stdout.splitlines()[2:]] == [
        ["dexcare.avr_retail", "2", "2026-03-10", "2026-03-11", "03:00:00-05"],
        ["current.avr_retail", "0"],
        ["marts.daily_visits", "3"],
    ]


def test_a_statement_that_is_wrong_ends_with_one_sentence_and_exit_code_1(data: Path) -> None:
    warehouse_of(data, "CREATE TABLE visits (visit INTEGER)")
    done = run("SELECT * FROM visit")
    assert (done.returncode, done.stdout) == (1, "")
    said = done.stderr.splitlines()[1:]
    assert said == ["", 'Catalog Error: Table with name visit does not exist! Did you mean "visits"?']


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT patient::DATE FROM visits",
        "SELECT patient::INTEGER FROM visits",
        "SELECT strptime(patient, '%Y') FROM visits",
        "SELECT number::TINYINT FROM visits",
        "SELECT number * number * number FROM visits",
    ],
)
def test_an_error_about_a_row_does_not_say_its_values(data: Path, sql: str) -> None:
    patient = """Zebulon "O'Canary" 907-65-4329"""
    warehouse_of(
        data,
        f"CREATE TABLE visits AS SELECT '{patient.replace(chr(39), chr(39) * 2)}' AS patient, "
        "9076543299076543 AS number",
    )
    with pytest.raises(ProblemError) as refused:
        ask(sql)
    assert "Error" in str(refused.value)
    assert not any(part in str(refused.value) for part in ("Zebulon", "Canary", "907", "4329"))


@pytest.mark.parametrize(
    "sql", ["INSERT INTO visits VALUES (1)", "DROP TABLE visits", "CREATE TABLE mine AS FROM visits"]
)
def test_nobody_writes_into_the_warehouse(data: Path, sql: str) -> None:
    file = warehouse_of(data, "CREATE TABLE visits (visit INTEGER)")
    before = file.read_bytes()
    with pytest.raises(ProblemError, match="read-only"):
        ask(sql)
    assert file.read_bytes() == before


def test_a_warehouse_that_is_not_there_or_no_warehouse_is_said_with_what_to_do(data: Path) -> None:
    with pytest.raises(ProblemError, match=rf"no warehouse at {data}/warehouse.duckdb yet.* lands"):
        ask("SELECT 1")
    data.mkdir()
    (data / "warehouse.duckdb").write_bytes(b"something else" * 1000)
    with pytest.raises(ProblemError, match=r"cannot be opened .*; delete it, and `health-pipelines build`"):
        ask("SELECT 1")


def test_somebody_who_has_it_open_for_writing_is_named(data: Path) -> None:
    file = warehouse_of(data, "CREATE TABLE visits (visit INTEGER)")
    writing = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('open', flush=True); input()"
    with child(writing, file) as writer:
        assert writer.line() == "open"
        with pytest.raises(ProblemError, match=rf"is open for writing in process {writer.process.pid}, "):
            ask("SELECT 1")


def test_ctrl_c_stops_an_endless_statement(data: Path) -> None:
    warehouse_of(data)
    with subprocess.Popen([*COMMAND, ENDLESS], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as asking:
        assert asking.stderr is not None
        assert b"warehouse.duckdb" in asking.stderr.readline()
        asking.send_signal(signal.SIGINT)
        try:
            assert asking.wait(30) == 128 + signal.SIGINT
        finally:
            asking.kill()
        assert asking.stderr.read() == b""


def test_a_reader_that_has_enough_is_no_problem(data: Path) -> None:
    warehouse_of(data)
    with subprocess.Popen(
        [*COMMAND, "--csv", "SELECT range FROM range(10000000)"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as asking:
        assert asking.stdout is not None
        assert asking.stderr is not None
        assert asking.stdout.readline() == b"range\n"
        asking.stdout.close()
        assert asking.stderr.read().count(b"\n") == 1
        assert asking.wait(30) == 0


def test_the_sandbox_is_meant_while_no_vendor_is_set_and_it_has_a_warehouse(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    warehouse_of(data, "CREATE TABLE whose AS SELECT 'own' AS name")
    asked = "SELECT name FROM whose"

    # Who only reads has no vendor's key.
    monkeypatch.delenv("DEXCARE_BASE_URL")
    ask(asked)
    own = capsys.readouterr()
    assert own.out == "name\nown\n"
    assert "synthetic" not in own.err

    warehouse_of(data / "sandbox", "CREATE TABLE whose AS SELECT 'synthetic' AS name")
    ask(asked)
    sandbox = capsys.readouterr()
    assert sandbox.out == "name\nsynthetic\n"
    assert "the sandbox's with synthetic patients" in sandbox.err

    monkeypatch.setenv("DRCHRONO_ACCESS_TOKEN", "token")
    ask(asked)
    assert capsys.readouterr().out == "name\nown\n"


def test_a_place_has_its_own_warehouse(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    warehouse_of(data / "sandbox", "CREATE TABLE whose AS SELECT 'synthetic' AS name")
    warehouse_of(tmp_path / "elsewhere", "CREATE TABLE whose AS SELECT 'uat' AS name")
    monkeypatch.setenv("HEALTH_PLACES_DIR", str(tmp_path))
    monkeypatch.delenv("DEXCARE_BASE_URL")
    (tmp_path / "uat.env").write_text(f"HEALTH_DATA_DIR={tmp_path / 'elsewhere'}\n")
    ask("FROM whose", place="uat")
    assert capsys.readouterr().out == "name\nuat\n"


def test_at_the_prompt_mistakes_are_said_and_a_build_is_seen_by_the_next_statement(data: Path) -> None:
    hospital = Hospital(data)
    hospital.land_visits("virtual", "2026-03-10", [{**VISIT, **WAIT}])
    hospital.build()
    with terminal(COMMAND) as typed:
        typed.waits_for(PROMPT)
        # Many lines, and a semicolon that ends nothing.
        assert "...> " in typed.answer_to("SELECT ';' AS semicolon,", until=MORE)
        assert "│ ;         │" in typed.answer_to(
            "median_wait_seconds / 60 AS minutes FROM marts.daily_visits;"
        )
        assert "syntax error" in typed.answer_to("SELCT 1;")
        assert "read-only" in typed.answer_to("DROP TABLE marts.daily_visits;")
        assert re.search(r"current\.avr_virtual +1 +2026-03-10", typed.answer_to(".tables"))
        assert ".foo is no command" in typed.answer_to(".foo")
        assert "│   20.0 │" in typed.answer_to(
            "SELECT median_wait_seconds / 60 AS m FROM marts.daily_visits;"
        )

        # A statement that would never end, and one that was begun by mistake.
        typed.says(ENDLESS + ";")
        typed.waits_for("n % 7 = 3;")
        typed.presses(CTRL_C)
        typed.waits_for(PROMPT)
        typed.answer_to("SELECT 'begun", until=MORE)
        typed.presses(CTRL_C)
        typed.waits_for(PROMPT)

        # While the session is open, a visit lands and the warehouse is built.
        waiting = "SELECT max(visits)::VARCHAR || ' visits' AS found FROM marts.daily_visits;"
        assert "1 visits" in typed.answer_to(waiting)
        hospital.land_visits("virtual", "2026-03-10", [{**VISIT, **WAIT}, {**VISIT, **WAIT, "visit_id": "2"}])
        assert hospital.build().published
        after = typed.answer_to(waiting)
        assert "2 visits" in after
        assert "has been built anew" in after
        assert "has been built anew" not in typed.answer_to(waiting)
        typed.presses(CTRL_D)
        assert typed.ended() == 0


class Terminal:
    """Who sits at a terminal, and what is shown there."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._shown = ""

    def says(self, line: str) -> None:
        self.presses(f"{line}\n".encode())

    def presses(self, keys: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(keys)
        self._process.stdin.flush()

    def answer_to(self, line: str, *, until: str = PROMPT) -> str:
        self.says(line)
        # What is typed is shown too.
        self.waits_for(re.escape(line) + "\n")
        return self.waits_for(until)

    def waits_for(self, pattern: str) -> str:
        """What is shown up to something that fits; the next wait begins behind it."""
        found = wait_for(lambda: re.search(pattern, self._look()), f"{pattern!r} on the screen")
        assert found is not None
        shown, self._shown = self._shown[: found.end()], self._shown[found.end() :]
        return shown

    def ended(self) -> int:
        return self._process.wait(30)

    def _look(self) -> str:
        assert self._process.stdout is not None
        screen = self._process.stdout.fileno()
        while select.select([screen], [], [], 0)[0] and (shown := os.read(screen, 65536)):
            self._shown += shown.decode(errors="replace").replace("\r\n", "\n")
        return self._shown


@contextmanager
def terminal(command: Sequence[str]) -> Iterator[Terminal]:
    """The command on a terminal of its own; gone when the block ends."""
    on_terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    with subprocess.Popen(
        [sys.executable, "-c", on_terminal, *command],
        # No control sequences, and room for a table.
        env={**os.environ, "TERM": "dumb", "COLUMNS": "200"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            yield Terminal(process)
        finally:
            process.kill()
