"""Which column of a visit report is its key, its time, its status, and the two of the wait. Pure.

Belongs here: what follows from a profile, with the evidence in words. Does not belong here: measuring
(`measuring.py`), and what is remembered of it (`guesses.py`).

What the rows say decides. Names only choose among columns for which the rows speak alike, or warn of one; a
report whose columns have names that say nothing is decided all the same.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from health_pipelines.dexcare.columns.profile import KeyFacts, Pair, Profile
from health_pipelines.settings.visit_columns import VISIT_COLUMN_ROLES

# Fewer say nothing about what is unique or usual.
LEAST_ROWS = 20
_ALWAYS, _NEARLY_ALL, _MOST_STATES = 0.95, 0.99, 40

_PERSONS = {"patient", "provider", "person", "member", "user", "actor", "guardian", "staff", "doctor", "mrn"}
_PLACES = {"department", "clinic", "practice", "region", "slot", "session", "insurance", "payer", "system"}
_GOOD = {
    "key": {"id": 1, "guid": 1, "uuid": 1, "key": 1, "visit": 2, "booking": 1, "encounter": 1},
    "time": {"scheduled": 3, "appointment": 2, "visit": 2, "slot": 1, "start": 1},
    "status": {"status": 2, "visit": 1, "appointment": 1, "state": 1},
    "wait_from": {
        "entered": 2,
        "arrived": 2,
        "arrival": 2,
        "checked": 2,
        "checkin": 2,
        "waiting": 1,
        "slot": 1,
    },
    "wait_until": {"started": 2, "start": 2, "begun": 2, "began": 2, "begin": 2, "seen": 2, "joined": 1},
}
_BAD = {
    "key": _PERSONS | _PLACES,
    "time": {"created", "booked", "updated", "modified", "ended", "end", "cancelled", "birth", "left"},
    "status": _PERSONS | {"payment", "insurance", "marital", "eligibility", "billing", "reason"},
    "wait_from": {"created", "booked", "updated", "modified", "scheduled"},
    "wait_until": {"ended", "end", "completed", "closed", "updated", "cancelled"},
}


@dataclass(frozen=True)
class Proposal:
    """`column`: None if none is proposed. `said`: the evidence, or why there is none. No value is in it.

    `candidates`: among which nothing decides; empty if there is none or one.
    """

    column: str | None
    said: str
    candidates: tuple[str, ...] = ()


def propose(profile: Profile, decided: Mapping[str, str] | None = None) -> dict[str, Proposal]:
    """By role. `decided`: columns of some roles that are known already; they are not proposed again."""
    known = dict(decided or {})
    if profile.rows < LEAST_ROWS:
        why = f"none yet: {profile.rows} rows have landed, and fewer than {LEAST_ROWS} say nothing"
        return {role: Proposal(None, why) for role in VISIT_COLUMN_ROLES if role not in known}
    found: dict[str, Proposal] = {}
    times = _Times(profile)
    deciders: dict[str, Callable[[], Proposal]] = {
        "key": lambda: _key(profile),
        "status": lambda: _status(profile),
        "time": times.visit,
        # What a wait is depends on when the visit is, and its beginning on its end.
        "wait_until": lambda: times.wait_until(known.get("time")),
        "wait_from": lambda: times.wait_from(known.get("time"), known.get("wait_until")),
    }
    for role, decide in deciders.items():
        if role not in known:
            found[role] = decide()
            if column := found[role].column:
                known[role] = column
    return {role: found[role] for role in VISIT_COLUMN_ROLES if role in found}


def key_evidence(facts: KeyFacts, shape: str | None) -> str:
    """Of a column that may be the key, in words."""
    days = "the one day" if facts.days == 1 else f"each of {facts.days} days"
    like = "a UUID" if shape == "uuid" else "an id"
    said = f"unique in {days} ({facts.rows} rows), never empty, shaped like {like}"
    if facts.repeated:
        said += f"; {facts.repeated} are in several days, for one and the same visit"
    return said


def _key(profile: Profile) -> Proposal:
    columns = {one.name: one for one in profile.columns}
    sound = {name: facts for name, facts in profile.keys.items() if not facts.is_contradicted}
    uuids = [name for name in sound if columns[name].shape == "uuid"]
    # A number that begins anew each day is unique in one day.
    late = [name for name in sound if name not in uuids and sound[name].days < 2]
    among = uuids or [name for name in sound if name not in late]
    about_others = [name for name in among if _words(name) & _BAD["key"]]
    chosen = _chosen("key", [name for name in among if name not in about_others])
    if isinstance(chosen, str):
        return Proposal(chosen, key_evidence(sound[chosen], columns[chosen].shape))
    if chosen:
        return _ambiguous(chosen, "each is unique and never empty")
    if about_others:
        return Proposal(
            None, f"none: {_and(about_others)} is unique, but named after something else than a visit"
        )
    if late:
        return Proposal(None, f"none yet: {_and(late)} is unique, but one day cannot show that it stays so")
    return Proposal(None, "none: no column is unique in each day, never empty and shaped like an id")


def _status(profile: Profile) -> Proposal:
    few = [
        one
        for one in profile.columns
        if one.filled >= _ALWAYS and one.different <= _MOST_STATES and not one.times and one.shape != "uuid"
    ]
    said = [one for one in few if one.states >= 0.8]
    # Codes are no words; then the name has to say it, and nothing else.
    named = [one for one in few if "status" in (words := _words(one.name)) and words <= set(_GOOD["status"])]
    among = {one.name: one for one in said or named}
    chosen = _chosen("status", list(among))
    if isinstance(chosen, str):
        one = among[chosen]
        why = (
            f"{one.states:.0%} of its values are words for the state of a visit"
            if said
            else "it is called so, and has few values"
        )
        return Proposal(chosen, f"{why}; {one.different} different ones, {one.filled:.0%} of rows have one")
    if chosen:
        return _ambiguous(chosen, "the values of each are words for the state of a visit")
    return Proposal(None, "none: no column has few values that are words for the state of a visit")


class _Times:
    """What the times of a report say. Columns that are there in the same rows and equal are one group."""

    def __init__(self, profile: Profile) -> None:
        times = [one for one in profile.columns if one.times >= _NEARLY_ALL and one.near >= _ALWAYS]
        clocked = [one for one in times if one.clocked > 0.01]
        self._of = {one.name: one for one in clocked or times if one.filled > 0.02}
        self._pairs = profile.pairs
        self._groups: list[list[str]] = []
        for name in self._of:
            same = [group for group in self._groups if any(self._is_same(name, other) for other in group)]
            merged = [name, *(other for group in same for other in group)]
            self._groups = [group for group in self._groups if group not in same]
            self._groups.append(sorted(merged, key=list(self._of).index))

    def visit(self) -> Proposal:
        always = [group for group in self._groups if self._is_always(group)]
        leading = {self._name(g): g for g in always if any(self._leads_to(g, h) for h in self._happened())}
        last = [
            group
            for group in leading.values()
            if all(other is group or self._is_before(other, group) for other in leading.values())
        ]
        among = always if len(always) == 1 else last or list(leading.values()) or always
        chosen = self._choose("time", among)
        if isinstance(chosen, Proposal):
            return chosen
        group, column = chosen
        began = [self._name(h) for h in self._happened() if self._leads_to(group, h)]
        why = (
            f"the last time that is always there before {began[0]}, which comes within twelve hours"
            if len(last) == 1 and began
            else "the only time that is always there"
            if len(always) == 1
            else "always there, and of several such times named most like it"
        )
        return Proposal(column, f"{why}; {self._shape(column)}{self._others(group, column)}")

    def wait_until(self, time: str | None) -> Proposal:
        visit = self._group_of(time)
        if visit is None:
            return Proposal(None, "none: the visit's time is not known")
        after = [group for group in self._happened() if self._leads_to(visit, group)]
        # A visit that is held begins and ends, so that two times are there in the same rows.
        begins = [
            group
            for group in after
            if sum(self._is_held_with(group, other) for other in after if other is not group) == 1
            and all(self._is_before(group, other) for other in after if self._is_held_with(group, other))
        ]
        if len(begins) != 1:
            named = [group for group in begins or after if self._score("wait_until", group) > 0]
            if len(after) == 1 and not named:
                [group] = after
                return Proposal(
                    None,
                    f"ambiguous: {self._name(group)} may be the begin of a visit or its end",
                    (self._name(group),),
                )
            begins = named or begins or after
        chosen = self._choose("wait_until", begins)
        if isinstance(chosen, Proposal):
            return chosen
        group, column = chosen
        ends = [self._name(other) for other in after if self._is_held_with(group, other)]
        why = f"the first time after {time}, empty where a visit was not held"
        why += f", and there in the same rows as {ends[0]}, which follows it" if ends else ""
        return Proposal(column, f"{why}; {self._shape(column)}{self._others(group, column)}")

    def wait_from(self, time: str | None, until: str | None) -> Proposal:
        visit, seen = self._group_of(time), self._group_of(until)
        if visit is None or seen is None:
            return Proposal(None, "none: the visit's time or the end of the wait is not known")
        before = [
            group
            for group in self._groups
            if group not in (visit, seen)
            and max(self._of[name].filled for name in group) >= 0.5
            and self._leads_to(group, visit)
            and self._leads_to(group, seen)
        ]
        chosen = self._choose("wait_from", before or [visit])
        if isinstance(chosen, Proposal):
            return chosen
        group, column = chosen
        why = (
            f"within twelve hours before {time}, and before {until}"
            if group is not visit
            else f"nothing comes between {time} and {until}, and this is the visit's time"
        )
        return Proposal(column, f"{why}; {self._shape(column)}{self._others(group, column)}")

    def _choose(self, role: str, groups: Sequence[list[str]]) -> tuple[list[str], str] | Proposal:
        """The group and its column for a role, or why there is none."""
        if not groups:
            return Proposal(None, "none: no time is where it would have to be")
        best = max(self._score(role, group) for group in groups)
        top = [group for group in groups if self._score(role, group) == best]
        if len(groups) > 1 and (len(top) > 1 or best <= 0):
            return _ambiguous([self._name(group) for group in groups], "the times of each would do")
        [group] = top
        # Of equal columns any is right; the first one if no name is better.
        columns = [name for name in group if self._of[name].filled >= _ALWAYS] or group
        return group, max(columns, key=lambda name: _score(role, name))

    def _score(self, role: str, group: Sequence[str]) -> int:
        return max(_score(role, name) for name in group)

    def _shape(self, column: str) -> str:
        one = self._of[column]
        return f"{one.times:.0%} of its values are times, {one.filled:.0%} of rows have one"

    def _others(self, group: Sequence[str], column: str) -> str:
        others = [name for name in group if name != column]
        return f"; the same as {_and(others)}" if others else ""

    def _name(self, group: Sequence[str]) -> str:
        return max(group, key=lambda name: self._of[name].filled)

    def _is_always(self, group: Sequence[str]) -> bool:
        return any(self._of[name].filled >= _ALWAYS for name in group)

    def _happened(self) -> list[list[str]]:
        return [group for group in self._groups if not self._is_always(group)]

    def _group_of(self, column: str | None) -> list[str] | None:
        folded = (column or "").lower()
        return next((g for g in self._groups if folded in map(str.lower, g)), None)

    def _pair(self, one: Sequence[str], other: Sequence[str]) -> Pair | None:
        pair = self._pairs.get((self._name(one), self._name(other)))
        return pair if pair and pair.both >= LEAST_ROWS / 2 else None

    def _is_same(self, one: str, other: str) -> bool:
        pair = self._pairs.get((one, other))
        return pair is not None and min(pair.same, pair.together) >= _NEARLY_ALL

    def _is_before(self, one: Sequence[str], other: Sequence[str]) -> bool:
        pair = self._pair(one, other)
        return pair is not None and pair.not_after >= _NEARLY_ALL

    def _leads_to(self, one: Sequence[str], other: Sequence[str]) -> bool:
        pair = self._pair(one, other)
        return (
            pair is not None
            and min(pair.not_after, pair.close) >= _NEARLY_ALL
            # A column that is a copy, with gaps, tells of no other moment.
            and pair.same < _NEARLY_ALL
        )

    def _is_held_with(self, one: Sequence[str], other: Sequence[str]) -> bool:
        pair = self._pair(one, other)
        return one is not other and pair is not None and pair.together >= _NEARLY_ALL


def _chosen(role: str, names: Sequence[str]) -> str | list[str]:
    """The one that is named best, or all among which nothing decides."""
    if len(names) < 2:
        return names[0] if names else []
    best = max(_score(role, name) for name in names)
    top = [name for name in names if _score(role, name) == best]
    return top[0] if len(top) == 1 and best > 0 else list(names)


def _score(role: str, name: str) -> int:
    words = _words(name)
    good = sum(_GOOD[role].get(word, 0) for word in words)
    return good - 5 * len(words & _BAD[role])


def _words(name: str) -> set[str]:
    """`visitId`, `visit_id` and `Visit ID` are all visit and id."""
    parts = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return {word.lower() for word in re.findall(r"[A-Za-z]+", parts)}


def _ambiguous(names: Sequence[str], why: str) -> Proposal:
    return Proposal(None, f"ambiguous: {_and(names)}; {why}", tuple(names))


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
