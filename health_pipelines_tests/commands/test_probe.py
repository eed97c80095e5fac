"""`health-pipelines probe`: it finds what differs, within the calls it said, and shows no row's value."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from health_pipelines.commands.probe import Options, answer
from health_pipelines.commands.problem import ProblemError
from health_pipelines.dexcare.probe.histories import HISTORIES_PROBE
from health_pipelines.dexcare.probe.visits import VISITS_PROBE
from health_pipelines.doctor.installation import Installation
from health_pipelines.doctor.probe_check import last_probed
from health_pipelines.drchrono.probe.lists import DRCHRONO_PROBE
from health_pipelines.probe.record import FILE_NAME, last_probe
from health_pipelines.probe.waits import Waits
from health_pipelines.settings import use_settings
from health_pipelines.settings.variables import ALL_SETTINGS
from health_pipelines_tests.support.sandbox_process import SandboxProcess, running_sandbox

ROOT = Path(__file__).parents[2]
KEY, TOKEN = "SECRET_TOKEN", "sandbox-token"
# Thursday morning in Denver, where the account is; six hours ahead is UTC.
NOW = datetime(2026, 3, 12, 15, 30, tzinfo=UTC)
MOST_CALLS = {one.subject: one.most_calls for one in (VISITS_PROBE, HISTORIES_PROBE, DRCHRONO_PROBE)}
# What the sandbox is when a test begins; so that a change of one test is not that of the next.
AS_DOCUMENTED: Mapping[str, Any] = {
    "queue_seconds": "0.1",
    "run_seconds": "0.1",
    "result_life_seconds": 86400,
    "refused_types": "",
    "window_end": "exclusive",
    "row_order": "shuffled",
    "nulls": "nothing",
    "default_page": 50,
    "largest_page": 200,
    "page_order": "time",
    "service_key": KEY,
    "drchrono_list_seconds": "0.05",
    "drchrono_largest_page": 0,
    "drchrono_list_order": "asked",
    "drchrono_since_counts": "changed",
    "drchrono_since_zone": "account",
    "drchrono_page_beyond_last": "empty",
    "drchrono_forbidden": "",
    "drchrono_retry_after": "no",
    "drchrono_calls_per_hour": 0,
    "drchrono_calls_per_second": 0,
}
# Of each sandbox's setting what the probe says of it.
DIFFERENCES: Mapping[str, tuple[Any, str, str]] = {
    "refused_types": ("provider_booking", "report types", "refused: provider_booking"),
    "window_end": ("inclusive", "the end of a report's window", "included"),
    "row_order": ("stable", "order of a report's rows", "the same twice, in "),
    "nulls": ("word", "NULL in a report", "the word \\N"),
    "result_life_seconds": (3, "a result lives", "gone 4 s after it was there"),
    "default_page": (20, "limit of histories without one", "20"),
    "largest_page": (300, "largest limit of histories", "300: so many rows come where 1000 are asked for"),
    "page_order": ("arbitrary", "order of histories", "the same twice, and no time in it explains it"),
    "drchrono_forbidden": (
        "line_items,clinical_notes",
        "record types that may be read",
        "refused with 403: line_items, clinical_notes",
    ),
    "drchrono_largest_page": (60, "page size", "60 where 1000 were asked for"),
    "drchrono_list_order": ("falling", "order by id", "falling, in "),
    "drchrono_since_counts": ("created", "`since` counts", "the creation, in "),
    "drchrono_since_zone": ("utc", "the day of `since` begins", "in UTC"),
    "drchrono_page_beyond_last": ("repeated", "a page behind the last", " records come again"),
    "queue_seconds": ("1.5", "a report takes", " s, for 3 days"),
}
# Nothing is documented and nothing is assumed, so that nothing can differ.
LEARNED = {"order of a report's rows", "largest limit of histories", "order of histories", "a report takes"}


@pytest.fixture(scope="module")
def odd_sandbox() -> Iterator[SandboxProcess]:
    with running_sandbox(
        now=NOW.isoformat(), volume=0.3, drchrono_volume=20, drchrono_zone="America/Denver", **AS_DOCUMENTED
    ) as sandbox:
        yield sandbox


@pytest.fixture
def tenant(
    odd_sandbox: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SandboxProcess]:
    """Both vendors as they are documented, and settings that lead to them."""
    odd_sandbox.clear_faults()
    odd_sandbox.change_settings(**AS_DOCUMENTED)
    odd_sandbox.forget_calls()
    for setting in ALL_SETTINGS:
        for name in setting.variables:
            monkeypatch.delenv(name, raising=False)
    variables = {
        "HEALTH_DATA_DIR": str(tmp_path / "data"),
        "HEALTH_TIMEZONE": "America/Chicago",
        "DEXCARE_BASE_URL": odd_sandbox.url,
        "DEXCARE_SERVICE_KEY": KEY,
        "DEXCARE_HTTP_ATTEMPTS": "1",
        "DRCHRONO_BASE_URL": odd_sandbox.url,
        "DRCHRONO_ACCESS_TOKEN": TOKEN,
        "DRCHRONO_TIMEZONE": "America/Denver",
        "DRCHRONO_HTTP_ATTEMPTS": "1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    yield odd_sandbox
    use_settings(os.environ)


def waits(*, result: float = 0) -> Waits:
    """Short ones, by the sandbox's clock."""
    shift = NOW - datetime.now(UTC)
    return Waits(report=20, result=result, list=5, now=lambda: datetime.now(UTC) + shift)


def probed(*, vendor: str | None = None, result_wait: float = 0) -> int:
    return answer(Options(vendor=vendor, is_agreed=True, waits=waits(result=result_wait)))


def found(data: Path) -> dict[str, tuple[str, bool | None]]:
    """What was kept: of each assumption what was seen, and whether it holds."""
    return {one.assumption: (one.seen, one.holds) for known in last_probe(data) for one in known.findings}


def calls_of(tenant: SandboxProcess) -> dict[str, int]:
    by_operation: dict[str, int] = tenant.calls()["by_operation"]
    drchrono = ("list_start", "list_poll", "deletions", "token")
    return {
        "DexCare": sum(by_operation.get(one, 0) for one in ("start", "status", "data")),
        "provider histories": by_operation.get("provider_histories", 0),
        "DrChrono": sum(by_operation.get(one, 0) for one in drchrono),
    }


def values_of(tenant: SandboxProcess) -> set[str]:
    """Every text of some length that a row may have brought here, but for the names of report types."""
    window = {"startDate": "2026-03-09T00:00:00+0000", "endDate": "2026-03-13T00:00:00+0000"}
    rows: list[dict[str, Any]] = []
    for kind in ("virtual", "retail", "provider_booking"):
        rows += tenant.truth(kind, window["startDate"], window["endDate"])
    for name in ("appointments", "patients", "line_items", "transactions"):
        rows += tenant.drchrono_records(name)
    window["startDate"] = "2025-12-10T00:00:00+0000"
    asked = httpx.post(
        f"{tenant.url}/v1/reporting/providerhistories",
        json={**window, "limit": 1000},
        headers={"Authorization": f"dc-token {KEY}"},
    )
    rows += asked.json()["data"]
    texts = {str(value) for row in rows for value in row.values() if isinstance(value, str | int)}
    types = {"virtual", "retail", "provider_booking"}
    return {text for text in texts if len(text) >= 6} - types


def test_where_nothing_differs_everything_that_was_seen_holds(
    tenant: SandboxProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probed(result_wait=1) == 0

    seen = found(tmp_path / "data")
    assert {name for name, (_, holds) in seen.items() if holds is False} == set()
    assert {name for name, (_, holds) in seen.items() if holds is None} == {"a 429"}
    assert len(seen) == sum(len(one.assumptions) for one in (VISITS_PROBE, HISTORIES_PROBE, DRCHRONO_PROBE))
    printed = capsys.readouterr().out
    assert all(name.split()[0] in printed for name in seen)


def test_every_difference_is_found_and_no_value_of_a_row_is_shown_or_kept(
    tenant: SandboxProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tenant.change_settings(**{name: value for name, (value, _, _) in DIFFERENCES.items()})
    tenant.forget_calls()

    assert probed(result_wait=4) == 0

    calls, seen = calls_of(tenant), found(tmp_path / "data")
    for _, assumption, said in DIFFERENCES.values():
        assert said in seen[assumption][0], assumption
        assert seen[assumption][1] is (assumption in LEARNED), assumption
    took = float(seen["a report takes"][0].split()[2])
    assert took >= 1.5
    assert seen["order by updated_at"] == (seen["order by updated_at"][0], False)
    assert seen["the end of a histories' window"] == ("included", False)
    assert {name: number for name, number in calls.items() if number > MOST_CALLS[name]} == {}
    kept = {one.subject: one.calls for one in last_probe(tmp_path / "data")}
    assert kept == calls
    printed = capsys.readouterr()
    shown = printed.out + printed.err + (tmp_path / "data" / FILE_NAME).read_text()
    tenant.change_settings(refused_types="", window_end="exclusive")
    # The day of the probe, and a column's name.
    values = values_of(tenant) - {"2026-03-12", "scheduled"}
    assert len(values) > 1000
    assert {value for value in values if value in shown} == set()
    assert KEY not in shown
    assert TOKEN not in shown


@pytest.mark.parametrize(
    ("settings", "assumption", "said"),
    [
        ({"nulls": "quoted"}, "NULL in a report", "an empty text in quotes"),
        ({"searched": "scheduled"}, "the time a window searches", "scheduled_at (read in UTC)"),
    ],
)
def test_other_ways_of_reports_are_found(
    tenant: SandboxProcess, tmp_path: Path, settings: dict[str, Any], assumption: str, said: str
) -> None:
    tenant.change_settings(**settings)
    try:
        probed(vendor="dexcare")
    finally:
        tenant.change_settings(searched="created")

    assert said in found(tmp_path / "data")[assumption][0]


@pytest.mark.parametrize(
    ("settings", "assumption", "said"),
    [
        ({"drchrono_list_order": "arbitrary"}, "order by id", "in no order, in "),
        ({"drchrono_page_beyond_last": "dead"}, "a page behind the last", "its list dies"),
        ({"drchrono_page_beyond_last": "refused"}, "a page behind the last", "refused with 404"),
        # Nine calls at once are too many for it; a throttle lasts a second.
        (
            {"drchrono_calls_per_second": 8, "drchrono_retry_after": "yes"},
            "a 429",
            "; its text and Retry-After said to wait, for 1 s at most",
        ),
    ],
)
def test_other_ways_of_lists_are_found(
    tenant: SandboxProcess, tmp_path: Path, settings: dict[str, Any], assumption: str, said: str
) -> None:
    tenant.change_settings(**settings)

    assert probed(vendor="drchrono") == 0

    assert said in found(tmp_path / "data")[assumption][0]
    assert calls_of(tenant)["DrChrono"] <= MOST_CALLS["DrChrono"]


def test_times_with_an_offset_are_found_and_refute_a_wrong_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tenant: SandboxProcess
) -> None:
    options = {**AS_DOCUMENTED, "drchrono_times": "offset", "drchrono_zone": "America/Denver"}
    with running_sandbox(now=NOW.isoformat(), drchrono_volume=20, **options) as sandbox:
        monkeypatch.setenv("DRCHRONO_BASE_URL", sandbox.url)
        monkeypatch.setenv("DRCHRONO_TIMEZONE", "America/New_York")
        probed(vendor="drchrono")

    assert found(tmp_path / "data")["times"] == ("with an offset, such as -0600", False)
    assert doctors_words() == [
        "DRCHRONO_TIMEZONE is America/New_York, but the probe of DrChrono on 2026-03-12 saw: DrChrono's "
        "times have the offset -0600, which is not that zone's. "
        "Set DRCHRONO_TIMEZONE other than America/New_York."
    ]


def doctors_words() -> list[str]:
    """What the doctor says of the last probe."""
    environment = dict(os.environ)
    installation = Installation(environment, environment, {}, now=lambda: NOW)
    return [finding.says for finding in last_probed(installation)]


def test_the_doctor_warns_where_a_setting_contradicts_what_was_seen_until_it_is_changed(
    tenant: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    [before] = doctors_words()
    assert before == "There was none; `health-pipelines probe` finds out which assumptions hold here."
    tenant.change_settings(result_life_seconds=2)
    probed(vendor="dexcare", result_wait=3)

    assert doctors_words() == [
        "DEXCARE_POLL_SECONDS is 15, but the probe of DexCare on 2026-03-12 saw: a result was gone after "
        "3 s. Set DEXCARE_POLL_SECONDS at most 1."
    ]
    monkeypatch.setenv("DEXCARE_POLL_SECONDS", "1")
    [changed] = doctors_words()
    assert (
        changed
        == "No setting contradicts it (of DexCare on 2026-03-12, of provider histories on 2026-03-12)."
    )
    # Somebody else's ways say nothing about this host.
    monkeypatch.setenv("DEXCARE_BASE_URL", "https://ecvapi.care.example.org")
    monkeypatch.delenv("DEXCARE_POLL_SECONDS")
    [other] = doctors_words()
    assert other == "It was of another host than is set now; `health-pipelines probe` asks this one."


def test_a_damaged_result_is_a_problem_for_the_doctor(tenant: SandboxProcess, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / FILE_NAME).write_text("no JSON")

    [said] = doctors_words()

    assert said.endswith("is damaged; remove it, and run `health-pipelines probe` again.")


def test_nothing_is_asked_where_nobody_can_agree(
    tenant: SandboxProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    visits, histories = MOST_CALLS["DexCare"], MOST_CALLS["provider histories"]
    agrees = f"Nothing was asked, as this is no terminal; --yes agrees to {visits + histories} calls."

    with pytest.raises(ProblemError, match=agrees):
        answer(Options(vendor="dexcare"))

    assert f"DexCare: at most {visits} calls (5 reports of 3 days)." in capsys.readouterr().err
    assert tenant.calls()["total"] == 0
    assert not (tmp_path / "data" / FILE_NAME).exists()


def test_a_script_agrees_with_yes_and_reads_json(tenant: SandboxProcess) -> None:
    command = [sys.executable, "-m", "health_pipelines", "probe", "--json", "--vendor", "dexcare", "--yes"]
    done = subprocess.run(
        [*command, "--wait", "20", "--result-wait", "0"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    known = {one["subject"]: one["calls"] for one in json.loads(done.stdout)["probes"]}
    assert known == {name: number for name, number in calls_of(tenant).items() if name != "DrChrono"}
    assert 0 < known["DexCare"] <= MOST_CALLS["DexCare"]


def test_a_vendor_that_is_not_set_up_is_left_out_with_a_sentence(
    tenant: SandboxProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DEXCARE_BASE_URL")
    assert probed() == 0

    said = capsys.readouterr()
    assert "DexCare is not asked: DEXCARE_BASE_URL is not set." in said.err
    assert "provider histories is not asked: Neither" in said.err
    assert calls_of(tenant)["DexCare"] == 0
    monkeypatch.delenv("DRCHRONO_ACCESS_TOKEN")
    with pytest.raises(ProblemError, match="nobody to ask"):
        probed()


def test_a_vendor_that_nobody_knows_is_refused(tenant: SandboxProcess) -> None:
    with pytest.raises(ProblemError, match="no vendor 'epic' to probe; there are dexcare, drchrono"):
        probed(vendor="epic")


def test_a_wrong_key_is_one_sentence_and_keeps_what_was_known(
    tenant: SandboxProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    probed(vendor="drchrono")
    before = (tmp_path / "data" / FILE_NAME).read_text()
    capsys.readouterr()
    tenant.forget_calls()
    monkeypatch.setenv("DRCHRONO_ACCESS_TOKEN", "another")

    assert probed(vendor="drchrono") == 1

    said = capsys.readouterr()
    assert said.err.count("DRCHRONO_ACCESS_TOKEN") == 1
    assert "was not asked to the end: DrChrono answered 401" in said.err
    assert "assumption" not in said.out.replace("assumptions;", "")
    assert calls_of(tenant)["DrChrono"] == 1
    assert (tmp_path / "data" / FILE_NAME).read_text() == before


def test_a_vendor_that_dies_in_the_middle_loses_nothing_that_was_found(
    tenant: SandboxProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # After the questions to the eight types and the first list.
    tenant.add_fault("list_start", {"kind": "http", "status": 503, "body": {}}, after=9)

    assert probed(vendor="drchrono") == 1

    seen = found(tmp_path / "data")
    assert seen["record types that may be read"] == ("all 9", True)
    assert seen["times"][1] is True
    assert "503" in seen["`since` counts"][0]
    assert seen["page size"] == ("Not asked any more.", None)
    assert "None came in" in seen["a 429"][0]
    assert "DrChrono was not asked to the end: DrChrono answered 503" in capsys.readouterr().err


def test_a_quota_that_is_used_up_ends_the_probe_and_is_not_waited_for(
    tenant: SandboxProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    used = tenant.drchrono_quota()["used"]
    tenant.change_settings(drchrono_calls_per_hour=used + 12)

    assert probed(vendor="drchrono") == 1

    seen = found(tmp_path / "data")
    assert seen["record types that may be read"] == ("all 9", True)
    assert "1 came in 13 calls; its text said to wait" in seen["a 429"][0]
    # The vendor's words are for all runs, and the next probe asks nothing.
    with pytest.raises(ProblemError, match="nobody to ask"):
        probed(vendor="drchrono")
    assert "DrChrono is not asked: " in capsys.readouterr().err


def test_few_calls_that_are_left_are_left_to_the_runs(
    tenant: SandboxProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DRCHRONO_CALLS_PER_HOUR", str(MOST_CALLS["DrChrono"] - 1))

    with pytest.raises(ProblemError, match="nobody to ask"):
        probed(vendor="drchrono")

    assert "calls are left in this hour, and" in capsys.readouterr().err
    assert tenant.calls()["total"] == 0


def test_no_report_and_no_record_is_told_as_not_seen(tmp_path: Path, tenant: SandboxProcess) -> None:
    with running_sandbox(now=NOW.isoformat(), volume=0, drchrono_volume=0, **AS_DOCUMENTED) as empty:
        os.environ["DEXCARE_BASE_URL"] = os.environ["DRCHRONO_BASE_URL"] = empty.url

        assert probed() == 0

        assert calls_of(empty)["DexCare"] <= MOST_CALLS["DexCare"]
    seen = found(tmp_path / "data")
    assert seen["order of a report's rows"] == ("No report had a row in the last 3 days.", None)
    assert seen["the end of a report's window"][1] is None
    assert seen["`since` counts"] == ("No record could be compared between two lists.", None)
    assert seen["report types"][1] is True


def test_a_report_that_takes_too_long_is_not_waited_for(tenant: SandboxProcess, tmp_path: Path) -> None:
    tenant.change_settings(queue_seconds="600")
    short = Waits(report=1, result=0, list=5, now=waits().now)

    assert answer(Options(vendor="dexcare", is_agreed=True, waits=short)) == 0

    seen = found(tmp_path / "data")
    assert seen["a report takes"][0].startswith("A report was QUEUED after ")
    assert seen["a report takes"][1] is None
    assert seen["largest limit of histories"][1] is True
    # Three starts, the looks at one report, and no more.
    assert calls_of(tenant)["DexCare"] == 3 + 10
