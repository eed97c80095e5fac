"""A list is polled when it should be done: polls that come too early become few, whatever lists take."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from health_pipelines.drchrono.api.pace import FIRST_WAIT_SECONDS, Pace
from health_pipelines.drchrono.api.pace_notes import PaceFile, PaceNotes, PaceTable
from health_pipelines.settings import Secret

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]

NAME, SIZE = "appointments", 1000


@dataclass
class Asked:
    polls: int
    early: int
    waited_seconds: float


def ask(pace: Pace, takes_seconds: float, size: int = SIZE) -> Asked:
    """Poll one list until it is done, as a sweep does."""
    age, early = pace.wait_seconds(NAME, size), 0
    while age < takes_seconds:
        age, early = pace.was_pending(NAME, size, age, first=True), early + 1
    if not early:
        pace.was_done(NAME, size)
    return Asked(early + 1, early, age)


def learned(pace: Pace, lists: int, takes_seconds: Callable[[], float]) -> Pace:
    for _ in range(lists):
        ask(pace, takes_seconds())
    return pace


def test_what_was_never_seen_is_polled_soon() -> None:
    assert Pace().wait_seconds(NAME, SIZE) == FIRST_WAIT_SECONDS


@pytest.mark.parametrize("takes", [2.5, 8, 60, 300])
def test_a_list_that_nothing_is_known_of_is_found_done_after_few_polls(takes: float) -> None:
    asked = ask(Pace(), takes)

    assert asked.polls <= 14
    assert takes <= asked.waited_seconds <= 1.5 * takes


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.3), (5, 60), (55, 60), (100, 300)])
def test_of_a_hundred_polls_hardly_two_come_too_early(low: float, high: float) -> None:
    chance = random.Random(7)

    def takes() -> float:
        return chance.uniform(low, high)

    pace = learned(Pace(), 100, takes)
    asked = [ask(pace, takes()) for _ in range(1000)]

    early = sum(one.early for one in asked)
    assert early <= 20
    # Not because the wait is endless: the longest list is hardly waited for twice.
    assert pace.wait_seconds(NAME, SIZE) <= max(2 * high, FIRST_WAIT_SECONDS)


def test_a_wait_that_is_too_long_shrinks_while_lists_are_done() -> None:
    pace = learned(Pace(), 1, lambda: 200)
    long = pace.wait_seconds(NAME, SIZE)

    learned(pace, 700, lambda: 10)

    assert long >= 200
    assert 10 <= pace.wait_seconds(NAME, SIZE) <= 20


def test_one_list_that_was_not_done_lets_the_others_wait_longer() -> None:
    pace = Pace()

    next_age = pace.was_pending(NAME, SIZE, 40, first=True)

    assert next_age > 40
    assert pace.wait_seconds(NAME, SIZE) == next_age


def test_what_others_taught_counts_for_the_next_poll_of_a_list_that_was_not_done() -> None:
    pace = Pace()
    pace.was_pending(NAME, SIZE, 40, first=True)

    assert pace.was_pending(NAME, SIZE, 2, first=True) == pace.wait_seconds(NAME, SIZE) > 40


def test_a_wait_is_never_shorter_than_half_a_second_nor_longer_than_ten_minutes() -> None:
    quick, slow = Pace(), Pace()
    learned(quick, 2000, lambda: 0)
    for _ in range(50):
        slow.was_pending(NAME, SIZE, 500, first=True)

    assert quick.wait_seconds(NAME, SIZE) == 0.5
    assert slow.wait_seconds(NAME, SIZE) == 600


def test_the_next_poll_of_a_list_that_takes_longer_than_the_longest_wait_is_still_later() -> None:
    assert Pace().was_pending(NAME, SIZE, 3000, first=True) > 3000
    assert Pace().was_pending(NAME, SIZE, 0, first=True) > 0


def test_record_types_and_sizes_learn_apart_but_overlapping_pages_learn_together() -> None:
    pace = learned(Pace(), 1, lambda: 50)
    known = pace.wait_seconds(NAME, SIZE)

    assert pace.wait_seconds(NAME, 937) == known > FIRST_WAIT_SECONDS
    assert pace.wait_seconds(NAME, 250) == FIRST_WAIT_SECONDS
    assert pace.wait_seconds("patients", SIZE) == FIRST_WAIT_SECONDS


def test_the_next_sweep_begins_with_what_was_learned(tmp_path: Path) -> None:
    file = tmp_path / "not there yet" / "pace.json"
    pace = learned(Pace(PaceFile(file)), 30, lambda: 45)
    pace.save()

    assert Pace(PaceFile(file)).wait_seconds(NAME, SIZE) == pace.wait_seconds(NAME, SIZE) > 45
    assert [one.name for one in file.parent.iterdir()] == ["pace.json"]


def test_without_a_file_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    learned(Pace(), 3, lambda: 45).save()

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"appointments, up to 1024 records": null}', '{"a": "soon"}', "\x00"]
)
def test_a_damaged_file_means_to_learn_again(tmp_path: Path, text: str) -> None:
    file = tmp_path / "pace.json"
    file.write_text(text)

    pace = Pace(PaceFile(file))

    assert pace.wait_seconds(NAME, SIZE) == FIRST_WAIT_SECONDS
    learned(pace, 1, lambda: 45).save()
    assert Pace(PaceFile(file)).wait_seconds(NAME, SIZE) > 45


@pytest.mark.parametrize("said", ["-7", "0", "1e9", "Infinity", "NaN"])
def test_a_wait_in_the_file_that_nobody_would_have_learned_is_within_the_bounds(
    tmp_path: Path, said: str
) -> None:
    file = tmp_path / "pace.json"
    learned(pace := Pace(PaceFile(file)), 1, lambda: 45)
    pace.save()
    [kind] = json.loads(file.read_text())
    file.write_text(f'{{"{kind}": {said}}}')

    assert 0.5 <= Pace(PaceFile(file)).wait_seconds(NAME, SIZE) <= 600


PROCESS = """
import sys
from pathlib import Path
from health_pipelines.drchrono.api.pace import Pace
from health_pipelines.drchrono.api.pace_notes import PaceFile, PaceTable
from health_pipelines.settings import Secret
url = sys.argv[3]
notes = PaceFile(Path(sys.argv[1]))
pace = Pace(PaceTable(Secret(url), "uat", notes) if url else notes)
print("read", flush=True)
for line in sys.stdin:
    pace.was_pending(sys.argv[2], 1000, float(line), first=True)
    pace.save()
    print("saved", flush=True)
"""


def test_of_two_processes_each_keeps_what_the_other_learned_of_other_lists(tmp_path: Path) -> None:
    file = tmp_path / "pace.json"
    each_keeps_what_the_other_learned(PaceFile(file), [str(file)] * 2, "")
    assert [one.name for one in tmp_path.iterdir()] == ["pace.json"]


def test_of_two_hosts_each_keeps_what_the_other_learned_of_other_lists(
    tmp_path: Path, postgres_url: str
) -> None:
    files = [str(tmp_path / host / "pace.json") for host in ("one", "other")]
    notes = PaceTable(Secret(postgres_url), "uat", PaceFile(tmp_path / "third" / "pace.json"))
    each_keeps_what_the_other_learned(notes, files, postgres_url)
    assert list(tmp_path.iterdir()) == []


def each_keeps_what_the_other_learned(notes: PaceNotes, files: list[str], url: str) -> None:
    before = Pace(notes)
    before.was_pending("patients", SIZE, 10, first=True)
    before.was_pending("line_items", SIZE, 10, first=True)
    before.save()
    with process(files[0], "patients", url) as one, process(files[1], "line_items", url) as other:
        # Both have read the notes before either adds to them.
        assert answer(one) == answer(other) == "read"
        assert tell(one, 30) == "saved"
        assert tell(other, 50) == "saved"
        assert tell(one, 100) == "saved"

    pace = Pace(notes)
    assert pace.wait_seconds("patients", SIZE) > 100
    assert pace.wait_seconds("line_items", SIZE) > 50


def test_a_host_begins_with_what_it_knew_before_there_was_a_database(
    tmp_path: Path, postgres_url: str
) -> None:
    own, url = PaceFile(tmp_path / "pace.json"), Secret(postgres_url)
    learned(Pace(own), 1, lambda: 45).save()
    pace = Pace(PaceTable(url, "uat", own))
    assert pace.wait_seconds(NAME, SIZE) == Pace(own).wait_seconds(NAME, SIZE) > 45

    # The database's word counts as soon as it has one; another place's never does.
    pace.was_late(NAME, SIZE, 100)
    pace.save()
    assert Pace(PaceTable(url, "uat", own)).wait_seconds(NAME, SIZE) == 100
    nothing = PaceFile(tmp_path / "nothing.json")
    assert Pace(PaceTable(url, "prd", nothing)).wait_seconds(NAME, SIZE) == FIRST_WAIT_SECONDS


def test_a_database_that_does_not_answer_means_to_learn_again(tmp_path: Path) -> None:
    url, own = Secret(f"postgresql://user@/db?host={tmp_path}"), PaceFile(tmp_path / "pace.json")
    pace = Pace(PaceTable(url, "uat", own))

    learned(pace, 1, lambda: 45).save()

    assert pace.wait_seconds(NAME, SIZE) > 45
    assert Pace(PaceTable(url, "uat", own)).wait_seconds(NAME, SIZE) == FIRST_WAIT_SECONDS


def process(file: str, name: str, url: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PROCESS, file, name, url]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def tell(process: "subprocess.Popen[str]", age_seconds: float) -> str:
    assert process.stdin is not None
    print(age_seconds, file=process.stdin, flush=True)
    return answer(process)


def answer(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_list_that_hangs_teaches_the_others_once_and_then_no_more_than_a_little() -> None:
    pace = Pace()
    pace.was_pending(NAME, SIZE, 40, first=True)
    taught = pace.wait_seconds(NAME, SIZE)

    age = taught
    for _ in range(10):
        age = pace.was_pending(NAME, SIZE, age, first=False)
    assert pace.wait_seconds(NAME, SIZE) == taught
    assert age > taught

    pace.was_late(NAME, SIZE, 1800)
    assert taught < pace.wait_seconds(NAME, SIZE) <= 4 * taught


def test_a_list_that_was_late_is_waited_for_as_long_the_next_time() -> None:
    pace = Pace()
    pace.was_pending(NAME, SIZE, 20, first=True)

    pace.was_late(NAME, SIZE, 45)

    assert pace.wait_seconds(NAME, SIZE) == 45
    pace.was_late(NAME, SIZE, 30)
    assert pace.wait_seconds(NAME, SIZE) == 45
