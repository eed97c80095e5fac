"""The settings of a process: each variable read when it is asked for, a bad value turned into one sentence.

Belongs here: reading and parsing.
Does not belong here: what is done with a value. Nothing is read when this module is imported; a
`Settings` reads a variable when it is asked for it, so that a missing key harms only what needs it.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import Path
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from health_pipelines.settings.http_policy import HttpPolicy
from health_pipelines.settings.secret import Secret
from health_pipelines.settings.secret_file import SecretFileError, secret_in
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
    HEALTH_PLACES_DIR,
    HEALTH_RUN_START_SECONDS,
    HEALTH_START_DATE,
    HEALTH_TIMEZONE,
    HEALTH_UI_URL,
    HEALTH_UNUSUAL_ROWS_BELOW,
    HEALTH_UNUSUAL_ROWS_FROM,
    HEALTH_VENDORS,
    VISIT_COLUMN_SETTINGS,
    Setting,
)


class SettingError(ValueError):
    """A setting is missing or cannot be understood; the message names it and says what to do."""


class MissingSettingError(SettingError):
    """A setting that has no default is not set."""


class _Process:
    environment: Mapping[str, str] = os.environ


def use_settings(values: Mapping[str, str]) -> None:
    """Let `values` be the settings of this process from now on, instead of its environment.

    The environment stays as it is: child processes inherit it, and keys have no business there.
    """
    _Process.environment = values


@dataclass(frozen=True)
class LeftOut:
    """Days that somebody means to be without, of one table or of all (`table` None), both ends included."""

    first: date
    last: date
    table: str | None = None

    def covers(self, table: str, day: date) -> bool:
        return self.first <= day <= self.last and self.table in (None, table)


@dataclass(frozen=True)
class VisitColumns:
    """What a visit report calls its columns; None where no setting says so."""

    key: str | None = None
    time: str | None = None
    status: str | None = None
    wait_from: str | None = None
    wait_until: str | None = None


@dataclass(frozen=True)
class Settings:
    """The settings of one process. Values are read from `environment` when asked for, and so are the files of
    secrets: a file that is replaced counts at once.

    Every property raises `SettingError` when its variable is missing or malformed.
    """

    # Not shown: it holds the keys.
    environment: Mapping[str, str] = field(repr=False)

    @classmethod
    def of_this_process(cls) -> "Settings":
        """Those of the environment, or of the place that this process is for (`use_settings`)."""
        return cls(_Process.environment)

    @property
    def data_dir(self) -> Path:
        """Absolute; a relative value counts from the working directory."""
        text = self._text(HEALTH_DATA_DIR)
        folder = self._folder(HEALTH_DATA_DIR)
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
        text = self._optional(HEALTH_DATA_GROUP)
        if text and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", text):
            raise SettingError(f"{HEALTH_DATA_GROUP.name} is {text!r}, which is no name of a group.")
        return text or None

    @property
    def timezone(self) -> ZoneInfo:
        return self._zone(HEALTH_TIMEZONE)

    @property
    def start_date(self) -> date:
        text = self._text(HEALTH_START_DATE)
        try:
            return date.fromisoformat(text)
        except ValueError:
            raise SettingError(f"{HEALTH_START_DATE.name} is {text!r}, not a date like 2025-01-01.") from None

    def zone_of_days(self, source: str) -> ZoneInfo:
        """Whose calendar days the partitions of a vendor's tables are; `source`: `dexcare` or `drchrono`."""
        return self.drchrono_timezone if source == "drchrono" else self.timezone

    @property
    def catch_up_days(self) -> int:
        return self._whole_number(HEALTH_CATCH_UP_DAYS)

    @property
    def unusual_rows_below(self) -> float:
        """The part of its usual rows below which a day is odd, from 0 to 1."""
        return self._part(HEALTH_UNUSUAL_ROWS_BELOW)

    @property
    def unusual_rows_from(self) -> int:
        return self._whole_number(HEALTH_UNUSUAL_ROWS_FROM)

    @property
    def run_starts_within(self) -> timedelta:
        """From a run's start to its first step at most: the definitions are loaded meanwhile."""
        return timedelta(seconds=self._whole_number(HEALTH_RUN_START_SECONDS))

    @property
    def days_left_out(self) -> tuple[LeftOut, ...]:
        """The days that nobody is to miss."""
        text = self._optional(HEALTH_DAYS_LEFT_OUT)
        return tuple(_left_out(part.strip(), text) for part in text.split(",") if part.strip())

    @property
    def asset_prefix(self) -> str:
        """Empty if assets have no prefix."""
        text = self._optional(HEALTH_ASSET_PREFIX)
        if text and not re.fullmatch(r"[A-Za-z0-9_]+", text):
            raise SettingError(
                f"{HEALTH_ASSET_PREFIX.name} is {text!r}; "
                "a prefix is made of letters, digits and underscores."
            )
        return text

    @property
    def expected_by(self) -> time:
        return self._time_of_day(HEALTH_EXPECTED_BY)

    @property
    def has_dexcare(self) -> bool:
        """Whether this place is to call DexCare by itself."""
        return bool(self._optional(DEXCARE_BASE_URL))

    @property
    def has_drchrono(self) -> bool:
        """Whether this place is to call DrChrono by itself."""
        return self._is_set(DRCHRONO_ACCESS_TOKEN) or self._is_set(DRCHRONO_CLIENT_ID)

    @property
    def has_provider_histories(self) -> bool:
        """Whether there is a host to ask for them."""
        return self.has_dexcare or self._is_set(DEXCARE_APR_BASE_URL)

    @property
    def more_vendors(self) -> tuple[str, ...]:
        """Names of Python modules."""
        return tuple(name.strip() for name in self._optional(HEALTH_VENDORS).split(",") if name.strip())

    @property
    def build_warehouse(self) -> bool:
        """Whether a sensor has the warehouse built, or nobody but people do."""
        return self._yes_or_no(HEALTH_BUILD_WAREHOUSE)

    @property
    def dexcare_base_url(self) -> str:
        return self._text(DEXCARE_BASE_URL)

    @property
    def dexcare_service_key(self) -> Secret:
        return Secret(self._text(DEXCARE_SERVICE_KEY))

    @property
    def dexcare_apr_base_url(self) -> str:
        return self._optional(DEXCARE_APR_BASE_URL) or self.dexcare_base_url

    @property
    def dexcare_apr_api_key(self) -> Secret:
        return Secret(self._optional(DEXCARE_APR_API_KEY) or self._text(DEXCARE_SERVICE_KEY))

    @property
    def dexcare_poll_seconds(self) -> int:
        return self._whole_number(DEXCARE_POLL_SECONDS)

    @property
    def dexcare_failed_grace_seconds(self) -> int:
        return self._whole_number(DEXCARE_FAILED_GRACE_SECONDS)

    @property
    def dexcare_report_timeout_seconds(self) -> int:
        return self._whole_number(DEXCARE_REPORT_TIMEOUT_SECONDS)

    @property
    def dexcare_max_attempts(self) -> int:
        return self._whole_number(DEXCARE_MAX_ATTEMPTS)

    @property
    def dexcare_daily_at(self) -> time:
        return self._time_of_day(DEXCARE_DAILY_AT)

    @property
    def dexcare_lookback_days(self) -> int:
        return self._whole_number(DEXCARE_LOOKBACK_DAYS)

    @property
    def dexcare_poll_concurrency(self) -> int:
        return self._whole_number(DEXCARE_POLL_CONCURRENCY)

    @property
    def dexcare_http_policy(self) -> HttpPolicy:
        return HttpPolicy(
            concurrency=self._whole_number(DEXCARE_CONCURRENCY),
            attempts=self._whole_number(DEXCARE_HTTP_ATTEMPTS),
            timeout_seconds=self._whole_number(DEXCARE_HTTP_TIMEOUT_SECONDS),
        )

    @property
    def dexcare_visit_columns(self) -> Mapping[str, VisitColumns]:
        """What the columns of each visit report type are called."""
        return {
            report_type: VisitColumns(
                **{name: self._optional(setting) or None for name, setting in of_type.items()}
            )
            for report_type, of_type in VISIT_COLUMN_SETTINGS.items()
        }

    @property
    def drchrono_base_url(self) -> str:
        return self._text(DRCHRONO_BASE_URL)

    @property
    def drchrono_access_token(self) -> Secret | None:
        """None if tokens are to be renewed with the three settings of the application."""
        text = self._optional(DRCHRONO_ACCESS_TOKEN)
        return Secret(text) if text else None

    @property
    def drchrono_client_id(self) -> str:
        return self._text(DRCHRONO_CLIENT_ID)

    @property
    def drchrono_client_secret(self) -> Secret:
        return Secret(self._text(DRCHRONO_CLIENT_SECRET))

    @property
    def drchrono_refresh_token(self) -> Secret:
        return Secret(self._text(DRCHRONO_REFRESH_TOKEN))

    @property
    def drchrono_timezone(self) -> ZoneInfo:
        return self._zone(DRCHRONO_TIMEZONE if self._optional(DRCHRONO_TIMEZONE) else HEALTH_TIMEZONE)

    @property
    def drchrono_calls_per_hour(self) -> int:
        return self._whole_number(DRCHRONO_CALLS_PER_HOUR)

    @property
    def drchrono_calls_per_second(self) -> int:
        return self._whole_number(DRCHRONO_CALLS_PER_SECOND)

    @property
    def drchrono_concurrency(self) -> int:
        return self._whole_number(DRCHRONO_CONCURRENCY)

    @property
    def drchrono_verbose(self) -> bool:
        return self._yes_or_no(DRCHRONO_VERBOSE)

    @property
    def drchrono_daily_at(self) -> time:
        return self._time_of_day(DRCHRONO_DAILY_AT)

    @property
    def drchrono_lookback_days(self) -> int:
        return self._whole_number(DRCHRONO_LOOKBACK_DAYS)

    @property
    def drchrono_http_policy(self) -> HttpPolicy:
        return HttpPolicy(
            concurrency=self.drchrono_concurrency,
            attempts=self._whole_number(DRCHRONO_HTTP_ATTEMPTS),
            timeout_seconds=self._whole_number(DRCHRONO_HTTP_TIMEOUT_SECONDS),
        )

    @property
    def ui_url(self) -> str:
        """Without a slash at its end; empty if nobody said where the UI is."""
        text = self._optional(HEALTH_UI_URL).rstrip("/")
        if "@" in text:
            raise SettingError(f"{HEALTH_UI_URL.name} may hold no user or password: alerts show it.")
        if text and not re.fullmatch(r"https?://[^\s<>|?#]+", text):
            raise SettingError(f"{HEALTH_UI_URL.name} is {text!r}, not a URL like https://host.")
        return text

    @property
    def has_webhook_alert(self) -> bool:
        """Whether alerts go to a webhook."""
        return self._is_set(ALERT_WEBHOOK_URL)

    @property
    def has_email_alert(self) -> bool:
        """Whether alerts go out as e-mail. Any setting that only e-mail needs says that somebody wants it."""
        return any(self._is_set(one) for one in (ALERT_SMTP_HOST, ALERT_EMAIL_FROM, ALERT_EMAIL_TO))

    @property
    def alert_webhook_url(self) -> Secret:
        return Secret(self._text(ALERT_WEBHOOK_URL))

    @property
    def alert_smtp_host(self) -> str:
        return self._text(ALERT_SMTP_HOST)

    @property
    def alert_smtp_port(self) -> int:
        return self._port(ALERT_SMTP_PORT)

    @property
    def alert_smtp_security(self) -> str:
        """One of starttls, tls and none."""
        text = self._text(ALERT_SMTP_SECURITY).lower()
        if text not in ("starttls", "tls", "none"):
            raise SettingError(f"{ALERT_SMTP_SECURITY.name} is {text!r}, not starttls, tls or none.")
        return text

    @property
    def alert_smtp_user(self) -> str:
        """Empty if the mail server wants no login."""
        return self._optional(ALERT_SMTP_USER)

    @property
    def alert_smtp_password(self) -> Secret:
        return Secret(self._text(ALERT_SMTP_PASSWORD))

    @property
    def alert_email_from(self) -> str:
        [address] = self._addresses(ALERT_EMAIL_FROM, self._text(ALERT_EMAIL_FROM))
        return address

    @property
    def alert_email_to(self) -> tuple[str, ...]:
        return self._addresses(ALERT_EMAIL_TO, *self._text(ALERT_EMAIL_TO).split(","))

    @property
    def alert_pause_minutes(self) -> int:
        return self._whole_number(ALERT_PAUSE_MINUTES)

    @property
    def postgres_url(self) -> Secret | None:
        """None without PostgreSQL. A secret, since it holds a password; put together if its parts are set."""
        text, host = self._optional(DAGSTER_POSTGRES_URL), self._optional(DAGSTER_POSTGRES_HOST)
        user, database = self._text(DAGSTER_POSTGRES_USER), self._text(DAGSTER_POSTGRES_DB)
        port, password = self._port(DAGSTER_POSTGRES_PORT), self.postgres_password
        if text and host:
            raise SettingError(
                f"{DAGSTER_POSTGRES_URL.name} and {DAGSTER_POSTGRES_HOST.name} are both set; remove one of "
                "them."
            )
        if not host:
            return Secret(text) if text else None
        owner = quote(user, safe="") + (f":{quote(password.reveal(), safe='')}" if password else "")
        # In the query a host may also be a folder with a socket, or an address of IPv6.
        place = urlencode({"host": host, "port": port}, quote_via=quote)
        return Secret(f"postgresql://{owner}@/{quote(database, safe='')}?{place}")

    @property
    def postgres_password(self) -> Secret | None:
        """None if the URL has it, or the server wants none."""
        text = self._optional(DAGSTER_POSTGRES_PASSWORD)
        return Secret(text) if text else None

    @property
    def places_dir(self) -> Path:
        """Absolute; a relative value counts from the working directory."""
        return self._folder(HEALTH_PLACES_DIR)

    def revealed_secrets(self) -> set[str]:
        """Every secret that can be read, to be taken out of what is shown. Not to be shown itself."""
        found = set()
        for setting in ALL_SETTINGS:
            if not setting.secret:
                continue
            found.add(self._variable(setting.name))
            try:
                found.add(self._optional(setting))
            except SettingError:  # said by whoever needs it
                continue
        return found - {""}

    def _yes_or_no(self, setting: Setting) -> bool:
        text = self._text(setting).lower()
        if text not in ("true", "false"):
            raise SettingError(f"{setting.name} is {text!r}, neither true nor false.")
        return text == "true"

    def _folder(self, setting: Setting) -> Path:
        text = self._text(setting)
        try:
            return Path(text).expanduser().absolute()
        except RuntimeError:  # no such user
            raise SettingError(f"{setting.name} is {text!r}, a home folder that is not known.") from None

    def _zone(self, setting: Setting) -> ZoneInfo:
        name = self._text(setting)
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # unknown, malformed, or the name of a folder
            raise SettingError(
                f"{setting.name} is {name!r}, which is not an IANA time zone such as America/Chicago."
            ) from None

    def _addresses(self, setting: Setting, *texts: str) -> tuple[str, ...]:
        addresses = tuple(text.strip() for text in texts)
        for address in addresses:
            if not address.isascii() or not re.fullmatch(r"[^@\s<>,;:]+@[^@\s<>,;:]+", address):
                raise SettingError(
                    f"{setting.name} is {self._text(setting)!r}, where {address!r} is not an address like "
                    "data-team@YOUR_DOMAIN.com."
                )
        return addresses

    def _time_of_day(self, setting: Setting) -> time:
        text = self._text(setting)
        try:
            return datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007 (a time of day has no zone)
        except ValueError:
            raise SettingError(f"{setting.name} is {text!r}, not a time of day like 02:15.") from None

    def _text(self, setting: Setting) -> str:
        value = self._optional(setting) or setting.default
        if value is None:
            raise MissingSettingError(f"{setting.name} is not set. {setting.meaning}")
        return value

    def _optional(self, setting: Setting) -> str:
        if not setting.secret or not self._variable(setting.file_name):
            return self._variable(setting.name)
        if self._variable(setting.name):
            raise SettingError(f"{setting.name} and {setting.file_name} are both set; remove one of them.")
        try:
            return secret_in(self._variable(setting.file_name)).reveal()
        except SecretFileError as error:
            problem = str(error)
        raise SettingError(f"{setting.file_name} is {self._variable(setting.file_name)!r}, which {problem}.")

    def _is_set(self, setting: Setting) -> bool:
        return any(self._variable(name) for name in setting.variables)

    def _variable(self, name: str) -> str:
        # An empty variable is an unset one: compose files and CI systems pass those on.
        return self.environment.get(name, "").strip()

    def _port(self, setting: Setting) -> int:
        port = self._whole_number(setting)
        if port > 65535:
            raise SettingError(f"{setting.name} is '{port}', which no port has as its number.")
        return port

    def _part(self, setting: Setting) -> float:
        text = self._text(setting)
        try:
            part = float(text)
        except ValueError:
            part = -1
        if not 0 <= part <= 1:
            raise SettingError(f"{setting.name} is {text!r}, not a number from 0 to 1. {setting.meaning}")
        return part

    def _whole_number(self, setting: Setting) -> int:
        text = self._text(setting)
        try:
            number = int(text)
        except ValueError:
            number = 0
        if number < 1:
            raise SettingError(f"{setting.name} is {text!r}, not a whole number above 0. {setting.meaning}")
        return number


def _left_out(text: str, whole: str) -> LeftOut:
    """`2026-03-01`, `2026-03-01..2026-03-05`, and either behind the name of a table and a colon."""
    table, colon, days = text.rpartition(":")
    first, _, last = days.partition("..")
    try:
        found = LeftOut(
            date.fromisoformat(first.strip()), date.fromisoformat((last or first).strip()), table or None
        )
    except ValueError:
        found = None
    if found is None or found.last < found.first or (colon and "/" not in table):
        raise SettingError(
            f"{HEALTH_DAYS_LEFT_OUT.name} is {whole!r}"
            + (f", where {text!r} is" if text != whole else ", which is")
            + " no day like 2026-03-01, no range like 2026-03-01..2026-03-05, and neither of them behind a "
            "table like dexcare/avr_retail:."
        )
    return found
