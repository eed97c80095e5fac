"""What a sweep has read so far, on disk, so that a killed one goes on where it was.

Belongs here: the folder of one sweep, what it notes, and when notes are too old to go on from. Does not
belong here: which pages there should be (`pages.py`) and what is in them.

The pages hold what the lake will hold, so the folder is the owner's alone, and they go when the sweep has
landed or is given up: at once if it cannot be believed, and if nobody goes on with it an hour after its last
page, when its lists are gone as well. A note is written after what it
tells of is on disk, and one that a crash cut in half is as if it was never written: then a list is asked for
again that had been asked for already, and dies unread within the hour.
"""

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from health_pipelines.drchrono.sweep.page_shape import PageShape
from health_pipelines.drchrono.sweep.pages import Page
from health_pipelines.lake.locks import LockedElsewhereError, locked, take

# As long as a list lives [doc]. What was read before is still proof, but lists and counts have moved on.
LIST_LIFE = timedelta(hours=1)
_PAUSE_SECONDS = 1.0


class SweptElsewhereError(Exception):
    """Another process is sweeping this record type at this moment."""


@dataclass(frozen=True)
class Question:
    """What a sweep asks: notes of another question are of no use to it."""

    origin: str
    record_type: str
    since: date
    verbose: bool

    def as_json(self) -> dict[str, Any]:
        return {
            "origin": self.origin,
            "record_type": self.record_type,
            "since": self.since.isoformat(),
            "verbose": self.verbose,
        }


@dataclass(frozen=True)
class OpenList:
    """A list that was asked for and has not been read. `posted_at` is aware, in UTC."""

    uuid: str
    posted_at: datetime


@dataclass(frozen=True)
class KeptPage:
    """A page as it came, in `path`. `order` counts the pages in the order of their arrival, from 1.

    `shape`: what its records look like. Not noted: whoever goes on from the notes parses the page anyway.
    """

    path: Path
    uuid: str
    order: int
    shape: PageShape | None = None


class Journal:
    """The notes of one sweep. Get one from `opened`."""

    def __init__(self, folder: Path, begun_at: datetime) -> None:
        self.begun_at = begun_at
        self.pages: list[KeptPage] = []
        self.open_lists: dict[Page, OpenList] = {}
        self._folder = folder

    def note_posted(self, page: Page, uuid: str, at: datetime) -> None:
        """A list was asked for."""
        self.open_lists[page] = OpenList(uuid, at)
        self._note({"posted": [page.number, page.size], "uuid": uuid, "at": at.isoformat()})

    def note_dead(self, page: Page, at: datetime) -> None:
        """The list of that page will never come."""
        self.open_lists.pop(page, None)
        self._note({"dead": [page.number, page.size], "at": at.isoformat()})

    def keep(
        self, page: Page, uuid: str, body: bytes, at: datetime, shape: PageShape | None = None
    ) -> KeptPage:
        """A page came. `page` is what was asked for."""
        order = len(self.pages) + 1
        kept = KeptPage(self._folder / f"page-{order:05}.json", uuid, order, shape)
        beside = kept.path.with_suffix(".part")
        try:
            beside.write_bytes(body)
            beside.replace(kept.path)
        finally:
            beside.unlink(missing_ok=True)
        self.pages.append(kept)
        self.open_lists.pop(page, None)
        self._note({"kept": [page.number, page.size], "uuid": uuid, "order": order, "at": at.isoformat()})
        return kept

    def work_folder(self) -> Path:
        """An empty folder that is as protected as the pages and goes with them."""
        folder = self._folder / "work"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def discard(self) -> None:
        """Forget everything: the sweep has landed, or cannot be believed."""
        _empty(self._folder)
        self.pages.clear()
        self.open_lists.clear()

    def begin(self, question: Question, at: datetime) -> None:
        """Start a new sweep in the folder."""
        self.discard()
        self.begun_at = at
        self._note({"question": question.as_json(), "at": at.isoformat()})

    def read_notes(self, question: Question, at: datetime) -> bool:
        """Go on where the notes end, if they answer this question and are not older than a list's life."""
        file = self._folder / "notes.jsonl"
        notes, size = _notes(file)
        if not notes or notes[0].get("question") != question.as_json():
            return False
        if at - datetime.fromisoformat(notes[-1]["at"]) >= LIST_LIFE:
            return False
        # What a crash or a full disk cut off is nothing for the next note to stand behind.
        os.truncate(file, size)
        self.begun_at = datetime.fromisoformat(notes[0]["at"])
        for note in notes[1:]:
            self._recall(note)
        return True

    def _recall(self, note: dict[str, Any]) -> None:
        match note:
            case {"posted": [number, size], "uuid": uuid, "at": at}:
                self.open_lists[Page(number, size)] = OpenList(uuid, datetime.fromisoformat(at))
            case {"dead": [number, size]}:
                self.open_lists.pop(Page(number, size), None)
            case {"kept": [number, size], "uuid": uuid, "order": order}:
                self.open_lists.pop(Page(number, size), None)
                self.pages.append(KeptPage(self._folder / f"page-{order:05}.json", uuid, order))

    def _note(self, note: dict[str, Any]) -> None:
        with (self._folder / "notes.jsonl").open("a", encoding="utf-8") as notes:
            notes.write(json.dumps(note) + "\n")


@contextmanager
def opened(folder: Path, question: Question, at: datetime) -> Iterator[Journal]:
    """The journal in `folder`, which this process owns meanwhile: a new one, or one to go on from.

    `at`: aware, UTC. Raises `SweptElsewhereError` if another process owns it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    try:
        handle = take(folder, wait=False)
    except LockedElsewhereError:
        raise SweptElsewhereError(f"{question.record_type} is being swept by another run.") from None
    try:
        journal = Journal(folder, at)
        if not journal.read_notes(question, at):
            journal.begin(question, at)
        yield journal
    finally:
        os.close(handle)


def forget_given_up(folder: Path, at: datetime) -> list[str]:
    """Remove what sweeps left that no run goes on with: whatever nobody has written for a list's life.

    `folder`: of all sweeps, one in each folder in it. `at`: aware. Returns the names of those that had
    something left. A sweep that is under way is left alone, however slow it is.
    """
    forgotten = []
    for sweep in sorted(one for one in folder.glob("*") if one.is_dir()):
        try:
            with locked(sweep, wait=False):
                files = [one for one in sweep.rglob("*") if one.is_file()]
                written = max((one.stat().st_mtime for one in files), default=None)
                # A time that is far ahead is of a clock that was wrong.
                if written is not None and abs(at - datetime.fromtimestamp(written, UTC)) >= LIST_LIFE:
                    _empty(sweep)
                    forgotten.append(sweep.name)
        except LockedElsewhereError:
            continue
    return forgotten


@asynccontextmanager
async def opened_in_turn(
    folder: Path, question: Question, now: Callable[[], datetime], say: Callable[[str], None]
) -> AsyncIterator[Journal]:
    """As `opened`, but waits until nobody else owns it, and says so once."""
    with ExitStack() as owned:
        said = False
        while True:
            try:
                journal = owned.enter_context(opened(folder, question, now()))
                break
            except SweptElsewhereError as error:
                if not said:
                    say(f"{error} This run begins its own sweep when that one has ended.")
                    said = True
            await asyncio.sleep(_PAUSE_SECONDS)
        yield journal


def forget(folder: Path, wait_seconds: float) -> int:
    """Remove what killed or failed sweeps left below `folder`; the next ones begin anew. Returns how many.

    A sweep that is under way is waited for. Raises `SweptElsewhereError` if it takes longer.
    """
    left = [one for one in folder.iterdir() if one.is_dir()] if folder.is_dir() else []
    give_up_at = time.monotonic() + wait_seconds
    count = 0
    for one in sorted(left):
        while True:
            try:
                handle = take(one, wait=False)
                break
            except LockedElsewhereError:
                if time.monotonic() >= give_up_at:
                    raise SweptElsewhereError(f"{one.name} is being swept by another run.") from None
                time.sleep(_PAUSE_SECONDS)
        try:
            count += any(one.iterdir())
            _empty(one)
        finally:
            os.close(handle)
    return count


def _notes(file: Path) -> tuple[list[dict[str, Any]], int]:
    """The notes up to the first that is damaged, and how many bytes these are."""
    notes: list[dict[str, Any]] = []
    size = 0
    try:
        lines = file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return notes, size
    for line in lines[:-1]:  # what follows the last line's end was cut off
        try:
            note = json.loads(line)
        except ValueError:
            break
        if not isinstance(note, dict) or "at" not in note:
            break
        notes.append(note)
        size += len(line) + 1
    return notes, size


def _empty(folder: Path) -> None:
    for one in folder.iterdir():
        if one.is_dir():
            shutil.rmtree(one)
        else:
            one.unlink()
