"""A vendor that sends one report, as large as it is told to, and a process that lands it and is measured.

Not the sandbox, which makes its reports whole in memory: here every block is made when it is sent. The blocks
differ, so that no two rows are alike and no visit id comes twice.
"""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from health_pipelines_tests.support.child_process import ROOT

REPORT_ID = "6f1c1f0e-6f0e-4d0e-9b5e-2f8a4a1b2c3d"
_COLUMNS = ("visit_id", "scheduled_at", "state", *(f"field_{number}" for number in range(37)))
_HEADER = (",".join(_COLUMNS) + "\n").encode()
# Two marks in each row are replaced by the number of the block and by what tells two versions apart.
_ROWS = 2000
_BLOCK = "".join(
    f"#BLOCK##-{row},2026-03-10 10:00:00,completed,#V#,"
    + ",".join(f"value {row * 37 + number}" for number in range(36))
    + "\n"
    for row in range(_ROWS)
).encode()

_LAND = """
import asyncio, resource, sys, threading
from datetime import UTC, datetime
from pathlib import Path
from health_pipelines.dexcare.visits.client import DexCareClient
from health_pipelines.dexcare.visits.landing import land_report
from health_pipelines.dexcare.visits.report import Ticket
from health_pipelines.lake.disk import naming_the_disk
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.settings import HttpPolicy, Secret

url, lake, report_id, most_mb = sys.argv[1:]
if int(most_mb):
    resource.setrlimit(resource.RLIMIT_DATA, (int(most_mb) << 20,) * 2)

async def main():
    now = datetime.now(UTC)
    ticket = Ticket("2026-03-10", report_id, now, "a test", now)
    async with DexCareClient(url, Secret("key"), HttpPolicy()) as client:
        table = Table("dexcare", "avr_virtual")
        with naming_the_disk():
            return await land_report(client, Lake(Path(lake)), table, ticket, now, key="visit_id")

def own_kb():
    # Without the pages of files that are mapped, which the kernel takes back when memory is short.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

def watch():
    while not done.wait(0.01):
        peak[0] = max(peak[0], own_kb())

done, peak = threading.Event(), [0]
watching = threading.Thread(target=watch)
watching.start()
try:
    landed, _ = asyncio.run(main())
finally:
    done.set()
    watching.join()
changes = landed.changes
print(landed.rows, changes.added, changes.removed, changes.changed, peak[0] >> 10)
"""


@dataclass
class LargeReport:
    """`version`: any letter; another one makes every row another one."""

    url: str
    blocks: int = 1
    version: str = "a"

    @property
    def rows(self) -> int:
        return self.blocks * _ROWS

    def land(self, lake: Path, *, most_mb: int = 0) -> "subprocess.CompletedProcess[str]":
        """In a process of its own, which may have `most_mb` of memory for data; 0: as much as it likes."""
        command = [sys.executable, "-c", _LAND, self.url, str(lake), REPORT_ID, str(most_mb)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@contextmanager
def large_report(megabytes: int) -> Iterator[LargeReport]:
    """The report, of about that size, on a loopback port."""

    class Vendor(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = len(_HEADER) + report.blocks * len(_block(0, report.version))
            self.send_response(200)
            self.send_header("Content-Type", "text/csv")
            self.send_header("Content-Length", str(size))
            self.end_headers()
            self.wfile.write(_HEADER)
            for number in range(report.blocks):
                self.wfile.write(_block(number, report.version))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
    report = LargeReport(f"http://127.0.0.1:{server.server_port}", max(1, (megabytes << 20) // len(_BLOCK)))
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield report
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def _block(number: int, version: str) -> bytes:
    return _BLOCK.replace(b"#BLOCK##", b"%08d" % number).replace(b"#V#", version.encode() * 3)
