"""The checks in their order, each by itself and within its time.

Belongs here: the order, the time limit, and what becomes of a check that fails. Does not belong here: any
check.
"""

import platform
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version

from health_pipelines.doctor import settings_checks
from health_pipelines.doctor.bucket_check import object_storage
from health_pipelines.doctor.clock_check import clock
from health_pipelines.doctor.columns_check import columns
from health_pipelines.doctor.dagster_checks import dagster
from health_pipelines.doctor.database_check import database
from health_pipelines.doctor.finding import Finding, Mark, ok, problem
from health_pipelines.doctor.folder_checks import closed, disk, first_day, lake, missing, warehouse, writable
from health_pipelines.doctor.installation import Installation
from health_pipelines.doctor.privacy_check import privacy
from health_pipelines.doctor.probe_check import last_probed
from health_pipelines.doctor.publish_check import publishing
from health_pipelines.doctor.vendor_checks import asked
from health_pipelines.lake.disk import UnusableDiskError
from health_pipelines.settings import SettingError
from health_pipelines.vendors.known import OURS, more_vendors

CHECK_WITHIN_SECONDS = 10.0
_PACKAGES = ("health-pipelines", "dagster", "polars", "duckdb")

Check = Callable[[Installation], Finding | list[Finding]]


def versions(_: Installation) -> Finding:
    """What to say when asking for help."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return ok(f"{packages}, Python {platform.python_version()} on {platform.system()} {platform.machine()}.")


CHECKS: dict[str, Check] = {
    "versions": versions,
    "settings": settings_checks.readable,
    "places": settings_checks.places,
    "time zones": settings_checks.time_zones,
    "data folder": writable,
    "other users": closed,
    "disk": disk,
    "object storage": object_storage,
    "lake": lake,
    "first day": first_day,
    "missing days": missing,
    "warehouse": warehouse,
    "columns": columns,
    "minimisation": privacy,
    "clock": clock,
    **{question.subject: partial(asked, question) for vendor in OURS for question in vendor.questions},
    "last probe": last_probed,
    "database": database,
    "publishing": publishing,
    "Dagster": dagster,
    "alerts": settings_checks.alerts,
}


@dataclass
class Checkup:
    """One examination. `is_stuck`: a check was left alone when its time was over, and may be at it still."""

    installation: Installation
    check_within_seconds: float = CHECK_WITHIN_SECONDS
    is_stuck: bool = False
    _said: set[str] = field(default_factory=set)

    def findings(self) -> Iterator[tuple[str, Finding]]:
        """Subject and finding, as they come."""
        for subject, check in CHECKS.items():
            for finding in self._of(check):
                yield subject, finding
        try:
            more = more_vendors(self.installation.settings)
        except SettingError:  # which the checks of the folders have said
            return
        for question in (question for vendor in more for question in vendor.questions):
            for finding in self._of(partial(asked, question)):
                yield question.subject, finding

    def _of(self, check: Check) -> list[Finding]:
        found: list[Finding] = []

        def carry_out() -> None:
            found.extend(self._carried_out(check))

        # A thread, and one that nobody waits for at the end: a name server, a network disk and a lock have no
        # time limit of their own.
        thread = threading.Thread(target=carry_out, daemon=True)
        thread.start()
        thread.join(self.check_within_seconds)
        if thread.is_alive():
            self.is_stuck = True
            return [problem(f"No answer within {self.check_within_seconds:g} s.")]
        return found

    def _carried_out(self, check: Check) -> list[Finding]:
        try:
            found = check(self.installation)
        except SettingError as error:
            return [self._of_a_setting(str(error))]
        except UnusableDiskError as error:
            return [problem(str(error))]
        except Exception as error:  # one check that fails must not stop the others
            # Its kind alone: its words may hold anything.
            return [problem(f"The check failed by itself ({type(error).__name__}{_where(error)}).")]
        findings = found if isinstance(found, list) else [found]
        self._said |= {finding.says for finding in findings}
        return findings

    def _of_a_setting(self, sentence: str) -> Finding:
        if sentence in self._said:
            return problem("Cannot be checked before the settings above are right.")
        self._said.add(sentence)
        return problem(sentence)


def _where(error: BaseException) -> str:
    """The file and line of this project that it came from."""
    traceback, where = error.__traceback__, ""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if "health_pipelines" in code.co_filename:
            where = (
                f" in {code.co_filename.rpartition('health_pipelines')[2].lstrip('/')}:{traceback.tb_lineno}"
            )
        traceback = traceback.tb_next
    return where


def summary(findings: list[Finding]) -> str:
    """`2 problems, 1 warning.`"""
    problems = sum(finding.mark is Mark.PROBLEM for finding in findings)
    warnings = sum(finding.mark is Mark.WARNING for finding in findings)
    return f"{_count(problems, 'problem')}, {_count(warnings, 'warning')}."


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
