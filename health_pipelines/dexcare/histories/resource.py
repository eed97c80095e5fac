"""The client of provider histories as a Dagster resource.

Belongs here: how a run comes by a client. Does not belong here: what the client does.
"""

from zoneinfo import ZoneInfo

from dagster import ConfigurableResource

from health_pipelines.dexcare.histories.client import ProviderHistoriesClient
from health_pipelines.http import CallBudget, origin_of
from health_pipelines.settings import Settings


class ProviderHistoriesResource(ConfigurableResource[None]):
    """Provider histories, as `DEXCARE_APR_BASE_URL` and `DEXCARE_APR_API_KEY` describe them.

    Both default to those of the visit reports. The variables are read when a client is asked for; a key has
    no place in configuration, which Dagster stores and shows.
    """

    pause_seconds: float = 1.0
    """The first pause after rows moved while they were read; it doubles with every further reading."""

    def client(self, budget: CallBudget | None = None) -> ProviderHistoriesClient:
        """A new client, to be used as `async with`; `budget`: of one that may make so many calls only.

        Raises `SettingError` or `WrongAddressError`, each naming the variable to change.
        """
        settings = Settings.of_this_process()
        return ProviderHistoriesClient(
            settings.dexcare_apr_base_url, settings.dexcare_apr_api_key, settings.dexcare_http_policy, budget
        )

    @property
    def origin(self) -> str:
        return origin_of(Settings.of_this_process().dexcare_apr_base_url)

    @property
    def concurrency(self) -> int:
        return Settings.of_this_process().dexcare_http_policy.concurrency

    @property
    def timezone(self) -> ZoneInfo:
        return Settings.of_this_process().timezone
