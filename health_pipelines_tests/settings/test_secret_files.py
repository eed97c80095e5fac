"""Secrets that come as files, as orchestrators mount them: `<NAME>_FILE` names the file."""

import os
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance

from health_pipelines.commands.places import real_place, sandbox_place
from health_pipelines.http import AccessDeniedError
from health_pipelines.settings import Secret, SettingError, Settings
from health_pipelines.settings.place_files import ignored_settings, settings_of_place
from health_pipelines.settings.variables import ALL_SETTINGS
from health_pipelines_tests.dexcare.project import VIRTUAL, Project
from health_pipelines_tests.support.sandbox_process import SandboxProcess

ROOT = Path(__file__).parents[2]
KEY = "k3y-that-nobody-may-see-and-is-long-enough"
READERS: dict[str, Callable[[Settings], Secret | None]] = {
    "DEXCARE_SERVICE_KEY": lambda settings: settings.dexcare_service_key,
    "DEXCARE_APR_API_KEY": lambda settings: settings.dexcare_apr_api_key,
    "DRCHRONO_ACCESS_TOKEN": lambda settings: settings.drchrono_access_token,
    "DRCHRONO_CLIENT_SECRET": lambda settings: settings.drchrono_client_secret,
    "DRCHRONO_REFRESH_TOKEN": lambda settings: settings.drchrono_refresh_token,
    "DAGSTER_POSTGRES_URL": lambda settings: settings.postgres_url,
    "DAGSTER_POSTGRES_PASSWORD": lambda settings: settings.postgres_password,
    "PUBLISH_URL": lambda settings: settings.publish_url,
    "PUBLISH_PASSWORD": lambda settings: settings.publish_password,
    "ALERT_WEBHOOK_URL": lambda settings: settings.alert_webhook_url,
    "HEALTH_HASH_KEY": lambda settings: settings.hash_key,
    "ALERT_SMTP_PASSWORD": lambda settings: settings.alert_smtp_password,
}


def revealed(name: str, environment: dict[str, str]) -> str:
    secret = READERS[name](Settings(environment))
    assert secret is not None
    return secret.reveal()


def test_what_a_setting_calls_a_password_key_or_token_may_be_a_file() -> None:
    secrets = {setting.name for setting in ALL_SETTINGS if setting.secret}

    assert secrets == set(READERS)
    assert not [
        setting.name
        for setting in ALL_SETTINGS
        if re.search(r"_(KEY|TOKEN|SECRET|PASSWORD)$", setting.name)
        and not setting.name.startswith("DEXCARE_AVR_")  # names of columns
        and not setting.secret
    ]


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", [KEY, f"{KEY}\n", f" {KEY}\r\n\n", f"\t{KEY} "])
def test_the_secret_is_what_the_file_holds_without_the_blanks_around_it(
    name: str, content: str, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content.encode())

    assert revealed(name, {f"{name}_FILE": f" {file} "}) == KEY


@pytest.mark.parametrize("name", READERS)
def test_the_file_is_read_each_time_that_the_secret_is_asked_for(name: str, tmp_path: Path) -> None:
    mounted, first, second = tmp_path / "secret", tmp_path / "first", tmp_path / "second"
    first.write_text(f"{KEY}, the old one\n")
    second.write_text(f"{KEY}, the new one\n")
    mounted.symlink_to(first)  # as Kubernetes mounts a secret
    settings = Settings({f"{name}_FILE": str(mounted)})
    before = READERS[name](settings)

    mounted.unlink()
    mounted.symlink_to(second)
    after = READERS[name](settings)

    assert before is not None
    assert after is not None
    assert (before.reveal(), after.reveal()) == (f"{KEY}, the old one", f"{KEY}, the new one")


@pytest.mark.parametrize("name", READERS)
def test_a_secret_and_its_file_are_refused_together_in_words_that_name_both(
    name: str, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(KEY)

    with pytest.raises(SettingError) as refused:
        READERS[name](Settings({name: KEY, f"{name}_FILE": str(file)}))

    assert str(refused.value) == f"{name} and {name}_FILE are both set; remove one of them."
    assert KEY not in shown(refused.value)


def test_an_empty_variable_is_not_set_beside_the_other_one(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(KEY)

    with_file = {"DEXCARE_SERVICE_KEY": " ", "DEXCARE_SERVICE_KEY_FILE": str(file)}
    without = {"DEXCARE_SERVICE_KEY": KEY, "DEXCARE_SERVICE_KEY_FILE": ""}

    assert revealed("DEXCARE_SERVICE_KEY", with_file) == KEY
    assert revealed("DEXCARE_SERVICE_KEY", without) == KEY


def shown(error: SettingError) -> str:
    """What pytest, Sentry and the like print of every frame below the test's own."""
    assert error.__traceback__ is not None
    frames = traceback.StackSummary.extract(
        traceback.walk_tb(error.__traceback__.tb_next), capture_locals=True
    )
    return "".join(frames.format())


def missing(path: Path) -> None:
    """Nothing is there."""


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def below_a_file(path: Path) -> None:
    path.symlink_to(Path(__file__) / "secret")


def circle(path: Path) -> None:
    path.symlink_to(path)


def empty(path: Path) -> None:
    path.write_text("")


def blank(path: Path) -> None:
    path.write_text(" \n\n")


def two_lines(path: Path) -> None:
    path.write_text(f"{KEY}\n{KEY}\n")


def not_text(path: Path) -> None:
    path.write_bytes(KEY.encode() + b"\xe9")


def large(path: Path) -> None:
    path.write_text(KEY * 10_000)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    ("plant", "says"),
    [
        (missing, "does not exist"),
        (folder, "is not a file"),
        (pipe, "is not a file"),
        (below_a_file, "does not exist"),
        (circle, "does not exist"),
        (empty, "is empty"),
        (blank, "is empty"),
        (two_lines, "holds more than one line"),
        (not_text, "is not UTF-8 text"),
        (large, "is too large to be a secret"),
    ],
)
def test_a_file_that_is_no_secret_is_refused_in_one_line_that_says_nothing_of_its_content(
    name: str, plant: Callable[[Path], None], says: str, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    plant(file)

    with pytest.raises(SettingError) as refused:
        READERS[name](Settings({f"{name}_FILE": str(file)}))

    assert str(refused.value) == f"{name}_FILE is '{file}', which {says}."
    assert refused.value.__context__ is None
    assert KEY not in shown(refused.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(KEY)
    file.chmod(0)

    with pytest.raises(SettingError, match=r"cannot be read \(Permission denied\)\.$"):
        revealed("DEXCARE_SERVICE_KEY", {"DEXCARE_SERVICE_KEY_FILE": str(file)})


def test_a_home_folder_that_is_not_known_is_refused() -> None:
    with pytest.raises(SettingError, match=r"_FILE is '~nobody-of-that-name/key', which is in a home folder"):
        revealed("DEXCARE_SERVICE_KEY", {"DEXCARE_SERVICE_KEY_FILE": "~nobody-of-that-name/key"})


def test_a_vendor_is_known_to_be_set_without_reading_its_file() -> None:
    assert Settings({"DRCHRONO_ACCESS_TOKEN_FILE": "/missing"}).has_drchrono
    assert not Settings({"DRCHRONO_ACCESS_TOKEN_FILE": " "}).has_drchrono


def test_what_is_not_a_secret_has_no_file(tmp_path: Path) -> None:
    file = tmp_path / "zone"
    file.write_text("America/Chicago")

    assert Settings({"HEALTH_TIMEZONE_FILE": str(file)}).timezone.key == "UTC"


def test_a_place_has_files_of_its_own_and_the_instance_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "uat.env").write_text(f"DEXCARE_SERVICE_KEY_FILE={tmp_path / 'key'}\n")
    (tmp_path / "prd.env").write_text("DAGSTER_POSTGRES_URL_FILE=/somewhere\n")
    environment = {
        "HEALTH_PLACES_DIR": str(tmp_path),
        "DAGSTER_POSTGRES_URL_FILE": str(tmp_path / "key"),
        "DEXCARE_APR_API_KEY_FILE": "/stray",
    }

    taken = settings_of_place("uat", environment)

    assert Settings(taken).dexcare_apr_api_key.reveal() == KEY
    assert revealed("DAGSTER_POSTGRES_URL", taken) == KEY
    assert ignored_settings(taken, environment) == ["DEXCARE_APR_API_KEY_FILE"]
    with pytest.raises(SettingError, match=r"sets DAGSTER_POSTGRES_URL_FILE, which belongs to the Dagster"):
        settings_of_place("prd", environment)


def test_the_services_of_a_command_find_a_file_that_was_named_from_its_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key").write_text(KEY)
    place = real_place({"DEXCARE_SERVICE_KEY_FILE": "key"})

    monkeypatch.chdir("/")

    assert revealed("DEXCARE_SERVICE_KEY", dict(place.environment)) == KEY


def test_the_files_of_real_keys_stay_out_of_the_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    theirs = [f"{name}_FILE" for name in READERS if name.startswith(("DEXCARE_", "DRCHRONO_"))]

    place = sandbox_place(dict.fromkeys(theirs, "/missing"))

    assert not place.environment.keys() & set(theirs)


def test_the_sensor_goes_on_by_itself_when_the_file_of_a_refused_key_is_replaced(
    vendor: SandboxProcess, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text("SECRET_TOKEN\n")
    monkeypatch.delenv("DEXCARE_SERVICE_KEY")
    monkeypatch.setenv("DEXCARE_SERVICE_KEY_FILE", str(file))
    vendor.change_settings(queue_seconds="0", run_seconds="1000")
    with DagsterInstance.ephemeral() as instance:
        project = Project(instance)
        assert project.materialize([VIRTUAL.request_key], "2026-03-10").success
        vendor.change_settings(service_key="ANOTHER_TOKEN")
        with pytest.raises(AccessDeniedError):
            project.tick()
        vendor.forget_calls()
        paused = project.tick()
        assert "until the key is new" in said(paused)
        assert vendor.calls()["total"] == 0

        file.write_text("ANOTHER_TOKEN\n")

        assert said(project.tick()).startswith("1 running")
        assert vendor.calls()["by_operation"]["status"] == 1


def said(result: Any) -> str:
    return str(getattr(result, "skip_message", None) or result.skip_reason.skip_message)
