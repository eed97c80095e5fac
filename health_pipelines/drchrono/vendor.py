"""DrChrono as everybody else knows it.

Belongs here: what of this package is for others. Does not belong here: anything that is done with it.
"""

from datetime import datetime

from health_pipelines.drchrono.api.client import ListDeadError, UnexpectedAnswerError
from health_pipelines.drchrono.assets import record_assets
from health_pipelines.drchrono.checks import checked_records
from health_pipelines.drchrono.probe.lists import DRCHRONO_PROBE
from health_pipelines.drchrono.reconciliation.asset import drchrono_reconciliation, gone_records_asset
from health_pipelines.drchrono.records import RECORD_TYPES
from health_pipelines.drchrono.resource import DrChronoResource
from health_pipelines.drchrono.schedule import drchrono_daily
from health_pipelines.drchrono.sweep.journal import forget_given_up
from health_pipelines.drchrono.tables import GONE_RECORDS, SWEPT, TABLES
from health_pipelines.http import origin_of
from health_pipelines.landing.storage import Storage
from health_pipelines.landing.vendor import NotAskedError, Question, Vendor
from health_pipelines.settings.variables import DRCHRONO_ACCESS_TOKEN, DRCHRONO_BASE_URL, DRCHRONO_CLIENT_ID

_NOBODYS_LIST = "00000000-0000-4000-8000-000000000000"


async def _ask_for_a_list() -> None:
    """For one that nobody started: a call of the quota. Renews the token if that is due."""

    def do_not_wait(because: str) -> None:
        raise NotAskedError(f"Not asked, to leave the calls to the runs: {because}")

    async with DrChronoResource().client(Storage().drchrono, do_not_wait) as client:
        try:
            await client.poll(RECORD_TYPES[0], _NOBODYS_LIST)
        except ListDeadError:  # as it must be
            return
        raise UnexpectedAnswerError("DrChrono answered as if it had a list that nobody started.")


def _forget(at: datetime) -> list[str]:
    sweeps = Storage().drchrono
    return [
        f"pages of {name} in {folder}"
        for folder in ("sweeps", "reconciliations")
        for name in forget_given_up(sweeps / folder, at)
    ]


VENDOR = Vendor(
    tables=lambda: [checked_records(record_type) for record_type in SWEPT],
    assets=lambda days: [*record_assets(days), gone_records_asset()],
    more_tables=(GONE_RECORDS,),
    schedules=lambda settings: [drchrono_daily(settings), drchrono_reconciliation(settings)],
    resources=lambda: {"drchrono": DrChronoResource()},
    origins=lambda settings: (
        dict.fromkeys(TABLES, origin_of(settings.drchrono_base_url)) if settings.has_drchrono else {}
    ),
    calls_left=lambda settings, now: (
        DrChronoResource.calls_left(settings, Storage().drchrono, now) if settings.has_drchrono else None
    ),
    forget=_forget,
    probes=(DRCHRONO_PROBE,),
    questions=(
        Question(
            "DrChrono",
            not_set_up=lambda settings: (
                None
                if settings.has_drchrono
                else f"Neither {DRCHRONO_ACCESS_TOKEN.name} nor {DRCHRONO_CLIENT_ID.name} is set."
            ),
            host=lambda settings: origin_of(settings.drchrono_base_url),
            ask=_ask_for_a_list,
            if_not_found=f"{DRCHRONO_BASE_URL.name} does not seem to lead to DrChrono's API.",
            takes="token",
            # The token and the quota are the runs' own.
            leaves_something=True,
        ),
    ),
)
