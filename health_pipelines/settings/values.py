"""The settings of a process: each variable read when it is asked for.

Belongs here: what each setting is read as. Does not belong here: how that is done (`reading.py`), and what is
done with a value. Nothing is read when this module is imported; a
`Settings` reads a variable when it is asked for it, so that a missing key harms only what needs it.
"""

import os
import re
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from health_pipelines.settings.again_values import AgainValues
from health_pipelines.settings.days_left_out import LeftOut, left_out
from health_pipelines.settings.http_policy import MEGABYTE, HttpPolicy
from health_pipelines.settings.lake_values import LakeValues
from health_pipelines.settings.privacy_values import PrivacyValues
from health_pipelines.settings.publish_values import PublishValues
from health_pipelines.settings.reading import SettingError, Value, Variables
from health_pipelines.settings.secret import Secret
from health_pipelines.settings.ui_values import UiValues
from health_pipelines.settings.variables import (
    ALERT_EMAIL_FROM,
    ALERT_EMAIL_TO,
    ALERT_PAUSE_MINUTES,
    ALERT_SMTP_HOST,
    ALERT_SMTP_PASSWORD,
    ALERT_SMTP_PORT,
    ALERT_SMTP_SECURITY,
    ALERT_SMTP_USER,
    ALERT_WEBHOOK_URL,
    ALL_SETTINGS,
    DAGSTER_POSTGRES_DB,
    DAGSTER_POSTGRES_HOST,
    DAGSTER_POSTGRES_PASSWORD,
    DAGSTER_POSTGRES_PORT,
    DAGSTER_POSTGRES_URL,
    DAGSTER_POSTGRES_USER,
    DEXCARE_APR_API_KEY,
    DEXCARE_APR_BASE_URL,
    DEXCARE_BASE_URL,
    DEXCARE_CONCURRENCY,
    DEXCARE_DAILY_AT,
    DEXCARE_FAILED_GRACE_SECONDS,
    DEXCARE_HTTP_ATTEMPTS,
    DEXCARE_HTTP_TIMEOUT_SECONDS,
    DEXCARE_LOOKBACK_DAYS,
    DEXCARE_MAX_ATTEMPTS,
    DEXCARE_POLL_CONCURRENCY,
    DEXCARE_POLL_SECONDS,
    DEXCARE_REPORT_TIMEOUT_SECONDS,
    DEXCARE_SERVICE_KEY,
    DRCHRONO_ACCESS_TOKEN,
    DRCHRONO_BASE_URL,
    DRCHRONO_CALLS_PER_HOUR,
    DRCHRONO_CALLS_PER_SECOND,
    DRCHRONO_CLIENT_ID,
    DRCHRONO_CLIENT_SECRET,
    DRCHRONO_CONCURRENCY,
    DRCHRONO_DAILY_AT,
    DRCHRONO_HTTP_ATTEMPTS,
    DRCHRONO_HTTP_TIMEOUT_SECONDS,
    DRCHRONO_LOOKBACK_DAYS,
    DRCHRONO_REFRESH_TOKEN,
    DRCHRONO_TIMEZONE,
    DRCHRONO_VERBOSE,
    HEALTH_ASSET_PREFIX,
    HEALTH_BUILD_WAREHOUSE,
    HEALTH_CATCH_UP_DAYS,
    HEALTH_DATA_DIR,
    HEALTH_DATA_GROUP,
    HEALTH_DAYS_LEFT_OUT,
    HEALTH_EXPECTED_BY,
    HEALTH_LARGEST_ANSWER_MB,
    HEALTH_LARGEST_REPORT_MB,
    HEALTH_LONGEST_ANSWER_SECONDS,
    HEALTH_PLACES_DIR,
    HEALTH_RUN_START_SECONDS,
    HEALTH_START_DATE,
    HEALTH_TIMEZONE,
    HEALTH_UNUSUAL_ROWS_BELOW,
    HEALTH_UNUSUAL_ROWS_FROM,
    HEALTH_VENDORS,
    VISIT_COLUMN_SETTINGS,
)
from health_pipelines.settings.visit_columns import VisitColumns


class _Process:
    environment: Mapping[str, str] = os.environ


def use_settings(values: Mapping[str, str]) -> None:
    """Let `values` be the settings of this process from now on, instead of its environment.

    The environment stays as it is: child processes inherit it, and keys have no business there.
    """
    _Process.environment = values


class Settings(PublishValues, PrivacyValues, AgainValues, UiValues, LakeValues):
    """The settings of one process. Values are read from `environment` when asked for, and so are the files of
    secrets: a file that is replaced counts at once.

    Every property raises `SettingError` when its variable is missing or malformed.
    """

    @classmethod
    def of_this_process(cls) -> "Settings":
        """Those of the environment, or of the place that this process is for (`use_settings`)."""
        return cls(_Process.environment)

    @property
    def data_dir(self) -> Path:
        """Absolute; a relative value counts from the working directory."""
        text = self.text(HEALTH_DATA_DIR)
        folder = self.folder(HEALTH_DATA_DIR)
        # The whole path: a relative folder is below one that may be called anything.
        if set(str(folder)) & set("*?[]\\") or not str(folder).isprintable():
            raise SettingError(
                f"{HEALTH_DATA_DIR.name} is {text!r}; a path with *, ?, brackets, a backslash or a character "
                "that cannot be printed cannot hold the lake, because DuckDB would read it as a pattern. It "
                "counts from the working directory; set another folder."
            )
        return folder

    @property
    def data_group(self) -> str | None:
        """The name of the group that may read the data folder; None for nobody."""
        text = self.optional(HEALTH_DATA_GROUP)
        if text and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", text):
            raise SettingError(f"{HEALTH_DATA_GROUP.name} is {text!r}, which is no name of a group.")
        return text or None

    timezone = Value(Variables.zone, HEALTH_TIMEZONE)

    @property
    def start_date(self) -> date:
        text = self.text(HEALTH_START_DATE)
        try:
            return date.fromisoformat(text)
        except ValueError:
            raise SettingError(f"{HEALTH_START_DATE.name} is {text!r}, not a date like 2025-01-01.") from None

    catch_up_days = Value(Variables.whole_number, HEALTH_CATCH_UP_DAYS)
    unusual_rows_below = Value(Variables.part, HEALTH_UNUSUAL_ROWS_BELOW)
    """The part of its usual rows below which a day is odd, from 0 to 1."""
    unusual_rows_from = Value(Variables.whole_number, HEALTH_UNUSUAL_ROWS_FROM)

    @property
    def run_starts_within(self) -> timedelta:
        """From a run's start to its first step at most: the definitions are loaded meanwhile."""
        return timedelta(seconds=self.whole_number(HEALTH_RUN_START_SECONDS))

    @property
    def days_left_out(self) -> tuple[LeftOut, ...]:
        """The days that nobody is to miss."""
        text = self.optional(HEALTH_DAYS_LEFT_OUT)
        return tuple(left_out(part.strip(), text) for part in text.split(",") if part.strip())

    @property
    def asset_prefix(self) -> str:
        """Empty if assets have no prefix."""
        text = self.optional(HEALTH_ASSET_PREFIX)
        if text and not re.fullmatch(r"[A-Za-z0-9_]+", text):
            raise SettingError(
                f"{HEALTH_ASSET_PREFIX.name} is {text!r}; "
                "a prefix is made of letters, digits and underscores."
            )
        return text

    expected_by = Value(Variables.time_of_day, HEALTH_EXPECTED_BY)

    @property
    def has_dexcare(self) -> bool:
        """Whether this place is to call DexCare by itself."""
        return bool(self.optional(DEXCARE_BASE_URL))

    @property
    def has_drchrono(self) -> bool:
        """Whether this place is to call DrChrono by itself."""
        return self.is_set(DRCHRONO_ACCESS_TOKEN) or self.is_set(DRCHRONO_CLIENT_ID)

    @property
    def has_provider_histories(self) -> bool:
        """Whether there is a host to ask for them."""
        return self.has_dexcare or self.is_set(DEXCARE_APR_BASE_URL)

    @property
    def more_vendors(self) -> tuple[str, ...]:
        """Names of Python modules."""
        return tuple(name.strip() for name in self.optional(HEALTH_VENDORS).split(",") if name.strip())

    build_warehouse = Value(Variables.yes_or_no, HEALTH_BUILD_WAREHOUSE)
    """Whether a sensor has the warehouse built, or nobody but people do."""
    dexcare_base_url = Value(Variables.text, DEXCARE_BASE_URL)
    dexcare_service_key = Value(Variables.secret, DEXCARE_SERVICE_KEY)

    @property
    def dexcare_apr_base_url(self) -> str:
        return self.optional(DEXCARE_APR_BASE_URL) or self.dexcare_base_url

    @property
    def dexcare_apr_api_key(self) -> Secret:
        return Secret(self.optional(DEXCARE_APR_API_KEY) or self.text(DEXCARE_SERVICE_KEY))

    dexcare_poll_seconds = Value(Variables.whole_number, DEXCARE_POLL_SECONDS)
    dexcare_failed_grace_seconds = Value(Variables.whole_number, DEXCARE_FAILED_GRACE_SECONDS)
    dexcare_report_timeout_seconds = Value(Variables.whole_number, DEXCARE_REPORT_TIMEOUT_SECONDS)
    dexcare_max_attempts = Value(Variables.whole_number, DEXCARE_MAX_ATTEMPTS)
    dexcare_daily_at = Value(Variables.time_of_day, DEXCARE_DAILY_AT)
    dexcare_lookback_days = Value(Variables.whole_number, DEXCARE_LOOKBACK_DAYS)
    dexcare_poll_concurrency = Value(Variables.whole_number, DEXCARE_POLL_CONCURRENCY)

    @property
    def dexcare_http_policy(self) -> HttpPolicy:
        return HttpPolicy(
            concurrency=self.whole_number(DEXCARE_CONCURRENCY),
            attempts=self.whole_number(DEXCARE_HTTP_ATTEMPTS),
            timeout_seconds=self.whole_number(DEXCARE_HTTP_TIMEOUT_SECONDS),
            **self._bounds_of_answers(),
        )

    @property
    def dexcare_visit_columns(self) -> Mapping[str, VisitColumns]:
        """What the columns of each visit report type are called."""
        return {
            report_type: VisitColumns(
                key=self.optional(of_type["key"]) or None,
                time=self.optional(of_type["time"]) or None,
                status=self.optional(of_type["status"]) or None,
                wait_from=self.optional(of_type["wait_from"]) or None,
                wait_until=self.optional(of_type["wait_until"]) or None,
            )
            for report_type, of_type in VISIT_COLUMN_SETTINGS.items()
        }

    drchrono_base_url = Value(Variables.text, DRCHRONO_BASE_URL)
    drchrono_access_token = Value(Variables.secret_if_set, DRCHRONO_ACCESS_TOKEN)
    """None if tokens are to be renewed with the three settings of the application."""
    drchrono_client_id = Value(Variables.text, DRCHRONO_CLIENT_ID)
    drchrono_client_secret = Value(Variables.secret, DRCHRONO_CLIENT_SECRET)
    drchrono_refresh_token = Value(Variables.secret, DRCHRONO_REFRESH_TOKEN)

    @property
    def drchrono_timezone(self) -> ZoneInfo:
        return self.zone(DRCHRONO_TIMEZONE if self.optional(DRCHRONO_TIMEZONE) else HEALTH_TIMEZONE)

    drchrono_calls_per_hour = Value(Variables.whole_number, DRCHRONO_CALLS_PER_HOUR)
    drchrono_calls_per_second = Value(Variables.whole_number, DRCHRONO_CALLS_PER_SECOND)
    drchrono_concurrency = Value(Variables.whole_number, DRCHRONO_CONCURRENCY)
    drchrono_verbose = Value(Variables.yes_or_no, DRCHRONO_VERBOSE)
    drchrono_daily_at = Value(Variables.time_of_day, DRCHRONO_DAILY_AT)
    drchrono_lookback_days = Value(Variables.whole_number, DRCHRONO_LOOKBACK_DAYS)

    @property
    def drchrono_http_policy(self) -> HttpPolicy:
        return HttpPolicy(
            concurrency=self.drchrono_concurrency,
            attempts=self.whole_number(DRCHRONO_HTTP_ATTEMPTS),
            timeout_seconds=self.whole_number(DRCHRONO_HTTP_TIMEOUT_SECONDS),
            **self._bounds_of_answers(),
        )

    def _bounds_of_answers(self) -> dict[str, int]:
        return {
            "longest_seconds": self.whole_number(HEALTH_LONGEST_ANSWER_SECONDS),
            "largest_answer_bytes": self.whole_number(HEALTH_LARGEST_ANSWER_MB) * MEGABYTE,
            "largest_download_bytes": self.whole_number(HEALTH_LARGEST_REPORT_MB) * MEGABYTE,
        }

    has_webhook_alert = Value(Variables.is_set, ALERT_WEBHOOK_URL)
    """Whether alerts go to a webhook."""

    @property
    def has_email_alert(self) -> bool:
        """Whether alerts go out as e-mail. Any setting that only e-mail needs says that somebody wants it."""
        return any(self.is_set(one) for one in (ALERT_SMTP_HOST, ALERT_EMAIL_FROM, ALERT_EMAIL_TO))

    alert_webhook_url = Value(Variables.secret, ALERT_WEBHOOK_URL)
    alert_smtp_host = Value(Variables.text, ALERT_SMTP_HOST)
    alert_smtp_port = Value(Variables.port, ALERT_SMTP_PORT)

    @property
    def alert_smtp_security(self) -> str:
        """One of starttls, tls and none."""
        text = self.text(ALERT_SMTP_SECURITY).lower()
        if text not in ("starttls", "tls", "none"):
            raise SettingError(f"{ALERT_SMTP_SECURITY.name} is {text!r}, not starttls, tls or none.")
        return text

    alert_smtp_user = Value(Variables.optional, ALERT_SMTP_USER)
    """Empty if the mail server wants no login."""
    alert_smtp_password = Value(Variables.secret, ALERT_SMTP_PASSWORD)

    @property
    def alert_email_from(self) -> str:
        [address] = self.addresses(ALERT_EMAIL_FROM, self.text(ALERT_EMAIL_FROM))
        return address

    @property
    def alert_email_to(self) -> tuple[str, ...]:
        return self.addresses(ALERT_EMAIL_TO, *self.text(ALERT_EMAIL_TO).split(","))

    alert_pause_minutes = Value(Variables.whole_number, ALERT_PAUSE_MINUTES)

    @property
    def postgres_url(self) -> Secret | None:
        """None without PostgreSQL. A secret, since it holds a password; put together if its parts are set."""
        return self.database_url(
            DAGSTER_POSTGRES_URL,
            host=DAGSTER_POSTGRES_HOST,
            port=DAGSTER_POSTGRES_PORT,
            database=DAGSTER_POSTGRES_DB,
            user=DAGSTER_POSTGRES_USER,
            password=DAGSTER_POSTGRES_PASSWORD,
        )

    postgres_password = Value(Variables.secret_if_set, DAGSTER_POSTGRES_PASSWORD)
    """None if the URL has it, or the server wants none."""
    places_dir = Value(Variables.folder, HEALTH_PLACES_DIR)
    """Absolute; a relative value counts from the working directory."""

    @classmethod
    def names(cls) -> list[str]:
        """Of everything that can be read here."""
        every = {name: value for one in reversed(cls.__mro__) for name, value in vars(one).items()}
        return [name for name, value in every.items() if isinstance(value, property | Value)]

    def revealed_secrets(self) -> set[str]:
        """Every secret that can be read, to be taken out of what is shown. Not to be shown itself."""
        found = set()
        for setting in ALL_SETTINGS:
            if not setting.secret:
                continue
            found.add(self.variable(setting.name))
            try:
                found.add(self.optional(setting))
            except SettingError:  # said by whoever needs it
                continue
        return found - {""}
