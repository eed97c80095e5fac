"""The sensor that tells people: failed runs, reports given up, days that are missing.

Belongs here: one tick, and what each channel is told when. Does not belong here: where the news come from
(`failed_runs.py`, `missing_days.py`), how they are put (`news.py`), how they are sent (`webhook.py`,
`mail.py`).

There is no queue: what was not told yet is read from Dagster's own record at each tick, for each channel by
itself. So a message that could not be delivered is put together anew, with what came meanwhile, and a
channel that is down holds nobody back. A message may arrive twice if its receiver took it and the answer got
lost; it cannot get lost.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property, partial

from dagster import (
    AssetCheckEvaluation,
    AssetKey,
    DagsterInstance,
    DefaultSensorStatus,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)

from health_pipelines.alerts import mail, webhook
from health_pipelines.alerts.channel import Channel, NotDeliveredError, PartlyDeliveredError
from health_pipelines.alerts.failed_runs import Origin, failed_runs, newest_place, reason_of
from health_pipelines.alerts.memory import Memory, Told
from health_pipelines.alerts.missing_days import landed_since, missing_days, with_holes
from health_pipelines.alerts.news import MissingDay, News, compose, name_some
from health_pipelines.landing.freshness import Expectation
from health_pipelines.settings import SettingError, Settings
from health_pipelines.settings.clock import utc_now

SENSOR_NAME = "alerts"
_INTERVAL_SECONDS = 30
NOTHING_SET_UP = (
    "No alert is set up: set ALERT_WEBHOOK_URL, or ALERT_SMTP_HOST, ALERT_EMAIL_FROM and ALERT_EMAIL_TO."
)
_CHANNELS: Mapping[str, Callable[[Settings], Channel]] = {
    webhook.NAME: webhook.Webhook.of,
    mail.NAME: mail.Mail.of,
}


class AlertProblemError(Exception):
    """Somebody was not told. The message says why, free of secrets."""


def alerts_sensor(
    assets: Sequence[AssetKey],
    expectation: Expectation,
    clock: Callable[[], datetime] = utc_now,
    holes: Callable[[DagsterInstance, datetime], list[AssetCheckEvaluation]] = lambda *_: [],
) -> SensorDefinition:
    """`assets`: those whose newest expected day is looked for. `holes`: what the check `no_day_is_missing`
    says of them at a time (aware).
    """

    @sensor(
        name=SENSOR_NAME,
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Tells people by webhook and e-mail what went wrong. Asks no vendor.",
    )
    def alerts(context: SensorEvaluationContext) -> SkipReason:
        return _Tick(context, assets, expectation, clock(), Settings.of_this_process(), holes).run()

    return alerts


@dataclass
class _Tick:
    context: SensorEvaluationContext
    assets: Sequence[AssetKey]
    expectation: Expectation
    now: datetime
    settings: Settings
    holes: Callable[[DagsterInstance, datetime], list[AssetCheckEvaluation]]

    def __post_init__(self) -> None:
        self.instance = self.context.instance
        self.origin = Origin.of_sensor(self.context)
        self.place = self.origin.location or "health_pipelines"

    def run(self) -> SkipReason:
        """Raises `AlertProblemError` if somebody could not be told, after everybody else was."""
        wanted = {webhook.NAME: self.settings.has_webhook_alert, mail.NAME: self.settings.has_email_alert}
        said, problems = [], []
        for name, is_wanted in wanted.items():
            memory = Memory(self.instance, self.place, name)
            if not is_wanted:
                # Whoever sets it up again does not want to hear what happened meanwhile.
                memory.forget()
                continue
            try:
                said.append(f"{name}: {self._tell(_CHANNELS[name](self.settings), memory)}")
            except (SettingError, NotDeliveredError, PartlyDeliveredError) as error:
                problems.append(str(error))
        if problems:
            raise AlertProblemError(" ".join(dict.fromkeys(problems)))
        return SkipReason("; ".join(said) + "." if said else NOTHING_SET_UP)

    def _tell(self, channel: Channel, memory: Memory) -> str:
        """Send what the channel was not told yet, if it is time; returns what was done."""
        told = memory.read()
        if told is None:
            # What an old instance has seen is history; what is missing now is not.
            told = Told(newest_place(self.instance))
            memory.write(told)
        pause = timedelta(minutes=self.settings.alert_pause_minutes)
        # A clock that was ahead when it was written must not silence anybody for long.
        if told.at is not None and timedelta() <= self.now - told.at < pause:
            until = (told.at + pause).astimezone(self.expectation.zone)
            return f"what comes is collected until {until:%H:%M}"
        news, then = self._news(told)
        if news.is_empty:
            if then != told:
                memory.write(then)
            return "nothing to tell"
        message = compose(news, self.place, self.settings.ui_url)
        try:
            channel.send(message)
        except PartlyDeliveredError:
            memory.write(replace(then, at=self.now))
            raise
        memory.write(replace(then, at=self.now))
        self.context.log.info(f"Told: {message.subject}.")
        return f"told that {message.subject}"

    def _news(self, told: Told) -> tuple[News, Told]:
        """What there is to tell, and what will have been told then."""
        failed = failed_runs(self.instance, self.origin, told.read_to, self.now)
        named, unnamed = name_some(failed.runs, partial(reason_of, self.instance))
        missing = [one for one in self._missing if told.missing.get(one.asset) != one.day]
        # A day that landed once, and whose partition somebody removed, is missing all the same.
        lacking = {one.asset: one.day for one in self._missing}
        landed = {
            asset: day
            for asset, day in landed_since(self.instance, told.missing).items()
            if lacking.get(asset) != day
        }
        still = {asset: day for asset, day in told.missing.items() if asset not in landed}
        then = replace(told, read_to=failed.read_to, missing=still | {one.asset: one.day for one in missing})
        return News(named, unnamed, missing, landed), then

    @cached_property
    def _missing(self) -> list[MissingDay]:
        late = missing_days(self.instance, self.assets, self.expectation, self.now)
        return [*late, *with_holes(self.holes(self.instance, self.now), {one.asset for one in late})]
