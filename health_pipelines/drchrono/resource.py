"""DrChrono's client as a Dagster resource.

Belongs here: how a run comes by a client, its token, its turn in the quota and the vendor's pace. Does not
belong here: what any of them does.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from dagster import ConfigurableResource

from health_pipelines.drchrono.api.client import DrChronoClient, Tokens
from health_pipelines.drchrono.api.pace import Pace
from health_pipelines.drchrono.api.pace_notes import PaceFile, PaceTable
from health_pipelines.drchrono.api.quota import calls_left, shared_quota, shared_store
from health_pipelines.drchrono.api.token_file import TokenFile
from health_pipelines.drchrono.api.token_store import TokenStore
from health_pipelines.drchrono.api.token_table import TokenTable
from health_pipelines.drchrono.api.tokens import RenewedTokens, StaticToken
from health_pipelines.http import CallBudget, origin_of
from health_pipelines.lake.host_locks import host_locks
from health_pipelines.landing.vendor import CallsLeft
from health_pipelines.settings import Settings
from health_pipelines.settings.clock import utc_now


class DrChronoResource(ConfigurableResource[None]):
    """DrChrono, as the `DRCHRONO_` variables describe it, which are read when a client is asked for.

    It has no configuration on purpose: Dagster stores and shows the configuration of runs, and a token does
    not belong there.
    """

    @asynccontextmanager
    async def client(
        self,
        folder: Path,
        say: Callable[[str], None],
        *,
        within: Callable[[CallBudget], CallBudget] = lambda quota: quota,
        on_throttle: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> AsyncIterator[DrChronoClient]:
        """A new client, closed at the end. `folder`: where tokens and the quota are kept.

        `say` is told what a call waits for, if that takes long. `within`: the quota within a narrower budget,
        renewals of the token included. `on_throttle`: see `VendorHttp`. Raises `SettingError` or
        `WrongAddressError`, each naming the variable to change.
        """
        settings = Settings.of_this_process()
        given = settings.drchrono_access_token
        quota = shared_quota(
            folder / "quota",
            settings.postgres_url,
            _application(settings),
            per_hour=settings.drchrono_calls_per_hour,
            per_second=settings.drchrono_calls_per_second,
            say=say,
        )
        budget = within(quota)
        try:
            base_url, policy = settings.drchrono_base_url, settings.drchrono_http_policy
            tokens: Tokens = (
                StaticToken(given) if given is not None else self._renewed(settings, folder, budget)
            )
            async with DrChronoClient(base_url, tokens, policy, budget, on_throttle) as client:
                yield client
        finally:
            quota.close()

    @staticmethod
    def _renewed(settings: Settings, folder: Path, budget: CallBudget) -> RenewedTokens:
        return RenewedTokens(
            settings.drchrono_base_url,
            client_id=settings.drchrono_client_id,
            client_secret=settings.drchrono_client_secret,
            refresh_token=settings.drchrono_refresh_token,
            store=_token_store(settings, TokenFile(folder / "tokens" / "tokens.json")),
            policy=settings.drchrono_http_policy,
            now=utc_now,
            budget=budget,
        )

    @staticmethod
    def pace(folder: Path) -> Pace:
        """What is known of how long lists take. `folder`: as for a client."""
        settings, notes = Settings.of_this_process(), PaceFile(folder / "pace.json")
        url = settings.postgres_url
        return Pace(notes if url is None else PaceTable(url, settings.asset_prefix, notes))

    @staticmethod
    def calls_left(settings: Settings, folder: Path, now: datetime) -> CallsLeft:
        """What is left of this hour's quota, by a look at what was counted. Raises `VendorError`."""
        per_hour = settings.drchrono_calls_per_hour
        store = shared_store(folder / "quota", settings.postgres_url, _application(settings))
        left, throttled_until = calls_left(store, per_hour, now)
        return CallsLeft("DrChrono", left, per_hour, throttled_until)

    @property
    def concurrency(self) -> int:
        return Settings.of_this_process().drchrono_concurrency

    @property
    def verbose(self) -> bool:
        return Settings.of_this_process().drchrono_verbose

    @property
    def origin(self) -> str:
        return origin_of(Settings.of_this_process().drchrono_base_url)

    @property
    def timezone(self) -> ZoneInfo:
        """The account's: of all times that DrChrono sends."""
        return Settings.of_this_process().drchrono_timezone


def _token_store(settings: Settings, file: TokenFile) -> TokenStore:
    """For all hosts in their database, if there is one; `file` is for the processes of one."""
    url = settings.postgres_url
    hosts = host_locks(url)
    if url is None or hosts is None:
        return file
    return TokenTable(url, settings.asset_prefix, hosts, file)


def _application(settings: Settings) -> str:
    """What tells this application from another one with a quota of its own."""
    given = settings.drchrono_access_token
    return settings.drchrono_client_id if given is None else given.reveal()
