"""The DexCare client as a Dagster resource.

Belongs here: how a run or a tick comes by a client. Does not belong here: what the client does.
"""

from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from dagster import ConfigurableResource

from health_pipelines.dexcare.visits.client import DexCareClient
from health_pipelines.dexcare.visits.report import Policy
from health_pipelines.http import CallBudget, origin_of
from health_pipelines.settings import HttpPolicy, Settings


class DexCareResource(ConfigurableResource[None]):
    """DexCare, as `DEXCARE_BASE_URL` and `DEXCARE_SERVICE_KEY` describe it.

    It has no configuration on purpose: Dagster stores and shows the configuration of runs, and a key does
    not belong there. The variables are read when a client is asked for.
    """

    def client(self, budget: CallBudget | None = None) -> DexCareClient:
        """A new client, to be used as `async with`; `budget`: of one that may make so many calls only.

        Raises `SettingError` or `WrongAddressError`, each naming the variable to change.
        """
        return self._client_with(Settings.of_this_process().dexcare_http_policy, budget)

    def polling_client(self) -> DexCareClient:
        """A client for the many small calls of a tick: wide, and not patient, since the next tick is soon."""
        policy = Settings.of_this_process().dexcare_http_policy
        return self._client_with(
            replace(
                policy,
                concurrency=self.poll_concurrency,
                attempts=1,
                timeout_seconds=min(policy.timeout_seconds, 10),
            )
        )

    @staticmethod
    def _client_with(policy: HttpPolicy, budget: CallBudget | None = None) -> DexCareClient:
        settings = Settings.of_this_process()
        return DexCareClient(settings.dexcare_base_url, settings.dexcare_service_key, policy, budget)

    @property
    def poll_concurrency(self) -> int:
        return Settings.of_this_process().dexcare_poll_concurrency

    def key_in_use(self) -> str:
        """The key itself, to tell a new one from an old one; it is not to be stored or shown."""
        return Settings.of_this_process().dexcare_service_key.reveal()

    @property
    def concurrency(self) -> int:
        return Settings.of_this_process().dexcare_http_policy.concurrency

    @property
    def policy(self) -> Policy:
        settings = Settings.of_this_process()
        return Policy(
            failed_grace=timedelta(seconds=settings.dexcare_failed_grace_seconds),
            timeout=timedelta(seconds=settings.dexcare_report_timeout_seconds),
            max_attempts=settings.dexcare_max_attempts,
        )

    @property
    def host(self) -> str:
        return urlsplit(Settings.of_this_process().dexcare_base_url).netloc

    @property
    def origin(self) -> str:
        return origin_of(Settings.of_this_process().dexcare_base_url)

    @property
    def timezone(self) -> ZoneInfo:
        return Settings.of_this_process().timezone
