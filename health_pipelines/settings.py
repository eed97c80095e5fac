"""Every environment variable this project reads: its name, its default and what it means.

Belongs here: names, defaults, meanings and the parsing that turns a bad value into one sentence.
Does not belong here: what is done with a value. Nothing is read when this module is imported; a
`Settings` reads a variable when it is asked for it, so that a missing key harms only what needs it.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from pathlib import Path
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from health_pipelines.http import HttpPolicy, Secret
from health_pipelines.secret_file import SecretFileError, secret_in


class SettingError(ValueError):
    """A setting is missing or cannot be understood; the message names it and says what to do."""


class MissingSettingError(SettingError):
    """A setting that has no default is not set."""


@dataclass(frozen=True)
class Setting:
    """One environment variable. `default` is None where there is none that could be right.

    A `secret` may also be in a file, as orchestrators mount them, which the variable `file_name` then names.
    """

    name: str
    default: str | None
    meaning: str
    secret: bool = False

    @property
    def file_name(self) -> str:
        return f"{self.name}_FILE"

    @property
    def variables(self) -> tuple[str, ...]:
        """Every environment variable that can set it."""
        return (self.name, self.file_name) if self.secret else (self.name,)


HEALTH_DATA_DIR = Setting(
    "HEALTH_DATA_DIR", "data", "Folder for the lake, the warehouse and the embedded Dagster home."
)
HEALTH_TIMEZONE = Setting(
    "HEALTH_TIMEZONE",
    "UTC",
    "The health system's time zone (IANA name). A daily partition is a calendar day there.",
)
HEALTH_START_DATE = Setting("HEALTH_START_DATE", "2025-01-01", "The first day that can be asked for.")
HEALTH_ASSET_PREFIX = Setting(
    "HEALTH_ASSET_PREFIX",
    None,
    "Put before the key of every asset, e.g. uat, so that several places can share one Dagster instance.",
)
HEALTH_EXPECTED_BY = Setting(
    "HEALTH_EXPECTED_BY",
    "08:00",
    "From this time of day, in HEALTH_TIMEZONE, yesterday is expected to have landed.",
)
HEALTH_BUILD_WAREHOUSE = Setting(
    "HEALTH_BUILD_WAREHOUSE",
    "true",
    "Whether the warehouse's current tables and marts are built by themselves when something has landed.",
)
DEXCARE_BASE_URL = Setting(
    "DEXCARE_BASE_URL", None, "DexCare's API host, e.g. https://ecvapi.care.YOUR_DOMAIN.com (no path)."
)
DEXCARE_SERVICE_KEY = Setting(
    "DEXCARE_SERVICE_KEY", None, "The reporting service key. Treat it like a password.", secret=True
)
DEXCARE_APR_BASE_URL = Setting(
    "DEXCARE_APR_BASE_URL", None, "The host of provider histories (APR), if it is not DEXCARE_BASE_URL."
)
DEXCARE_APR_API_KEY = Setting(
    "DEXCARE_APR_API_KEY",
    None,
    "The key of provider histories (APR), if it is not DEXCARE_SERVICE_KEY.",
    secret=True,
)
DEXCARE_POLL_SECONDS = Setting(
    "DEXCARE_POLL_SECONDS", "15", "The sensor asks for the status of open reports this often."
)
DEXCARE_FAILED_GRACE_SECONDS = Setting(
    "DEXCARE_FAILED_GRACE_SECONDS",
    "600",
    "How long a FAILED report is watched before another is started; doubles with each attempt.",
)
DEXCARE_REPORT_TIMEOUT_SECONDS = Setting(
    "DEXCARE_REPORT_TIMEOUT_SECONDS", "21600", "The age at which a report that is not done is late."
)
DEXCARE_MAX_ATTEMPTS = Setting(
    "DEXCARE_MAX_ATTEMPTS", "3", "How many reports are started for a day before it is given up."
)
DEXCARE_DAILY_AT = Setting(
    "DEXCARE_DAILY_AT", "02:15", "When the daily schedule asks for reports, in HEALTH_TIMEZONE."
)
DEXCARE_LOOKBACK_DAYS = Setting(
    "DEXCARE_LOOKBACK_DAYS",
    "10",
    "The daily schedule asks again for this many days up to yesterday, because visits change afterwards.",
)
DEXCARE_CONCURRENCY = Setting("DEXCARE_CONCURRENCY", "5", "Calls to DexCare at the same time, per process.")
DEXCARE_POLL_CONCURRENCY = Setting(
    "DEXCARE_POLL_CONCURRENCY", "20", "Status calls to DexCare at the same time, in a tick of the sensor."
)
DEXCARE_HTTP_ATTEMPTS = Setting(
    "DEXCARE_HTTP_ATTEMPTS", "4", "How often one call is tried when the network or the server fails."
)
DEXCARE_HTTP_TIMEOUT_SECONDS = Setting(
    "DEXCARE_HTTP_TIMEOUT_SECONDS", "30", "Longest silence on a connection before it counts as broken."
)
_VISIT_COLUMN_MEANINGS = {
    "key": "that tells its rows apart, by its name in the report",
    "time": "with the visit's time (in HEALTH_TIMEZONE)",
    "status": "with the visit's status",
    "wait_from": "with the time at which the patient began to wait",
    "wait_until": "with the time at which the wait was over",
}
# By report type and field of `VisitColumns`: DexCare does not publish the columns of its visit reports.
VISIT_COLUMN_SETTINGS: Mapping[str, Mapping[str, Setting]] = {
    report_type: {
        field_name: Setting(
            f"DEXCARE_AVR_{report_type.upper()}_{field_name.upper()}",
            None,
            f"The column of the {report_type.replace('_', ' ')} visit report {meaning}.",
        )
        for field_name, meaning in _VISIT_COLUMN_MEANINGS.items()
    }
    for report_type in ("virtual", "retail", "provider_booking")
}
DRCHRONO_BASE_URL = Setting("DRCHRONO_BASE_URL", "https://app.drchrono.com", "DrChrono's host (no path).")
DRCHRONO_ACCESS_TOKEN = Setting(
    "DRCHRONO_ACCESS_TOKEN",
    None,
    "A bearer token that somebody else renews; otherwise the three below.",
    secret=True,
)
DRCHRONO_CLIENT_ID = Setting("DRCHRONO_CLIENT_ID", None, "The id of your DrChrono API application.")
DRCHRONO_CLIENT_SECRET = Setting(
    "DRCHRONO_CLIENT_SECRET",
    None,
    "The secret of your DrChrono API application. Treat it like a password.",
    secret=True,
)
DRCHRONO_REFRESH_TOKEN = Setting(
    "DRCHRONO_REFRESH_TOKEN",
    None,
    "The refresh token to begin with; its successors are kept in HEALTH_DATA_DIR.",
    secret=True,
)
DRCHRONO_TIMEZONE = Setting(
    "DRCHRONO_TIMEZONE", None, "The time zone of the DrChrono account, if it is not HEALTH_TIMEZONE."
)
DRCHRONO_CALLS_PER_HOUR = Setting(
    "DRCHRONO_CALLS_PER_HOUR",
    "500",
    "The quota of your DrChrono application, which starts anew every full hour.",
)
DRCHRONO_CALLS_PER_SECOND = Setting(
    "DRCHRONO_CALLS_PER_SECOND", "10", "Calls to DrChrono in a second; more are throttled."
)
DRCHRONO_CONCURRENCY = Setting(
    "DRCHRONO_CONCURRENCY", "25", "Lists that DrChrono prepares for a sweep at the same time."
)
DRCHRONO_VERBOSE = Setting(
    "DRCHRONO_VERBOSE", "false", "Whether to ask for the fields that DrChrono sends only on request."
)
DRCHRONO_DAILY_AT = Setting(
    "DRCHRONO_DAILY_AT", "03:15", "When the daily schedule sweeps the bulk lists, in HEALTH_TIMEZONE."
)
DRCHRONO_LOOKBACK_DAYS = Setting(
    "DRCHRONO_LOOKBACK_DAYS", "3", "The daily schedule sweeps this many days up to yesterday."
)
DRCHRONO_HTTP_ATTEMPTS = Setting(
    "DRCHRONO_HTTP_ATTEMPTS", "4", "How often one call is tried when the network or the server fails."
)
DRCHRONO_HTTP_TIMEOUT_SECONDS = Setting(
    "DRCHRONO_HTTP_TIMEOUT_SECONDS", "60", "Longest silence on a connection before it counts as broken."
)
DAGSTER_POSTGRES_URL = Setting(
    "DAGSTER_POSTGRES_URL",
    None,
    "PostgreSQL for Dagster's own storage in production; the embedded home needs none.",
    secret=True,
)
DAGSTER_POSTGRES_HOST = Setting(
    "DAGSTER_POSTGRES_HOST", None, "PostgreSQL's host, if it is not described by DAGSTER_POSTGRES_URL."
)
DAGSTER_POSTGRES_PORT = Setting("DAGSTER_POSTGRES_PORT", "5432", "The port of DAGSTER_POSTGRES_HOST.")
DAGSTER_POSTGRES_DB = Setting("DAGSTER_POSTGRES_DB", "dagster", "The database at DAGSTER_POSTGRES_HOST.")
DAGSTER_POSTGRES_USER = Setting("DAGSTER_POSTGRES_USER", "dagster", "The user at DAGSTER_POSTGRES_HOST.")
DAGSTER_POSTGRES_PASSWORD = Setting(
    "DAGSTER_POSTGRES_PASSWORD", None, "The password of DAGSTER_POSTGRES_USER, as it is.", secret=True
)
POSTGRES_SETTINGS = (
    DAGSTER_POSTGRES_URL,
    DAGSTER_POSTGRES_HOST,
    DAGSTER_POSTGRES_PORT,
    DAGSTER_POSTGRES_DB,
    DAGSTER_POSTGRES_USER,
    DAGSTER_POSTGRES_PASSWORD,
)

HEALTH_UI_URL = Setting(
    "HEALTH_UI_URL",
    None,
    "Where people reach Dagster's UI, e.g. https://dagster.YOUR_DOMAIN.com; alerts then link to their runs.",
)
ALERT_WEBHOOK_URL = Setting(
    "ALERT_WEBHOOK_URL",
    None,
    "The webhook that alerts go to, as Slack has them. Treat it like a password.",
    secret=True,
)
ALERT_SMTP_HOST = Setting("ALERT_SMTP_HOST", None, "The mail server, if alerts go out as e-mail.")
ALERT_SMTP_PORT = Setting("ALERT_SMTP_PORT", "587", "The mail server's port.")
ALERT_SMTP_SECURITY = Setting(
    "ALERT_SMTP_SECURITY",
    "starttls",
    "How mail is encrypted on its way to the server: starttls, tls (from the start, often port 465) or none.",
)
ALERT_SMTP_USER = Setting("ALERT_SMTP_USER", None, "The user at the mail server, if it wants a login.")
ALERT_SMTP_PASSWORD = Setting("ALERT_SMTP_PASSWORD", None, "The password of ALERT_SMTP_USER.", secret=True)
ALERT_EMAIL_FROM = Setting("ALERT_EMAIL_FROM", None, "The address that alerts come from.")
ALERT_EMAIL_TO = Setting("ALERT_EMAIL_TO", None, "The addresses that alerts go to, with commas between them.")
ALERT_PAUSE_MINUTES = Setting(
    "ALERT_PAUSE_MINUTES", "15", "After an alert, what comes next is collected for this long into one more."
)

HEALTH_PLACES_DIR = Setting(
    "HEALTH_PLACES_DIR",
    None,
    "Folder with a settings file for each place, e.g. uat.env, where several share one Dagster instance.",
)

ALL_SETTINGS = (
    *(value for value in list(globals().values()) if isinstance(value, Setting)),
    *(setting for of_type in VISIT_COLUMN_SETTINGS.values() for setting in of_type.values()),
)


class _Process:
    environment: Mapping[str, str] = os.environ


def use_settings(values: Mapping[str, str]) -> None:
    """Let `values` be the settings of this process from now on, instead of its environment.

    The environment stays as it is: child processes inherit it, and keys have no business there.
    """
    _Process.environment = values


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
        if set(text) & set("*?[]"):
            raise SettingError(
                f"{HEALTH_DATA_DIR.name} is {text!r}; a folder with *, ? or brackets in its name cannot hold "
                "the lake, because DuckDB would read them as a pattern."
            )
        return self._folder(HEALTH_DATA_DIR)

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

    def _whole_number(self, setting: Setting) -> int:
        text = self._text(setting)
        try:
            number = int(text)
        except ValueError:
            number = 0
        if number < 1:
            raise SettingError(f"{setting.name} is {text!r}, not a whole number above 0. {setting.meaning}")
        return number
