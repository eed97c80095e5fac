"""What follows from a profile: the decisions, without a database."""

from itertools import permutations

import pytest

from health_pipelines.dexcare.columns.profile import ColumnProfile, KeyFacts, Pair, Profile
from health_pipelines.dexcare.columns.proposal import propose


def time(name: str, filled: float = 1) -> ColumnProfile:
    return ColumnProfile(name, filled, 100, times=1, near=1, clocked=1)


def uuid(name: str) -> ColumnProfile:
    return ColumnProfile(name, 1, 100, unique=True, shape="uuid")


def number(name: str) -> ColumnProfile:
    return ColumnProfile(name, 1, 100, unique=True, shape="id")


def profile(*columns: ColumnProfile, days: int = 1, clashes: int = 0) -> Profile:
    """All unique columns are unique in each day. Times follow each other as they are named; those that are
    there as often are there in the same rows."""
    order = [one.name for one in columns if one.times]
    filled = {one.name: one.filled for one in columns}
    pairs = {
        (a, b): Pair(100, float(order.index(a) < order.index(b)), 0, 1, float(filled[a] == filled[b]))
        for a, b in permutations(order, 2)
    }
    keys = {
        one.name: KeyFacts(days, 100 * days, repeated=clashes, clashes=clashes)
        for one in columns
        if one.unique
    }
    return Profile(100 * days, days, columns, keys, pairs)


def key(*columns: ColumnProfile, days: int = 1, clashes: int = 0) -> str | None:
    return propose(profile(*columns, days=days, clashes=clashes))["key"].column


def test_one_uuid_is_the_key_whatever_it_is_called() -> None:
    assert key(uuid("x")) == "x"


def test_a_uuid_comes_before_a_number_and_a_number_needs_two_days() -> None:
    assert key(number("a"), uuid("b"), days=2) == "b"
    assert key(number("a")) is None
    assert key(number("a"), days=2) == "a"


@pytest.mark.parametrize(
    ("names", "right"),
    [
        (("visit_id", "batch_uuid"), "visit_id"),
        (("patientId", "visitId"), "visitId"),
        (("x", "y"), None),
        (("x", "visit_id"), "visit_id"),
        (("booking_id", "encounter_id"), None),
    ],
)
def test_of_two_uuids_the_name_decides_or_nothing_does(names: tuple[str, str], right: str | None) -> None:
    proposal = propose(profile(*map(uuid, names)))["key"]
    assert proposal.column == right
    if right is None:
        assert proposal.said == f"ambiguous: {names[0]} and {names[1]}; each is unique and never empty"
        assert proposal.candidates == names


@pytest.mark.parametrize("name", ["patient_id", "providerGuid", "Slot ID", "department-id"])
def test_the_id_of_somebody_or_something_else_is_never_the_key(name: str) -> None:
    proposal = propose(profile(uuid(name)))["key"]
    assert proposal.column is None
    assert proposal.said == f"none: {name} is unique, but named after something else than a visit"


def test_keys_of_other_visits_on_other_days_are_none() -> None:
    assert key(uuid("x"), days=2, clashes=1) is None


def status(*columns: ColumnProfile) -> str | None:
    return propose(profile(uuid("x"), *columns))["status"].column


def test_a_status_has_few_values_that_are_words_for_a_state() -> None:
    words = ColumnProfile("a", 1, 4, states=0.9)
    assert status(words, ColumnProfile("b", 1, 4, states=0.5)) == "a"
    assert status(words, ColumnProfile("visit_status", 1, 4, states=1)) == "visit_status"
    assert status(words, ColumnProfile("b", 1, 4, states=1)) is None
    # That a name speaks against the other is not enough.
    assert status(words, ColumnProfile("billing_state", 1, 4, states=1)) is None
    assert status(ColumnProfile("a", 0.5, 4, states=1)) is None
    assert status(ColumnProfile("a", 1, 90, states=1)) is None


def test_codes_are_a_status_only_by_a_name_that_says_nothing_else() -> None:
    assert status(ColumnProfile("Visit Status", 1, 4)) == "Visit Status"
    assert status(ColumnProfile("marital_status", 1, 4)) is None
    assert status(ColumnProfile("state", 1, 40)) is None


def times(*columns: ColumnProfile) -> tuple[str | None, ...]:
    found = propose(profile(*columns))
    return tuple(found[role].column for role in ("time", "wait_from", "wait_until"))


def test_a_visit_comes_before_its_begin_and_patients_before_the_visit() -> None:
    assert times(time("a"), time("b"), time("c", 0.8), time("d", 0.8)) == ("b", "a", "c")
    assert times(time("b"), time("c", 0.8), time("d", 0.8)) == ("b", "b", "c")


def test_two_that_come_before_the_visit_are_told_apart_by_their_names_alone() -> None:
    began = time("c", 0.8), time("d", 0.8)
    assert times(time("x"), time("y"), time("b"), *began) == ("b", None, "c")
    assert times(time("created_at"), time("arrived"), time("b"), *began) == ("b", "arrived", "c")


def test_one_time_after_the_visit_may_be_its_begin_or_its_end() -> None:
    proposal = propose(profile(time("b"), time("c", 0.8)))["wait_until"]
    assert (proposal.column, proposal.said) == (None, "ambiguous: c may be the begin of a visit or its end")
    assert times(time("b"), time("started_at", 0.8)) == ("b", "b", "started_at")
    assert times(time("b"), time("ended_at", 0.8)) == ("b", None, None)


def test_times_that_are_always_there_are_told_apart_by_their_names_alone() -> None:
    assert times(time("a"), time("b"))[0] is None
    assert times(time("created_at"), time("appointment"))[0] == "appointment"
    assert times(time("created_at"), time("updated_at"))[0] is None


def test_what_is_decided_is_not_proposed_and_the_others_go_by_it() -> None:
    columns = time("a"), time("b"), time("c", 0.8), time("d", 0.8)
    found = propose(profile(*columns), {"time": "A", "key": "k"})
    assert set(found) == {"status", "wait_from", "wait_until"}
    assert found["wait_from"].column == "A".lower()


def test_nothing_is_said_of_few_rows() -> None:
    few = Profile(19, 1, (uuid("x"),), {"x": KeyFacts(1, 19)})
    assert {one.column for one in propose(few).values()} == {None}
    assert propose(few)["key"].said == "none yet: 19 rows have landed, and fewer than 20 say nothing"
