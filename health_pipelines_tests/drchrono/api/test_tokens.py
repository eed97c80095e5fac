"""Tokens against a vendor that replaces refresh tokens: renewed once, kept safely, never shown."""

import asyncio
import json
import os
import shutil
import stat
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from itertools import count, groupby
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs

import psycopg
import pytest
from starlette.responses import JSONResponse, Response

from health_pipelines.drchrono.api.client import DrChronoClient
from health_pipelines.drchrono.api.token_file import TokenFile, TokenFileError
from health_pipelines.drchrono.api.token_store import TokenStore
from health_pipelines.drchrono.api.token_table import (
    TABLE,
    TokensUnreachableError,
    TokenTable,
    TokenTableError,
)
from health_pipelines.drchrono.api.tokens import RefreshTokenError, RenewedTokens
from health_pipelines.drchrono.records import RECORD_TYPES
from health_pipelines.http import AccessDeniedError, RefusedError, TransientError, WrongAddressError
from health_pipelines.lake.host_locks import HostLocks
from health_pipelines.settings import HttpPolicy, Secret
from health_pipelines_tests.drchrono.scripted_vendor import LOST, ScriptedVendor, Seen, scripted_vendor
from health_pipelines_tests.support.broken_connections import end_connections
from health_pipelines_tests.support.child_process import CRASHER, child, crashes
from health_pipelines_tests.support.waiting import wait_for

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]

T = TypeVar("T")
NOW = datetime(2026, 3, 9, 12, 30, tzinfo=UTC)
LIFE = timedelta(hours=48)
QUICK = HttpPolicy(attempts=3, timeout_seconds=5, wait_initial_seconds=0.01, wait_jitter_seconds=0.01)

# Prints the header it gets for every line it is told; `sys.argv` is the vendor's URL, the token file, and the
# database if there is one.
ASKER = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
import psycopg, psycopg.conninfo, psycopg.sql
from health_pipelines.drchrono.api.token_file import TokenFile
from health_pipelines.drchrono.api.token_table import TokenTable
from health_pipelines.drchrono.api.tokens import RenewedTokens
from health_pipelines.lake.host_locks import HostLocks
from health_pipelines.settings import HttpPolicy, Secret

def tokens(url, path, database=""):
    store = TokenFile(Path(path))
    if database:
        store = TokenTable(Secret(database), "uat", HostLocks(Secret(database)), store)
    return RenewedTokens(
        url, client_id="client", client_secret=Secret("s3cr3t"), refresh_token=Secret("refresh-0"),
        store=store, policy=HttpPolicy(attempts=1), now=lambda: datetime(2026, 3, 9, 12, 30, tzinfo=UTC),
    )
"""
ASK = (
    ASKER
    + """
print("ready", flush=True)
for _ in sys.stdin:
    print(asyncio.run(tokens(*sys.argv[1:]).header()).reveal(), flush=True)
"""
)
CRASH = (
    ASKER
    + """
# A fork must not import, or the crash is in there.
TRACED = ("api/tokens.py", "api/token_file.py", "api/token_table.py")

def work(argument):
    asyncio.run(tokens(*argument.split()).header())
"""
    + CRASHER
)


class Vendor:
    """What DrChrono does with tokens: knows one refresh token, and replaces it with every renewal."""

    def __init__(self, scripted: ScriptedVendor) -> None:
        self.scripted = scripted
        self.url = scripted.url
        self.begin()

    def begin(self, *, rotates: bool = True) -> None:
        """Forget everything: `refresh-0` is the refresh token."""
        self.scripted.answers.clear()
        self.scripted.calls.clear()
        self.scripted.handler = self.answer
        self.rotates = rotates
        self.renewals = 0
        self.refresh_token = "refresh-0"
        self.access_tokens: set[str] = set()
        self._lock = threading.Lock()

    @property
    def asked(self) -> list[Seen]:
        return [seen for seen in self.scripted.calls if seen.path == "/o/token/"]

    def answer(self, seen: Seen) -> Response:
        if seen.path != "/o/token/":
            known = (seen.authorization or "").removeprefix("Bearer ") in self.access_tokens
            in_progress = {"status": "In progress", "uuid": "x"}
            return JSONResponse(in_progress) if known else JSONResponse({"detail": "Invalid token."}, 401)
        with self._lock:
            form = {name: values[0] for name, values in parse_qs(seen.body.decode()).items()}
            if form.get("client_secret") != "s3cr3t":
                return JSONResponse({"error": "invalid_client"}, 401)
            if form.get("refresh_token") != self.refresh_token:
                return JSONResponse({"error": "invalid_grant"}, 400)
            self.renewals += 1
            answer: dict[str, Any] = {
                "access_token": f"access-{self.renewals}",
                "expires_in": LIFE.total_seconds(),
            }
            self.access_tokens.add(answer["access_token"])
            if self.rotates:
                answer["refresh_token"] = self.refresh_token = f"refresh-{self.renewals}"
            return JSONResponse(answer)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(scope="module")
def shared_vendor() -> Iterator[Vendor]:
    with scripted_vendor() as scripted:
        yield Vendor(scripted)


@pytest.fixture
def vendor(shared_vendor: Vendor) -> Vendor:
    shared_vendor.begin()
    return shared_vendor


class FilePlace:
    """Where processes of one machine keep tokens. `words`: what a child is told of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shown = str(path)

    def words(self) -> list[str]:
        return [str(self.path)]

    def store(self) -> TokenStore:
        return TokenFile(self.path)

    def kept(self) -> list[dict[str, Any]]:
        return list(json.loads(self.path.read_text()).values())

    def forget(self) -> None:
        shutil.rmtree(self.path.parent, ignore_errors=True)


class DatabasePlace:
    """Where hosts do that have nothing else in common: each has a folder and a connection of its own."""

    shown = "the database of DAGSTER_POSTGRES_URL"

    def __init__(self, url: str, folder: Path, opened: ExitStack) -> None:
        self.url = url
        self._folder = folder
        self._opened = opened
        self._hosts = count()

    def words(self) -> list[str]:
        return [str(self._folder / f"host {next(self._hosts)}".replace(" ", "-") / "tokens.json"), self.url]

    def store(self, place: str = "uat", *, file: Path | None = None, patience: float = 60) -> TokenTable:
        locks = self._opened.enter_context(closing(HostLocks(Secret(self.url))))
        own = TokenFile(file or Path(self.words()[0]))
        return TokenTable(Secret(self.url), place, locks, own, patience_seconds=patience)

    def kept(self) -> list[dict[str, Any]]:
        with psycopg.connect(self.url) as connection:
            return [json.loads(text) for (text,) in connection.execute(f"SELECT tokens FROM {TABLE}")]

    def forget(self) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(f"DROP TABLE IF EXISTS {TABLE}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "drchrono" / "tokens.json"


@pytest.fixture
def database(postgres_url: str, tmp_path: Path) -> Iterator[DatabasePlace]:
    with ExitStack() as opened:
        yield DatabasePlace(postgres_url, tmp_path / "hosts", opened)


@pytest.fixture(params=["file", "postgres"])
def place(request: pytest.FixtureRequest, path: Path) -> FilePlace | DatabasePlace:
    if request.param == "file":
        return FilePlace(path)
    found = request.getfixturevalue("database")
    assert isinstance(found, DatabasePlace)
    return found


Place = FilePlace | DatabasePlace


def tokens_of(
    vendor: Vendor, place: Place | TokenStore | Path, clock: Clock | None = None, **changes: Any
) -> RenewedTokens:
    given: dict[str, Any] = {
        "client_id": "client",
        "client_secret": Secret("s3cr3t"),
        "refresh_token": Secret("refresh-0"),
        "store": store_of(place),
        "policy": QUICK,
        "now": clock or Clock(),
    }
    return RenewedTokens(vendor.url, **given | changes)


def store_of(place: Place | TokenStore | Path) -> TokenStore:
    if isinstance(place, Path):
        return TokenFile(place)
    return place.store() if isinstance(place, FilePlace | DatabasePlace) else place


def header(tokens: RenewedTokens) -> str:
    return asyncio.run(tokens.header()).reveal()


def kept(place: Place) -> dict[str, Any]:
    """What is kept of the only chain."""
    (chain,) = place.kept()
    return chain


class NoLimit:
    async def acquire(self) -> None:
        pass

    async def throttled(self, seconds: float | None) -> None:
        raise AssertionError("nothing throttles here")


def with_client(vendor: Vendor, tokens: RenewedTokens, work: Callable[[DrChronoClient], Awaitable[T]]) -> T:
    async def run() -> T:
        async with DrChronoClient(vendor.url, tokens, QUICK, NoLimit()) as client:
            return await work(client)

    return asyncio.run(run())


def test_the_first_token_is_asked_for_as_documented_and_kept(vendor: Vendor, place: Place) -> None:
    assert header(tokens_of(vendor, place)) == "Bearer access-1"
    (asked,) = vendor.asked
    assert (asked.method, asked.query, asked.authorization) == ("POST", "", None)
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["refresh_token"],
        "refresh_token": ["refresh-0"],
        "client_id": ["client"],
        "client_secret": ["s3cr3t"],
    }
    assert kept(place) == {
        "refresh_token": "refresh-1",
        "access_token": "access-1",
        "renew_at": (NOW + LIFE - timedelta(minutes=5)).isoformat(),
        "expires_at": (NOW + LIFE).isoformat(),
        "renewal_began_at": None,
    }


def test_a_restart_uses_the_token_that_was_kept(vendor: Vendor, place: Place) -> None:
    for _ in range(2):
        assert header(tokens_of(vendor, place)) == "Bearer access-1"
    assert len(vendor.asked) == 1


def test_a_token_is_renewed_a_little_before_its_end_with_the_newest_refresh_token(
    vendor: Vendor, place: Place
) -> None:
    clock = Clock()
    tokens = tokens_of(vendor, place, clock)
    header(tokens)
    clock.now = NOW + LIFE - timedelta(minutes=5, seconds=1)
    assert header(tokens) == "Bearer access-1"
    clock.now += timedelta(seconds=1)
    assert header(tokens) == "Bearer access-2"
    assert b"refresh_token=refresh-1&" in vendor.asked[-1].body


def test_a_vendor_that_keeps_the_refresh_token_is_served_as_well(vendor: Vendor, place: Place) -> None:
    vendor.begin(rotates=False)
    tokens = tokens_of(vendor, place)
    first = asyncio.run(tokens.header())
    assert asyncio.run(tokens.renew(first))
    assert header(tokens) == "Bearer access-2"
    assert kept(place)["refresh_token"] == "refresh-0"


@pytest.mark.parametrize("expires_in", [None, "soon", -1, True, [], "172800", 172800.0, 10**30])
def test_a_life_that_cannot_be_read_does_not_cost_the_new_refresh_token(
    vendor: Vendor, place: Place, expires_in: object
) -> None:
    answer = {"access_token": "a", "refresh_token": "r", "expires_in": expires_in}
    vendor.scripted.will_answer(200, answer)
    header(tokens_of(vendor, place))
    assert kept(place)["refresh_token"] == "r"
    expected = timedelta(days=365) if expires_in == 10**30 else LIFE
    assert kept(place)["expires_at"] == (NOW + expected).isoformat()


def test_a_short_life_is_not_renewed_before_every_call(vendor: Vendor, place: Place) -> None:
    vendor.scripted.will_answer(200, {"access_token": "short", "expires_in": 60})
    tokens = tokens_of(vendor, place)
    assert [header(tokens), header(tokens)] == ["Bearer short"] * 2


def test_a_refused_token_is_renewed_once_for_many_calls_at_the_same_time(
    vendor: Vendor, place: Place
) -> None:
    tokens = tokens_of(vendor, place)
    header(tokens)
    vendor.access_tokens.clear()

    async def many(client: DrChronoClient) -> list[None]:
        polls = (client.poll(record_type, "x") for record_type in RECORD_TYPES for _ in range(2))
        return [None for page in await asyncio.gather(*polls) if page is None]

    assert len(with_client(vendor, tokens, many)) == 2 * len(RECORD_TYPES)
    assert vendor.renewals == 2


def test_a_token_that_another_process_renewed_is_taken_instead_of_renewing(
    vendor: Vendor, place: Place
) -> None:
    ours, theirs = tokens_of(vendor, place), tokens_of(vendor, place)
    refused = asyncio.run(ours.header())
    assert asyncio.run(theirs.renew(refused))
    vendor.access_tokens.discard("access-1")
    assert with_client(vendor, ours, lambda client: client.poll(RECORD_TYPES[0], "x")) is None
    assert (header(ours), vendor.renewals) == ("Bearer access-2", 2)


def test_a_call_that_is_refused_after_a_renewal_too_names_the_settings(vendor: Vendor, place: Place) -> None:
    for _ in range(2):
        vendor.scripted.will_answer(200, {"access_token": "useless"})
        vendor.scripted.will_answer(401, {"detail": "no useless token"})
    with pytest.raises(
        AccessDeniedError, match="Check DRCHRONO_CLIENT_ID, DRCHRONO_CLIENT_SECRET and"
    ) as caught:
        with_client(vendor, tokens_of(vendor, place), lambda client: client.poll(RECORD_TYPES[0], "x"))
    assert (len(vendor.asked), len(vendor.scripted.calls)) == (2, 4)
    assert "useless" not in str(caught.value)


def test_processes_share_one_renewal(vendor: Vendor, place: Place) -> None:
    answering = vendor.answer

    def slowly(seen: Seen) -> Response:
        # Answered once all have asked or wait for the lock, which nobody can tell apart from outside.
        threading.Event().wait(0.5)
        return answering(seen)

    vendor.scripted.handler = slowly
    with ExitStack() as stack:
        askers = [stack.enter_context(child(ASK, vendor.url, *place.words())) for _ in range(3)]
        assert [asker.line() for asker in askers] == ["ready"] * 3
        for asker in askers:
            asker.tell()
        assert [asker.line() for asker in askers] == ["Bearer access-1"] * 3
    assert len(vendor.asked) == 1


def test_a_process_that_is_killed_while_it_renews_holds_nobody_up(vendor: Vendor, place: Place) -> None:
    arrived, go_on = threading.Event(), threading.Event()
    answering = vendor.answer

    def hang(seen: Seen) -> Response:
        arrived.set()
        go_on.wait(20)
        return JSONResponse({}, 503)

    vendor.scripted.handler = hang
    with child(ASK, vendor.url, *place.words()) as asker:
        asker.tell()
        wait_for(arrived.is_set, "the renewal arrives")
        asker.kill()
    vendor.scripted.handler = answering
    assert header(tokens_of(vendor, place)) == "Bearer access-1"
    go_on.set()


@pytest.mark.parametrize("place", ["file", pytest.param("postgres", marks=pytest.mark.long)], indirect=True)
def test_after_a_crash_anywhere_the_chain_goes_on_or_the_error_says_what_to_do(
    vendor: Vendor, place: Place
) -> None:
    outcomes: list[str] = []
    with child(CRASH) as crasher:
        for number in range(1, 1000):
            vendor.begin()
            place.forget()
            if not crashes(crasher, number, " ".join([vendor.url, *place.words()])):
                break
            if isinstance(place, FilePlace) and place.path.exists():
                assert stat.S_IMODE(place.path.stat().st_mode) == 0o600
            renewed = vendor.renewals
            try:
                outcome = header(tokens_of(vendor, place))
            except RefreshTokenError as error:
                outcome = str(error)
            outcomes.append(outcome)
            if outcome.startswith("Bearer "):
                assert outcome.removeprefix("Bearer ") in vendor.access_tokens
            else:
                # Only where the vendor had replaced the token and its answer was not yet stored.
                assert renewed == 1
                assert "a renewal was cut off at 2026-03-09 12:30:00 UTC" in outcome
                assert "authorise the application again in DrChrono" in outcome
        else:
            raise AssertionError("the work never came to its end")
    # Three stretches: before the vendor replaced anything, until that was stored, and after.
    worked = [outcome == "Bearer access-1" for outcome in outcomes]
    assert [kind for kind, _ in groupby(worked)] == [True, False, True]


def test_after_a_crash_the_old_refresh_token_goes_on_where_the_vendor_allows_it(
    vendor: Vendor, place: Place
) -> None:
    vendor.scripted.answers.append(LOST)
    with pytest.raises(TransientError):
        header(tokens_of(vendor, place, policy=HttpPolicy(attempts=1)))
    assert kept(place)["renewal_began_at"] == NOW.isoformat()
    assert header(tokens_of(vendor, place)) == "Bearer access-1"
    assert kept(place)["renewal_began_at"] is None


def test_a_lost_answer_that_cost_the_refresh_token_is_named_with_its_time(
    vendor: Vendor, place: Place
) -> None:
    vendor.refresh_token = "somebody else has it"
    vendor.scripted.answers.append(LOST)
    clock = Clock()
    with pytest.raises(RefreshTokenError, match="cut off at 2026-03-09 12:30:00 UTC"):
        header(tokens_of(vendor, place, clock))
    clock.now += timedelta(hours=1)
    with pytest.raises(RefreshTokenError, match="cut off at 2026-03-09 12:30:00 UTC"):
        header(tokens_of(vendor, place, clock))


@pytest.mark.parametrize("status", [400, 401])
def test_a_refused_refresh_token_says_which_why_and_what_to_do(
    vendor: Vendor, place: Place, status: int
) -> None:
    vendor.scripted.will_answer(status, {"error": "invalid_grant", "error_description": "refresh-0"})
    with pytest.raises(RefreshTokenError) as caught:
        header(tokens_of(vendor, place))
    assert str(caught.value) == (
        "DrChrono no longer accepts DRCHRONO_REFRESH_TOKEN (it was revoked, ended, or was used somewhere "
        "else); authorise the application again in DrChrono and set DRCHRONO_REFRESH_TOKEN to the new "
        "refresh token."
    )
    tokens = tokens_of(vendor, place)
    first = asyncio.run(tokens.header())
    vendor.refresh_token = "somebody else has it"
    with pytest.raises(RefreshTokenError, match=f"the refresh token kept in {place.shown}"):
        asyncio.run(tokens.renew(first))


def test_a_refused_application_names_the_settings_and_costs_nothing(vendor: Vendor, place: Place) -> None:
    with pytest.raises(
        AccessDeniedError, match=r"invalid_client\. Check DRCHRONO_CLIENT_ID, DRCHRONO_CLIENT_SEC"
    ):
        header(tokens_of(vendor, place, client_secret=Secret("wrong")))
    assert len(vendor.asked) == 1
    assert kept(place)["renewal_began_at"] is None
    assert header(tokens_of(vendor, place)) == "Bearer access-1"


def test_an_answer_without_a_token_is_an_error_that_keeps_the_note(vendor: Vendor, place: Place) -> None:
    vendor.scripted.will_answer(200, {"refresh_token": "r"})
    with pytest.raises(AccessDeniedError, match="no 'access_token'"):
        header(tokens_of(vendor, place))
    assert kept(place)["renewal_began_at"] == NOW.isoformat()


def test_a_throttled_renewal_is_waited_for_within_bounds(vendor: Vendor, place: Place) -> None:
    for _ in range(2):
        vendor.scripted.will_answer(429, {"detail": "Expected available in 0.2 seconds."}, Retry_After="99")
    assert header(tokens_of(vendor, place)) == "Bearer access-1"
    for _ in range(3):
        vendor.scripted.will_answer(429, {"detail": "Request was throttled."})
    clock = Clock()
    clock.now += LIFE
    with pytest.raises(TransientError, match="throttled"):
        header(tokens_of(vendor, place, clock))
    vendor.scripted.calls.clear()
    vendor.scripted.will_answer(429, {"detail": "Expected available in 2295.0 seconds."})
    with pytest.raises(TransientError, match="2295"):
        with_client(vendor, tokens_of(vendor, place, clock), lambda client: client.poll(RECORD_TYPES[0], "x"))
    # Neither the renewal nor the call that needed it was tried again at once.
    assert len(vendor.scripted.calls) == 1
    assert kept(place)["renewal_began_at"] is None


def test_a_renewal_that_was_tried_enough_is_not_tried_again_by_the_call_that_needs_it(
    vendor: Vendor, place: Place
) -> None:
    for _ in range(QUICK.attempts):
        vendor.scripted.will_answer(503, {"error": "maintenance"})
    with pytest.raises(TransientError, match="maintenance"):
        with_client(vendor, tokens_of(vendor, place), lambda client: client.poll(RECORD_TYPES[0], "x"))
    assert len(vendor.scripted.calls) == QUICK.attempts


def test_a_redirected_renewal_stays_at_home(vendor: Vendor, place: Place) -> None:
    vendor.scripted.will_answer(302, b"", Location="https://elsewhere.example.com/o/token/")
    with pytest.raises(WrongAddressError, match="DRCHRONO_BASE_URL"):
        header(tokens_of(vendor, place))


def test_a_new_value_of_the_setting_begins_a_new_chain_which_ends_the_old_one_when_it_works(
    vendor: Vendor, place: Place
) -> None:
    header(tokens_of(vendor, place))
    with pytest.raises(RefreshTokenError):
        header(tokens_of(vendor, place, refresh_token=Secret("mistyped")))
    # The old chain is as it was.
    assert header(tokens_of(vendor, place)) == "Bearer access-1"
    vendor.refresh_token = "authorised again"
    assert header(tokens_of(vendor, place, refresh_token=Secret("authorised again"))) == "Bearer access-2"
    assert kept(place)["access_token"] == "access-2"
    assert "refresh-1" not in str(place.kept())


@pytest.mark.parametrize("change", [{"client_id": "another"}, {"refresh_token": Secret("another")}])
def test_another_application_never_gets_the_tokens_of_this_one(
    vendor: Vendor, place: Place, change: dict[str, Any]
) -> None:
    header(tokens_of(vendor, place))
    with pytest.raises(RefreshTokenError):
        header(tokens_of(vendor, place, **change))
    assert b"refresh-1" not in vendor.asked[-1].body


def test_another_host_never_gets_the_tokens_of_this_one(vendor: Vendor, place: Place) -> None:
    header(tokens_of(vendor, place))
    elsewhere = RenewedTokens(
        "https://app.example.invalid",
        client_id="client",
        client_secret=Secret("s3cr3t"),
        refresh_token=Secret("refresh-0"),
        store=place.store(),
        policy=HttpPolicy(attempts=1),
        now=Clock(),
    )
    with pytest.raises(TransientError):
        header(elsewhere)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_nobody_else_can_read_the_file_at_any_moment(vendor: Vendor, path: Path, umask: int) -> None:
    before = os.umask(umask)
    modes: set[int] = set()
    seen: set[str] = set()
    try:

        def look(seen_call: Seen) -> Response:
            for file in path.parent.iterdir():
                modes.add(stat.S_IMODE(file.stat().st_mode))
                seen.add(file.name)
            return vendor.answer(seen_call)

        vendor.scripted.handler = look
        header(tokens_of(vendor, path))
    finally:
        os.umask(before)
    modes |= {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {0o600}
    assert path.name in seen
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_work_file_is_made_for_the_owner_only_whatever_lay_there(
    vendor: Vendor, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir(parents=True, mode=0o700)
    left_behind = path.with_name(f".{path.name}.new")
    left_behind.touch()
    left_behind.chmod(0o666)
    modes: set[int] = set()
    replace = Path.replace

    def look(work: Path, target: Path) -> Path:
        modes.add(stat.S_IMODE(work.stat().st_mode))
        return replace(work, target)

    monkeypatch.setattr(Path, "replace", look)
    header(tokens_of(vendor, path))
    assert modes == {0o600}


def test_a_file_or_folder_that_others_may_use_is_refused(vendor: Vendor, path: Path) -> None:
    header(tokens_of(vendor, path))
    path.chmod(0o640)
    with pytest.raises(TokenFileError, match=f"Others may read.*chmod 600 '{path}'"):
        header(tokens_of(vendor, path))
    path.chmod(0o600)
    path.parent.chmod(0o770)
    with pytest.raises(TokenFileError, match=f"Others may write.*chmod go-w '{path.parent}'"):
        header(tokens_of(vendor, path))
    assert len(vendor.asked) == 1


WHOLE = {
    "refresh_token": "s3cr3t-r",
    "access_token": "s3cr3t-a",
    "renew_at": NOW.isoformat(),
    "expires_at": NOW.isoformat(),
    "renewal_began_at": None,
}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe s3cr3t",
        json.dumps(WHOLE).encode(),
        json.dumps({"c": {"refresh_token": "s3cr3t-r"}}).encode(),
        *(
            json.dumps({"c": WHOLE | change}).encode()
            for change in (
                {"refresh_token": ""},
                {"access_token": 7},
                {"renew_at": "2026-03-09T12:30:00"},
                {"expires_at": "soon"},
                {"renewal_began_at": 5},
            )
        ),
    ],
)
def test_a_damaged_file_is_named_and_not_shown(vendor: Vendor, path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, mode=0o700)
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(TokenFileError, match=f"{path}.*damaged.*set DRCHRONO_REFRESH_TOKEN") as caught:
        header(tokens_of(vendor, path))
    assert "s3cr3t" not in everything_of(caught.value)
    assert path.read_bytes() == content
    assert not vendor.asked


def test_a_file_that_cannot_be_read_written_or_locked_is_named(
    vendor: Vendor, path: Path, tmp_path: Path
) -> None:
    path.parent.mkdir(parents=True, mode=0o700)
    path.mkdir()
    with pytest.raises(TokenFileError, match=f"{path}, cannot be read"):
        header(tokens_of(vendor, path))
    work_is_a_folder = path.with_name("other.json")
    path.with_name(".other.json.new").mkdir()
    with pytest.raises(TokenFileError, match=f"{work_is_a_folder}, cannot be written"):
        header(tokens_of(vendor, work_is_a_folder))
    a_file = tmp_path / "a file"
    a_file.touch()
    with pytest.raises(TokenFileError, match=f"{a_file}, cannot be used"):
        header(tokens_of(vendor, a_file / "tokens.json"))
    assert not vendor.asked


def everything_of(error: BaseException | None) -> str:
    seen = ""
    while error is not None:
        seen += repr(error) + repr(vars(error))
        error = error.__cause__ or error.__context__
    return seen


def test_no_token_is_shown_by_anything(vendor: Vendor, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    tokens = tokens_of(vendor, path)
    header(tokens)
    shown = (
        repr(tokens)
        + repr(vars(tokens))
        + repr(TokenFile(path).read(next(iter(json.loads(path.read_text())))))
    )
    vendor.scripted.will_answer(400, {"error": "you said refresh-1 and s3cr3t"})
    with pytest.raises(RefusedError) as caught:
        asyncio.run(tokens.renew(Secret("Bearer access-1")))
    shown += everything_of(caught.value) + caplog.text
    assert "you said *** and ***" in str(caught.value)
    assert not [word for word in ("access-1", "refresh-0", "refresh-1", "s3cr3t") if word in shown]


def test_tokens_of_a_host_from_before_are_taken_over_once(
    vendor: Vendor, path: Path, database: DatabasePlace
) -> None:
    header(tokens_of(vendor, path))
    # Another host, which does not have the file, is refused and leaves a row without an access token.
    with pytest.raises(RefreshTokenError):
        header(tokens_of(vendor, database))
    vendor.scripted.calls.clear()

    assert header(tokens_of(vendor, database.store(file=path))) == "Bearer access-1"
    assert not path.exists()
    assert header(tokens_of(vendor, database)) == "Bearer access-1"
    assert not vendor.asked

    # What turns up later is of the past.
    clock = Clock()
    clock.now += LIFE
    header(tokens_of(vendor, database, clock))
    stale = FilePlace(path)
    vendor.refresh_token = "refresh-0"
    header(tokens_of(vendor, stale))
    assert header(tokens_of(vendor, database.store(file=path))) == "Bearer access-2"


def test_places_of_an_installation_forget_only_chains_of_their_own(
    vendor: Vendor, database: DatabasePlace
) -> None:
    header(tokens_of(vendor, database.store("uat")))
    vendor.refresh_token = "of another practice"
    another: dict[str, Any] = {"refresh_token": Secret("of another practice")}
    assert header(tokens_of(vendor, database.store("prd"), **another)) == "Bearer access-2"

    assert header(tokens_of(vendor, database.store("uat"))) == "Bearer access-1"
    assert header(tokens_of(vendor, database.store("prd"), **another)) == "Bearer access-2"
    assert vendor.renewals == 2


def test_new_tokens_outlast_broken_connections_and_a_server_that_is_away(
    vendor: Vendor, database: DatabasePlace
) -> None:
    name = psycopg.conninfo.conninfo_to_dict(database.url)["dbname"]
    answering = vendor.answer
    with psycopg.connect(database.url, autocommit=True, dbname="postgres") as other:

        def allow(*, connections: bool) -> None:
            other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {connections}")

        def go_away(seen: Seen) -> Response:
            allow(connections=False)
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
            )
            threading.Timer(2, allow, kwargs={"connections": True}).start()
            return answering(seen)

        vendor.scripted.handler = go_away
        assert header(tokens_of(vendor, database)) == "Bearer access-1"
        vendor.scripted.handler = answering
        assert kept(database)["refresh_token"] == "refresh-1"

        vendor.scripted.handler = go_away
        clock = Clock()
        clock.now += LIFE
        with pytest.raises(TokensUnreachableError, match="tokens cannot be asked for"):
            header(tokens_of(vendor, database.store(patience=0), clock))
        wait_for(lambda: allows(other, name), "the server is back")


def allows(connection: "psycopg.Connection[Any]", name: object) -> bool:
    query = "SELECT datallowconn FROM pg_database WHERE datname = %s"
    return connection.execute(query, (name,)).fetchone() == (True,)


def test_what_another_host_renewed_while_our_connection_was_broken_is_used(
    vendor: Vendor, database: DatabasePlace
) -> None:
    answering, others = vendor.answer, list[Seen]()

    def break_first(seen: Seen) -> Response:
        if not others:
            others.append(seen)
            end_connections(database.url)
            assert header(tokens_of(vendor, database)) == "Bearer access-1"
        return answering(seen)

    vendor.scripted.handler = break_first

    assert header(tokens_of(vendor, database)) == "Bearer access-1"
    assert (vendor.renewals, kept(database)["refresh_token"]) == (1, "refresh-1")


def test_the_table_is_its_owners_alone(vendor: Vendor, database: DatabasePlace, postgres_url: str) -> None:
    reader = f"reader_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {reader}")
        try:
            # As databases are set up for people who evaluate everything in them.
            owner.execute(f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {reader}, PUBLIC")
            header(tokens_of(vendor, database))
            may = f"SELECT has_table_privilege('{reader}', '{TABLE}', 'SELECT')"
            assert owner.execute(may).fetchone() == (False,)

            owner.execute(f"GRANT SELECT ON {TABLE} TO {reader}, PUBLIC")
            revoke = f'Others may read .*`REVOKE ALL ON TABLE {TABLE} FROM PUBLIC, "{reader}"`'
            with pytest.raises(TokenTableError, match=revoke):
                header(tokens_of(vendor, database))
            owner.execute(f'REVOKE ALL ON TABLE {TABLE} FROM PUBLIC, "{reader}"')
            assert header(tokens_of(vendor, database)) == "Bearer access-1"
        finally:
            owner.execute(f"DROP OWNED BY {reader}")
            owner.execute(f"DROP ROLE {reader}")


@pytest.mark.parametrize("text", ["", "{", json.dumps(WHOLE | {"refresh_token": ""})])
def test_a_damaged_row_is_named_and_not_shown(vendor: Vendor, database: DatabasePlace, text: str) -> None:
    header(tokens_of(vendor, database))
    vendor.scripted.calls.clear()
    with psycopg.connect(database.url) as connection:
        connection.execute(f"UPDATE {TABLE} SET tokens = %s", (text,))

    with pytest.raises(TokenTableError, match=f"{TABLE}.*damaged.*set DRCHRONO_REFRESH_TOKEN") as caught:
        header(tokens_of(vendor, database))

    assert "s3cr3t" not in everything_of(caught.value)
    assert not vendor.asked


def test_a_database_that_does_not_answer_is_named_and_costs_nothing(vendor: Vendor, tmp_path: Path) -> None:
    url = Secret(f"postgresql://user:hidden@/db?host={tmp_path}")
    nowhere = TokenTable(url, "uat", HostLocks(url), TokenFile(tmp_path / "tokens.json"))
    with pytest.raises(
        TokensUnreachableError, match="DAGSTER_POSTGRES_URL cannot be used: no server"
    ) as caught:
        header(tokens_of(vendor, nowhere))
    assert "hidden" not in everything_of(caught.value)
    assert not vendor.asked
