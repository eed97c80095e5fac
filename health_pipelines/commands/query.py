"""`health-pipelines query`: ask the warehouse, one statement or many at a prompt.

Belongs here: which warehouse is meant, and what its answers look like. Does not belong here: reading it
(`warehouse_reader.py`), and the prompt (`query_prompt.py`).
"""

import os
import shutil
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb

from health_pipelines.commands.environment import has_no_vendor, sandbox_data, user_environment
from health_pipelines.commands.query_prompt import prompt
from health_pipelines.commands.text_table import text_table
from health_pipelines.commands.warehouse_reader import WarehouseReader
from health_pipelines.settings import Settings
from health_pipelines.settings.place_files import settings_of_place

Show = Callable[[duckdb.DuckDBPyConnection, duckdb.DuckDBPyRelation], None]
# As `Warehouse.file` says, which would load Dagster: that takes longer than most answers.
_FILE_NAME = "warehouse.duckdb"
# Wide enough for any table: what reads a pipe scrolls or cuts by itself.
_ANY_WIDTH = 100_000


def query(sql: str | None, *, place: str | None, csv: bool, tables: bool, rows: int) -> None:
    """Answer `sql` (`-`: the statements on standard input), or list the tables, or begin a prompt.

    Without `sql` it is the prompt on a terminal, else the list. `place`: one of HEALTH_PLACES_DIR. `csv`:
    write all rows as CSV, else a table of at most `rows`. Raises `ProblemError` with one sentence.
    """
    file, zone, is_sandbox = _warehouse(place)
    reader = WarehouseReader(file, zone)
    reader.refresh()
    written = datetime.fromtimestamp(file.stat().st_mtime, zone)
    whose = ", the sandbox's with synthetic patients" if is_sandbox else ""
    print(f"{file}{whose}, written {written:%Y-%m-%d %H:%M %Z}", file=sys.stderr)
    show: Show = show_csv if csv else lambda _, answer: show_table(answer, rows)
    try:
        if tables or (sql is None and not (sys.stdin.isatty() and sys.stdout.isatty())):
            print(list_of_tables(reader))
        elif sql is None:
            prompt(reader, show, lambda: print(list_of_tables(reader)))
        else:
            reader.answer(sys.stdin.read() if sql == "-" else sql, show)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads the pipe, `head` for one, has enough. Python would try once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show_table(answer: duckdb.DuckDBPyRelation, rows: int) -> None:
    """Print the first and last rows, as many as `rows`, and how many there are."""
    if answer.columns == ["explain_key", "explain_value"]:
        # A drawing of many lines.
        print("\n".join(value for _, value in answer.fetchall()))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _ANY_WIDTH
    answer.show(max_width=width, max_rows=rows, null_value="NULL")


def show_csv(connection: duckdb.DuckDBPyConnection, answer: duckdb.DuckDBPyRelation) -> None:
    """Write every row. NULL is nothing, and an empty text is two quotes."""
    sys.stdout.write(_csv_line(answer.columns))
    # `answer` by its name: a query of its own is read in pieces, a relation whole.
    rows = connection.execute("SELECT COLUMNS(*)::VARCHAR FROM answer")
    while some := rows.fetchmany(10_000):
        sys.stdout.writelines(map(_csv_line, some))


def list_of_tables(reader: WarehouseReader) -> str:
    return text_table(("table", "rows", "newest day", "newest extraction"), reader.tables())


def _csv_line(values: "tuple[str | None, ...] | list[str]") -> str:
    return ",".join(map(_csv_value, values)) + "\n"


def _csv_value(value: str | None) -> str:
    if value is None:
        return ""
    if value and not set(value) & set(',"\r\n'):
        return value
    return '"' + value.replace('"', '""') + '"'


def _warehouse(place: str | None) -> tuple[Path, ZoneInfo, bool]:
    """The file, the time zone of its people, and whether it is the sandbox's."""
    environment = user_environment()
    settings = Settings(environment if place is None else settings_of_place(place, environment))
    own, sandbox = (data / _FILE_NAME for data in (settings.data_dir, sandbox_data(environment)))
    # As `make dev` does; but who only reads has a warehouse without a vendor's key.
    no_vendor = place is None and has_no_vendor(environment)
    is_sandbox = no_vendor and (sandbox.exists() or not own.exists())
    return sandbox if is_sandbox else own, settings.timezone, is_sandbox
