"""A third vendor, as small as one can be: a list of beds for each day. To be named in HEALTH_VENDORS."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    ConfigurableResource,
    DailyPartitionsDefinition,
    Output,
    ScheduleDefinition,
    asset,
)

from health_pipelines.http import Call, VendorHttp, origin_of
from health_pipelines.lake.csv_partition import Lineage
from health_pipelines.lake.json_partition import in_order, write_json_partition
from health_pipelines.lake.partitions import Table
from health_pipelines.landing import run_tags
from health_pipelines.landing.dagster_names import asset_key
from health_pipelines.landing.daily_schedule import daily_schedule
from health_pipelines.landing.landed_partition import put_in_place
from health_pipelines.landing.run_claims import claim_run
from health_pipelines.landing.step import RangeLanding, by_day, landing
from health_pipelines.landing.storage import Storage
from health_pipelines.landing.vendor import Question, Vendor
from health_pipelines.landing.verdicts import CheckedTable
from health_pipelines.settings import HttpPolicy, Settings

BEDS, KEY, URL = Table("wards", "beds"), "bed", "WARDS_BASE_URL"
# Not the zone of the other vendors: the days of each are its own.
BERLIN = ZoneInfo("Europe/Berlin")


class WardsResource(ConfigurableResource[None]):
    """The vendor's address is in the environment, as a place's other settings are."""

    @property
    def base_url(self) -> str:
        return Settings.of_this_process().environment[URL]

    @property
    def origin(self) -> str:
        return origin_of(self.base_url)

    async def beds(self, day: str) -> list[dict[str, object]]:
        http = VendorHttp(
            vendor="Wards",
            base_url=self.base_url,
            authorization=None,
            policy=HttpPolicy(concurrency=1),
            url_setting=URL,
            key_setting=URL,
        )
        try:
            answer = await http.answer(Call("GET", "/beds", query=[("day", day)]))
        finally:
            await http.close()
        rows: list[dict[str, object]] = answer.json["beds"]
        return rows


def checked_beds() -> CheckedTable:
    return CheckedTable(
        asset_key("wards", "beds"), BEDS, KEY, None, empty_days_have_columns=False, zone=lambda _: BERLIN
    )


def beds_asset(days: DailyPartitionsDefinition) -> AssetsDefinition:
    @asset(
        key=asset_key("wards", "beds"),
        group_name="wards",
        **by_day(days),
    )
    def beds(
        context: AssetExecutionContext, wards: WardsResource, storage: Storage
    ) -> Iterator[Output[None]]:
        claim_run(storage.run_claims, context.run.run_id, context.instance)
        run_tags.tell(context, BEDS)
        with landing(context, storage, checked_beds(), wards) as landings:
            asyncio.run(_land(landings, wards, storage))
        yield from ()

    return beds


async def _land(days: RangeLanding, wards: WardsResource, storage: Storage) -> None:
    for day in days.days:
        with storage.lake.writing(BEDS, day) as writer:
            rows = in_order(await wards.beds(day), KEY)
            lineage = Lineage(date.fromisoformat(day), f"beds of {day}", datetime.now(UTC))
            write_json_partition(rows, KEY, writer.candidate, lineage)
            landed = put_in_place(writer, rows_sent=len(rows), key=KEY)
        days.record(day, landed, {})
        await days.check(day, len(rows))


def _daily(settings: Settings) -> list[ScheduleDefinition]:
    daily = daily_schedule(
        "wards_daily",
        {asset_key("wards", "beds"): checked_beds()},
        description="Asks for yesterday's beds.",
        at=settings.dexcare_daily_at,
        zone=settings.timezone,
        first_day=settings.start_date,
        lookback_days=3,
        one_range=True,
        not_wanted=lambda: None,
    )
    return [daily]


async def _ask() -> None:
    await WardsResource().beds("2000-01-01")


VENDOR = Vendor(
    tables=lambda: [checked_beds()],
    assets=lambda days: [beds_asset(days)],
    schedules=_daily,
    resources=lambda: {"wards": WardsResource()},
    origins=lambda settings: {BEDS: origin_of(settings.environment[URL])},
    questions=(
        Question(
            "wards",
            not_set_up=lambda settings: None if URL in settings.environment else f"{URL} is not set.",
            host=lambda settings: origin_of(settings.environment[URL]),
            ask=_ask,
            if_not_found=f"{URL} does not seem to lead to the wards.",
        ),
    ),
)
