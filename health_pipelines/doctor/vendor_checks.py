"""Whether each vendor is reached and takes the key, by the cheapest call that shows it.

Belongs here: which call that is and what its answer means. Does not belong here: how it is made (the vendor's
`client.py`). No call starts a report or a list, or reads a patient's record.
"""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from health_pipelines.dexcare.histories.client import HistorySearch
from health_pipelines.dexcare.histories.resource import ProviderHistoriesResource
from health_pipelines.dexcare.visits.resource import DexCareResource
from health_pipelines.doctor.database_check import database
from health_pipelines.doctor.finding import Finding, Mark, not_set_up, ok, problem, warning
from health_pipelines.doctor.folder_checks import belongs_to_somebody_else, has_provider_histories
from health_pipelines.doctor.installation import Installation
from health_pipelines.drchrono.api.client import ListDeadError, UnexpectedAnswerError
from health_pipelines.drchrono.records import RECORD_TYPES
from health_pipelines.drchrono.resource import DrChronoResource
from health_pipelines.http import NotFoundError, VendorError, origin_of
from health_pipelines.landing.storage import Storage
from health_pipelines.settings.variables import (
    DEXCARE_APR_BASE_URL,
    DEXCARE_BASE_URL,
    DRCHRONO_ACCESS_TOKEN,
    DRCHRONO_BASE_URL,
    DRCHRONO_CLIENT_ID,
)

# Before there was anything to assign to anybody.
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
NOBODYS_LIST = "00000000-0000-4000-8000-000000000000"


def dexcare(installation: Installation) -> Finding:
    """Asks for the status of a report that nobody started."""
    settings = installation.settings
    if not settings.has_dexcare:
        return not_set_up(f"{DEXCARE_BASE_URL.name} is not set.")
    refused = _refusal(_ask_dexcare(), f"{DEXCARE_BASE_URL.name} does not seem to lead to DexCare's API.")
    return refused or ok(f"{origin_of(settings.dexcare_base_url)} answers and takes the key.")


def provider_histories(installation: Installation) -> Finding:
    """Asks for one row of a second in which there are none."""
    settings = installation.settings
    if not has_provider_histories(settings):
        return not_set_up(f"Neither {DEXCARE_BASE_URL.name} nor {DEXCARE_APR_BASE_URL.name} is set.")
    elsewhere = f"{DEXCARE_APR_BASE_URL.name} does not seem to lead to DexCare's API."
    refused = _refusal(_ask_for_histories(), elsewhere)
    return refused or ok(f"{origin_of(settings.dexcare_apr_base_url)} answers and takes the key.")


def drchrono(installation: Installation) -> Finding:
    """Asks for a list that nobody started: one call of the quota. Renews the token if that is due."""
    settings = installation.settings
    if not settings.has_drchrono:
        return not_set_up(f"Neither {DRCHRONO_ACCESS_TOKEN.name} nor {DRCHRONO_CLIENT_ID.name} is set.")
    if belongs_to_somebody_else(settings.data_dir):
        return warning(
            "Not asked: what root leaves in the folder of tokens, Dagster could not read. Run this as the "
            "user that runs Dagster."
        )
    if database(installation).mark is Mark.PROBLEM:
        return problem(
            "Not asked, as the quota is kept in the database, which cannot be used; every run would wait too."
        )
    elsewhere = f"{DRCHRONO_BASE_URL.name} does not seem to lead to DrChrono's API."
    try:
        refused = _refusal(_ask_drchrono(), elsewhere)
    except _NoTurnError as error:
        return warning(f"Not asked, to leave the calls to the runs: {error}")
    return refused or ok(f"{origin_of(settings.drchrono_base_url)} answers and takes the token.")


def _refusal(asking: Coroutine[Any, Any, None], if_not_found: str) -> Finding | None:
    """Ask; None if the vendor answered as it does to somebody with a good key."""
    try:
        asyncio.run(asking)
    except NotFoundError as error:
        return problem(f"{error} {if_not_found}")
    except VendorError as error:
        return problem(str(error))
    return None


class _NoTurnError(Exception):
    """The quota would keep the call waiting; the words say until when."""


async def _ask_dexcare() -> None:
    async with DexCareResource().client() as client:
        await client.check_access()


async def _ask_for_histories() -> None:
    async with ProviderHistoriesResource().client() as client:
        await client.page(LONG_AGO, LONG_AGO + timedelta(seconds=1), HistorySearch(), offset=0, limit=1)


async def _ask_drchrono() -> None:
    def do_not_wait(because: str) -> None:
        raise _NoTurnError(because)

    async with DrChronoResource().client(Storage().drchrono, do_not_wait) as client:
        try:
            await client.poll(RECORD_TYPES[0], NOBODYS_LIST)
        except ListDeadError:  # as it must be
            return
        raise UnexpectedAnswerError("DrChrono answered as if it had a list that nobody started.")
