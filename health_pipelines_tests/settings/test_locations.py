"""Several places in one Dagster instance: names that tell them apart, and a settings file for each."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from dagster import RepositoryDefinition, build_schedule_context, instance_for_test
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin
from dagster._core.workspace.load import location_origins_from_yaml_paths

from health_pipelines.definitions import build_definitions
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.dexcare.visits.ledger import OpenTicket
from health_pipelines.dexcare.visits.planned_runs import plan
from health_pipelines.dexcare.visits.poll import Polled
from health_pipelines.dexcare.visits.report import LandingFailure, Ticket, Verdict
from health_pipelines.settings import SettingError, Settings, use_settings
from health_pipelines.settings.place_files import ignored_settings, settings_of_place
from health_pipelines.settings.variables import ALL_SETTINGS

ROOT = Path(__file__).parents[2]
KEYS = {
    "dexcare/avr_virtual_report",
    "dexcare/avr_virtual",
    "dexcare/avr_retail_report",
    "dexcare/avr_retail",
    "dexcare/avr_provider_booking_report",
    "dexcare/avr_provider_booking",
    "dexcare/provider_histories",
}
SOURCES = {"dexcare", "drchrono"}
# What is made of what landed, and the calendar.
OTHERS = {"current", "marts", "status"}
ASKED_DAILY = {
    "dexcare/avr_virtual_report",
    "dexcare/avr_retail_report",
    "dexcare/avr_provider_booking_report",
    "dexcare/provider_histories",
}
HOST = "https://uat.example.org"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for setting in ALL_SETTINGS:
        monkeypatch.delenv(setting.name, raising=False)
    yield
    use_settings(os.environ)


@pytest.fixture
def places(tmp_path: Path) -> Path:
    folder = tmp_path / "places"
    folder.mkdir()
    return folder


def written(places: Path, place: str, content: str | bytes) -> Path:
    file = places / f"{place}.env"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def read(places: Path, place: str, **environment: str) -> Settings:
    return Settings(settings_of_place(place, {"HEALTH_PLACES_DIR": str(places), **environment}))


def loaded(**values: str) -> RepositoryDefinition:
    use_settings({"DEXCARE_BASE_URL": HOST, **values})
    return build_definitions(Settings.of_this_process()).get_repository_def()


def names_in(repository: RepositoryDefinition) -> tuple[set[str], set[str]]:
    """Every asset key, wherever the definitions have one, and every pool."""
    graph = repository.asset_graph
    keys = {key for node in graph.asset_nodes for key in (node.key, *node.parent_keys)}
    keys |= {check.asset_key for check in graph.asset_check_keys}
    for job in repository.get_all_jobs():  # those of sensors and schedules too
        keys |= set(job.asset_layer.selected_asset_keys)
    pools = {
        pool for assets in repository.assets_defs_by_key.values() if (pool := assets.op.pool) is not None
    }
    return {key.to_user_string() for key in keys}, pools


def asked_daily(repository: RepositoryDefinition) -> set[str]:
    at = datetime(2026, 3, 20, 2, 15, tzinfo=UTC)
    with instance_for_test() as instance:
        ticked = repository.get_schedule_def("dexcare_daily").evaluate_tick(
            build_schedule_context(instance, scheduled_execution_time=at)
        )
    return {
        key.to_user_string() for request in ticked.run_requests or [] for key in request.asset_selection or []
    }


def test_without_a_prefix_every_name_is_the_plain_one() -> None:
    repository = loaded()
    keys, pools = names_in(repository)

    assert keys >= KEYS
    assert {key.split("/")[0] for key in keys} == SOURCES | OTHERS
    assert "dexcare_api" in pools
    assert pools <= {f"{source}_api" for source in SOURCES}
    assert asked_daily(repository) == ASKED_DAILY


def test_with_a_prefix_every_name_that_an_instance_shares_has_it_and_nothing_else_changes() -> None:
    plain_keys, plain_pools = names_in(loaded())

    repository = loaded(HEALTH_ASSET_PREFIX="uat")
    keys, pools = names_in(repository)

    assert keys == {f"uat/{key}" for key in plain_keys}
    assert pools == {f"uat_{pool}" for pool in plain_pools}
    assert asked_daily(repository) == {f"uat/{key}" for key in ASKED_DAILY}


@pytest.mark.parametrize("verdict", [Verdict.LAND, Verdict.RESTART, Verdict.GIVE_UP])
@pytest.mark.parametrize("failed", [False, True])
def test_runs_of_two_places_are_told_apart_even_if_their_vendors_give_equal_ids(
    verdict: Verdict, failed: bool
) -> None:
    at = datetime(2026, 3, 11, tzinfo=UTC)
    failure = LandingFailure(count=1, failed_at=at, final=False, reason="cut short") if failed else None
    ticket = Ticket("2026-03-10", "report-1", at, asked_by="a run", asked_at=at)
    verdicts = {VISIT_REPORTS[0]: [Polled(OpenTicket(ticket, failure), verdict)]}
    digests = set()
    for prefix in ("uat", "prd"):
        use_settings({"HEALTH_ASSET_PREFIX": prefix})
        [run] = plan(verdicts)
        digests.add(run.digest)

    assert len(digests) == 2


def test_the_settings_of_a_place_are_those_in_its_file_and_no_others(places: Path) -> None:
    written(places, "uat", f"DEXCARE_BASE_URL={HOST}\nDEXCARE_SERVICE_KEY='a key'\n")
    stray = {"DEXCARE_BASE_URL": "https://prd.example.org", "DEXCARE_APR_API_KEY": "prd's"}

    settings = read(places, "uat", **stray, HEALTH_TIMEZONE="America/Chicago", HEALTH_DATA_DIR="/prd")

    assert settings.dexcare_base_url == HOST
    assert settings.dexcare_service_key.reveal() == settings.dexcare_apr_api_key.reveal() == "a key"
    assert settings.timezone.key == "UTC"
    assert settings.data_dir == Path.cwd() / "data" / "uat"


def test_two_places_have_no_prefix_and_no_folder_in_common_unless_their_files_say_so(places: Path) -> None:
    written(places, "uat", "")
    written(places, "prd", "HEALTH_ASSET_PREFIX=\nHEALTH_DATA_DIR=\n")
    written(places, "north", "HEALTH_ASSET_PREFIX=prd_north\nHEALTH_DATA_DIR=/srv/north\n")

    assert [read(places, name).asset_prefix for name in ("uat", "prd", "north")] == [
        "uat",
        "prd",
        "prd_north",
    ]
    folders = [read(places, name).data_dir for name in ("uat", "prd", "north")]
    assert folders == [Path.cwd() / "data" / "uat", Path.cwd() / "data" / "prd", Path("/srv/north")]


def test_a_place_keeps_the_settings_of_the_instance(places: Path) -> None:
    written(places, "uat", "")

    settings = read(places, "uat", DAGSTER_POSTGRES_URL="postgresql://dagster@db/dagster")

    assert settings.places_dir == places
    assert settings.postgres_url is not None


def test_a_file_may_take_a_value_from_the_environment_by_name(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_OF_UAT", "from the vault")
    written(places, "uat", "DEXCARE_SERVICE_KEY=${KEY_OF_UAT}\n")

    assert read(places, "uat").dexcare_service_key.reveal() == "from the vault"


def test_a_file_from_an_editor_on_windows_is_read_as_any_other(places: Path) -> None:
    written(places, "uat", b"\xef\xbb\xbfHEALTH_TIMEZONE=America/Denver\r\nDEXCARE_DAILY_AT=03:00\r\n")

    settings = read(places, "uat")

    assert (settings.timezone.key, settings.dexcare_daily_at.hour) == ("America/Denver", 3)


def test_a_place_without_a_file_is_refused_with_the_path_and_the_places_there_are(places: Path) -> None:
    written(places, "uat", "")
    written(places, "prod", "")

    assert refusal(places, "prd") == (
        f"The settings file {places}/prd.env of the place prd does not exist; "
        "the places in HEALTH_PLACES_DIR are: prod, uat."
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("DEXCARE_SERVICE_KEYS=secret", "{file} sets DEXCARE_SERVICE_KEYS, which is no setting;"),
        ("HEATLH_TIMEZONE=secret", "{file} sets HEATLH_TIMEZONE, which is no setting;"),
        ("HEALTH_PLACES_DIR=secret", "{file} sets HEALTH_PLACES_DIR, which belongs to the Dagster instance;"),
        ("DAGSTER_POSTGRES_URL=secret", "{file} sets DAGSTER_POSTGRES_URL, which belongs to"),
        ("# Chicago\n\nDEXCARE SERVICE KEY=secret\n", "Line 3 of {file} is not of the form NAME=value."),
        ("DEXCARE_SERVICE_KEY='secret\n", "Line 1 of {file} is not of the form NAME=value."),
        ("DEXCARE_SERVICE_KEY", "Line 1 of {file} is not of the form NAME=value."),
        (b"DEXCARE_SERVICE_KEY=secr\xe9t", "The settings file {file} cannot be read: it is not UTF-8 text."),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_one_line_that_names_it_and_shows_no_value(
    places: Path, content: str | bytes, says: str
) -> None:
    file = written(places, "uat", content)

    sentence = refusal(places, "uat")

    assert sentence.startswith(says.format(file=file))
    assert "\n" not in sentence
    assert "secr" not in sentence


@pytest.mark.parametrize("name", ["u-a-t", "1st", "../uat", "ü"])
def test_a_name_that_cannot_be_a_prefix_is_no_place(places: Path, name: str) -> None:
    assert refusal(places, name).startswith(f"{name!r} cannot be a place's name")


def refusal(places: Path, place: str) -> str:
    with pytest.raises(SettingError) as refused:
        read(places, place)
    return str(refused.value)


def test_what_is_ignored_in_the_environment_is_known_by_name(places: Path) -> None:
    written(places, "uat", f"DEXCARE_BASE_URL={HOST}\n")
    environment = {
        "HEALTH_PLACES_DIR": str(places),
        "DEXCARE_BASE_URL": "https://prd.example.org",
        "DEXCARE_SERVICE_KEY": "prd's",
        "DEXCARE_DAILY_AT": " ",
        "PATH": "/bin",
    }

    taken = settings_of_place("uat", environment)

    # An address that the file replaces is nothing to be surprised at.
    assert ignored_settings(taken, environment) == ["DEXCARE_SERVICE_KEY"]


def test_a_process_is_for_one_place_and_leaves_its_environment_as_it_is(places: Path) -> None:
    written(places, "uat", f"DEXCARE_BASE_URL={HOST}\nDEXCARE_SERVICE_KEY=uat's\n")
    written(places, "prd", "DEXCARE_SERVICE_KEY=prd's\n")
    code = """
import os
from health_pipelines import locations
from health_pipelines.settings import SettingError, Settings
print(sorted(key.to_user_string() for key in locations.uat.resolve_all_asset_keys())[0])
print(locations.uat is locations.uat, os.environ["DEXCARE_SERVICE_KEY"])
print(Settings.of_this_process().dexcare_service_key.reveal(), hasattr(locations, "_uat"))
try:
    locations.prd
except SettingError as error:
    print(error)
print(Settings.of_this_process().dexcare_service_key.reveal())
"""
    done = run_python(places, code, DEXCARE_SERVICE_KEY="stray", DEXCARE_APR_API_KEY="stray")
    assert done.stdout.splitlines() == [
        "uat/current/appointments",
        "True stray",
        "uat's False",
        "This process is for the place uat; the place prd needs one of its own, "
        "as each code location of a workspace has.",
        "uat's",
    ], done.stderr
    assert "ignored in the environment: DEXCARE_APR_API_KEY." in done.stderr
    assert "stray" not in done.stderr


def run_python(places: Path, code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HEALTH_PLACES_DIR": str(places), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("document", ["docs/places.md", "workspace.yaml"])
def test_the_workspace_that_is_shown_has_two_places(document: str, tmp_path: Path) -> None:
    text = (ROOT / document).read_text().replace("\n# ", "\n")
    blocks = [block.split("```")[0] for block in re.split(r"^(?=load_from:)", text, flags=re.MULTILINE)]
    [shown] = [block for block in blocks if "health_pipelines.locations" in block]
    file = tmp_path / "workspace.yaml"
    file.write_text(shown)

    origins = location_origins_from_yaml_paths([str(file)])

    assert [origin.location_name for origin in origins] == ["uat", "prd"]
    for origin in origins:
        assert isinstance(origin, ManagedGrpcPythonEnvCodeLocationOrigin)
        target = origin.loadable_target_origin
        assert (target.module_name, target.attribute) == ("health_pipelines.locations", origin.location_name)


def test_the_settings_files_that_are_shown_make_two_places(places: Path) -> None:
    shown = (ROOT / "docs" / "places.md").read_text()
    for place, content in re.findall(r"```sh\n# (\w+)\.env\n(.*?)```", shown, re.DOTALL):
        written(places, place, content)

    uat, prd = read(places, "uat"), read(places, "prd")

    assert uat.timezone == prd.timezone == ZoneInfo("America/Chicago")
    for value in ("asset_prefix", "data_dir", "dexcare_base_url"):
        assert getattr(uat, value) != getattr(prd, value)
