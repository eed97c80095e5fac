"""What is shown while one waits: on a terminal a bar, elsewhere lines that never stop for long."""

import io

import pytest
from rich.console import Console

from health_pipelines.commands.progress import QUIET_SECONDS, Showing


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_log_has_a_line_for_each_change_and_none_for_the_same_again_at_once(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Showing("days landed", 39, console=Console(file=io.StringIO()), clock=clock) as showing:
        showing.update(0)
        showing.update(0)
        clock.seconds += 1
        showing.update(3, "the sensor: 2 running")

    assert capsys.readouterr().out.splitlines() == [
        "     0 s  0 of 39 days landed",
        "     1 s  3 of 39 days landed; the sensor: 2 running",
    ]


def test_a_log_is_never_silent_for_longer_than_two_seconds(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Showing("Dagster's UI is starting", console=Console(file=io.StringIO()), clock=clock) as showing:
        for _ in range(9):
            showing.update()
            clock.seconds += QUIET_SECONDS / 2

    assert capsys.readouterr().out.splitlines() == [
        f"     {seconds} s  Dagster's UI is starting" for seconds in (0, 2, 4, 6, 8)
    ]


def test_a_terminal_has_a_bar_and_no_lines(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Showing("days landed", 39, console=terminal, clock=clock) as showing:
        showing.update(12, "the sensor: 2 running")

    drawn = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "days landed" in drawn
    assert "12/39" in drawn
    assert "the sensor: 2 running" in drawn
    assert capsys.readouterr().out == ""
