"""How long one tick of the sensor takes with 1,000 reports in flight, by concurrency and latency.

A real Dagster instance on SQLite holds 1,002 tickets (334 days of three reports) that a real request run
wrote; the sandbox, a process of its own, keeps them all QUEUED. Each line is the median of the ticks
measured, each of which asks about all of them; the CPU seconds are this process's, the sandbox's not
included. Beside it what asking costs without Dagster, in the bare client.

    make benchmark-tick
"""

import argparse
import asyncio
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

from dagster import DagsterInstance

from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.dexcare.visits.client import DexCareClient
from health_pipelines.dexcare.visits.ledger import Ledger
from health_pipelines.http.fan_out import for_each
from health_pipelines.settings import HttpPolicy, Secret
from health_pipelines_tests.dexcare.project import Project
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox

FIRST_DAY, LAST_DAY = "2025-01-01", "2025-11-30"
REPORTS = 334 * 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=3)
    ticks = parser.parse_args().ticks
    print("| latency | at once | bare client s | CPU s | tick s | CPU s |\n" + "| --- " * 6 + "|")
    with tempfile.TemporaryDirectory() as folder, in_flight(Path(folder)) as (sandbox, project):
        for latency_ms in (0, 50):
            sandbox.change_settings(latency_ms=latency_ms)
            for at_once in (5, 10, 20, 50):
                os.environ["DEXCARE_POLL_CONCURRENCY"] = str(at_once)
                ids = open_report_ids(project)
                bare = [timed(partial(ask_bare, sandbox, ids, at_once)) for _ in range(ticks)]
                whole = [timed(partial(tick, project, sandbox)) for _ in range(ticks)]
                columns = [*zip(*bare, strict=True), *zip(*whole, strict=True)]
                cells = [f"{statistics.median(column):.1f}" for column in columns]
                print(f"| {latency_ms} ms | {at_once} | {' | '.join(cells)} |", flush=True)


@contextmanager
def in_flight(folder: Path) -> Iterator[tuple[SandboxProcess, Project]]:
    with (
        running_sandbox(queue_seconds="90000", volume="0.01") as sandbox,
        DagsterInstance.local_temp(str(folder)) as instance,
    ):
        os.environ |= {
            "HEALTH_DATA_DIR": str(folder / "data"),
            "HEALTH_START_DATE": FIRST_DAY,
            "DEXCARE_BASE_URL": sandbox.url,
            "DEXCARE_SERVICE_KEY": "SECRET_TOKEN",
        }
        project = Project(instance)
        project.materialize([report.request_key for report in VISIT_REPORTS], FIRST_DAY, LAST_DAY)
        assert len(open_report_ids(project)) == REPORTS
        yield sandbox, project


def tick(project: Project, sandbox: SandboxProcess) -> None:
    sandbox.forget_calls()
    project.tick(after=timedelta(minutes=1))
    assert sandbox.calls()["by_operation"]["status"] == REPORTS


def ask_bare(sandbox: SandboxProcess, report_ids: list[str], at_once: int) -> None:
    async def ask_all() -> None:
        policy = HttpPolicy(concurrency=at_once)
        async with DexCareClient(sandbox.url, Secret("SECRET_TOKEN"), policy) as client:

            async def ask(report_id: str) -> None:
                await client.report_status(report_id)

            await for_each(report_ids, ask, at_once=at_once)

    asyncio.run(ask_all())


def open_report_ids(project: Project) -> list[str]:
    return [
        one.ticket.report_id
        for report in VISIT_REPORTS
        for one in Ledger(project.instance, report.request_key).open_tickets().values()
    ]


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and CPU seconds."""
    began, used = time.perf_counter(), cpu_seconds()
    work()
    return time.perf_counter() - began, cpu_seconds() - used


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
