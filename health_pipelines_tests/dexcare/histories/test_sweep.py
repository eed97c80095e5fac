"""A window of provider histories is read whole or not believed, whatever moves between two pages."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipelines.dexcare.connection import UnexpectedAnswerError
from health_pipelines.dexcare.histories.client import HistoryPage
from health_pipelines.dexcare.histories.sweep import (
    Histories,
    IncompleteHistoriesError,
    Span,
    read_window,
    rest_of,
    spans_after,
)
from health_pipelines.http import RefusedError, TransientError
from health_pipelines.lake.json_partition import JsonRow

Change = Callable[["Model"], object]


@dataclass
class Model:
    """A vendor's search, without the vendor: rows in some order, a largest page, changes between answers."""

    ids: list[str]
    largest: int = 1000
    before_answer: Change = lambda model: None
    """Called before every answer; changes `ids` or `largest`."""
    answers: list[tuple[int, int | None]] = field(default_factory=list)
    moments: list[frozenset[str]] = field(default_factory=list)
    """What there was at each answer."""
    in_flight: int = 0
    most_in_flight: int = 0

    async def page(self, offset: int, limit: int | None) -> HistoryPage:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(0)
        self.in_flight -= 1
        self.before_answer(self)
        self.answers.append((offset, limit))
        self.moments.append(frozenset(self.ids))
        rows = self.ids[offset : offset + min(limit or 50, self.largest)]
        return HistoryPage(len(self.ids), [{"id": one} for one in rows])


def ids(count: int) -> list[str]:
    return [f"r{number}" for number in range(count)]


def read(model: Model, *, attempts: int = 4, at_once: int = 3, waits: list[float] | None = None) -> Histories:
    async def sleep(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)

    return asyncio.run(
        read_window(model.page, at_once=at_once, attempts=attempts, pause_seconds=1, sleep=sleep)
    )


def ids_of(read: Histories) -> list[str]:
    return sorted(str(row["id"]) for row in read.rows)


def at_answer(number: int, change: Change) -> Change:
    """Make the change before answer `number` (1 is the first) and before no other."""

    def before_answer(model: Model) -> None:
        if len(model.answers) == number - 1:
            change(model)

    return before_answer


@given(came=st.integers(1, 60), count=st.integers(0, 300))
def test_the_planned_spans_are_all_that_remains_and_nothing_twice(came: int, count: int) -> None:
    spans = spans_after(came, count)
    assert [place for span in spans for place in range(span.start, span.end)] == list(range(came, count))
    assert all(span.end - span.start <= came for span in spans)


@given(start=st.integers(0, 50), rows=st.integers(1, 50), came=st.integers(1, 80))
def test_the_rest_of_a_span_is_what_has_not_come(start: int, rows: int, came: int) -> None:
    span = Span(start, start + rows)
    rest = rest_of(span, came)
    left = list(range(rest.start, rest.end)) if rest else []
    assert left == list(range(start, span.end))[came:]


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["nothing", "insert", "remove", "exchange"]), st.integers(0, 7), st.integers(0, 7)
    ),
    max_size=6,
)


@settings(max_examples=1000)
@given(
    rows=st.integers(0, 7),
    largest=st.integers(1, 3),
    at_once=st.integers(1, 3),
    shuffles=st.sampled_from([False, False, True]),
    changes=CHANGES,
    cuts=st.lists(st.integers(1, 3), max_size=6),
)
def test_whatever_comes_goes_and_changes_places_between_pages_no_row_is_silently_missed(
    *,
    rows: int,
    largest: int,
    at_once: int,
    shuffles: bool,
    changes: list[tuple[str, int, int]],
    cuts: list[int],
) -> None:
    """What is believed is exactly what there was at one moment of the reading."""
    to_come = iter(changes)
    new_ids = iter(f"new{number}" for number in range(10))
    cut = iter(cuts)
    order = random.Random(1)

    def change(model: Model) -> None:
        model.largest = next(cut, largest)
        if shuffles:
            order.shuffle(model.ids)
        what, to, from_ = next(to_come, ("nothing", 0, 0))
        if what in ("remove", "exchange") and model.ids:
            del model.ids[from_ % len(model.ids)]
        if what in ("insert", "exchange"):
            model.ids.insert(to % (len(model.ids) + 1), next(new_ids))

    model = Model(ids(rows), largest, before_answer=change)
    try:
        came = read(model, at_once=at_once)
    except IncompleteHistoriesError:
        return
    assert len(came.rows) == len(set(ids_of(came)))
    assert frozenset(ids_of(came)) in model.moments


def test_a_row_that_goes_and_one_that_comes_do_not_hide_a_third() -> None:
    """The count stays and as many different rows come, yet one that was there throughout is missing."""

    def exchange(model: Model) -> None:
        model.ids = ["r1", "r2", "r3", "new"]

    model = Model(["r0", "r1", "r2", "r3"], largest=2, before_answer=at_answer(2, exchange))
    came = read(model)
    assert ids_of(came) == ["new", "r1", "r2", "r3"]
    assert came.readings == 3


def test_one_page_that_holds_all_is_believed_at_once() -> None:
    model = Model(ids(60))
    assert ids_of(read(model)) == sorted(ids(60))
    assert len(model.answers) == 1


def test_several_pages_are_read_twice_without_a_pause() -> None:
    waits: list[float] = []
    model = Model(ids(45), largest=10)
    came = read(model, waits=waits)
    assert ids_of(came) == sorted(ids(45))
    assert (came.readings, came.pages, len(model.answers), waits) == (2, 10, 10, [])


def test_pages_that_get_shorter_have_their_rest_read_too() -> None:
    def shrink(model: Model) -> None:
        model.largest = 10 if not model.answers else 3

    model = Model(ids(40), before_answer=shrink)
    assert ids_of(read(model)) == sorted(ids(40))


def test_pages_are_read_at_once_but_not_too_many() -> None:
    model = Model(ids(60), largest=3)
    read(model, at_once=4)
    assert model.most_in_flight == 4


def test_a_window_without_rows_takes_one_answer() -> None:
    model = Model([])
    assert read(model).rows == []
    assert len(model.answers) == 1


def test_a_window_that_never_settles_fails_with_both_numbers_after_pauses_that_grow() -> None:
    waits: list[float] = []
    model = Model(ids(30), largest=10, before_answer=lambda model: model.ids.append(f"x{len(model.answers)}"))
    with pytest.raises(
        IncompleteHistoriesError, match=r"4 readings: the count was \d+ on one page and \d+ on"
    ):
        read(model, waits=waits)
    assert waits == [1, 2, 4]


def test_rows_that_share_an_id_fail_with_both_numbers() -> None:
    model = Model([*ids(9), "r0"])
    with pytest.raises(IncompleteHistoriesError, match="9 different rows came where the count is 10"):
        read(model)


def test_reading_on_stops_when_the_count_has_moved() -> None:
    model = Model(ids(100), largest=2, before_answer=at_answer(2, lambda model: model.ids.pop()))
    with pytest.raises(IncompleteHistoriesError):
        read(model, attempts=1, at_once=1)
    assert len(model.answers) == 2


@pytest.mark.parametrize("offset", [0, 10])
def test_an_empty_page_before_the_count_is_reached_is_an_error_and_not_read_for_ever(offset: int) -> None:
    async def page(at: int, limit: int | None) -> HistoryPage:
        rows = [] if at == offset else ids(30)[at : at + 10]
        return HistoryPage(30, [{"id": one} for one in rows])

    with pytest.raises(UnexpectedAnswerError, match=f"at offset {offset} although it counts 30"):
        asyncio.run(read_window(page, at_once=1))


def test_a_failed_page_fails_the_window_as_it_failed_and_ends_the_reading() -> None:
    model = Model(ids(100), largest=2)

    async def page(offset: int, limit: int | None) -> HistoryPage:
        if offset == 10:
            raise TransientError("broken")
        return await model.page(offset, limit)

    with pytest.raises(TransientError, match=r"^broken$"):
        asyncio.run(read_window(page, at_once=2))
    assert len(model.answers) < 10


def test_a_server_that_refuses_a_large_limit_is_asked_for_its_own() -> None:
    model = Model(ids(120))

    async def page(offset: int, limit: int | None) -> HistoryPage:
        if limit is not None and limit > 50:
            raise RefusedError("DexCare answered 400: 'limit' must be at most 50.", 400)
        return await model.page(offset, limit)

    assert ids_of(asyncio.run(read_window(page, at_once=2))) == sorted(ids(120))


def test_another_refusal_is_not_asked_again() -> None:
    calls = 0

    async def page(offset: int, limit: int | None) -> HistoryPage:
        nonlocal calls
        calls += 1
        raise RefusedError("DexCare answered 400: no.", 400)

    with pytest.raises(RefusedError):
        asyncio.run(read_window(page, at_once=2))
    assert calls == 1


def test_of_a_row_that_comes_twice_the_later_answer_is_kept() -> None:
    answers = 0

    async def page(offset: int, limit: int | None) -> HistoryPage:
        nonlocal answers
        answers += 1
        rows: list[JsonRow] = [{"id": one, "answer": answers} for one in ids(3)[offset : offset + 2]]
        if offset == 2:
            rows.append({"id": "r1", "answer": answers})
        return HistoryPage(3, rows)

    came = asyncio.run(read_window(page, at_once=1))
    assert {row["id"]: row["answer"] for row in came.rows} == {"r0": 3, "r1": 4, "r2": 4}
