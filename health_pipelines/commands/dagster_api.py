"""What the commands ask of Dagster, the way its UI does: over GraphQL.

Belongs here: GraphQL documents and their answers. Does not belong here: what is printed of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from health_pipelines.commands.problem import ProblemError
from health_pipelines.commands.services import LOCATION

_LAUNCH = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
    ... on InvalidSubsetError { message }
    ... on UnauthorizedError { message }
  }
}
"""

_LAUNCH_RUN = """
mutation LaunchRun($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on PythonError { message }
    ... on UnauthorizedError { message }
  }
}
"""

_LAST_TICK = """
query LastTick($selector: SensorSelector!) {
  sensorOrError(sensorSelector: $selector) {
    ... on Sensor { sensorState { ticks(limit: 5) { status skipReason error { message } } } }
  }
}
"""

_RUNS = """
query Runs($since: Float!) {
  runsOrError(filter: {createdAfter: $since}, limit: 100) {
    ... on Runs { results { runId status } }
  }
}
"""

_FAILURES = """
query Failures($run: ID!) {
  logsForRun(runId: $run, afterCursor: null) {
    ... on EventConnection {
      events {
        __typename
        ... on ExecutionStepFailureEvent { error { message } failureMetadata { description } }
        ... on RunFailureEvent { message }
      }
    }
  }
}
"""


@dataclass(frozen=True)
class Tick:
    """The newest finished tick of a sensor: what it said, and its error if it had one."""

    said: str
    error: str


class DagsterApi:
    """GraphQL of one webserver."""

    def __init__(self, url: str) -> None:
        self._url = url

    def launch_backfill(self, assets: Sequence[Sequence[str]], partitions: Sequence[str]) -> str:
        """Materialize partitions of assets, as the UI's dialog does; returns the backfill's id."""
        params = {
            "assetSelection": [{"path": list(path)} for path in assets],
            "partitionNames": list(partitions),
            "fromFailure": False,
        }
        answer = self._ask(_LAUNCH, {"params": params})["launchPartitionBackfill"]
        if answer["__typename"] != "LaunchBackfillSuccess":
            raise ProblemError(f"Dagster refused the backfill: {answer.get('message', answer)}")
        return str(answer["backfillId"])

    def launch_run(self, assets: Sequence[Sequence[str]], days: Sequence[str] = ()) -> None:
        """Materialize assets in one run, as the UI's button does.

        `days`: from the first to the last of them, for assets that take a range in one run. Unlike a backfill
        this does not wait for the daemon, which looks for new backfills every 30 seconds.
        """
        selector = {
            "repositoryLocationName": LOCATION,
            "repositoryName": "__repository__",
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": list(path)} for path in assets],
        }
        ends = (
            {ASSET_PARTITION_RANGE_START_TAG: days[0], ASSET_PARTITION_RANGE_END_TAG: days[-1]}
            if days
            else {}
        )
        params = {
            "selector": selector,
            "mode": "default",
            "runConfigData": "{}",
            "executionMetadata": {"tags": [{"key": key, "value": day} for key, day in ends.items()]},
        }
        answer = self._ask(_LAUNCH_RUN, {"params": params})["launchRun"]
        if answer["__typename"] != "LaunchRunSuccess":
            raise ProblemError(f"Dagster refused the run: {answer.get('message', answer)}")

    def last_tick(self, sensor: str) -> Tick | None:
        """None before the first tick."""
        selector = {
            "repositoryLocationName": LOCATION,
            "repositoryName": "__repository__",
            "sensorName": sensor,
        }
        answer = self._ask(_LAST_TICK, {"selector": selector})["sensorOrError"]
        ticks = answer.get("sensorState", {}).get("ticks", [])
        finished = next((tick for tick in ticks if tick["status"] != "STARTED"), None)
        if finished is None:
            return None
        error = finished["error"]
        return Tick(finished["skipReason"] or "", error["message"].strip() if error else "")

    def failed_run(self, since: float) -> str | None:
        """Why the first failed run created after `since` (epoch seconds) failed, if one did."""
        runs = self._ask(_RUNS, {"since": since})["runsOrError"]["results"]
        failed = next((run["runId"] for run in runs if run["status"] == "FAILURE"), None)
        if failed is None:
            return None
        events = self._ask(_FAILURES, {"run": failed})["logsForRun"]["events"]
        for event in events:
            metadata = event.get("failureMetadata") or {}
            if metadata.get("description"):
                return f"Run {failed} failed: {metadata['description']}"
        return f"Run {failed} failed: {next((e['message'] for e in events if e.get('message')), 'no reason')}"

    def _ask(self, document: str, variables: dict[str, Any]) -> dict[str, Any]:
        response = httpx.post(
            f"{self._url}/graphql", json={"query": document, "variables": variables}, timeout=60
        )
        answer = response.json()
        if "errors" in answer:
            raise ProblemError(f"Dagster's API answered with an error: {answer['errors'][0]['message']}")
        data: dict[str, Any] = answer["data"]
        return data
