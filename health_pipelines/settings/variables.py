"""Every environment variable this project reads: its name, its default and what it means.

Belongs here: the list. Does not belong here: how a value is read and what is said of a bad one (`values.py`).
"""

from collections.abc import Mapping

from health_pipelines.settings.setting import Setting

HEALTH_DATA_DIR = Setting(
    "HEALTH_DATA_DIR", "data", "Folder for the lake, the warehouse and the embedded Dagster home."
)
HEALTH_DATA_GROUP = Setting(
    "HEALTH_DATA_GROUP",
    None,
    "A group whose members may read the lake and the warehouse; without one, nobody but their owner may.",
)
HEALTH_LAKE_URL = Setting(
    "HEALTH_LAKE_URL",
    None,
    "Where the lake is in object storage (s3://bucket/prefix, gs://, az://); if not set, in HEALTH_DATA_DIR.",
)
HEALTH_LAKE_COPIES_GB = Setting(
    "HEALTH_LAKE_COPIES_GB",
    "50",
    "So many gigabytes of a lake at a URL may lie in HEALTH_DATA_DIR as copies; the longest unused go.",
)
HEALTH_TIMEZONE = Setting(
    "HEALTH_TIMEZONE",
    "UTC",
    "The health system's time zone (IANA name). A daily partition is a calendar day there.",
)
HEALTH_START_DATE = Setting(
    "HEALTH_START_DATE",
    "2025-01-01",
    "The first day that can be asked for. Dagster's UI counts all days since as missing until they land.",
)
HEALTH_CATCH_UP_DAYS = Setting(
    "HEALTH_CATCH_UP_DAYS",
    "31",
    "So many missing days behind the look-back does each daily schedule ask for, the oldest first.",
)
HEALTH_UNUSUAL_ROWS_BELOW = Setting(
    "HEALTH_UNUSUAL_ROWS_BELOW",
    "0.1",
    "A day with less than this part of the rows it had, or that its weekday usually has, is odd; 0: none.",
)
HEALTH_UNUSUAL_ROWS_FROM = Setting(
    "HEALTH_UNUSUAL_ROWS_FROM", "20", "So many rows a day must have had, or usually have, for few to be odd."
)
HEALTH_RUN_START_SECONDS = Setting(
    "HEALTH_RUN_START_SECONDS",
    "300",
    "A run that has not come to its first step after so long has lost its process, and is ended.",
)
HEALTH_LARGEST_ANSWER_MB = Setting(
    "HEALTH_LARGEST_ANSWER_MB",
    "256",
    "A vendor's answer that is held in memory (a page, a status) may have so many megabytes, unpacked.",
)
HEALTH_LARGEST_REPORT_MB = Setting(
    "HEALTH_LARGEST_REPORT_MB",
    "20000",
    "A report that is written to the disk may have so many megabytes, unpacked.",
)
HEALTH_LONGEST_ANSWER_SECONDS = Setting(
    "HEALTH_LONGEST_ANSWER_SECONDS",
    "3600",
    "A vendor's answer, a report's too, may take so long to its last byte; then the call is tried again.",
)
HEALTH_DAYS_LEFT_OUT = Setting(
    "HEALTH_DAYS_LEFT_OUT",
    None,
    "Days that are meant to be missing, with commas between: 2026-03-01, 2026-03-05..2026-03-09, "
    "dexcare/avr_retail:2026-04-01.",
)
HEALTH_LEAVE_OUT = Setting(
    "HEALTH_LEAVE_OUT",
    None,
    "Columns that do not reach the lake, with commas between: drchrono/patients.social_security_number, "
    "dexcare/*.SSN; or identifiers, free_text (minimisation.md).",
)
HEALTH_HASHED = Setting(
    "HEALTH_HASHED",
    None,
    "Columns of which only a keyed hash reaches the lake, named alike: drchrono/patients.chart_id.",
)
HEALTH_HASH_KEY = Setting(
    "HEALTH_HASH_KEY",
    None,
    "The key of those hashes, 32 characters or more. Whoever has it can find out what was hashed.",
    secret=True,
)
HEALTH_PATIENT_COLUMNS = Setting(
    "HEALTH_PATIENT_COLUMNS",
    None,
    "Columns with the id of a row's patient, named alike, for `erase`; those of DrChrono are known. "
    "dexcare/avr_retail.- for a table that names no patient.",
)
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
HEALTH_OWNERS = Setting(
    "HEALTH_OWNERS",
    None,
    "Who owns the assets, for Dagster's UI: e-mail addresses and team:name, with commas between.",
)
HEALTH_DOCS_URL = Setting(
    "HEALTH_DOCS_URL",
    None,
    "Where people read this project's folder docs, e.g. https://git.YOUR_DOMAIN.com/.../docs; assets then "
    "link to their page.",
)
HEALTH_VENDORS = Setting(
    "HEALTH_VENDORS",
    None,
    "Python modules of more vendors, with commas between; each has a VENDOR in it (CONTRIBUTING.md).",
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
DEXCARE_WEEKLY_LOOKBACK_DAYS = Setting(
    "DEXCARE_WEEKLY_LOOKBACK_DAYS",
    "35",
    "Once a week, on Sunday, it asks for this many days instead, as far as they landed before; 0: never.",
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
            f"The column of the {report_type.replace('_', ' ')} visit report {meaning}; guessed if not set.",
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
DRCHRONO_RECONCILE = Setting(
    "DRCHRONO_RECONCILE",
    None,
    "Record types, with commas between, or all: once a month their ids are compared with the lake, to find "
    "what was deleted without a word.",
)
DRCHRONO_RECONCILE_MOST_CALLS = Setting(
    "DRCHRONO_RECONCILE_MOST_CALLS",
    "1500",
    "A comparison that would take more calls than this, for a record type, is refused before it starts.",
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

PUBLISH_URL = Setting(
    "PUBLISH_URL",
    None,
    "The database that current tables and marts are published into: postgresql://user:password@host/db, "
    "or mssql://… for SQL Server.",
    secret=True,
)
PUBLISH_HOST = Setting("PUBLISH_HOST", None, "The database's host, if it is not described by PUBLISH_URL.")
PUBLISH_KIND = Setting("PUBLISH_KIND", "postgresql", "What is at PUBLISH_HOST: postgresql or mssql.")
PUBLISH_PORT = Setting("PUBLISH_PORT", None, "The port of PUBLISH_HOST, if it is not 5432, or 1433 of mssql.")
PUBLISH_DB = Setting("PUBLISH_DB", "health", "The database at PUBLISH_HOST.")
PUBLISH_USER = Setting("PUBLISH_USER", "health", "The user at PUBLISH_HOST.")
PUBLISH_PASSWORD = Setting("PUBLISH_PASSWORD", None, "The password of PUBLISH_USER, as it is.", secret=True)
PUBLISH_SCHEMA = Setting(
    "PUBLISH_SCHEMA",
    "health",
    "The beginning of the two schemas that are published into: health_current and health_marts.",
)
PUBLISH_TABLES = Setting(
    "PUBLISH_TABLES",
    "current.*, marts.*",
    "What is published, with commas between: marts.*, current.avr_virtual.",
)
PUBLISH_DELETED = Setting(
    "PUBLISH_DELETED",
    "mark",
    "What becomes of deleted records: mark publishes them with is_deleted, remove does not publish them.",
)
ALL_SETTINGS = (
    *(value for value in list(globals().values()) if isinstance(value, Setting)),
    *(setting for of_type in VISIT_COLUMN_SETTINGS.values() for setting in of_type.values()),
)
