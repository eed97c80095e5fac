"""`python -m health_pipelines_tests.crash`: rounds of kills, a line for each, and a table at the end."""

import argparse
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

from health_pipelines_tests.crash.rounds import Round, carry_out
from health_pipelines_tests.crash.system import RUN_START_SECONDS, STORAGES


def main() -> int:
    """Returns 1 if a round was not good."""
    # However it is told to stop, and also where a shell started it in the background: nothing of it stays.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: sys.exit("stopped"))
    options = _options()
    rounds: list[Round] = []
    left, seed = options.kills, options.seed
    while left > 0:
        kills = min(left, options.round)
        print(f"\nmake crash-test N={kills} SEED={seed} STORAGE={options.storage}", flush=True)
        folder = Path(tempfile.mkdtemp(prefix=f"crash-{seed}-"))
        done = carry_out(
            *(seed, kills, options.storage, folder, _say if options.verbose else _say_nothing),
            run_start_seconds=options.run_start,
            check_itself=options.check_itself,
        )
        rounds.append(done)
        print(done.line(), flush=True)
        if done.problems:
            _tell(done)
        else:
            shutil.rmtree(folder)
        left, seed = left - kills, seed + 1
        # After each round, so that a run of hours that is stopped leaves what it has seen.
        if options.table:
            options.table.write_text(_table(rounds) + "\n")
    print(f"\n{_table(rounds)}", flush=True)
    return int(any(done.problems for done in rounds))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m health_pipelines_tests.crash", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    for name, kind, default, meaning in (
        ("--kills", int, 50, "in all"),
        ("--seed", int, 1, "of the first round; each further one has the next"),
        ("--round", int, 50, "kills of a round, at most"),
        ("--run-start", int, RUN_START_SECONDS, "seconds that a run may take to its first step here"),
        ("--table", Path, None, "a file that the table is written to"),
    ):
        parser.add_argument(name, type=kind, default=default, help=meaning)
    parser.add_argument("--storage", choices=STORAGES, default=STORAGES[0], help="of Dagster's record")
    parser.add_argument("--check-itself", action="store_true", help="damage a good system at the end")
    parser.add_argument("--verbose", action="store_true", help="a line for each kill, as it happens")
    return parser.parse_args()


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


def _say_nothing(_: str) -> None:
    return


def _tell(done: Round) -> None:
    for problem in done.problems:
        print(f"  PROBLEM {problem}")
    for killed in done.killed:
        print(f"  {killed}")
    (done.folder / "kills.txt").write_text("\n".join(map(str, done.killed)) + "\n")
    print(f"  The system's folder is left as it was: {done.folder}", flush=True)


def _table(rounds: list[Round]) -> str:
    """Kills by role and stage, and all the rest."""
    kills = Counter((one.role.value, one.stage) for done in rounds for one in done.killed)
    lines = ["| killed | doing | times |", "| --- | --- | --- |"]
    lines += [f"| {role} | {stage} | {times} |" for (role, stage), times in sorted(kills.items())]
    restarts: Counter[str] = sum((done.restarts for done in rounds), Counter())
    lines += ["", "| | |", "| --- | --- |"]
    first = rounds[0]
    for name, value in (
        ("storage", first.storage),
        ("seeds", f"{first.seed} to {rounds[-1].seed}"),
        ("kills", kills.total()),
        ("rounds that were good", f"{sum(not done.problems for done in rounds)} of {len(rounds)}"),
        ("runs", sum(done.runs for done in rounds)),
        ("reports started", sum(done.reports for done in rounds)),
        ("orphan reports", sum(done.orphans for done in rounds)),
        ("restarts", ", ".join(f"{name} {times}" for name, times in sorted(restarts.items()))),
        ("minutes of kills", f"{sum(done.kill_seconds for done in rounds) / 60:.1f}"),
        ("longest until rest, s", f"{max(max(one.settle_seconds, one.night_seconds) for one in rounds):.0f}"),
    ):
        lines.append(f"| {name} | {value} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
