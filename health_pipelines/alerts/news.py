"""What there is to tell, and how it is put into words.

Belongs here: the kinds of news and the message that they make. Does not belong here: where news come from
(`failed_runs.py`, `missing_days.py`) and how a message reaches people (`webhook.py`, `mail.py`).

A message holds names of assets, days, ids of runs and this project's own sentences, which hold no value of
any record. Nothing else may get in: it leaves the house.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

# Enough to see what is going on; a message about everything is read by nobody.
MOST_NAMED = 5
LONGEST_REASON = 500


@dataclass(frozen=True)
class FailedRun:
    """A run that failed. `about`: the assets, such as `dexcare/avr_virtual`. `days`: empty without any."""

    run_id: str
    about: str
    days: str


@dataclass(frozen=True)
class NamedRun:
    """A failed run that a message tells about by itself. `times`: how many failed for the same days."""

    run: FailedRun
    times: int
    reason: str


@dataclass(frozen=True)
class MissingDay:
    """A table whose newest expected day is not there. `sentence` says so."""

    asset: str
    day: str
    sentence: str


@dataclass(frozen=True)
class News:
    """What a message is about. `unnamed`: how many more runs failed, by what they are about.

    `landed`: what an earlier message said is missing and has landed since; asset to day.
    """

    named: Sequence[NamedRun] = ()
    unnamed: Mapping[str, int] = field(default_factory=dict)
    missing: Sequence[MissingDay] = ()
    landed: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return not (self.named or self.missing or self.landed)


@dataclass(frozen=True)
class Message:
    """`subject`: one line. `text`: several, without the subject."""

    subject: str
    text: str


def name_some(
    failed: Sequence[FailedRun], reason_of: Callable[[FailedRun], str]
) -> tuple[list[NamedRun], dict[str, int]]:
    """The runs that are told about by themselves, and how many others there are by what they are about.

    Runs for the same assets and days are one trouble, told once by the newest of them. `reason_of` is only
    asked about those.
    """
    of_trouble: dict[tuple[str, str], list[FailedRun]] = {}
    for run in failed:
        of_trouble.setdefault((run.about, run.days), []).append(run)
    troubles = list(of_trouble.values())
    named = [NamedRun(runs[-1], len(runs), reason_of(runs[-1])) for runs in troubles[:MOST_NAMED]]
    unnamed = Counter(run.about for runs in troubles[MOST_NAMED:] for run in runs)
    return named, dict(unnamed.most_common())


def compose(news: News, place: str, ui_url: str) -> Message:
    """`place`: the code location's name. `ui_url`: of Dagster's UI, empty if nobody said where it is."""
    failed = sum(named.times for named in news.named) + sum(news.unnamed.values())
    heads, parts = [], []
    if failed:
        heads.append(f"{failed} run{'s' if failed > 1 else ''} failed")
        parts.append("\n".join([f"{heads[-1]}:", *_runs(news, ui_url)]))
    if news.missing:
        count = len(news.missing)
        heads.append(f"a day of {count} table{'s' if count > 1 else ''} is missing")
        lines = [f"- {one.asset}: {one.sentence}" for one in news.missing]
        parts.append("\n".join([f"{heads[-1]}:", *lines, _DO_ABOUT_MISSING]))
    if news.landed:
        heads.append(f"{len(news.landed)} missing day{'s' if len(news.landed) > 1 else ''} landed")
        lines = [f"- {asset}: {day} has landed." for asset, day in news.landed.items()]
        parts.append("\n".join([f"{heads[-1]}:", *lines]))
    text = "\n\n".join(part[0].upper() + part[1:] for part in parts)
    return Message(f"{place}: {', '.join(heads)}", text)


_DO_ABOUT_FAILED = (
    "What to do: read the reason; the page of the run says more. When it is mended, materialize these days "
    "again."
)
_DO_ABOUT_MISSING = (
    "What to do: look at the last run of the table in Dagster, and whether its schedule and its sensor are "
    "on. Then materialize the day; of a visit report, its request."
)


def _runs(news: News, ui_url: str) -> list[str]:
    lines = []
    for named in news.named:
        run = named.run
        days = f" {run.days}" if run.days else ""
        times = f" ({named.times} times)" if named.times > 1 else ""
        where = f"{ui_url}/runs/{run.run_id}" if ui_url else f"Run {run.run_id}."
        lines.append(f"- {run.about}{days}{times}: {_shortened(named.reason)} {where}")
    if news.unnamed:
        counts = ", ".join(f"{count} of {about}" for about, count in news.unnamed.items())
        lines.append(f"- and {sum(news.unnamed.values())} more: {counts}.")
    return [*lines, _DO_ABOUT_FAILED]


def _shortened(reason: str) -> str:
    line = " ".join(reason.split())
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 2]} …"
