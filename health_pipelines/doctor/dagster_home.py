"""Opening Dagster's home, for those who only look at what is recorded there.

Belongs here: whether it can be opened, and what is said if not. Does not belong here: what is looked at
(`dagster_checks.py`).
"""

import re
from pathlib import Path

from dagster import DagsterInstance

from health_pipelines.doctor.database_check import database
from health_pipelines.doctor.finding import Finding, Mark, not_set_up, problem, warning
from health_pipelines.doctor.folder_checks import belongs_to_somebody_else
from health_pipelines.doctor.installation import Installation

HOME = "DAGSTER_HOME"


def opened_home(installation: Installation, *, may_make_files: bool = True) -> DagsterInstance | Finding:
    """The instance, to be disposed of; or why there is none.

    `may_make_files`: whether Dagster may make its own where it never ran.
    """
    home = installation.dagster_home
    if home is None:
        return not_set_up(f"{HOME} is not set, and `make dev` has made no home of its own.")
    if finding := _in_the_way(home, installation, may_make_files=may_make_files):
        return finding
    try:
        return DagsterInstance.from_config(str(home))
    except Exception as error:  # of Dagster, YAML, SQLAlchemy or a storage class: all mean the same here
        return problem(f"{home}/dagster.yaml cannot be used: {_reason(error)}.")


def is_in_postgres(home: Path) -> bool:
    """Whether its `dagster.yaml` leads to PostgreSQL."""
    file = home / "dagster.yaml"
    return file.is_file() and "postgres" in file.read_text(encoding="utf-8")


def _in_the_way(home: Path, installation: Installation, *, may_make_files: bool) -> Finding | None:
    if not home.is_absolute() or not home.is_dir():
        return problem(f"{HOME} is {home}, which is not the absolute path of a folder.")
    if belongs_to_somebody_else(home):
        return warning(
            f"Not opened: {home} belongs to another user, and what root leaves there, Dagster could not "
            "use. Run this as that user."
        )
    # Dagster would try for longer than a check may take, and log the words of each failure.
    if is_in_postgres(home) and database(installation).mark is Mark.PROBLEM:
        return problem(f"{home} was not opened, as its database cannot be used.")
    if not may_make_files and _is_blank(home):
        return problem(f"{home} has no record yet: nothing has run there.")
    return None


def _is_blank(home: Path) -> bool:
    """Whether nothing was ever recorded there: opening it would make Dagster's files."""
    file = home / "dagster.yaml"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    # `base_dir` may lead to another folder, which is not for us to judge.
    is_elsewhere = "base_dir" in text and str(home) not in text
    return not (is_in_postgres(home) or is_elsewhere or (home / "history").is_dir())


def _reason(error: BaseException) -> str:
    """Names only: the words of a database's error may hold its address."""
    # In Dagster's words, and in those of `instance/postgres_storage.py`.
    missing = re.search(r'environment variable "(\w+)" which is not set|^(\w+) is not set', str(error))
    return (
        f"the variable {missing[1] or missing[2]}, which it needs, is not set in the environment"
        if missing
        else type(error).__name__
    )
