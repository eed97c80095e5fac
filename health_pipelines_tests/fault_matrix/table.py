"""The matrix: what comes of every fault at every vendor call. Pure; what makes it true is `test_matrix.py`.

Names in braces stand for what differs: {vendor}, {call} (method and path), {host}, {url} and {key} (the
settings to change), {t} and {mb} (the bounds), {report}, {list}, and {…} for anything.
"""

import base64
from collections.abc import Mapping
from typing import Any

from health_pipelines_tests.fault_matrix.outcomes import (
    DEXCARE,
    DRCHRONO,
    LISTS,
    Bounds,
    Call,
    Cell,
    Fault,
    Network,
    OurClock,
    Outcome,
    Rule,
    Server,
    UsedUp,
    a_person,
    as_usual,
    cannot_be,
    fault,
    renewed,
    restarted,
    retried,
    told,
    told_for_now,
    waited,
)

NO_CONNECTION = "{vendor}: no connection to {host}; check {url} and the network."
NOT_PROVEN = (
    "{vendor}: {host} does not prove who it is ({…}); check {url}, the network and this machine's clock."
)
SILENT = "{vendor}: {call} was silent for {t} s."
BROKE = "{vendor}: the connection broke during {call} ({…})."
TOO_LONG = (
    "{vendor}: {call} had no whole answer after {t} s. If that is to be expected, raise "
    "HEALTH_LONGEST_ANSWER_SECONDS."
)
TOO_LARGE = (
    "{vendor} answered {call} with more than {mb} MB, and none of it was kept. If such an answer is to be "
    "expected, raise {largest}."
)
NOT_THE_API = (
    "{vendor} answered {…} to {call} with something that is not a JSON object; does {url} lead to its API?"
)
NOT_JSON = "{vendor} answered {…} to {call} with a body that {…}; ask {vendor} about it."
NO_REPORT = (
    "DexCare answered 200 when asked for report {report} for {…}, with something that does not begin with "
    "the names of columns."
)
UNUSABLE = "report {report} for {…} is not usable: {…}."
LOST_TOKEN = (
    "DrChrono no longer accepts DRCHRONO_REFRESH_TOKEN (a renewal was cut off at {…} UTC before the new "
    "tokens were stored); authorise the application again in DrChrono and set DRCHRONO_REFRESH_TOKEN to the "
    "new refresh token."
)
REFUSED_TOKEN = (
    "DrChrono no longer accepts DRCHRONO_REFRESH_TOKEN (it was revoked, ended, or was used somewhere else); "
    "authorise the application again in DrChrono and set DRCHRONO_REFRESH_TOKEN to the new refresh token."
)
GONE = "DexCare says GONE since {…} UTC"

NO_QUOTA = cannot_be("DexCare documents no quota. Its throttle, if it has one, is the rows 429.")
NO_STATUS = cannot_be("The answer has no status.")
# Seconds: the hour may be about to end.
UNTIL_THE_HOUR = 0.01
SHORT = Bounds(timeout=1.0)


def _answer(status: int, body: object = None, **more: Any) -> Rule:
    return Rule({"kind": "http", "status": status, "body": body, **more})


def _said(status: int, words: str) -> str:
    return f"{{vendor}} answered {status} to {{call}}: {words}."


def _refused(status: int, word: str) -> Fault:
    return fault(f"{status}", _answer(status, {"error": word}), told(_said(status, word)))


def _server_error(status: int) -> Fault:
    return fault(f"{status}", _answer(status, {"message": "Try later"}), retried(_said(status, "Try later")))


def _network(mode: str, sentence: str, bounds: Bounds | None = None) -> Fault:
    return fault(mode, Network(mode), retried(sentence), bounds=bounds)


def _lost(name: str, rule: Rule, sentence: str, bounds: Bounds | None = None) -> Fault:
    """The vendor did what was asked and its answer is lost, and with it a new refresh token."""
    return fault(name, rule, retried(sentence), {Call.TOKEN: a_person(sentence)}, bounds=bounds)


def _unreadable(name: str, rule: Rule, usual: Outcome, data: Outcome, bounds: Bounds | None = None) -> Fault:
    """As `_lost`, but nobody asks again for the same."""
    token = a_person(usual.sentence, calls=1, later=False)
    return fault(name, rule, usual, {Call.DATA: data, Call.TOKEN: token}, bounds=bounds)


def _throttle(
    name: str,
    rule: Rule,
    dexcare: Outcome,
    drchrono: Outcome,
    others: Mapping[Call | tuple[Call, ...], Outcome] | None = None,
) -> Fault:
    return fault(name, rule, dexcare, {DRCHRONO: drchrono, **(others or {})})


def _manner(name: str, **settings: Any) -> Fault:
    return fault(name, Server(settings), as_usual())


THE_WAY_THERE = (
    _network("connection refused", NO_CONNECTION),
    _network("an unknown host", "{vendor}: the host {host} is not known; check {url}."),
    _network("a connection that never comes about", NO_CONNECTION, SHORT),
    _network("another authority's certificate", NOT_PROVEN),
    _network("a certificate for another name", NOT_PROVEN),
    _network("an expired certificate", NOT_PROVEN),
    _network("no TLS where it should be", NO_CONNECTION),
)
LOST_ANSWERS = (
    _lost("heard, and never answered", Rule({"kind": "never_answer"}), SILENT, SHORT),
    _lost("heard, and the connection closed", Rule({"kind": "lose_response"}), BROKE),
    _lost("a body cut off", Rule({"kind": "cut", "after_bytes": 15}), BROKE),
    _lost("a body cut off by a reset", Rule({"kind": "cut", "after_bytes": 15, "how": "reset"}), BROKE),
    _unreadable(
        "a body cut off and framed as whole",
        Rule({"kind": "cut", "after_bytes": 15, "how": "end"}),
        told(NOT_JSON),
        told(UNUSABLE),
    ),
    fault(
        "a compressed body cut off and framed as whole",
        Rule({"kind": "cut", "after_bytes": 30, "how": "end"}, settings={"compression": "gzip"}),
        retried("{vendor}: {call} gave an answer whose body ends in the middle of its compressed bytes."),
        # The second try brings the refusal, without its words.
        {Call.TOKEN: a_person("{vendor} answered 400 to {call}.", later=False)},
    ),
    _lost(
        "a slow drip",
        Rule({"kind": "drip", "bytes": 1, "seconds": 0.1}),
        TOO_LONG,
        Bounds(longest=1.0),
    ),
)
STATUSES = (
    _refused(400, "Bad input"),
    fault(
        "401",
        _answer(401, {"detail": "You are not authorized"}),
        told("{vendor} answered 401 to {call}: You are not authorized. Check {key}."),
        {LISTS: renewed("{vendor} answered 401 to {call}: You are not authorized. Check {key}.")},
    ),
    fault(
        "403",
        _answer(403, {"message": "Not allowed"}),
        told("{vendor} answered 403 to {call}: Not allowed. Check {key}."),
    ),
    fault(
        "404",
        _answer(404, {"error": "QueryExecution Not Found"}),
        told(_said(404, "QueryExecution Not Found")),
        {
            Call.STATUS: restarted(GONE, 3),
            Call.DATA: restarted(_said(404, "QueryExecution Not Found"), 3),
        },
    ),
    fault(
        "404 of a gateway",
        _answer(404, {"message": "no Route matched with those values"}),
        told(
            "{vendor} answered 404 to {call}: no Route matched with those values. {url} does not lead to "
            "{vendor}'s API."
        ),
    ),
    _server_error(408),
    _refused(409, "In conflict"),
    _refused(413, "Too many"),
    _server_error(500),
    _server_error(502),
    _server_error(503),
    _server_error(504),
    fault(
        "502 with a gateway's page",
        Rule({"kind": "http", "status": 502, "text": "<html>", "headers": {"content-type": "text/html"}}),
        retried("{vendor} answered 502 to {call}."),
    ),
    _throttle(
        "429 without a time",
        _answer(429, {"error": "Slow down"}),
        retried(_said(429, "Slow down")),
        waited(UNTIL_THE_HOUR),
    ),
    _throttle(
        "429 with Retry-After: 1",
        _answer(429, {"error": "Slow down"}, headers={"Retry-After": "1"}),
        waited(1),
        waited(1),
    ),
    _throttle(
        "429 with Retry-After as a date",
        _answer(429, {"error": "Slow down"}, headers={"Retry-After": "{in 2 s}"}),
        waited(1),
        waited(1),
    ),
    _throttle(
        "429 with Retry-After: 3600",
        _answer(429, {"error": "Slow down"}, headers={"Retry-After": "3600"}),
        told_for_now(_said(429, "Slow down")),
        waited(3600),
        # The list does not live as long, and another is asked for.
        {Call.LIST_POLL: waited(3600, calls=3)},
    ),
    _throttle(
        "429 that says its time in words",
        _answer(429, {"detail": "Request was throttled. Expected available in 2.0 seconds."}),
        waited(2),
        waited(2),
    ),
)
ENVELOPES = (
    *(
        fault(f"words under {name}", _answer(400, {name: "No report"}), told(_said(400, "No report")))
        for name in ("error", "message", "msg", "detail")
    ),
    fault(
        "complaints by field",
        _answer(400, {"since": ["Enter Zebulon's date."], "detail": {"page": ["Zebulon"]}}),
        told(_said(400, "it does not accept since, page")),
    ),
    fault(
        "words that repeat the key",
        _answer(400, {"error": "unknown {what was sent}"}),
        told(_said(400, "unknown ***")),
        {Call.TOKEN: told(_said(400, "unknown *** ***"))},
    ),
    fault(
        "QueryExecution did not succeed",
        _answer(400, {"error": "QueryExecution did not succeed"}),
        told(_said(400, "QueryExecution did not succeed")),
        {Call.DATA: restarted(_said(400, "QueryExecution did not succeed"), 3)},
    ),
    fault(
        "invalid_grant",
        _answer(400, {"error": "invalid_grant"}),
        told(_said(400, "invalid_grant")),
        {Call.TOKEN: told(REFUSED_TOKEN)},
    ),
    fault(
        "Invalid uuid specified",
        _answer(404, {"detail": "Invalid uuid specified"}),
        told(_said(404, "Invalid uuid specified")),
        {
            Call.STATUS: restarted(GONE, 3),
            Call.DATA: restarted(_said(404, "Invalid uuid specified"), 3),
            Call.LIST_POLL: restarted(
                "DrChrono no longer has the list of {list} (Invalid uuid specified); ask for it again.",
                4,
                later=True,
            ),
        },
    ),
    fault(
        "500 with the status Error",
        _answer(500, {"status": "Error", "uuid": "1", "detail": "Out of memory"}),
        retried(_said(500, "Out of memory")),
        {
            Call.LIST_POLL: restarted(
                "DrChrono gave up the list of {list} (error: Out of memory); ask for it again.", 4, later=True
            )
        },
    ),
    fault(
        "FAILED",
        Rule({"kind": "status", "status": "FAILED"}),
        NO_STATUS,
        {
            Call.STATUS: restarted("DexCare says FAILED since {…} UTC", 3),
            LISTS: cannot_be("A list's words are Failed and Canceled: the next rows."),
        },
    ),
    fault(
        "CANCELLED",
        Rule({"kind": "status", "status": "CANCELLED"}),
        NO_STATUS,
        {
            Call.STATUS: restarted("DexCare says CANCELLED since {…} UTC", 3),
            LISTS: cannot_be("A list's words are Failed and Canceled: the next rows."),
        },
    ),
    *(
        fault(
            f"a list that is {word}",
            Rule({"kind": "dead", "status": word}),
            NO_STATUS,
            {
                Call.STATUS: cannot_be("A report's words are FAILED and CANCELLED: the rows before."),
                (Call.LIST_START, Call.LIST_POLL): restarted(
                    f"DrChrono gave up the list of {{list}} ({word.lower()}); ask for it again.",
                    4,
                    later=True,
                ),
            },
        )
        for word in ("Failed", "Canceled")
    ),
    fault(
        "a good answer about something else",
        _answer(200, {"status": "Paused", "name": "Zebulon"}),
        told("DexCare started a report but its answer has no 'id' that is a GUID."),
        {
            Call.STATUS: told(
                "DexCare gave report {report} a status that its documentation does not list: 'Paused'."
            ),
            Call.DATA: told_for_now(NO_REPORT),
            Call.HISTORIES: told("DexCare's provider histories have no 'count' that is a whole number."),
            Call.TOKEN: told("DrChrono renewed the token but its answer has no 'access_token'."),
            (Call.LIST_START, Call.LIST_POLL): told(
                "DrChrono gave a list of {list} a status that its documentation does not list: 'Paused'."
            ),
            Call.DELETIONS: told(
                "DrChrono's line item deletions have no 'data' or 'results' that is a list of objects."
            ),
        },
    ),
)
BODIES = (
    _unreadable(
        "garbage JSON", Rule({"kind": "body", "text": '{"status": '}), told(NOT_JSON), told_for_now(NO_REPORT)
    ),
    _unreadable(
        "bytes that are no text",
        Rule({"kind": "body", "base64": base64.b64encode(b'{"id": "\xff"}').decode()}),
        told(NOT_JSON),
        told(UNUSABLE),
    ),
    _unreadable(
        "JSON that is no object",
        Rule({"kind": "body", "text": "[]"}),
        told(NOT_THE_API),
        told_for_now(NO_REPORT),
    ),
    fault(
        "an HTML page with 200",
        Rule({"kind": "http", "status": 200, "text": "<html>", "headers": {"content-type": "text/html"}}),
        told(NOT_THE_API),
        {Call.DATA: told_for_now(NO_REPORT)},
    ),
    _unreadable("an empty body", Rule({"kind": "body", "text": ""}), told(NOT_THE_API), told(UNUSABLE)),
    fault(
        "204",
        Rule({"kind": "http", "status": 204, "text": ""}),
        told(NOT_THE_API),
        {Call.DATA: retried("{vendor} answered 204 to {call}, where only 200 means the whole of it.")},
    ),
    fault(
        "206 with a part",
        Rule({"kind": "http", "status": 206, "text": '"visit_id","status"\n'}),
        told(NOT_THE_API),
        {Call.DATA: retried("{vendor} answered 206 to {call}, where only 200 means the whole of it.")},
    ),
    fault(
        "a wrong content type",
        Rule({"kind": "headers", "headers": {"content-type": "image/png"}}),
        as_usual(),
    ),
    fault(
        "a redirect elsewhere",
        Rule({"kind": "redirect", "to": "other"}),
        told("{vendor} answered 302 to {call}, a redirect, which is not followed. Check {url}."),
        {
            DRCHRONO: told(
                "{vendor} answered 302 to {call}, a redirect away from {host}, which is not followed. "
                "Check {url}."
            )
        },
    ),
    fault(
        "a redirect on the same host",
        Rule({"kind": "redirect", "to": "same"}, times=1),
        told("{vendor} answered 302 to {call}, a redirect, which is not followed. Check {url}."),
        {DRCHRONO: as_usual(calls=2)},
    ),
    fault(
        "redirects in a circle",
        Rule({"kind": "redirect", "to": "same"}),
        told("{vendor} answered 302 to {call}, a redirect, which is not followed. Check {url}."),
        {
            DRCHRONO: told(
                "{vendor} answered 302 to {call}, the redirect after 3 others. Check {url}.", calls=4
            )
        },
    ),
)
_LARGE = Bounds(largest=3_000_000)
SIZES = (
    *(
        _unreadable(name, Rule({"kind": "endless", **how}), told(TOO_LARGE), told(TOO_LARGE), _LARGE)
        for name, how in {
            "an answer without end": {},
            "an answer of 10 GB that says so": {"announced": 10_000_000_000},
            "a gzip bomb": {"gzip": 1},
        }.items()
    ),
    fault(
        "a gzip bomb in a gzip bomb",
        Rule({"kind": "endless", "gzip": 2}),
        retried("{vendor}: {call} gave an answer whose body is compressed in a way that was not asked for."),
        # The second try brings the refusal, without its words.
        {Call.TOKEN: a_person("{vendor} answered 400 to {call}.", later=False)},
        bounds=_LARGE,
    ),
    fault(
        "500 without end",
        Rule({"kind": "endless", "status": 500}),
        retried("{vendor} answered 500 to {call}."),
        {
            Call.TOKEN: a_person("{vendor} answered 500 to {call}: invalid_grant."),
            # Of an answer without words the names of fields that have something in them are told.
            (Call.HISTORIES, Call.LIST_POLL, Call.DELETIONS): retried(
                "{vendor} answered 500 to {call}: it does not accept {…}."
            ),
        },
        bounds=_LARGE,
    ),
)
TIME = (
    *(
        fault(
            f"a vendor whose Date is 10 min {words}",
            Rule({"kind": "headers", "headers": {"date": f"{{in {seconds} s}}"}}),
            as_usual(),
        )
        for words, seconds in (("ahead", 600), ("behind", -600))
    ),
    fault("our clock 10 min ahead", OurClock(600), as_usual()),
    fault("our clock 10 min behind", OurClock(-600), as_usual()),
    fault("our clock jumps 3 days ahead", OurClock(3 * 86400), as_usual()),
    fault("our clock jumps 3 days back", OurClock(-3 * 86400), as_usual()),
    fault(
        "the vendor's clock jumps 25 h ahead",
        Rule({"kind": "jump", "seconds": 25 * 3600}, times=1),
        as_usual(),
        # The report's result and the list are gone by then, and another is asked for.
        {(Call.STATUS, Call.DATA, Call.LIST_POLL): as_usual(calls=2)},
    ),
)
QUOTA = (
    fault(
        "the hour's quota used up by others",
        UsedUp(by_vendor=True),
        waited(UNTIL_THE_HOUR),
        {
            DEXCARE: NO_QUOTA,
            Call.TOKEN: cannot_be("It is the quota of the API; a throttled renewal is in the rows 429."),
        },
    ),
    fault(
        "the hour's quota used up by us",
        UsedUp(by_vendor=False),
        waited(UNTIL_THE_HOUR, calls=1),
        {DEXCARE: NO_QUOTA},
    ),
)
MANNERS = (
    _manner("compressed answers", compression="gzip"),
    _manner("answers compressed in two streams", compression="gzip_in_two"),
    _manner("chunks of 7 bytes", chunk_bytes=7),
    _manner("headers in capitals", header_names="upper"),
    _manner("HTTP/1.0", http_version="1.0"),
    _manner("bodies that end with the connection", framing="close"),
)
GROUPS = {
    "The way there": THE_WAY_THERE,
    "Answers that are lost": LOST_ANSWERS,
    "Statuses": STATUSES,
    "What the vendors say": ENVELOPES,
    "Bodies": BODIES,
    "Sizes": SIZES,
    "Clocks": TIME,
    "Quota": QUOTA,
    "Ways of writing": MANNERS,
}
FAULTS = tuple(one for group in GROUPS.values() for one in group)
CELLS = tuple(Cell(call, one, one.outcomes[call]) for one in FAULTS for call in Call)
