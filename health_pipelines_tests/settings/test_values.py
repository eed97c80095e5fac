"""What a setting may be, what is said of one that may not, and that keys stay hidden."""

import copy
import io
import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import date, time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from health_pipelines.settings import HttpPolicy, Secret, SettingError, Settings, VisitColumns
from health_pipelines.settings import variables as module
from health_pipelines.settings.setting import Setting
from health_pipelines.settings.variables import ALL_SETTINGS, VISIT_COLUMN_SETTINGS

KEY = "k3y-that-nobody-may-see"

READERS: dict[str, Callable[[Settings], object]] = {
    "HEALTH_DATA_DIR": lambda settings: settings.data_dir,
    "HEALTH_DATA_GROUP": lambda settings: settings.data_group,
    "HEALTH_LAKE_URL": lambda settings: settings.lake_url,
    "HEALTH_LAKE_COPIES_GB": lambda settings: settings.most_bytes_of_copies,
    "HEALTH_CATCH_UP_DAYS": lambda settings: settings.catch_up_days,
    "HEALTH_VENDORS": lambda settings: settings.more_vendors,
    "HEALTH_UNUSUAL_ROWS_BELOW": lambda settings: settings.unusual_rows_below,
    "HEALTH_UNUSUAL_ROWS_FROM": lambda settings: settings.unusual_rows_from,
    "HEALTH_RUN_START_SECONDS": lambda settings: settings.run_starts_within,
    "HEALTH_LARGEST_ANSWER_MB": lambda settings: settings.dexcare_http_policy,
    "HEALTH_LARGEST_REPORT_MB": lambda settings: settings.drchrono_http_policy,
    "HEALTH_LONGEST_ANSWER_SECONDS": lambda settings: settings.dexcare_http_policy,
    "HEALTH_DAYS_LEFT_OUT": lambda settings: settings.days_left_out,
    "HEALTH_TIMEZONE": lambda settings: settings.timezone,
    "HEALTH_START_DATE": lambda settings: settings.start_date,
    "HEALTH_ASSET_PREFIX": lambda settings: settings.asset_prefix,
    "HEALTH_EXPECTED_BY": lambda settings: settings.expected_by,
    "DEXCARE_BASE_URL": lambda settings: settings.dexcare_base_url,
    "DEXCARE_SERVICE_KEY": lambda settings: settings.dexcare_service_key.reveal(),
    "DEXCARE_APR_BASE_URL": lambda settings: settings.dexcare_apr_base_url,
    "DEXCARE_APR_API_KEY": lambda settings: settings.dexcare_apr_api_key.reveal(),
    "DEXCARE_POLL_SECONDS": lambda settings: settings.dexcare_poll_seconds,
    "DEXCARE_DAILY_AT": lambda settings: settings.dexcare_daily_at,
    "DEXCARE_LOOKBACK_DAYS": lambda settings: settings.dexcare_lookback_days,
    "DEXCARE_WEEKLY_LOOKBACK_DAYS": lambda settings: settings.dexcare_weekly_lookback_days,
    "DEXCARE_FAILED_GRACE_SECONDS": lambda settings: settings.dexcare_failed_grace_seconds,
    "DEXCARE_REPORT_TIMEOUT_SECONDS": lambda settings: settings.dexcare_report_timeout_seconds,
    "DEXCARE_MAX_ATTEMPTS": lambda settings: settings.dexcare_max_attempts,
    "DEXCARE_CONCURRENCY": lambda settings: settings.dexcare_http_policy,
    "DEXCARE_POLL_CONCURRENCY": lambda settings: settings.dexcare_poll_concurrency,
    "DEXCARE_HTTP_ATTEMPTS": lambda settings: settings.dexcare_http_policy,
    "DEXCARE_HTTP_TIMEOUT_SECONDS": lambda settings: settings.dexcare_http_policy,
    **dict.fromkeys(
        [
            f"DEXCARE_AVR_{report_type}_{name}"
            for report_type in ("VIRTUAL", "RETAIL", "PROVIDER_BOOKING")
            for name in ("KEY", "TIME", "STATUS", "WAIT_FROM", "WAIT_UNTIL")
        ],
        lambda settings: settings.dexcare_visit_columns,
    ),
    "DRCHRONO_BASE_URL": lambda settings: settings.drchrono_base_url,
    "DRCHRONO_ACCESS_TOKEN": lambda settings: settings.drchrono_access_token,
    "DRCHRONO_CLIENT_ID": lambda settings: settings.drchrono_client_id,
    "DRCHRONO_CLIENT_SECRET": lambda settings: settings.drchrono_client_secret.reveal(),
    "DRCHRONO_REFRESH_TOKEN": lambda settings: settings.drchrono_refresh_token.reveal(),
    "DRCHRONO_TIMEZONE": lambda settings: settings.drchrono_timezone,
    "DRCHRONO_CALLS_PER_HOUR": lambda settings: settings.drchrono_calls_per_hour,
    "DRCHRONO_CALLS_PER_SECOND": lambda settings: settings.drchrono_calls_per_second,
    "DRCHRONO_CONCURRENCY": lambda settings: settings.drchrono_concurrency,
    "DRCHRONO_VERBOSE": lambda settings: settings.drchrono_verbose,
    "HEALTH_BUILD_WAREHOUSE": lambda settings: settings.build_warehouse,
    "DRCHRONO_DAILY_AT": lambda settings: settings.drchrono_daily_at,
    "DRCHRONO_LOOKBACK_DAYS": lambda settings: settings.drchrono_lookback_days,
    "DRCHRONO_RECONCILE": lambda settings: settings.drchrono_reconcile,
    "DRCHRONO_RECONCILE_MOST_CALLS": lambda settings: settings.drchrono_reconcile_most_calls,
    "DRCHRONO_HTTP_ATTEMPTS": lambda settings: settings.drchrono_http_policy,
    "DRCHRONO_HTTP_TIMEOUT_SECONDS": lambda settings: settings.drchrono_http_policy,
    "DAGSTER_POSTGRES_URL": lambda settings: settings.postgres_url,
    **dict.fromkeys(
        [f"PUBLISH_{part}" for part in ("URL", "HOST", "KIND", "PORT", "DB", "USER", "PASSWORD")],
        lambda settings: settings.publish_url,
    ),
    "PUBLISH_SCHEMA": lambda settings: settings.publish_schema,
    "PUBLISH_TABLES": lambda settings: settings.publish_tables,
    "PUBLISH_DELETED": lambda settings: settings.publishes_deleted,
    **dict.fromkeys(
        [f"DAGSTER_POSTGRES_{part}" for part in ("HOST", "PORT", "DB", "USER")],
        lambda settings: settings.postgres_url,
    ),
    "DAGSTER_POSTGRES_PASSWORD": lambda settings: settings.postgres_password,
    "HEALTH_UI_URL": lambda settings: settings.ui_url,
    "HEALTH_DOCS_URL": lambda settings: settings.docs_url,
    "HEALTH_OWNERS": lambda settings: settings.owners,
    "ALERT_WEBHOOK_URL": lambda settings: settings.alert_webhook_url.reveal(),
    "ALERT_SMTP_HOST": lambda settings: settings.alert_smtp_host,
    "ALERT_SMTP_PORT": lambda settings: settings.alert_smtp_port,
    "ALERT_SMTP_SECURITY": lambda settings: settings.alert_smtp_security,
    "ALERT_SMTP_USER": lambda settings: settings.alert_smtp_user,
    "ALERT_SMTP_PASSWORD": lambda settings: settings.alert_smtp_password.reveal(),
    "ALERT_EMAIL_FROM": lambda settings: settings.alert_email_from,
    "ALERT_EMAIL_TO": lambda settings: settings.alert_email_to,
    "ALERT_PAUSE_MINUTES": lambda settings: settings.alert_pause_minutes,
    "HEALTH_PLACES_DIR": lambda settings: settings.places_dir,
    "HEALTH_LEAVE_OUT": lambda settings: settings.left_out_columns,
    "HEALTH_HASHED": lambda settings: settings.hashed_columns,
    "HEALTH_HASH_KEY": lambda settings: settings.hash_key.reveal(),
    "HEALTH_PATIENT_COLUMNS": lambda settings: settings.patient_columns,
}
WHOLE_NUMBERS = [
    "DEXCARE_POLL_SECONDS",
    "DEXCARE_LOOKBACK_DAYS",
    "DEXCARE_FAILED_GRACE_SECONDS",
    "DEXCARE_REPORT_TIMEOUT_SECONDS",
    "DEXCARE_MAX_ATTEMPTS",
    "DEXCARE_POLL_CONCURRENCY",
    "DEXCARE_CONCURRENCY",
    "DEXCARE_HTTP_ATTEMPTS",
    "DEXCARE_HTTP_TIMEOUT_SECONDS",
    "DRCHRONO_CALLS_PER_HOUR",
    "DRCHRONO_CALLS_PER_SECOND",
    "DRCHRONO_CONCURRENCY",
    "DRCHRONO_LOOKBACK_DAYS",
    "DRCHRONO_RECONCILE_MOST_CALLS",
    "DRCHRONO_HTTP_ATTEMPTS",
    "DRCHRONO_HTTP_TIMEOUT_SECONDS",
    "DAGSTER_POSTGRES_PORT",
    "ALERT_SMTP_PORT",
    "ALERT_PAUSE_MINUTES",
]
MALFORMED = [
    *(
        (name, value)
        for name in ("HEALTH_LEAVE_OUT", "HEALTH_HASHED", "HEALTH_PATIENT_COLUMNS")
        for value in (
            "SSN",
            "drchrono.patients.id",
            "drchrono/patients",
            "drchrono/.id",
            "/patients.id",
            "drchrono/patients.",
            "a/b/c.d",
            "nothing",
        )
    ),
    ("HEALTH_HASHED", "identifiers"),
    ("HEALTH_DATA_DIR", "lake*"),
    ("HEALTH_DATA_DIR", "what?"),
    ("HEALTH_DATA_DIR", "data[1]"),
    ("HEALTH_DATA_DIR", "C:\\health"),
    ("HEALTH_DATA_DIR", "da\nta"),
    ("HEALTH_DATA_DIR", "da\udcffta"),
    ("HEALTH_DATA_GROUP", "two words"),
    ("HEALTH_LAKE_URL", "/srv/lake"),
    ("HEALTH_LAKE_URL", "s3://"),
    ("HEALTH_LAKE_URL", "s3://lake/../other"),
    ("HEALTH_LAKE_URL", "s3://lake/with a space"),
    ("HEALTH_LAKE_URL", "https://lake.s3.amazonaws.com/health"),
    ("HEALTH_LAKE_COPIES_GB", "0"),
    ("HEALTH_CATCH_UP_DAYS", "0"),
    ("DEXCARE_WEEKLY_LOOKBACK_DAYS", "-1"),
    ("DEXCARE_WEEKLY_LOOKBACK_DAYS", "never"),
    ("HEALTH_RUN_START_SECONDS", "soon"),
    ("HEALTH_UNUSUAL_ROWS_BELOW", "10"),
    ("HEALTH_UNUSUAL_ROWS_BELOW", "a tenth"),
    ("HEALTH_UNUSUAL_ROWS_BELOW", "nan"),
    ("HEALTH_UNUSUAL_ROWS_FROM", "-1"),
    ("HEALTH_DAYS_LEFT_OUT", "yesterday"),
    ("HEALTH_DAYS_LEFT_OUT", "2026-03-05..2026-03-01"),
    ("HEALTH_DAYS_LEFT_OUT", "avr_retail:2026-03-01"),
    ("HEALTH_DAYS_LEFT_OUT", "2026-03-01, 2026-02-30"),
    ("HEALTH_DATA_DIR", "~nobody-of-that-name/data"),
    ("HEALTH_PLACES_DIR", "~nobody-of-that-name/places"),
    ("HEALTH_TIMEZONE", "Mars/Olympus"),
    ("HEALTH_TIMEZONE", "america/new_york "),
    ("HEALTH_TIMEZONE", "Europe"),
    ("HEALTH_TIMEZONE", "../../etc/passwd"),
    ("HEALTH_TIMEZONE", "/etc/passwd"),
    ("HEALTH_TIMEZONE", "+05:00"),
    ("HEALTH_ASSET_PREFIX", "uat/prd"),
    ("HEALTH_ASSET_PREFIX", "u-a-t"),
    ("HEALTH_EXPECTED_BY", "8"),
    ("DRCHRONO_TIMEZONE", "Mars/Olympus"),
    ("DRCHRONO_VERBOSE", "yes"),
    ("HEALTH_BUILD_WAREHOUSE", "no"),
    ("HEALTH_UI_URL", "dagster.example.org"),
    ("HEALTH_DOCS_URL", "git.example.org/docs"),
    ("HEALTH_OWNERS", "somebody"),
    ("HEALTH_OWNERS", "team:"),
    ("HEALTH_OWNERS", "a@example.org; b@example.org"),
    ("HEALTH_OWNERS", "a@example"),
    ("HEALTH_UI_URL", "https://dagster.example.org/?a=b"),
    ("ALERT_SMTP_SECURITY", "ssl"),
    ("DAGSTER_POSTGRES_PORT", "65536"),
    ("ALERT_SMTP_PORT", "65536"),
    ("ALERT_EMAIL_FROM", "Data Team <team@example.org>"),
    ("ALERT_EMAIL_FROM", "a@example.org, b@example.org"),
    ("ALERT_EMAIL_TO", "team"),
    ("ALERT_EMAIL_TO", "a@example.org,"),
    ("ALERT_EMAIL_TO", "a@example.org\nBcc: b@example.org"),
    ("DRCHRONO_DAILY_AT", "25:00"),
    ("HEALTH_START_DATE", "2025-02-29"),
    ("HEALTH_START_DATE", "01/02/2025"),
    ("HEALTH_START_DATE", "2025-1-1"),
    ("HEALTH_START_DATE", "2025-01-01T00:00:00"),
    *((name, value) for name in WHOLE_NUMBERS for value in ("0", "-1", "1.5", "1e3", "ten", "5 s")),
]


class Recorder(Mapping[str, str]):
    """An environment without variables that knows which were asked for."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_an_address_of_the_lake_that_holds_a_key_is_not_shown() -> None:
    with pytest.raises(SettingError, match="HEALTH_LAKE_URL is with a user, a query") as refused:
        _ = Settings({"HEALTH_LAKE_URL": f"s3://user:{KEY}@lake/health"}).lake_url
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("s3://lake", "s3://lake"),
        ("s3://lake/health/", "s3://lake/health"),
        ("gs://lake/a/b_c", "gs://lake/a/b_c"),
        ("az://container/x.y", "az://container/x.y"),
    ],
)
def test_the_address_of_the_lake_has_no_slash_at_its_end(value: str, expected: str) -> None:
    assert Settings({"HEALTH_LAKE_URL": value}).lake_url == expected


@pytest.mark.parametrize(("name", "value"), MALFORMED)
def test_a_malformed_value_is_refused_in_one_line_that_names_the_setting_and_shows_the_value(
    name: str, value: str
) -> None:
    with pytest.raises(SettingError) as refused:
        READERS[name](Settings({name: value}))

    message = str(refused.value)
    assert message.startswith(f"{name} is {value.strip()!r}")
    assert message.endswith(".")
    assert "\n" not in message
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_columns_are_named_by_table_by_source_and_in_bundles() -> None:
    named = " dexcare/*.SSN , drchrono/patients.a.b c,identifiers,dexcare/*.SSN,, "
    assert [str(one) for one in Settings({"HEALTH_LEAVE_OUT": named}).left_out_columns] == [
        "dexcare/*.SSN",
        "drchrono/patients.a.b c",
        "drchrono/patients.social_security_number",
        "drchrono/patients.patient_photo",
        "drchrono/patients.patient_photo_date",
    ]


def test_a_column_is_left_out_or_hashed_and_not_both() -> None:
    both = dict.fromkeys(("HEALTH_LEAVE_OUT", "HEALTH_HASHED"), "dexcare/*.SSN")
    with pytest.raises(SettingError, match=r"^HEALTH_HASHED and HEALTH_LEAVE_OUT both name dexcare/\*.SSN"):
        _ = Settings(both).hashed_columns


def test_a_key_of_hashes_that_is_short_is_refused_and_not_shown() -> None:
    assert Settings({"HEALTH_HASH_KEY": "k" * 32}).hash_key.reveal() == "k" * 32
    with pytest.raises(SettingError, match=r"^HEALTH_HASH_KEY has fewer than 32 characters") as refused:
        _ = Settings({"HEALTH_HASH_KEY": "Zq" * 15 + "Z"}).hash_key

    assert "Zq" not in str(refused.value)


def test_a_password_in_the_address_of_the_ui_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingError, match=r"^HEALTH_UI_URL may hold no user or password") as refused:
        _ = Settings({"HEALTH_UI_URL": "https://somebody:hunter2@example.org"}).ui_url

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "name", ["DEXCARE_BASE_URL", "DEXCARE_SERVICE_KEY", "HEALTH_HASH_KEY", "HEALTH_PLACES_DIR"]
)
@pytest.mark.parametrize("value", [None, "", " \t"])
def test_a_missing_value_without_a_default_is_refused_in_words_that_name_the_setting(
    name: str, value: str | None
) -> None:
    with pytest.raises(SettingError, match=rf"^{name} is not set\. .+\.$"):
        READERS[name](Settings({} if value is None else {name: value}))


@pytest.mark.parametrize("value", [None, "", "  ", "\n"])
def test_an_empty_variable_means_the_default(value: str | None) -> None:
    settings = Settings({} if value is None else dict.fromkeys(READERS, value))

    assert settings.data_dir == Path.cwd() / "data"
    assert settings.timezone == ZoneInfo("UTC")
    assert settings.start_date == date(2025, 1, 1)
    assert settings.dexcare_poll_seconds == 15
    assert settings.dexcare_daily_at == time(2, 15)
    assert settings.dexcare_lookback_days == 10
    assert settings.dexcare_weekly_lookback_days == 35
    assert settings.dexcare_failed_grace_seconds == 600
    assert settings.dexcare_report_timeout_seconds == 21_600
    assert settings.dexcare_max_attempts == 3
    assert settings.dexcare_http_policy == HttpPolicy(concurrency=5, attempts=4, timeout_seconds=30)
    assert settings.asset_prefix == ""
    assert settings.expected_by == time(8)
    assert settings.drchrono_base_url == "https://app.drchrono.com"
    assert settings.drchrono_access_token is None
    assert settings.drchrono_timezone == ZoneInfo("UTC")
    assert (settings.drchrono_calls_per_hour, settings.drchrono_calls_per_second) == (500, 10)
    assert settings.drchrono_verbose is False
    assert settings.build_warehouse is True
    assert settings.drchrono_daily_at == time(3, 15)
    assert settings.drchrono_lookback_days == 3
    assert (settings.drchrono_reconcile, settings.drchrono_reconcile_most_calls) == ((), 1500)
    assert settings.drchrono_http_policy == HttpPolicy(concurrency=25, attempts=4, timeout_seconds=60)
    assert settings.postgres_url is None
    assert settings.ui_url == ""
    assert settings.docs_url == ""
    assert settings.owners == ()
    assert not settings.has_webhook_alert
    assert not settings.has_email_alert
    assert (settings.alert_smtp_port, settings.alert_smtp_security) == (587, "starttls")
    assert settings.alert_smtp_user == ""
    assert settings.alert_pause_minutes == 15


def test_a_value_is_taken_without_the_blanks_around_it() -> None:
    settings = Settings(
        {
            "HEALTH_DATA_DIR": " /srv/health ",
            "HEALTH_TIMEZONE": "America/New_York\n",
            "HEALTH_START_DATE": " 2026-02-28 ",
            "DEXCARE_BASE_URL": " https://ecvapi.example.org ",
            "DEXCARE_SERVICE_KEY": f"{KEY}\n",
            "DEXCARE_POLL_SECONDS": " 7 ",
        }
    )

    assert settings.data_dir == Path("/srv/health")
    assert settings.timezone.key == "America/New_York"
    assert settings.start_date == date(2026, 2, 28)
    assert settings.dexcare_base_url == "https://ecvapi.example.org"
    assert settings.dexcare_service_key.reveal() == KEY
    assert settings.dexcare_poll_seconds == 7


def test_each_number_of_the_http_policy_has_its_own_variable() -> None:
    settings = Settings(
        {"DEXCARE_CONCURRENCY": "2", "DEXCARE_HTTP_ATTEMPTS": "3", "DEXCARE_HTTP_TIMEOUT_SECONDS": "44"}
    )

    policy = settings.dexcare_http_policy

    assert (policy.concurrency, policy.attempts, policy.timeout_seconds) == (2, 3, 44)


def test_the_bounds_of_answers_are_set_for_both_vendors_together() -> None:
    settings = Settings(
        {
            "HEALTH_LARGEST_ANSWER_MB": "2",
            "HEALTH_LARGEST_REPORT_MB": "3",
            "HEALTH_LONGEST_ANSWER_SECONDS": "44",
        }
    )

    for policy in (settings.dexcare_http_policy, settings.drchrono_http_policy):
        assert (policy.largest_answer_bytes, policy.largest_download_bytes) == (2_000_000, 3_000_000)
        assert policy.longest_seconds == 44


@pytest.mark.parametrize(
    ("name", "stands_in"),
    [("DEXCARE_APR_BASE_URL", "DEXCARE_BASE_URL"), ("DEXCARE_APR_API_KEY", "DEXCARE_SERVICE_KEY")],
)
def test_provider_histories_have_the_host_and_key_of_the_rest_unless_they_have_their_own(
    name: str, stands_in: str
) -> None:
    read = READERS[name]

    assert read(Settings({stands_in: "theirs"})) == "theirs"
    assert read(Settings({stands_in: "theirs", name: " "})) == "theirs"
    assert read(Settings({stands_in: "theirs", name: " own "})) == "own"
    assert read(Settings({name: "own"})) == "own"
    with pytest.raises(SettingError, match=rf"^{stands_in} is not set\."):
        read(Settings({}))


def test_the_account_of_drchrono_is_in_the_zone_of_the_health_system_unless_it_has_its_own() -> None:
    system = {"HEALTH_TIMEZONE": "America/Denver"}

    assert Settings(system).drchrono_timezone.key == "America/Denver"
    assert Settings(system | {"DRCHRONO_TIMEZONE": "America/Boise"}).drchrono_timezone.key == "America/Boise"


@pytest.mark.parametrize(
    ("name", "report_type", "columns"),
    [
        ("DEXCARE_AVR_VIRTUAL_KEY", "virtual", VisitColumns(key="a column")),
        ("DEXCARE_AVR_RETAIL_TIME", "retail", VisitColumns(time="a column")),
        ("DEXCARE_AVR_PROVIDER_BOOKING_STATUS", "provider_booking", VisitColumns(status="a column")),
        ("DEXCARE_AVR_RETAIL_WAIT_FROM", "retail", VisitColumns(wait_from="a column")),
        ("DEXCARE_AVR_VIRTUAL_WAIT_UNTIL", "virtual", VisitColumns(wait_until="a column")),
    ],
)
def test_a_column_is_named_for_one_type_of_report_and_one_purpose(
    name: str, report_type: str, columns: VisitColumns
) -> None:
    nothing = dict.fromkeys(("virtual", "retail", "provider_booking"), VisitColumns())

    assert Settings({}).dexcare_visit_columns == nothing
    assert Settings({name: " a column "}).dexcare_visit_columns == {**nothing, report_type: columns}


@pytest.mark.parametrize(
    ("parts", "url"),
    [
        ({"HOST": "db.example.org"}, "postgresql://dagster@/dagster?host=db.example.org&port=5432"),
        (
            {"HOST": "::1", "PORT": "5433", "DB": "our events", "USER": "me@home", "PASSWORD": "p@/%:?+w"},
            "postgresql://me%40home:p%40%2F%25%3A%3F%2Bw@/our%20events?host=%3A%3A1&port=5433",
        ),
        ({"HOST": "/run/postgresql"}, "postgresql://dagster@/dagster?host=%2Frun%2Fpostgresql&port=5432"),
    ],
)
def test_the_parts_of_an_address_of_postgres_make_up_its_url(parts: dict[str, str], url: str) -> None:
    found = Settings({f"DAGSTER_POSTGRES_{name}": value for name, value in parts.items()}).postgres_url

    assert found is not None
    assert found.reveal() == url


def test_an_address_of_postgres_is_a_url_or_parts_and_not_both() -> None:
    both = {"DAGSTER_POSTGRES_URL": f"postgresql://me:{KEY}@db/dagster", "DAGSTER_POSTGRES_HOST": "db"}
    with pytest.raises(SettingError, match=r"^DAGSTER_POSTGRES_URL and DAGSTER_POSTGRES_HOST are both set"):
        _ = Settings(both).postgres_url


@pytest.mark.parametrize("name", ["ALERT_SMTP_HOST", "ALERT_EMAIL_FROM", "ALERT_EMAIL_TO"])
def test_alerts_go_out_as_email_as_soon_as_a_setting_says_that_somebody_wants_it(name: str) -> None:
    assert Settings({name: "x"}).has_email_alert
    assert not Settings({name: "x"}).has_webhook_alert
    assert Settings({"ALERT_WEBHOOK_URL": "x"}).has_webhook_alert
    assert not Settings({"ALERT_WEBHOOK_URL": "x"}).has_email_alert


def test_several_people_can_be_told_and_the_ui_has_no_slash_at_its_end() -> None:
    settings = Settings(
        {"ALERT_EMAIL_TO": "a@example.org, b@example.org", "HEALTH_UI_URL": "https://example.org/ui/"}
    )

    assert settings.alert_email_to == ("a@example.org", "b@example.org")
    assert settings.ui_url == "https://example.org/ui"


def test_a_relative_data_folder_counts_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert Settings({"HEALTH_DATA_DIR": "some/where"}).data_dir == tmp_path / "some" / "where"


def test_a_tilde_in_the_data_folder_is_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert Settings({"HEALTH_DATA_DIR": "~/health"}).data_dir == tmp_path / "health"


def test_a_variable_is_read_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.of_this_process()
    monkeypatch.setenv("DEXCARE_POLL_SECONDS", "3")
    assert settings.dexcare_poll_seconds == 3

    monkeypatch.setenv("DEXCARE_POLL_SECONDS", "4")
    assert settings.dexcare_poll_seconds == 4


def test_one_malformed_variable_harms_only_what_needs_it() -> None:
    settings = Settings(dict.fromkeys(WHOLE_NUMBERS, "*") | {"HEALTH_TIMEZONE": "*"})

    assert settings.start_date == date(2025, 1, 1)


def test_nothing_is_read_when_the_module_is_imported() -> None:
    malformed = dict.fromkeys(READERS, "*")

    imported = subprocess.run(
        [sys.executable, "-c", "import health_pipelines.settings"],
        env=os.environ | malformed,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (imported.returncode, imported.stderr) == (0, "")


def test_every_variable_that_is_read_is_in_the_list() -> None:
    recorder = Recorder()
    for name in Settings.names():
        try:
            getattr(Settings(recorder), name)
        except SettingError:
            continue

    read = [setting for setting in ALL_SETTINGS if setting.name in READERS]
    assert recorder.asked == {name for setting in read for name in setting.variables}
    assert {setting.name for setting in read} == set(READERS)


def test_the_list_holds_every_setting_once_and_says_what_it_means() -> None:
    defined = [value for value in vars(module).values() if isinstance(value, Setting)]

    defined += [setting for of_type in VISIT_COLUMN_SETTINGS.values() for setting in of_type.values()]
    assert list(ALL_SETTINGS) == defined
    assert len({setting.name for setting in ALL_SETTINGS}) == len(ALL_SETTINGS) >= len(READERS)
    assert all(setting.meaning.endswith(".") for setting in ALL_SETTINGS)


def test_a_secret_does_not_show_itself_as_text() -> None:
    secret = Secret(KEY)
    log = io.StringIO()
    logger = logging.Logger("test")
    logger.addHandler(logging.StreamHandler(log))
    logger.warning("%s %r", secret, [secret])

    shown = [
        repr(secret),
        str(secret),
        f"{secret} {secret!s} {secret!r} {secret!a}",
        "{} {!r}".format(secret, secret),  # noqa: UP032 - one more way to say it
        "%s" % secret,  # noqa: UP031 - one more way to say it
        repr({"key": [secret]}),
        str(ValueError(secret)),
        log.getvalue(),
    ]

    assert not [text for text in shown if KEY in text]
    assert secret.reveal() == KEY
    assert not hasattr(secret, "__dict__")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_is_not_pickled(protocol: int) -> None:
    with pytest.raises(TypeError) as refused:
        pickle.dumps({"key": Secret(KEY)}, protocol)

    assert KEY not in str(refused.value)


def test_a_secret_is_neither_copied_nor_written_as_json() -> None:
    for attempt in (copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError) as refused:
            attempt(Secret(KEY))
        assert KEY not in str(refused.value)


def test_a_secret_does_not_show_itself_in_a_traceback_with_local_variables() -> None:
    def fail(key: Secret) -> None:
        raise RuntimeError(f"cannot use {key}")

    try:
        fail(Secret(KEY))
    except RuntimeError as error:
        caught = traceback.TracebackException.from_exception(error, capture_locals=True)

    text = "".join(caught.format())
    assert "key = Secret(***)" in text
    assert KEY not in text


def test_settings_do_not_show_the_environment_they_read_from() -> None:
    settings = Settings({"DEXCARE_SERVICE_KEY": KEY, "DEXCARE_POLL_SECONDS": "soon"})
    try:
        _ = settings.dexcare_poll_seconds
    except SettingError as error:
        caught = traceback.TracebackException.from_exception(error, capture_locals=True)

    # What pytest, Sentry and the like print of every frame.
    assert KEY not in "".join(caught.format())
    assert KEY not in repr(settings)
