"""A process that carries out steps and sensors of the project's own definitions, on the home of DAGSTER_HOME.

It is told an order a line, as JSON, on standard input, and answers each with a line on what was its standard
output at first. Everything else that is printed, Dagster's words and tracebacks, is appended to the file that
is its only argument.

    {"materialize": ["dexcare/avr_virtual"], "first": "2026-03-01", "last": "2026-03-08"}
                               -> {"success": false}
    {"sensor": "alerts"}       -> {"runs": 2}, those that it asked for, carried out; or {"failed": true}
"""

import json
import os
import sys
from typing import Any

from dagster import AssetKey, DagsterInstance, build_sensor_context
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from dagster._utils.error import serializable_error_info_from_exc_info

from health_pipelines.definitions import defs

_cursors: dict[str, str | None] = {}


def materialize(instance: DagsterInstance, assets: list[str], tags: dict[str, str]) -> bool:
    job = defs.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        asset_selection=[AssetKey(asset.split("/")) for asset in assets],
        instance=instance,
        raise_on_error=False,
        tags=tags,
    )
    return result.success


def tick(instance: DagsterInstance, name: str) -> dict[str, Any]:
    """As the daemon evaluates a sensor; what it raises is shown in the UI, and printed here."""
    repository = defs.get_repository_def()
    context = build_sensor_context(
        instance=instance,
        repository_def=repository,
        cursor=_cursors.get(name),
        resources=dict(defs.resources or {}),
    )
    try:
        data = repository.get_sensor_def(name).evaluate_tick(context)
    except Exception:
        sys.stdout.write(serializable_error_info_from_exc_info(sys.exc_info()).to_string())
        return {"failed": True}
    sys.stdout.write(f"{name} {data.skip_message} {data.cursor}\n")
    _cursors[name] = data.cursor
    requests = data.run_requests or []
    for request in requests:
        assets = [key.to_user_string() for key in request.asset_selection or []]
        materialize(instance, assets, dict(request.tags))
    return {"runs": len(requests)}


def carry_out(instance: DagsterInstance, order: dict[str, Any]) -> dict[str, Any]:
    if "sensor" in order:
        return tick(instance, order["sensor"])
    tags = {}
    if "first" in order:
        tags = {
            ASSET_PARTITION_RANGE_START_TAG: order["first"],
            ASSET_PARTITION_RANGE_END_TAG: order["last"],
        }
    return {"success": materialize(instance, order["materialize"], tags)}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for printed in (1, 2):
        os.dup2(log, printed)
    with DagsterInstance.get() as instance:
        answers.write("{}\n")
        answers.flush()
        for line in sys.stdin:
            answer = carry_out(instance, json.loads(line))
            sys.stdout.flush()
            answers.write(f"{json.dumps(answer)}\n")
            answers.flush()


if __name__ == "__main__":
    main()
