"""What deploy/helm/ says agrees with dagster.yaml, the image and compose. Needs no Kubernetes.

The chart's own schema is not ours to keep; what was held against it once is in docs/scale.md.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from dagster import DagsterInstance, DagsterRunStatus, job, op, reconstructable
from dagster._core.instance.ref import InstanceRef
from dagster._grpc.types import ExecuteRunArgs

from health_pipelines.settings.variables import ALL_SETTINGS

ROOT = Path(__file__).parents[1]
HELM = ROOT / "deploy" / "helm"
VALUES: dict[str, Any] = yaml.safe_load((HELM / "values.yaml").read_text())
CLAIM, CRON = yaml.safe_load_all((HELM / "objects.yaml").read_text())
INSTANCE: dict[str, Any] = yaml.safe_load((ROOT / "dagster.yaml").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
SCALE = (ROOT / "docs" / "scale.md").read_text()
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
SETTINGS = {name for setting in ALL_SETTINGS for name in setting.variables}
SECRETS = {setting.name for setting in ALL_SETTINGS if setting.secret}
# Not of this project: of Dagster, of PostgreSQL's library.
OTHER_VARIABLES = {"DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR", "PGSSLMODE"}

[CODE] = VALUES["dagster-user-deployments"]["deployments"]
RUN = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
RUN_POD, RUN_ENV = RUN["runK8sConfig"]["podSpecConfig"], RUN["runK8sConfig"]["containerConfig"]["env"]
DAEMON, WEBSERVER = VALUES["dagsterDaemon"], VALUES["dagsterWebserver"]
CRON_POD = CRON["spec"]["jobTemplate"]["spec"]["template"]["spec"]
[BUILDER] = CRON_POD["containers"]
# As Kubernetes names the parts of a pod, whatever the chart calls them.
PODS: dict[str, dict[str, Any]] = {
    "code": {**CODE, "pod": CODE["podSecurityContext"]},
    "run": {
        **RUN,
        "pod": RUN_POD["securityContext"],
        "env": RUN_ENV,
        "initContainers": RUN_POD["initContainers"],
    },
    "daemon": {**DAEMON, "pod": DAEMON["podSecurityContext"]},
    "webserver": {**WEBSERVER, "pod": WEBSERVER["podSecurityContext"]},
    "builder": {**BUILDER, "pod": CRON_POD["securityContext"], "volumes": CRON_POD["volumes"]},
}
OF_OURS = ("code", "run", "builder")


def snake(value: Any) -> Any:
    """The chart's names as dagster.yaml has them; what stands for Dagster itself keeps its own."""
    if isinstance(value, list):
        return [snake(one) for one in value]
    if not isinstance(value, dict):
        return value
    if "applyLimitPerUniqueValue" in value:
        return value
    return {re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower(): snake(one) for name, one in value.items()}


def in_image(variable: str) -> str:
    """What the Dockerfile sets an environment variable to."""
    [value] = re.findall(rf"{variable}=(\S+)", DOCKERFILE)
    return str(value)


def environment(pod: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in pod.get("env", [])}


def names_in(value: Any, kind: str) -> Iterator[str]:
    """Every object of the cluster that is named so somewhere below."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    for name, one in value.items() if isinstance(value, dict) else ():
        if name == kind:
            yield one
        yield from names_in(one, kind)


@op
def work() -> None:
    """Nothing."""


@job
def a_job() -> None:
    work()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("run_retries", DAEMON["runRetries"]),
        ("sensors", DAEMON["sensors"]),
        ("schedules", DAEMON["schedules"]),
        ("telemetry", VALUES["telemetry"]),
    ],
)
def test_the_chart_is_told_what_dagster_yaml_says(name: str, told: dict[str, Any]) -> None:
    assert snake(told) == INSTANCE[name]


def test_the_chart_is_told_the_limits_of_dagster_yaml() -> None:
    assert snake({**VALUES["concurrency"], "enabled": None}) == {**INSTANCE["concurrency"], "enabled": None}
    assert VALUES["concurrency"]["enabled"] is True
    coordinator = DAEMON["runCoordinator"]["config"]["customRunCoordinator"]
    assert DAEMON["runCoordinator"]["enabled"] is True
    assert coordinator["config"] == INSTANCE["run_queue"]


def test_the_chart_is_told_what_dagster_yaml_says_of_lost_runs_and_old_ticks() -> None:
    # The launcher of Kubernetes could go on in the middle of a run, and ours cannot.
    assert snake(DAEMON["runMonitoring"]) == {**INSTANCE["run_monitoring"], "max_resume_run_attempts": 0}
    assert snake({**VALUES["retention"], "enabled": None}) == {**INSTANCE["retention"], "enabled": None}
    assert VALUES["retention"]["enabled"] is True


def test_what_dagster_yaml_says_beside_numbers_the_chart_is_told_as_well() -> None:
    assert VALUES["computeLogManager"]["type"] == INSTANCE["compute_logs"]["class"]
    assert VALUES["additionalInstanceConfig"] == {"nux": INSTANCE["nux"]}
    told = {"run_queue", "run_monitoring", "run_retries", "sensors", "schedules", "retention", "concurrency"}
    told |= {"compute_logs", "telemetry", "nux"}
    # The chart writes these two itself, with classes of Dagster's.
    assert set(INSTANCE) == told | {"storage", "run_launcher"}


def test_the_chart_that_is_named_is_the_one_of_the_dagster_that_is_installed() -> None:
    lock = (ROOT / "deploy" / "requirements.lock").read_text()
    [version] = re.findall(r"^dagster==(\S+)", lock, re.MULTILINE)
    assert f"(chart {version})" in SCALE
    assert f"--version {version}" in SCALE
    assert f"({version})" in (HELM / "values.yaml").read_text()


def test_every_variable_that_a_pod_gets_is_a_setting() -> None:
    for pod in PODS.values():
        assert set(environment(pod)) <= SETTINGS | OTHER_VARIABLES
    assert environment(PODS["code"]) == environment(PODS["run"])
    assert environment(PODS["daemon"]) == {"DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR": "1"}


def test_no_secret_stands_in_a_file() -> None:
    for pod in PODS.values():
        for name, value in environment(pod).items():
            assert (name in SECRETS) is isinstance(value, dict), name
    text = "".join(file.read_text() for file in HELM.iterdir())
    assert not re.search(r"^\s*(- )?postgresqlPassword|kind: Secret", text, re.MULTILINE)


def test_only_the_code_and_its_runs_have_settings_keys_and_patients() -> None:
    for name, pod in PODS.items():
        volumes = [next(kind for kind in one if kind != "name") for one in pod["volumes"]]
        if name in OF_OURS:
            assert {"persistentVolumeClaim", "secret", "emptyDir"} == set(volumes)
        else:
            assert volumes == ["emptyDir"]
            assert not {"envConfigMaps", "envSecrets", "envFrom", "image", "initContainers"} & set(pod)
    assert CODE["envConfigMaps"] == RUN["envConfigMaps"] == [{"name": "health-pipelines-settings"}]
    assert BUILDER["envFrom"] == [{"configMapRef": {"name": "health-pipelines-settings"}}]


def test_our_locks_are_in_the_database_of_the_chart() -> None:
    chart, ours = VALUES["postgresql"], environment(PODS["run"])
    assert chart["enabled"] is False
    assert ours["DAGSTER_POSTGRES_HOST"] == chart["postgresqlHost"]
    assert ours["DAGSTER_POSTGRES_PORT"] == str(chart["service"]["port"])
    assert ours["DAGSTER_POSTGRES_DB"] == chart["postgresqlDatabase"]
    assert ours["DAGSTER_POSTGRES_USER"] == chart["postgresqlUsername"]
    assert ours["PGSSLMODE"] == chart["postgresqlParams"]["sslmode"]
    secret = {"name": VALUES["global"]["postgresqlSecretName"], "key": "postgresql-password"}
    assert ours["DAGSTER_POSTGRES_PASSWORD"] == {"secretKeyRef": secret}


def test_no_process_runs_as_root_or_can_write_into_its_program() -> None:
    for pod in PODS.values():
        assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == [
            f"{pod['pod']['runAsUser']}:{pod['pod']['runAsGroup']}"
        ]
        assert pod["pod"]["runAsNonRoot"] is True
        for container in (pod, *pod.get("initContainers", ())):
            assert container["securityContext"] == {
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
        assert "/tmp" in [one["mountPath"] for one in pod["volumeMounts"]]
    for pod in (RUN_POD, CRON_POD):
        assert pod["automountServiceAccountToken"] is False


def test_every_mount_has_its_volume() -> None:
    for pod in PODS.values():
        volumes = {one["name"] for one in pod["volumes"]}
        for container in (pod, *pod.get("initContainers", ())):
            assert {one["name"] for one in container["volumeMounts"]} <= volumes
        assert {one["name"] for one in pod["volumeMounts"]} == volumes


def test_a_run_shares_only_what_hosts_share_and_the_warehouse_has_one_builder() -> None:
    data = environment(PODS["run"])["HEALTH_DATA_DIR"]
    mounts = {one["mountPath"]: one for one in RUN["volumeMounts"]}
    of = {one["name"]: one for one in RUN["volumes"]}
    shared = {path: one for path, one in mounts.items() if "persistentVolumeClaim" in of[one["name"]]}
    root = str(Path(data).parent)
    assert {path: one["subPath"] for path, one in shared.items()} == {
        f"{data}/lake": "data/lake",
        f"{data}/privacy": "data/privacy",
    }
    assert of[mounts[root]["name"]]["emptyDir"] == {}
    # The code server and the builder have the whole folder, where those two are.
    for pod in (PODS["code"], PODS["builder"]):
        assert {"name": "data", "mountPath": root} in pod["volumeMounts"]
        assert environment(pod)["HEALTH_DATA_DIR"] == data
    assert CODE["includeConfigInLaunchedRuns"] == {"enabled": False}
    assert environment(PODS["run"])["HEALTH_BUILD_WAREHOUSE"] == "false"
    assert CRON["spec"]["concurrencyPolicy"] == "Forbid"
    assert CLAIM["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_data_folder_is_made_by_its_owner_before_anything_is_mounted_in_it() -> None:
    assert CODE["initContainers"] == RUN_POD["initContainers"]
    [folders] = CODE["initContainers"]
    assert folders["command"][-1] == (
        "cd /var/lib/health_pipelines && umask 077 && mkdir -p data/lake data/privacy"
    )
    assert folders["volumeMounts"] == [{"name": "data", "mountPath": "/var/lib/health_pipelines"}]


def test_paths_are_those_of_the_image_and_of_compose() -> None:
    assert VALUES["global"]["dagsterHome"] == in_image("DAGSTER_HOME")
    assert environment(PODS["code"])["HEALTH_DATA_DIR"] == in_image("HEALTH_DATA_DIR")
    [secrets] = (one.split(":")[1] for one in COMPOSE["code"]["volumes"] if one.startswith("./secrets"))
    example = (ROOT / "deploy" / "settings.env.example").read_text()
    assert f"DEXCARE_SERVICE_KEY_FILE={secrets}/dexcare_service_key" in example
    for name in OF_OURS:
        assert {"name": "secrets", "mountPath": secrets, "readOnly": True} in PODS[name]["volumeMounts"]


def test_one_image_carries_out_what_is_ours() -> None:
    image = f"{CODE['image']['repository']}:{CODE['image']['tag']}"
    assert {one["image"] for one in CODE["initContainers"]} == {image}
    assert BUILDER["image"] == image
    # Where it is the code server that says which, as for runs.
    assert "image" not in RUN


def test_the_code_server_is_the_one_of_compose_and_has_its_name() -> None:
    started = [
        "dagster",
        "code-server",
        "start",
        *CODE["codeServerArgs"],
        "-h",
        "0.0.0.0",
        "-p",
        str(CODE["port"]),
    ]
    assert started == COMPOSE["code"]["command"]
    [server] = yaml.safe_load((ROOT / "deploy" / "workspace.yaml").read_text())["load_from"]
    assert WEBSERVER["workspace"] == {
        "enabled": True,
        "servers": [
            {
                "host": CODE["name"],
                "port": server["grpc_server"]["port"],
                "name": server["grpc_server"]["location_name"],
            }
        ],
    }
    # Names of services have no underscore.
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", CODE["name"])


def test_pods_are_looked_after_as_containers_are() -> None:
    assert ["CMD", *DAEMON["livenessProbe"]["exec"]["command"]] == COMPOSE["daemon"]["healthcheck"]["test"]
    [published] = COMPOSE["webserver"]["ports"]
    assert published.split(":")[-1] == str(WEBSERVER["service"]["port"])
    for name in ("readinessProbe", "livenessProbe"):
        assert WEBSERVER[name]["httpGet"]["port"] == WEBSERVER["service"]["port"]
        assert WEBSERVER[name]["httpGet"]["path"] in COMPOSE["webserver"]["healthcheck"]["test"][-1]
    for pod, service in ((CODE, "code"), (DAEMON, "daemon"), (WEBSERVER, "webserver")):
        probe, check = pod["livenessProbe"], COMPOSE[service]["healthcheck"]
        assert f"{probe['periodSeconds']}s" == check["interval"]
        assert f"{probe['timeoutSeconds']}s" == check["timeout"]
        assert probe["failureThreshold"] == check["retries"]
        assert f"{probe['initialDelaySeconds']}s" == check["start_period"]


def test_the_ui_has_no_way_in_from_outside() -> None:
    assert WEBSERVER["service"]["type"] == "ClusterIP"
    assert VALUES["ingress"] == {"enabled": False}


def test_whatever_object_is_named_is_made_by_a_file_or_a_command_of_the_docs() -> None:
    used = [VALUES, CRON]
    assert set(names_in(used, "claimName")) == {CLAIM["metadata"]["name"]}
    secrets = {*names_in(used, "secretName"), VALUES["global"]["postgresqlSecretName"]}
    for name in secrets:
        assert f"kubectl create secret generic {name} " in SCALE
    assert "kubectl create configmap health-pipelines-settings " in SCALE


def written(folder: Path) -> InstanceRef:
    """An instance as the chart's dagster.yaml makes it, but on SQLite."""
    as_ours = {name: INSTANCE[name] for name in INSTANCE if name not in ("storage", "run_queue")}
    launcher = {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": {}}
    told = {
        "run_launcher": launcher,
        "run_coordinator": DAEMON["runCoordinator"]["config"]["customRunCoordinator"],
        "run_monitoring": snake(DAEMON["runMonitoring"]),
    }
    (folder / "dagster.yaml").write_text(yaml.safe_dump({**as_ours, **told}))
    return InstanceRef.from_dir(str(folder))


def test_a_run_asks_for_no_package_of_its_launcher(tmp_path: Path) -> None:
    # Our image has none of Kubernetes: the daemon, whose image has, makes the pod of a run.
    assert find_spec("dagster_k8s") is None
    with DagsterInstance.from_ref(written(tmp_path)) as instance:
        assert a_job.execute_in_process(instance=instance).success


@pytest.mark.long
def test_the_command_of_a_pod_carries_out_a_run_without_a_package_of_its_launcher(tmp_path: Path) -> None:
    ref = written(tmp_path)
    origin = reconstructable(a_job).get_python_origin()
    with DagsterInstance.from_ref(ref) as instance:
        run = instance.create_run_for_job(a_job, job_code_origin=origin)
        arguments = ExecuteRunArgs(job_origin=origin, run_id=run.run_id, instance_ref=ref).get_command_args()
        subprocess.run([sys.executable, "-m", *arguments], check=True, capture_output=True)
        finished = instance.get_run_by_id(run.run_id)
    assert finished is not None
    assert finished.status is DagsterRunStatus.SUCCESS
