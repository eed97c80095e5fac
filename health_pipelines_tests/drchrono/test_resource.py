"""The client that a step is given: its tokens and its quota belong together."""

import asyncio
from datetime import date
from pathlib import Path

import pytest

from health_pipelines.drchrono.api.list_query import ListQuery
from health_pipelines.drchrono.records import RECORD_TYPES
from health_pipelines.drchrono.resource import DrChronoResource
from health_pipelines_tests.sandbox.drchrono_vendor import drchrono_sandbox

pytest_plugins = ["health_pipelines_tests.support.postgres_server"]


def test_hosts_with_one_database_share_tokens_and_pace_and_need_nothing_else_in_common(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start(folder: Path) -> str:
        async with DrChronoResource().client(folder, lambda _: None) as client:
            return await client.start(RECORD_TYPES[0], ListQuery(date(2026, 3, 1)))

    with drchrono_sandbox() as sandbox:
        monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgres_url)
        monkeypatch.setenv("DRCHRONO_BASE_URL", sandbox.url)
        monkeypatch.setenv("DRCHRONO_CLIENT_ID", "sandbox-client")
        monkeypatch.setenv("DRCHRONO_CLIENT_SECRET", "sandbox-secret")
        monkeypatch.setenv("DRCHRONO_REFRESH_TOKEN", "sandbox-refresh")

        # The vendor takes its first refresh token once.
        assert all(asyncio.run(start(tmp_path / host)) for host in ("one", "other"))

        learned = DrChronoResource.pace(tmp_path / "one")
        learned.was_pending("patients", 1000, 40, first=True)
        learned.save()
        assert DrChronoResource.pace(tmp_path / "other").wait_seconds("patients", 1000) == 60

    assert list(tmp_path.iterdir()) == []


def test_a_throttled_renewal_is_waited_for_in_the_quota_that_all_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    async def start(resource: DrChronoResource) -> str:
        async with resource.client(tmp_path, said.append) as client:
            return await client.start(RECORD_TYPES[0], ListQuery(date(2026, 3, 1)))

    with drchrono_sandbox() as sandbox:
        monkeypatch.setenv("DRCHRONO_BASE_URL", sandbox.url)
        monkeypatch.setenv("DRCHRONO_CLIENT_ID", "sandbox-client")
        monkeypatch.setenv("DRCHRONO_CLIENT_SECRET", "sandbox-secret")
        monkeypatch.setenv("DRCHRONO_REFRESH_TOKEN", "sandbox-refresh")
        words = {"detail": "Request was throttled. Expected available in 1.0 seconds."}
        sandbox.add_fault("token", {"kind": "http", "status": 429, "body": words}, times=1)

        assert asyncio.run(start(DrChronoResource()))

    assert [line.partition(";")[0] for line in said] == ["DrChrono throttled the calls"]
