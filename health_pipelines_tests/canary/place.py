"""An installation whose vendors, secrets and receivers are full of planted words, and where those may be.

Belongs here: the words, the processes of a story, and the places that are searched afterwards. Does not
belong here: the search (`search.py`) and what goes wrong in the story (its test).
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from health_pipelines.commands.places import embedded_home
from health_pipelines_tests.canary.search import Hit, Search
from health_pipelines_tests.drchrono.project import lists_are_quick
from health_pipelines_tests.support.dagster_processes import ROOT, sandbox_environment
from health_pipelines_tests.support.sandbox_process import SandboxProcess

# Of nobody: no one is called so, and no number of social security begins with 9.
NAME, NUMBER = "Zebulonquist", "907-65-4329"
# What only the vendors and their callers know.
SECRETS: Mapping[str, str] = {
    "service key": "canary-Sv9Kp2xQ",
    "APR key": "canary-Ap7Rr4zW",
    "client secret": "canary-Cs3Tt8yE",
    "first refresh token": "canary-Rf5Uu1vB",
    "webhook": "canary-Wh6Hh2kD",
    "mail password": "canary-Ml4Pp9wF",
    "database password": "canary-Db8Gg3sJ",
    "storage password": "canary-St1Nn7mL",
}
WORDS = {"name": NAME, "number": NUMBER, **SECRETS}
TOKENS = Path("drchrono/tokens/tokens.json")
COMMAND_WITHIN_SECONDS = 180


class CanaryPlace:
    """Everything of it is below `folder`: `data` with Dagster's home, `temporary`, `printed`, `secrets`."""

    def __init__(
        self, folder: Path, sandbox: SandboxProcess, more: Mapping[str, str], *, in_postgres: bool = False
    ) -> None:
        self.folder, self.sandbox = folder, sandbox
        self.data, self.home = folder / "data", folder / "data" / "dagster_home"
        self.printed, self.temporary = folder / "printed", folder / "temporary"
        self._secrets = folder / "secrets"
        for one in (self.data, self.home, self.printed, self.temporary, self._secrets):
            one.mkdir()
        (self._secrets / "apr").write_text(SECRETS["APR key"])
        self.environment = sandbox_environment(
            sandbox,
            folder,
            **{
                "DAGSTER_HOME": str(self.home),
                "TMPDIR": str(self.temporary),
                "PYTHONPATH": str(ROOT),
                "HEALTH_START_DATE": "2026-03-01",
                "HEALTH_BUILD_WAREHOUSE": "true",
                "DEXCARE_SERVICE_KEY": SECRETS["service key"],
                "DEXCARE_APR_API_KEY_FILE": str(self._secrets / "apr"),
                "DEXCARE_HTTP_ATTEMPTS": "1",
                "DRCHRONO_BASE_URL": sandbox.url,
                "DRCHRONO_CLIENT_ID": "canary-client",
                "DRCHRONO_CLIENT_SECRET": SECRETS["client secret"],
                "DRCHRONO_REFRESH_TOKEN": SECRETS["first refresh token"],
                "DRCHRONO_TIMEZONE": "UTC",
                "DRCHRONO_VERBOSE": "true",
                "DRCHRONO_CALLS_PER_HOUR": "100000",
                "DRCHRONO_CALLS_PER_SECOND": "1000",
                "DRCHRONO_HTTP_ATTEMPTS": "1",
                "HEALTH_UI_URL": "https://dagster.example.org",
                **more,
            },
        )
        (self.home / "dagster.yaml").write_text(embedded_home(self.home, in_postgres=in_postgres))
        lists_are_quick(self.data)

    def command(self, *arguments: str, given: str = "", **more: str) -> int:
        """A command of the project's to its end; what it prints is kept with the rest. `more`: variables."""
        number = len(list(self.printed.iterdir()))
        done = subprocess.run(
            [sys.executable, "-m", "health_pipelines", *arguments],
            env={**self.environment, **more},
            cwd=self.folder,
            input=given.encode(),
            capture_output=True,
            timeout=COMMAND_WITHIN_SECONDS,
            check=False,
            umask=0,
        )
        (self.printed / f"{number:02}-{arguments[0]}").write_bytes(done.stdout + b"\n" + done.stderr)
        return done.returncode

    def hits(self, search: Search, *, journal_is_gone: bool = True) -> set[Hit]:
        """Every planted word that is where none may be.

        Patients may be in the lake and in the warehouse, and tokens in their file. The files of secrets are
        the operator's. While a sweep is under way its pages are in its journal.
        """

        def may_hold_patients(path: Path) -> bool:
            inside = path.relative_to(self.data).parts
            in_journal = inside[:2] in (("drchrono", "sweeps"), ("drchrono", "reconciliations"))
            return inside[0] in ("lake", "warehouse.duckdb") or (in_journal and not journal_is_gone)

        of_people = search.only("name", "number")
        # No key is anywhere, not even in the lake.
        of_keys = search.only(*(name for name in search.words if name not in of_people.words))
        hits = of_keys.in_folder(self.data, left_out=lambda path: path == self.data / TOKENS)
        hits |= of_people.in_folder(self.data, left_out=may_hold_patients)
        for folder in (self.printed, self.temporary):
            hits |= search.in_folder(folder)
        return hits


class Driver:
    """The process of `driver.py` at a place."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def materialize(self, *assets: str, first: str | None = None, last: str | None = None) -> bool:
        """Whether the run succeeded."""
        days = {} if first is None else {"first": first, "last": last or first}
        return bool(self.do({"materialize": assets, **days})["success"])

    def tick(self, sensor: str) -> dict[str, Any]:
        return self.do({"sensor": sensor})

    def begin(self, order: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def do(self, order: dict[str, Any]) -> dict[str, Any]:
        self.begin(order)
        return self.answer()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the driver ended"
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def driver(place: CanaryPlace) -> Iterator[Driver]:
    """Ready when the block begins, and killed when it ends."""
    log = place.printed / f"{len(list(place.printed.iterdir())):02}-driver"
    with subprocess.Popen(
        [sys.executable, "-m", "health_pipelines_tests.canary.driver", str(log)],
        env=place.environment,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # As open as can be: what the project keeps is its owner's all the same.
        umask=0,
    ) as process:
        try:
            driver = Driver(process)
            driver.answer()
            yield driver
        finally:
            process.kill()


def tokens_kept(data: Path) -> dict[str, str]:
    """Tokens that the vendor gave, as words to look for."""
    text = (data / TOKENS).read_text()
    return {
        f"{name} {number}": chain[name]
        for number, chain in enumerate(json.loads(text).values())
        for name in ("access_token", "refresh_token")
        if chain.get(name)
    }


def open_to_others(folder: Path) -> list[str]:
    """Files and folders below `folder`, and itself, that anybody but their owner may do anything with."""
    return [
        str(path.relative_to(folder))
        for path in (folder, *folder.rglob("*"))
        if not path.is_symlink() and path.stat().st_mode & 0o077
    ]
