"""What is shown while one waits: on a terminal a bar, elsewhere lines that never stop for long."""

import io

import pytest
from rich.console import Console

from health_pipelines.commands.progress import QUIET_SECONDS, Showing
from health_pipelines_tests.support.waiting import wait_for


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


def test_a_log_has_a_line_for_each_change_and_none_for_the_same_again_at_once(
    clock: Clock, log: io.StringIO
) -> None:
    with Showing("days landed", 39, console=Console(file=log), clock=clock) as showing:
        showing.update(0)
        showing.update(0)
        clock.seconds += 1
        showing.update(3, "the sensor: 2 running")

    assert log.getvalue().splitlines() == [
        "     0 s  0 of 39 days landed",
        "     1 s  3 of 39 days landed; the sensor: 2 running",
    ]


def test_a_log_is_never_silent_for_longer_than_two_seconds(clock: Clock, log: io.StringIO) -> None:
    with Showing("Dagster's UI is starting", console=Console(file=log), clock=clock) as showing:
        for _ in range(9):
            showing.update()
            clock.seconds += QUIET_SECONDS / 2

    assert log.getvalue().splitlines() == [
        f"     {seconds} s  Dagster's UI is starting" for seconds in (0, 2, 4, 6, 8)
    ]


def test_a_log_says_it_again_while_one_call_takes_long(clock: Clock, log: io.StringIO) -> None:
    with Showing("tables", 20, console=Console(file=log), clock=clock, quiet_seconds=0.02) as showing:
        showing.update(3, "current.visits")
        clock.seconds += QUIET_SECONDS
        wait_for(lambda: log.getvalue().count("\n") == 2, "the second line", within_seconds=30)
    said = log.getvalue()

    assert said.splitlines()[1].startswith("     2 s  3 of 20 tables")
    assert said.splitlines()[1].endswith("; current.visits")


def test_time_that_is_left_is_as_long_as_what_came_after_the_first_took(
    clock: Clock, log: io.StringIO
) -> None:
    with Showing("tables", 20, console=Console(file=log), clock=clock) as showing:
        clock.seconds += 7
        showing.update(1, "until here it began")
        clock.seconds += 8
        showing.update(5)
        clock.seconds += 10
        showing.update(5)
        showing.update(20)

    assert log.getvalue().splitlines() == [
        "     7 s  1 of 20 tables; until here it began",
        # Four came in 8 s, so fifteen take 30; and 10 of them have gone.
        "    15 s  5 of 20 tables; about 30 s left",
        "    25 s  5 of 20 tables; about 20 s left",
        "    25 s  20 of 20 tables",
    ]


def test_nothing_is_said_once_it_is_over(log: io.StringIO) -> None:
    with Showing("tables", 20, console=Console(file=log), quiet_seconds=0.01) as showing:
        showing.update(20)
        wait_for(lambda: log.getvalue().count("\n") > 2, "a line again", within_seconds=30)
    said = log.getvalue()

    assert not showing._again.is_alive()
    assert log.getvalue() == said


@pytest.mark.parametrize("no_color", ["", "1"])
def test_colours_are_for_a_terminal_whose_person_wants_them(
    no_color: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    terminal = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=100)
    with Showing("days landed", 39, console=terminal) as showing:
        showing.update(12)

    colours = "\x1b[3" in terminal.file.getvalue()  # type: ignore[attr-defined]
    assert colours is not bool(no_color)


def test_a_terminal_has_a_bar_and_no_lines(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Showing("days landed", 39, console=terminal, clock=clock) as showing:
        showing.update(12, "the sensor: 2 running")

    drawn = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "days landed" in drawn
    assert "12/39" in drawn
    assert "left" in drawn
    assert "the sensor: 2 running" in drawn
    assert capsys.readouterr().out == ""
