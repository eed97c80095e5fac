"""A sweep brings every record, or says that it could not; against a vendor whose records change meanwhile."""

import asyncio
import json
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from health_pipelines.drchrono.api.client import DrChronoClient, ListDeadError, UnexpectedAnswerError
from health_pipelines.drchrono.api.pace import Pace
from health_pipelines.drchrono.api.pace_notes import PaceFile
from health_pipelines.drchrono.api.quota import Quota
from health_pipelines.drchrono.api.quota_store import MemoryStore
from health_pipelines.drchrono.api.tokens import StaticToken
from health_pipelines.drchrono.records import RECORD_TYPES, RecordType
from health_pipelines.drchrono.sweep.journal import LIST_LIFE, Question, SweptElsewhereError, opened
from health_pipelines.drchrono.sweep.pages import ListTooLongError, Page
from health_pipelines.drchrono.sweep.reading import IncompleteSweepError, Sweep
from health_pipelines.drchrono.sweep.swept import Swept
from health_pipelines.http import TransientError, VendorError
from health_pipelines.settings import HttpPolicy, Secret
from health_pipelines_tests.support.sandbox_process import NO_WAITING, SandboxProcess, running_sandbox

NOW = datetime(2026, 3, 20, 9, 30, tzinfo=UTC)
SINCE = date(2026, 3, 1)
APPOINTMENTS, LINE_ITEMS = RECORD_TYPES[0], RECORD_TYPES[2]
POLICY = HttpPolicy(
    concurrency=5, attempts=3, timeout_seconds=10, wait_initial_seconds=0.01, wait_jitter_seconds=0
)


def practice(appointments_a_day: int = 12) -> AbstractContextManager[SandboxProcess]:
    return running_sandbox(
        now=NOW.isoformat(),
        drchrono_volume=appointments_a_day,
        drchrono_history_start="2026-02-20",
        **NO_WAITING,
    )


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with practice() as process:
        yield process


@pytest.fixture(scope="module")
def quiet_sandbox() -> Iterator[SandboxProcess]:
    """Nobody changes anything in this one."""
    with practice() as process:
        yield process


@dataclass
class Sweeper:
    """Sweeps the sandbox, with small pages so that there are many."""

    sandbox: SandboxProcess
    folder: Path
    page_size: int = 40
    at_once: int = 5
    zone_name: str = "UTC"

    def now(self) -> datetime:
        return datetime.fromisoformat(self.sandbox.control("GET", "clock")["now"])

    async def sleep(self, seconds: float) -> None:
        """Time passes for the vendor, too: otherwise all that changes would change in the same second."""
        self.sandbox.advance_clock(seconds)
        await asyncio.sleep(0)

    def sweep(self, record_type: RecordType, since: date = SINCE) -> Swept:
        small = replace(record_type, page_size=self.page_size)
        return asyncio.run(self._sweep(small, since))

    async def _sweep(self, record_type: RecordType, since: date) -> Swept:
        budget = Quota(MemoryStore(), per_hour=10_000, per_second=1_000, say=lambda _: None)
        token = StaticToken(Secret("sandbox-token"))
        question = Question("the sandbox", record_type.name, since, verbose=False)
        with opened(self.folder, question, self.now()) as journal:
            async with DrChronoClient(self.sandbox.url, token, POLICY, budget) as client:
                return await Sweep(
                    client,
                    record_type,
                    question,
                    journal,
                    Pace(PaceFile(self.folder.parent / "pace.json")),
                    zone=ZoneInfo(self.zone_name),
                    at_once=self.at_once,
                    now=self.now,
                    sleep=self.sleep,
                ).run()

    def truth(self, record_type: RecordType, since: date = SINCE) -> dict[str, Any]:
        records = self.sandbox.drchrono_records(record_type.name, since=since.isoformat())
        return {str(record[record_type.key]): record for record in records}


def records_of(swept: Swept, record_type: RecordType) -> dict[str, Any]:
    """By key; of a record that came twice the later."""
    found = {}
    for kept in swept.pages:
        for record in json.loads(kept.path.read_bytes())["results"]:
            found[str(record[record_type.key])] = record
    return found


@pytest.fixture
def sweeper(sandbox: SandboxProcess, tmp_path: Path) -> Sweeper:
    return Sweeper(sandbox, tmp_path / "sweep")


@pytest.mark.parametrize("record_type", RECORD_TYPES, ids=lambda one: one.name)
def test_a_sweep_of_a_quiet_practice_is_the_truth_at_two_calls_a_page(
    quiet_sandbox: SandboxProcess, tmp_path: Path, record_type: RecordType
) -> None:
    sweeper = Sweeper(quiet_sandbox, tmp_path / "sweep", page_size=16)
    quiet_sandbox.forget_calls()

    swept = sweeper.sweep(record_type)

    truth = sweeper.truth(record_type)
    assert records_of(swept, record_type) == truth
    assert swept.records == len(truth) > sweeper.page_size
    assert swept.counts == (len(truth), len(truth))
    assert swept.lists == len(swept.pages)
    calls = quiet_sandbox.drchrono_calls()[record_type.name]
    assert calls["POST"] == swept.lists
    assert calls["GET"] <= swept.lists + 1


def test_nothing_at_all_is_one_page(quiet_sandbox: SandboxProcess, tmp_path: Path) -> None:
    swept = Sweeper(quiet_sandbox, tmp_path / "sweep").sweep(APPOINTMENTS, since=date(2026, 3, 21))

    assert (swept.records, swept.counts, swept.lists) == (0, (0, 0), 1)


@pytest.mark.parametrize("record_type", [APPOINTMENTS, LINE_ITEMS], ids=lambda one: one.name)
@pytest.mark.parametrize("churn", [1, 4])
def test_every_record_that_was_there_all_the_time_comes_however_many_others_change(
    sweeper: Sweeper, record_type: RecordType, churn: int
) -> None:
    before = sweeper.truth(record_type)
    sweeper.sandbox.change_settings(drchrono_churn=churn)

    swept = sweeper.sweep(record_type)

    sweeper.sandbox.change_settings(drchrono_churn=0)
    after = sweeper.truth(record_type)
    came = records_of(swept, record_type)
    assert before != after
    assert {key: before[key] for key in before if before[key] == after.get(key)}.items() <= came.items()
    # Whatever changed on the way and is still there came in one version or the other.
    assert before.keys() & after.keys() <= came.keys()


def test_one_that_goes_while_another_comes_hides_no_third(sweeper: Sweeper) -> None:
    """The fault that counting cannot see: every page has the same count, and all are different records."""
    before = sweeper.truth(LINE_ITEMS)
    keys = sorted(before, key=int)
    sweeper.at_once = 1
    sweeper.sandbox.add_fault(
        "list_start",
        {"kind": "change", "remove": keys[:12], "insert": 12},
        list="line_items",
        page=3,
        times=1,
    )

    swept = sweeper.sweep(LINE_ITEMS)

    assert set(keys[12:]) <= records_of(swept, LINE_ITEMS).keys()
    assert swept.counts == (len(keys), len(keys))


def test_an_appointment_that_leaves_its_page_unread_is_found_at_the_end_where_it_went(
    sweeper: Sweeper,
) -> None:
    before = sweeper.truth(APPOINTMENTS)
    moving = sorted(before, key=lambda key: before[key]["updated_at"])[45:48]
    sweeper.at_once = 50
    # The first list of the second page never comes. Before the next looks, all other pages have been read.
    sweeper.sandbox.add_fault("list_start", {"kind": "never_finish"}, page=2, times=1)
    sweeper.sandbox.add_fault("list_start", {"kind": "change", "update": moving}, page=2, times=1)

    swept = sweeper.sweep(APPOINTMENTS)

    after = sweeper.truth(APPOINTMENTS)
    assert {key for key in before if before[key] != after[key]} == set(moving)
    assert records_of(swept, APPOINTMENTS) == after


def test_an_end_that_moves_while_it_is_read_again_does_not_make_the_sweep_begin_anew(
    sweeper: Sweeper,
) -> None:
    before = sweeper.truth(APPOINTMENTS)
    oldest_first = iter(sorted(before, key=lambda key: before[key]["updated_at"]))
    sweeper.page_size, sweeper.at_once = 80, 1
    # Pages overlap by ten records. Eight go to the end before each of four pages and of the first try to read
    # the end, which is so too short; fifteen go before the second page of the next try.
    for moving in (8, 8, 8, 8, 8, 1, 15):
        keys = [next(oldest_first) for _ in range(moving)]
        sweeper.sandbox.add_fault("list_start", {"kind": "change", "update": keys}, times=1)

    swept = sweeper.sweep(APPOINTMENTS)

    assert records_of(swept, APPOINTMENTS) == sweeper.truth(APPOINTMENTS)
    lists = [(one["page"], one["page_size"]) for one in sweeper.sandbox.drchrono_lists()]
    # Four pages, an end of one, and two ends of three.
    assert len(lists) == 4 + 1 + 3 + 3
    assert lists.count((1, 80)) == 1


@pytest.mark.parametrize(
    "death", [{"status": "Failed"}, {"status": "Canceled"}, {"status": "Error", "http": 500}]
)
def test_a_list_that_dies_is_asked_for_again(sweeper: Sweeper, death: dict[str, Any]) -> None:
    sweeper.sandbox.add_fault("list_start", {"kind": "dead", **death}, page=2, times=2)

    swept = sweeper.sweep(APPOINTMENTS)

    assert records_of(swept, APPOINTMENTS) == sweeper.truth(APPOINTMENTS)
    assert swept.lists >= len(swept.pages) + 2


def test_lists_that_always_die_end_the_sweep_with_the_vendors_words(sweeper: Sweeper) -> None:
    sweeper.sandbox.add_fault("list_start", {"kind": "dead", "status": "Failed"}, page=1)

    with pytest.raises(ListDeadError, match="gave up the list of appointments"):
        sweeper.sweep(APPOINTMENTS)

    assert len(sweeper.sandbox.drchrono_lists()) == 4


def test_pages_that_are_no_longer_there_are_no_failure_where_they_die(sweeper: Sweeper) -> None:
    before = sweeper.truth(LINE_ITEMS)
    keys = sorted(before, key=int)
    sweeper.at_once = 1
    sweeper.sandbox.change_settings(drchrono_page_beyond_last="dead")
    sweeper.sandbox.add_fault(
        "list_start",
        {"kind": "change", "remove": keys[-120:]},
        list="line_items",
        page=1 + (len(keys) - 100) // 36,
        times=1,
    )

    swept = sweeper.sweep(LINE_ITEMS)

    assert sweeper.truth(LINE_ITEMS).keys() <= records_of(swept, LINE_ITEMS).keys()


def test_a_vendor_with_smaller_pages_than_documented_is_read_whole(tmp_path: Path) -> None:
    with practice(appointments_a_day=60) as sandbox:
        sandbox.change_settings(drchrono_oversize_page="clamp")
        sweeper = Sweeper(sandbox, tmp_path / "sweep", page_size=5000)

        swept = sweeper.sweep(LINE_ITEMS, since=date(2026, 2, 1))

        truth = sweeper.truth(LINE_ITEMS, since=date(2026, 2, 1))
    assert len(truth) > 1000
    assert records_of(swept, LINE_ITEMS) == truth


def test_thousands_of_one_second_are_proven_by_standing_still(sweeper: Sweeper) -> None:
    keys = list(sweeper.truth(APPOINTMENTS))
    sweeper.sandbox.change_records("appointments", update=keys[:150])
    sweeper.sandbox.advance_clock(2 * 3600)

    swept = sweeper.sweep(APPOINTMENTS)

    assert records_of(swept, APPOINTMENTS) == sweeper.truth(APPOINTMENTS)


def test_what_never_settles_is_said_with_the_numbers_and_nothing_is_kept(sweeper: Sweeper) -> None:
    keys = list(sweeper.truth(APPOINTMENTS))
    # All change before every page, so that all have changed in one and the same second.
    sweeper.sandbox.add_fault("list_start", {"kind": "change", "update": keys}, list="appointments")

    with pytest.raises(
        IncompleteSweepError, match=rf"appointments did not settle: {len(keys)} different records came"
    ):
        sweeper.sweep(APPOINTMENTS)

    assert not list(sweeper.folder.glob("page-*"))


def test_a_list_in_no_order_is_refused(sweeper: Sweeper) -> None:
    keys = sorted(sweeper.truth(LINE_ITEMS), key=int)
    sweeper.sandbox.change_records("line_items", plant={keys[3]: {"id": 999_999_999_999}})

    with pytest.raises(UnexpectedAnswerError, match="not sorted by id, although that was asked for"):
        sweeper.sweep(LINE_ITEMS)


def test_a_sweep_that_was_cut_off_goes_on_where_it_was(sweeper: Sweeper) -> None:
    sweeper.at_once = 1
    sweeper.sandbox.add_fault("list_poll", {"kind": "http", "status": 503}, page=5)
    with pytest.raises(TransientError):
        sweeper.sweep(APPOINTMENTS)
    sweeper.sandbox.clear_faults()
    posted = len(sweeper.sandbox.drchrono_lists())

    swept = sweeper.sweep(APPOINTMENTS)

    assert records_of(swept, APPOINTMENTS) == sweeper.truth(APPOINTMENTS)
    # The list that could not be polled lives, and no page is asked for twice.
    assert swept.resumed_pages == posted - 1 > 0
    assert len(sweeper.sandbox.drchrono_lists()) == len(swept.pages) > posted
    assert swept.lists == len(swept.pages) - posted


def test_notes_older_than_a_list_lives_are_not_gone_on_from(tmp_path: Path) -> None:
    question = Question("vendor", "patients", SINCE, verbose=False)
    folder = tmp_path / "patients"
    with opened(folder, question, NOW) as journal:
        page = Page(1, 1000)
        journal.note_posted(page, "a-b", NOW)
        journal.keep(page, "a-b", b"{}", NOW)

    with opened(folder, question, NOW + LIST_LIFE - timedelta(seconds=1)) as journal:
        assert [kept.path.read_bytes() for kept in journal.pages] == [b"{}"]
        assert journal.begun_at == NOW
    with opened(folder, question, NOW + LIST_LIFE) as journal:
        assert journal.pages == []
        assert journal.begun_at == NOW + LIST_LIFE


@pytest.mark.parametrize(
    "other",
    [
        Question("another vendor", "patients", SINCE, verbose=False),
        Question("vendor", "patients", SINCE + timedelta(days=1), verbose=False),
        Question("vendor", "patients", SINCE, verbose=True),
    ],
)
def test_notes_of_another_question_are_not_gone_on_from(tmp_path: Path, other: Question) -> None:
    with opened(tmp_path / "one", Question("vendor", "patients", SINCE, verbose=False), NOW) as journal:
        journal.keep(Page(1, 1000), "a-b", b"{}", NOW)

    with opened(tmp_path / "one", other, NOW) as journal:
        assert journal.pages == []
    assert not list((tmp_path / "one").glob("page-*"))


def test_a_note_that_was_cut_in_half_is_as_if_it_was_never_written(tmp_path: Path) -> None:
    question = Question("vendor", "patients", SINCE, verbose=False)
    with opened(tmp_path / "one", question, NOW) as journal:
        for page in (Page(1, 1000), Page(2, 990), Page(3, 980)):
            journal.keep(page, "a-b", b"{}", NOW)
    notes = tmp_path / "one" / "notes.jsonl"
    notes.write_bytes(notes.read_bytes()[:-9])

    with opened(tmp_path / "one", question, NOW) as journal:
        assert [kept.order for kept in journal.pages] == [1, 2]


def test_what_is_kept_is_the_owners_alone_and_one_sweep_at_a_time(tmp_path: Path) -> None:
    question = Question("vendor", "patients", SINCE, verbose=False)
    folder = tmp_path / "sweeps" / "patients"
    with opened(folder, question, NOW):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        with pytest.raises(SweptElsewhereError, match="patients is being swept by another run"):
            opened(folder, question, NOW).__enter__()


DENVER = "America/Denver"
BEFORE_CLOCKS_GO_BACK = datetime(2025, 11, 2, 7, 20, tzinfo=UTC)


def night(times: str, sorts: str) -> AbstractContextManager[SandboxProcess]:
    """Clocks go back in a practice whose database sorts, and spells, as some database does."""
    return running_sandbox(
        now=BEFORE_CLOCKS_GO_BACK.isoformat(),
        drchrono_zone=DENVER,
        drchrono_volume=12,
        drchrono_history_start="2025-10-25",
        **NO_WAITING,
        drchrono_times=times,
        drchrono_sorts_times=sorts,
    )


def changes_of_the_night(sandbox: SandboxProcess, keys: list[str]) -> None:
    """At 01:20, 01:50, 01:10 (for the second time) and 03:50 on the wall."""
    for key, minutes in zip(keys, (30, 20, 160, 600), strict=True):
        sandbox.change_records("appointments", update=[key])
        sandbox.advance_clock(minutes * 60)


@pytest.mark.parametrize(
    ("times", "sorts"),
    [("local", "instants"), ("local", "texts"), ("offset", "instants"), ("mixed", "instants")],
)
def test_the_night_on_which_clocks_go_back_is_swept_whole(times: str, sorts: str, tmp_path: Path) -> None:
    since = date(2025, 10, 26)
    with night(times, sorts) as sandbox:
        sweeper = Sweeper(sandbox, tmp_path / "sweep", zone_name=DENVER)
        changed = sorted(sweeper.truth(APPOINTMENTS, since))[:4]
        changes_of_the_night(sandbox, changed)

        swept = sweeper.sweep(APPOINTMENTS, since)

        assert records_of(swept, APPOINTMENTS) == sweeper.truth(APPOINTMENTS, since)
    assert set(changed) <= records_of(swept, APPOINTMENTS).keys()


def test_times_of_another_zone_than_was_said_are_refused_by_the_settings_name(tmp_path: Path) -> None:
    since = date(2025, 10, 26)
    with night("local", "instants") as sandbox:
        sweeper = Sweeper(sandbox, tmp_path / "sweep", zone_name="UTC")
        changes_of_the_night(sandbox, sorted(sweeper.truth(APPOINTMENTS, since))[:4])

        with pytest.raises(UnexpectedAnswerError, match="DRCHRONO_TIMEZONE, which is UTC, the zone"):
            sweeper.sweep(APPOINTMENTS, since)


def test_ids_that_are_texts_are_swept_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    with running_sandbox(
        now=NOW.isoformat(),
        drchrono_volume=12,
        drchrono_history_start="2026-02-20",
        drchrono_list_seconds="0",
        drchrono_ids="text",
    ) as sandbox:
        sweeper = Sweeper(sandbox, tmp_path / "sweep")
        keys = sorted(sweeper.truth(LINE_ITEMS), key=int)
        # A new practice's ids become longer one day.
        for number, key in enumerate(keys):
            sandbox.change_records("line_items", plant={key: {"id": str(8 + number)}})

        assert len(records_of(sweeper.sweep(LINE_ITEMS), LINE_ITEMS)) == len(keys)


UNREADABLE = {"kind": "http", "status": 200, "text": "no gzip", "headers": {"content-encoding": "gzip"}}


@pytest.mark.parametrize(
    "answer",
    [
        {"kind": "body", "text": "<html>Sign in</html>"},
        {"kind": "body", "text": '{"status": "Complete"}'},
        {"kind": "body", "text": '{"status": "Almost"}'},
        UNREADABLE,
    ],
    ids=["html", "no records", "no status", "no gzip"],
)
def test_a_list_whose_answer_was_refused_is_asked_for_anew(sweeper: Sweeper, answer: dict[str, Any]) -> None:
    sweeper.sandbox.add_fault("list_poll", answer, list="line_items", attempt=1, page=1)
    with pytest.raises(VendorError):
        sweeper.sweep(LINE_ITEMS)

    swept = sweeper.sweep(LINE_ITEMS)

    assert records_of(swept, LINE_ITEMS) == sweeper.truth(LINE_ITEMS)


def test_a_list_whose_records_were_refused_is_asked_for_anew(sweeper: Sweeper) -> None:
    truth = sweeper.truth(LINE_ITEMS)
    key = sorted(truth, key=int)[3]
    sweeper.sandbox.change_records("line_items", plant={key: {"id": 999_999_999_999}})
    with pytest.raises(UnexpectedAnswerError, match="not sorted by id"):
        sweeper.sweep(LINE_ITEMS)
    sweeper.sandbox.change_records("line_items", plant={key: {"id": int(key)}})

    swept = sweeper.sweep(LINE_ITEMS)

    assert records_of(swept, LINE_ITEMS) == truth


def test_a_list_that_a_server_never_gives_is_asked_for_anew_by_the_third_run(sweeper: Sweeper) -> None:
    sweeper.sandbox.add_fault(
        "list_poll", {"kind": "http", "status": 500}, list="line_items", attempt=1, page=2
    )
    with pytest.raises(TransientError, match="answered 500"):
        sweeper.sweep(LINE_ITEMS)
    # The server may have been what was ill.
    with pytest.raises(TransientError, match="answered 500"):
        sweeper.sweep(LINE_ITEMS)

    swept = sweeper.sweep(LINE_ITEMS)

    assert records_of(swept, LINE_ITEMS) == sweeper.truth(LINE_ITEMS)


def test_pages_whose_count_is_beyond_the_vendors_pages_are_not_gone_on_from(sweeper: Sweeper) -> None:
    sweeper.sandbox.add_fault("list_poll", {"kind": "miscount", "count": 10**9}, attempt=1, page=1)
    with pytest.raises(ListTooLongError, match="beyond the vendor's 1000 pages of 40"):
        sweeper.sweep(LINE_ITEMS)

    assert records_of(sweeper.sweep(LINE_ITEMS), LINE_ITEMS) == sweeper.truth(LINE_ITEMS)


def test_a_page_on_disk_that_is_believed_no_longer_is_read_anew(sweeper: Sweeper) -> None:
    sweeper.at_once = 1
    sweeper.sandbox.add_fault("list_poll", {"kind": "http", "status": 503}, page=5)
    with pytest.raises(TransientError):
        sweeper.sweep(LINE_ITEMS)
    sweeper.sandbox.clear_faults()
    kept = sorted(sweeper.folder.glob("page-*.json"))[0]
    body = json.loads(kept.read_bytes())
    body["results"].append(body["results"].pop(0))
    kept.write_text(json.dumps(body))

    swept = sweeper.sweep(LINE_ITEMS)

    assert records_of(swept, LINE_ITEMS) == sweeper.truth(LINE_ITEMS)
