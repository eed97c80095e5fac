"""How fault rules are written in JSON, read strictly: a misspelt rule would never match and never be missed.

    {"operation": "data", "type": "retail", "day": "2026-03-01", "attempt": 1, "after": 2, "times": 1,
     "fault": {"kind": "cut", "after_bytes": 5000, "how": "reset"}}

    {"operation": "list_start", "list": "appointments", "page": 3, "times": 1,
     "fault": {"kind": "change", "remove": ["123"], "insert": 1}}

What the kinds mean is in `faults.py`; which words each takes, and what it can happen to, is in `KINDS` below.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal, cast, get_args

from health_pipelines.sandbox.answers import Answer, Cut, Drip, Endless, HangUp, json_answer
from health_pipelines.sandbox.drchrono.changes import CHANGE_WORDS, read_change
from health_pipelines.sandbox.drchrono.kinds import LIST_NAMES, ListName
from health_pipelines.sandbox.drchrono.lists import DeadWord, Death
from health_pipelines.sandbox.drchrono.refusals import throttled
from health_pipelines.sandbox.faults import (
    OPERATIONS,
    AnswerInstead,
    ChangeRecords,
    CutShort,
    Fault,
    FaultRule,
    Flood,
    Jump,
    KillList,
    LoseList,
    LoseResponse,
    Miscount,
    NeverAnswer,
    NeverFinish,
    Operation,
    OtherBody,
    OtherHeaders,
    Redirect,
    Shift,
    Slow,
    StatusLie,
    Trickle,
)
from health_pipelines.sandbox.windows import REPORT_TYPES, UNKNOWN_TYPE, ReportType

Json = Mapping[str, object]

RULE_WORDS = {
    *("operation", "fault", "times", "after", "attempt"),
    *("type", "day", "report_id"),
    *("list", "page", "uuid"),
}
DRCHRONO: tuple[Operation, ...] = ("list_start", "list_poll", "deletions", "token")


def read_rules(body: object) -> list[FaultRule]:
    """One rule or a list of them; ValueError says what is wrong with it."""
    return [_read_rule(_object("a rule", one)) for one in (body if isinstance(body, list) else [body])]


def _read_rule(rule: Json) -> FaultRule:
    _only(rule, RULE_WORDS)
    operation = cast(Operation, _choice(rule, "operation", OPERATIONS))
    return FaultRule(
        operation=operation,
        fault=_read_fault(operation, _object("'fault'", rule.get("fault"))),
        type=cast(ReportType, _choice(rule, "type", REPORT_TYPES)) if "type" in rule else None,
        day=date.fromisoformat(_text(rule, "day")) if "day" in rule else None,
        report_id=_text(rule, "report_id") if "report_id" in rule else None,
        attempt=_count(rule, "attempt") if "attempt" in rule else None,
        list=cast(ListName, _choice(rule, "list", LIST_NAMES)) if "list" in rule else None,
        page=_count(rule, "page") if "page" in rule else None,
        uuid=_text(rule, "uuid") if "uuid" in rule else None,
        times=_count(rule, "times") if "times" in rule else None,
        after=_count(rule, "after", 0),
    )


def _read_fault(operation: Operation, fault: Json) -> Fault:
    name = _choice(fault, "kind", tuple(KINDS))
    kind = next((one for one in KINDS[name] if operation in one.operations), None)
    if kind is None:
        raise ValueError(f"{name!r} cannot happen to {operation!r}")
    _only(fault, {"kind", *kind.words})
    return kind.read(fault)


def _http(fault: Json) -> Fault:
    status, headers = _count(fault, "status"), _object("'headers'", fault.get("headers", {}))
    if status not in range(200, 600):
        raise ValueError(f"not the status of an answer: {status}")
    in_json = "text" not in fault
    return AnswerInstead(
        Answer(
            status,
            json.dumps(fault.get("body"), ensure_ascii=False).encode()
            if in_json
            else _text(fault, "text").encode(),
            content_type="application/json; charset=utf-8" if in_json else "text/plain; charset=utf-8",
            headers={str(name).lower(): str(value) for name, value in headers.items()},
        )
    )


def _status(fault: Json) -> Fault:
    then = fault.get("then")
    if then is not None and not isinstance(then, list):
        raise ValueError("'then' must be a list of words")
    return StatusLie(_text(fault, "status"), None if then is None else tuple(str(word) for word in then))


def _slow(fault: Json) -> Fault:
    return Slow(_seconds(fault))


def _cut(fault: Json) -> Fault:
    how = _choice(fault, "how", get_args(HangUp)) if "how" in fault else "close"
    return CutShort(Cut(_count(fault, "after_bytes"), cast(HangUp, how)))


def _drip(fault: Json) -> Fault:
    return Trickle(Drip(max(1, _count(fault, "bytes", 1)), _seconds(fault)))


def _endless(fault: Json) -> Fault:
    announced, gzip = fault.get("announced"), _count(fault, "gzip", 0)
    if gzip > 2:
        raise ValueError("'gzip' is how often, 0 to 2")
    status = _count(fault, "status") if "status" in fault else None
    return Flood(Endless(None if announced is None else _count(fault, "announced"), gzip), status)


def _headers(fault: Json) -> Fault:
    headers = _object("'headers'", fault.get("headers"))
    return OtherHeaders({str(name).lower(): str(value) for name, value in headers.items()})


def _seconds(fault: Json) -> float:
    seconds = fault.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        raise ValueError("'seconds' must be a number from 0 on")
    return seconds


def _body(fault: Json) -> Fault:
    if ("text" in fault) == ("base64" in fault):
        raise ValueError("either 'text' or 'base64'")
    if "text" in fault:
        return OtherBody(_text(fault, "text").encode())
    return OtherBody(base64.b64decode(_text(fault, "base64"), validate=True))


def _redirect(fault: Json) -> Fault:
    status = _count(fault, "status", 302)
    if status not in (301, 302, 303, 307, 308):
        raise ValueError(f"not the status of a redirect: {status}")
    return Redirect(status, _text(fault, "to") if "to" in fault else "same")


def _throttle(fault: Json) -> Fault:
    seconds = _seconds({"seconds": 2295, **fault})
    headers = {"Retry-After": str(_count(fault, "retry_after"))} if "retry_after" in fault else {}
    return AnswerInstead(throttled(seconds, headers))


def _dead(fault: Json) -> Fault:
    word = _choice(fault, "status", get_args(DeadWord)) if "status" in fault else "Failed"
    http = _count(fault, "http", 500 if word == "Error" else 200)
    if http not in (200, 500):
        raise ValueError("'http' must be 200 or 500")
    death = Death(cast(DeadWord, word), cast(Literal[200, 500], http))
    return KillList(replace(death, detail=_text(fault, "detail")) if "detail" in fault else death)


@dataclass(frozen=True)
class Kind:
    """One kind of fault: how it is read, the words it takes, the operations it can happen to."""

    read: Callable[[Json], Fault]
    words: frozenset[str] = frozenset()
    operations: tuple[Operation, ...] = OPERATIONS


_LISTS: tuple[Operation, ...] = ("list_start", "list_poll")
_NOT_FOUND = AnswerInstead(json_answer(404, {"error": "QueryExecution Not Found"}))
_TYPE_REFUSED = AnswerInstead(json_answer(400, {"error": UNKNOWN_TYPE}))

KINDS: dict[str, tuple[Kind, ...]] = {
    "http": (Kind(_http, frozenset({"status", "body", "text", "headers"})),),
    "slow": (Kind(_slow, frozenset({"seconds"})),),
    "cut": (Kind(_cut, frozenset({"after_bytes", "how"})),),
    "body": (Kind(_body, frozenset({"text", "base64"})),),
    "never_answer": (Kind(lambda _: NeverAnswer()),),
    "drip": (Kind(_drip, frozenset({"bytes", "seconds"})),),
    "endless": (Kind(_endless, frozenset({"announced", "gzip", "status"})),),
    "headers": (Kind(_headers, frozenset({"headers"})),),
    "jump": (Kind(lambda fault: Jump(_seconds(fault)), frozenset({"seconds"})),),
    "lose_response": (Kind(lambda _: LoseResponse()),),
    "redirect": (Kind(_redirect, frozenset({"status", "to"})),),
    "refuse_type": (Kind(lambda _: _TYPE_REFUSED, operations=("start",)),),
    "status": (Kind(_status, frozenset({"status", "then"}), operations=("status",)),),
    "expired": (
        Kind(lambda _: _NOT_FOUND, operations=("status", "data")),
        Kind(lambda _: LoseList(), operations=("list_poll",)),
    ),
    "shift": (
        Kind(
            lambda fault: Shift(_count(fault, "insert", 0), _count(fault, "remove", 0)),
            frozenset({"insert", "remove"}),
            operations=("provider_histories",),
        ),
    ),
    "throttle": (Kind(_throttle, frozenset({"seconds", "retry_after"}), operations=DRCHRONO),),
    "dead": (Kind(_dead, frozenset({"status", "http", "detail"}), operations=_LISTS),),
    "never_finish": (Kind(lambda _: NeverFinish(), operations=_LISTS),),
    "miscount": (
        Kind(lambda fault: Miscount(_count(fault, "count")), frozenset({"count"}), operations=("list_poll",)),
    ),
    "change": (Kind(lambda fault: ChangeRecords(read_change(fault)), CHANGE_WORDS, operations=_LISTS),),
}


def _only(given: Json, allowed: set[str]) -> None:
    if unknown := given.keys() - allowed:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")


def _object(what: str, value: object) -> Json:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be an object")
    return value


def _choice(given: Json, name: str, allowed: tuple[str, ...]) -> str:
    value = given.get(name)
    if value not in allowed:
        raise ValueError(f"'{name}' must be one of {', '.join(allowed)}, not {value!r}")
    assert isinstance(value, str)
    return value


def _text(given: Json, name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str):
        raise ValueError(f"'{name}' must be text")
    return value


def _count(given: Json, name: str, default: int | None = None) -> int:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"'{name}' must be a whole number from 0 on")
    return value
