"""A round: a new system, work, kills, rest, a night, and the comparison.

Belongs here: the order of it. Does not belong here: any of its parts.
"""

import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dagster import AssetRecordsFilter

from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.landing.landed_partition import DATA_VERSION_TAG
from health_pipelines_tests.crash.killing import Killed, Killer
from health_pipelines_tests.crash.leftovers import leftovers
from health_pipelines_tests.crash.plan import strokes
from health_pipelines_tests.crash.self_check import damages_not_seen
from health_pipelines_tests.crash.settling import NotAtRestError, wait_for_rest
from health_pipelines_tests.crash.system import DEXCARE_AT_ONCE, POSTGRES, System, running_system
from health_pipelines_tests.crash.truth import lake_differences, published_differences, warehouse_differences
from health_pipelines_tests.crash.work import Asked

# As many as Dagster gives at once; a round has some hundred.
_MOST_REPORTS = 10000
Say = Callable[[str], None]


@dataclass
class Round:
    """What became of a round. `problems`: what differs or is stuck; a good round has none. Seconds: of the
    kills, and until rest after them and after the night.
    """

    seed: int
    storage: str
    folder: Path
    problems: list[str] = field(default_factory=list)
    killed: list[Killed] = field(default_factory=list)
    restarts: Counter[str] = field(default_factory=Counter)
    orphans: int = 0
    reports: int = 0
    runs: int = 0
    kill_seconds: float = 0
    settle_seconds: float = 0
    night_seconds: float = 0

    def line(self) -> str:
        """The round in a line."""
        return (
            f"{self.storage:8} seed {self.seed}: {len(self.killed)} kills in {self.kill_seconds:.0f} s, at "
            f"rest after {self.settle_seconds:.0f} s and {self.night_seconds:.0f} s; {self.runs} runs, "
            f"{self.reports} reports, {self.orphans} orphans, {self.restarts.total()} restarts: "
            + ("ok" if not self.problems else f"{len(self.problems)} PROBLEMS")
        )


def carry_out(
    seed: int,
    kills: int,
    storage: str,
    folder: Path,
    say: Say,
    *,
    run_start_seconds: int,
    check_itself: bool = False,
) -> Round:
    """`folder`: empty, absolute; what is in it afterwards stays. `say`: gets a line for all that happens.

    `run_start_seconds`: so long a run may take to its first step on this machine. `check_itself`: whether a
    good system is damaged at the end, to show that it would have been seen.
    """
    done = Round(seed, storage, folder)
    try:
        with running_system(folder, storage, run_start_seconds=run_start_seconds) as system:
            killer = Killer(system, time.monotonic(), done.killed)
            asked = Asked(system)
            asked.everything()
            _strike(seed, kills, killer, asked, say)
            done.kill_seconds = time.monotonic() - killer.begun
            done.restarts = system.restarts
            _compare(done, asked, kills, say)
            if check_itself and not done.problems:
                done.problems += [f"the harness did not see that {one}" for one in damages_not_seen(asked)]
                say("each kind of damage was looked for")
    except NotAtRestError as error:
        done.problems.append(str(error))
    except Exception:
        # A fault of the harness, or of what it asks: the rounds after this one go on.
        done.problems.append(traceback.format_exc())
    return done


def _compare(done: Round, asked: Asked, kills: int, say: Say) -> None:
    """At rest; and once more after a night, with a new day at the vendor, that asks for everything."""
    system = asked.system
    done.settle_seconds = wait_for_rest(system)
    say(f"at rest after {done.settle_seconds:.1f} s")
    done.problems += lake_differences(asked, newest=False)
    say(asked.pass_a_vendor_day())
    asked.everything()
    done.night_seconds = wait_for_rest(system)
    say(f"at rest after {done.night_seconds:.1f} s of a night")
    done.problems += lake_differences(asked, newest=True)
    done.problems += warehouse_differences(system)
    done.problems += published_differences(system)
    done.problems += leftovers(system)
    done.problems += _orphans(system, done, kills)


def _strike(seed: int, kills: int, killer: Killer, asked: Asked, say: Say) -> None:
    last = time.monotonic()
    for stroke in strokes(seed, kills, postgres=killer.system.storage == POSTGRES):
        for work in stroke.work:
            if did := asked.do(work):
                say(f"{time.monotonic() - killer.begun:7.2f} s  asked: {did}")
        time.sleep(max(0.0, last + stroke.kill.after_seconds - time.monotonic()))
        say(str(killer.carry_out(stroke.kill)))
        last = time.monotonic()


def _orphans(system: System, done: Round, kills: int) -> list[str]:
    """Reports that DexCare started and nobody knows of: their readers were killed before the answer came."""
    known = set()
    with system.instance() as instance:
        done.runs = instance.get_runs_count()
        for report in VISIT_REPORTS:
            found = instance.fetch_materializations(
                AssetRecordsFilter(report.request_key), limit=_MOST_REPORTS
            )
            tickets = [record.asset_materialization for record in found.records]
            known |= {(ticket.tags or {}).get(DATA_VERSION_TAG) for ticket in tickets if ticket is not None}
    started = [report["id"] for report in system.dexcare.reports()]
    done.reports = len(started)
    done.orphans = len([report for report in started if report not in known])
    most = DEXCARE_AT_ONCE * kills
    return [f"{done.orphans} orphan reports; {most} is the most"] if done.orphans > most else []
