"""Every cell of the matrix over HTTP: what it says is what happens, and then the lake is the vendor's truth.

CI tries a fifth of the pairs, of every call and every fault some; `make fault-matrix` tries all.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from health_pipelines.drchrono.api.tokens import RenewedTokens
from health_pipelines_tests.fault_matrix.front import Front, front_of
from health_pipelines_tests.fault_matrix.outcomes import (
    Call,
    Cell,
    Kind,
    Network,
    OurClock,
    Rule,
    Server,
    UsedUp,
)
from health_pipelines_tests.fault_matrix.table import CELLS, FAULTS, GROUPS, LOST_TOKEN
from health_pipelines_tests.fault_matrix.works import (
    CLIENT_SECRET,
    KEY,
    Said,
    Work,
    World,
    done,
    left_over,
    work_of,
)
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox

NOW = "2026-03-20T15:20:00+00:00"
ONE_IN = 5
PLAIN: dict[str, Any] = {
    "compression": "none",
    "chunk_bytes": 65536,
    "header_names": "lower",
    "http_version": "1.1",
    "framing": "chunked",
    "drchrono_calls_per_hour": 0,
}
# What was found and mended where no other test looks.
ALWAYS = {
    (Call.TOKEN, "garbage JSON"),
    (Call.LIST_POLL, "our clock jumps 3 days back"),
    (Call.DATA, "answers compressed in two streams"),
    (Call.DATA, "a gzip bomb"),
    (Call.STATUS, "a slow drip"),
}
CALLS_BEFORE = {Call.TOKEN: 0, Call.LIST_START: 1, Call.DELETIONS: 1, Call.LIST_POLL: 2}
BASE_URL = {"DexCare": "DEXCARE_BASE_URL", "DrChrono": "DRCHRONO_BASE_URL"}
PATHS = {
    Call.START: "POST /api/8/reporting/allvisitsreport",
    Call.STATUS: "GET /api/8/reporting/allvisitsreport/{…}",
    Call.DATA: "GET /api/8/reporting/allvisitsreport/{…}/data",
    Call.HISTORIES: "POST /v1/reporting/providerhistories",
    Call.TOKEN: "POST /o/token/",
    Call.LIST_START: "POST /api/patients_list",
    Call.LIST_POLL: "GET /api/patients_list",
    Call.DELETIONS: "GET /api/line_item_deletions",
}


def practice() -> Any:
    return running_sandbox(
        now=NOW,
        queue_seconds="0",
        run_seconds="0",
        volume=0.1,
        drchrono_volume=60,
        drchrono_history_start="2026-03-15",
        drchrono_list_seconds="0",
        drchrono_calls_per_hour=0,
        drchrono_calls_per_second=0,
        result_life_seconds=86400,
    )


@pytest.fixture(scope="module")
def shared_vendor() -> Iterator[SandboxProcess]:
    with practice() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def front(shared_vendor: SandboxProcess) -> Iterator[Front]:
    with front_of(shared_vendor.url) as front:
        yield front


@dataclass
class Retries:
    """How often something was tried again at once, and after how many seconds."""

    waits: list[float] = field(default_factory=list)
    then: Callable[[], None] = lambda: None

    def __call__(self, details: RetryDetails) -> None:
        self.waits.append(details.wait_for)
        self.then()


@pytest.fixture
def retries() -> Iterator[Retries]:
    counted = Retries()
    set_on_retry_hooks([counted])
    yield counted
    set_on_retry_hooks(None)


@dataclass
class Trial:
    """One cell: its world, its work, and the fault, to be brought about and lifted."""

    cell: Cell
    sandbox: SandboxProcess
    front: Front
    retries: Retries
    folder: Path
    work: Work = field(init=False)
    world: World = field(init=False)
    before: object = field(init=False)

    def __post_init__(self) -> None:
        self.anew("first")

    def anew(self, name: str) -> None:
        """Everything from the beginning, in another folder."""
        self.sandbox.clear_faults()
        self.sandbox.change_settings(**PLAIN, drchrono_refresh_token=f"refresh-{self.folder.name}-{name}")
        self.front.set("open")
        folder = self.folder / name
        folder.mkdir()
        self.world = World(
            self.sandbox,
            folder,
            url=self.front.url if isinstance(self.cell.fault.how, Network) else "",
            refresh_token=f"refresh-{self.folder.name}-{name}",
            bounds=self.cell.fault.bounds,
        )
        self.work = work_of(self.cell.call, self.world)
        # Read before anything goes wrong: some of it comes by the way of the call.
        self.before = self.work.truth()
        self.retries.waits.clear()
        self.retries.then = lambda: None

    def run(self, *, times: int | None = None, lifted_by_a_retry: bool = False) -> Said | None:
        """Do the work with the fault: for good, so often, or until something is tried again."""
        armed = False

        def arm() -> None:
            nonlocal armed
            if not armed:
                armed = True
                self._bring_about(times)

        self.world.arm = arm
        if lifted_by_a_retry:
            self.retries.then = self.lift
        if isinstance(self.cell.fault.how, UsedUp) and not self.cell.fault.how.by_vendor:
            self.world.calls_per_hour = 5
            self.world.used_before = 5 - CALLS_BEFORE[self.cell.call]
        self.sandbox.forget_calls()
        return done(self.work.run())

    def run_well(self) -> None:
        """Do the work without the fault; what it brings is the truth."""
        self.world.arm = lambda: None
        self.world.bounds = replace(self.world.bounds, timeout=20, longest=40)
        assert done(self.work.run()) is None
        self.is_the_truth()

    def is_the_truth(self) -> None:
        """The lake has what the vendor has, and nothing else is left in it."""
        self.lift()
        found = self.work.in_lake()
        # The vendor's clock goes on, and its records with it.
        assert found in (self.before, self.work.truth())
        assert found
        assert left_over(self.world.folder) == []

    def calls(self) -> int:
        counted: int = self.sandbox.calls()["by_operation"].get(self.cell.call.value, 0)
        return counted

    def lift(self) -> None:
        self.sandbox.clear_faults()
        self.sandbox.change_settings(**PLAIN)
        self.front.set("open")

    def _bring_about(self, times: int | None) -> None:
        how = self.cell.fault.how
        match how:
            case Rule(fault, own_times, settings):
                if settings:
                    self.sandbox.change_settings(**settings)
                often = own_times or times
                rule = {} if often is None else {"times": often}
                self.sandbox.add_fault(self.cell.call.value, self._filled(fault), **rule)
            case Network(mode):
                self.front.set(mode)
            case Server(settings):
                self.sandbox.change_settings(**settings)
            case OurClock(seconds):
                self.world.ahead += timedelta(seconds=seconds)
            case UsedUp(by_vendor=True):
                self.sandbox.change_settings(drchrono_calls_per_hour=500)
                self.sandbox.control("POST", "drchrono/quota", json={"calls": 500})

    def _filled(self, fault: Mapping[str, Any]) -> dict[str, Any]:
        """With the times and the secrets that it is to say."""
        now = datetime.fromisoformat(self.sandbox.control("GET", "clock")["now"])

        def time(said: re.Match[str]) -> str:
            return format_datetime(now + timedelta(seconds=int(said[1])), usegmt=True)

        text = re.sub(r"\{in (-?\d+) s\}", time, json.dumps(fault))
        filled: dict[str, Any] = json.loads(text.replace("{what was sent}", " ".join(self._sent())))
        return filled

    def _sent(self) -> set[str]:
        """The secrets that go out with the call."""
        if self.cell.call.vendor == "DexCare":
            return {KEY}
        if self.cell.call is Call.TOKEN:
            return {CLIENT_SECRET, self.world.refresh_token}
        return self.world.kept("access_token")

    def says(self, said: Said | None, sentence: str, *, later: bool) -> None:
        assert said is not None, "it ended well"
        assert re.fullmatch(self._pattern(sentence), said.text), said.text
        assert said.later is later, said
        self.says_nothing_secret(said.text)

    def _pattern(self, sentence: str) -> str:
        call, bounds = self.cell.call, self.cell.fault.bounds
        url = "DEXCARE_APR_BASE_URL" if call is Call.HISTORIES else BASE_URL[call.vendor]
        key = {"DexCare": "DEXCARE_SERVICE_KEY", "DrChrono": RenewedTokens.settings}[call.vendor]
        largest = "HEALTH_LARGEST_REPORT_MB" if call is Call.DATA else "HEALTH_LARGEST_ANSWER_MB"
        known = {
            "vendor": call.vendor,
            "call": PATHS[call],
            "url": url,
            "key": "DEXCARE_APR_API_KEY" if call is Call.HISTORIES else key,
            "largest": largest,
            "mb": f"{bounds.largest / 1_000_000:g}",
            "t": f"{min(bounds.timeout, bounds.longest):g}",
            "list": "patients",
        }
        for name, value in known.items():
            sentence = sentence.replace(f"{{{name}}}", value)
        pattern = re.escape(sentence)
        for name, open_ended in {"host": r"(localhost|127\.0\.0\.1):\d+", "report": r"[0-9a-f-]{36}"}.items():
            pattern = pattern.replace(re.escape(f"{{{name}}}"), open_ended)
        return pattern.replace(re.escape("{…}"), ".+")

    def says_nothing_secret(self, text: str) -> None:
        assert [secret for secret in {*self.world.secrets, "Zebulon"} if secret in text] == []
        assert [value for value in long_texts(self.before) if value in text] == []


def long_texts(value: object) -> set[str]:
    """Texts of rows that are long enough to be somebody's."""
    found: set[str] = set()
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            todo += [*one.values(), *(key for key in one if isinstance(key, tuple))]
        elif isinstance(one, list | tuple):
            todo += one[1:] if len(one) == 2 and isinstance(one[0], str) else one
        elif isinstance(one, str) and len(one) > 5 and not one.startswith("2026-"):
            found.add(one)
    return found


def share(cell: Cell) -> bool:
    """Whether CI tries it."""
    return (cell.call, cell.fault.name) in ALWAYS or (
        FAULTS.index(cell.fault) + list(Call).index(cell.call)
    ) % ONE_IN == 0


TRIED = [
    pytest.param(cell, id=str(cell), marks=() if share(cell) else pytest.mark.long)
    for cell in CELLS
    if cell.outcome.kind is not Kind.IMPOSSIBLE
]


@pytest.mark.parametrize("cell", TRIED)
def test_a_cell_is_as_the_matrix_says_and_the_lake_is_the_truth_afterwards(  # noqa: PLR0917 - fixtures
    cell: Cell,
    shared_vendor: SandboxProcess,
    front: Front,
    retries: Retries,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    front.name_server(monkeypatch)
    trial = Trial(cell, shared_vendor, front, retries, tmp_path)
    try:
        TRIALS[cell.outcome.kind](trial)
    finally:
        trial.lift()
        shutil.rmtree(tmp_path, ignore_errors=True)


def goes_on_as_usual(trial: Trial) -> None:
    assert trial.run() is None
    assert (trial.calls(), trial.retries.waits) == (trial.cell.outcome.calls, [])
    # Also where the clock is set back while a list is waited for.
    assert (trial.world.waited, trial.world.waited_for_lists < 60) == (0, True)
    trial.is_the_truth()


def is_retried(trial: Trial) -> None:
    says_so_and_recovers(trial)
    trial.anew("once")
    assert trial.run(lifted_by_a_retry=True) is None
    assert len(trial.retries.waits) == 1
    trial.is_the_truth()


def says_so_and_recovers(trial: Trial) -> None:
    outcome = trial.cell.outcome
    said = trial.run()
    heard, tries = trial.calls(), len(trial.retries.waits)
    trial.says(said, outcome.sentence, later=outcome.later)
    assert heard == (0 if isinstance(trial.cell.fault.how, Network) else outcome.calls)
    assert tries == (outcome.calls - 1 if outcome.kind is Kind.RETRIED else 0)
    assert not trial.work.has_landed()
    trial.lift()
    trial.run_well()


def is_waited_for(trial: Trial) -> None:
    assert trial.run(times=1) is None
    assert trial.calls() == trial.cell.outcome.calls
    waited = sum(trial.retries.waits) if trial.cell.call.vendor == "DexCare" else trial.world.waited
    assert waited >= 0.9 * trial.cell.outcome.seconds
    trial.is_the_truth()


def says_so_after_its_calls(trial: Trial) -> None:
    """With a fault that stays; it is gone afterwards."""
    outcome = trial.cell.outcome
    said = trial.run()
    heard = trial.calls()
    trial.says(said, outcome.sentence, later=outcome.later)
    assert heard == outcome.calls
    trial.lift()


def is_renewed(trial: Trial) -> None:
    outcome = trial.cell.outcome
    said = trial.run()
    heard, tokens = trial.calls(), trial.sandbox.calls()["by_operation"]["token"]
    trial.says(said, outcome.sentence, later=False)
    assert (heard, tokens) == (outcome.calls, 2)
    trial.lift()
    trial.run_well()
    trial.anew("once")
    assert trial.run(times=1) is None
    assert (trial.calls(), trial.sandbox.calls()["by_operation"]["token"]) == (2, 2)
    trial.is_the_truth()


def is_restarted(trial: Trial) -> None:
    says_so_after_its_calls(trial)
    trial.work.person_asks_anew()
    trial.run_well()
    trial.anew("once")
    assert trial.run(times=1) is None
    assert trial.calls() == 2
    trial.is_the_truth()


def needs_a_person(trial: Trial) -> None:
    says_so_after_its_calls(trial)
    trial.world.arm = lambda: None
    trial.world.bounds = replace(trial.world.bounds, timeout=20, longest=40)
    trial.says(done(trial.work.run()), LOST_TOKEN, later=False)
    trial.work.person_asks_anew()
    trial.run_well()


TRIALS: dict[Kind, Callable[[Trial], None]] = {
    Kind.AS_USUAL: goes_on_as_usual,
    Kind.RETRIED: is_retried,
    Kind.WAITED: is_waited_for,
    Kind.RENEWED: is_renewed,
    Kind.RESTARTED: is_restarted,
    Kind.TOLD: says_so_and_recovers,
    Kind.PERSON: needs_a_person,
}


def test_no_cell_is_empty() -> None:
    assert {(cell.call, cell.fault.name) for cell in CELLS} == {
        (call, one.name) for call in Call for group in GROUPS.values() for one in group
    }
    assert len(CELLS) == len(Call) * len({one.name for one in FAULTS})
    says = (Kind.RETRIED, Kind.TOLD, Kind.RENEWED, Kind.RESTARTED, Kind.PERSON, Kind.IMPOSSIBLE)
    assert [str(cell) for cell in CELLS if cell.outcome.kind in says and not cell.outcome.sentence] == []


def test_ci_tries_some_of_every_fault_and_of_every_call() -> None:
    tried = [cell for cell in CELLS if share(cell)]

    assert {cell.fault.name for cell in tried} == {one.name for one in FAULTS}
    assert {cell.call for cell in tried} == set(Call)
    assert {(cell.call, cell.fault.name) for cell in tried} >= ALWAYS
