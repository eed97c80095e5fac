"""The prompt of `health-pipelines query`.

Belongs here: what a person types and what the prompt does with it. Does not belong here: answering
(`warehouse_reader.py`).

There is no file of what was typed: a question may name a patient.
"""

import contextlib
import signal
import sqlite3
from collections.abc import Callable
from importlib import import_module

import duckdb

from health_pipelines.commands.problem import ProblemError
from health_pipelines.commands.warehouse_reader import WarehouseReader

_FIRST, _NEXT = "warehouse> ", "      ...> "
_HELP = """\
A statement may have many lines and ends with ;
Ctrl-C stops it, or forgets what was typed. Ctrl-D or .quit ends this.
.tables   every table, its rows and how new they are
.help     this
Columns for which the terminal is too narrow show as one with dots: name those that you want.

DESCRIBE marts.daily_visits;
SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'daily_visits';"""


def prompt(
    reader: WarehouseReader,
    show: Callable[[duckdb.DuckDBPyConnection, duckdb.DuckDBPyRelation], None],
    show_tables: Callable[[], None],
) -> None:
    """Answer what is typed, until Ctrl-D or `.quit`. What is wrong with it is said, and it goes on."""
    with contextlib.suppress(ImportError):
        # Its being there gives `input` a line to edit, and the lines before it.
        import_module("readline")
    # Ctrl-C is for a statement here, not for the command.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print(".tables lists the tables, .help says more; a statement ends with ;")
    typed = ""
    while True:
        try:
            typed += input(_NEXT if typed else _FIRST) + "\n"
            word = typed.strip().rstrip(";")
            if word in (".quit", ".exit", "quit", "exit"):
                return
            if word == ".help":
                print(_HELP)
            elif word == ".tables":
                _say_if_replaced(reader)
                show_tables()
            elif word.startswith("."):
                print(f"{word.split()[0]} is no command; there are .tables, .help and .quit.")
            elif not word:
                pass
            elif sqlite3.complete_statement(typed):
                _say_if_replaced(reader)
                reader.answer(typed, show)
            else:
                continue
        except EOFError:
            print()
            return
        except ProblemError as problem:
            print(problem)
        except KeyboardInterrupt:
            print()
        typed = ""


def _say_if_replaced(reader: WarehouseReader) -> None:
    if reader.refresh():
        print("The warehouse has been built anew; this is from the new one. What SET and TEMP made is gone.")
