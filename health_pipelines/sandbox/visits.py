"""Synthetic visits: what the vendor's warehouse would hold on a given day. Pure, no clock, no HTTP.

Nobody here is real: patients are numbers, provider names are made up, and their NPIs start with 0, which no
issued NPI does. The columns are a guess in the vendor's style, since its data dictionary is not public. The
values are chosen to hurt: text that looks like a number or like NULL, NULL beside the empty string in one
column, quotes, line breaks and separators that some parsers take for line breaks.

A visit belongs to the UTC day it was created on. Each day has a generator of its own, so a visit is the same
whatever window finds it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import NamedTuple

from health_pipelines.sandbox.column_names import as_named
from health_pipelines.sandbox.planting import NOTHING, Planted
from health_pipelines.sandbox.seeding import stable_random
from health_pipelines.sandbox.settings import ColumnNames, Searched
from health_pipelines.sandbox.windows import ReportType, Window

Row = dict[str, str | None]

VISITS_A_DAY: dict[ReportType, int] = {"virtual": 120, "retail": 80, "provider_booking": 200}

CHANGED_LATER = 0.06
"""Share of visits whose status and notes change after their day."""

APPEARING_LATER = 0.01
"""Share of visits that the warehouse learns of only after their day."""

LATEST_CHANGE_DAYS = 5
"""Nothing about a visit changes later than this many days after its own."""

LONGEST_LEAD_DAYS = 5
"""Nobody books further ahead than this."""

MIDNIGHT_HOURS = (0, 4, 5, 6, 7, 8)
"""UTC hours at which it is midnight in UTC and, summer and winter, from US Eastern to US Pacific."""


@dataclass(frozen=True)
class VisitSearch:
    """Everything that decides which visits a report finds, except the day it looks."""

    seed: int
    volume: float
    type: ReportType
    window: Window
    searched: Searched
    end_inclusive: bool
    column_names: ColumnNames = "documented"
    planted: Planted = NOTHING

    def finds(self, visit: "Visit") -> bool:
        """Whether the searched time of a visit lies in the window."""
        moment = visit.created_at if self.searched == "created" else visit.scheduled_at
        return self.window.holds(moment, end_inclusive=self.end_inclusive)


@dataclass(frozen=True, slots=True)
class Visit:
    """One visit and its whole future. Times in UTC, days are UTC dates."""

    created_at: datetime
    scheduled_at: datetime
    appears_on: date
    changes_on: date | None
    row: Row
    change: Row

    def row_as_of(self, day: date) -> Row:
        """The visit as the warehouse shows it on that day."""
        changed = self.changes_on is not None and self.changes_on <= day
        return self.row | self.change if changed else self.row


class Booking(NamedTuple):
    """A visit of a day before anything is known about it but when. Times in UTC."""

    number: int
    day: date
    created_at: datetime
    scheduled_at: datetime


def visits(search: VisitSearch, as_of: date) -> Iterator[Row]:
    """The rows a report finds when it looks on the UTC date `as_of`, by the day they were created on.

    The warehouse changes at UTC midnight only: the same search gives the same rows all day long. It knows
    nothing of days after `as_of`, and the whole of `as_of` itself.
    """
    lead = LONGEST_LEAD_DAYS if search.searched == "scheduled" else 0
    for day in search.window.days(as_of, lead=lead):
        for visit in visits_created_on(day, search.type, seed=search.seed, volume=search.volume):
            if visit.appears_on <= as_of and search.finds(visit):
                yield as_named(search.planted.into(visit.row_as_of(as_of)), search.column_names)


def visits_created_on(day: date, kind: ReportType, *, seed: int, volume: float) -> Iterator[Visit]:
    """All visits of one UTC day, in no order. The first six are created and scheduled exactly on an hour."""
    rng = stable_random(seed, kind, day)
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    expected = VISITS_A_DAY[kind] * volume
    for number in range(round(expected * (0.9 + 0.2 * rng.random()))):
        if number < len(MIDNIGHT_HOURS):
            created = scheduled = midnight + timedelta(hours=MIDNIGHT_HOURS[number])
        else:
            created = midnight + timedelta(milliseconds=int(rng.random() * 86_400_000))
            scheduled = _scheduled(rng, created, midnight, kind)
        yield _visit(rng, kind, Booking(number, day, created, scheduled))


def _scheduled(rng: Random, created: datetime, midnight: datetime, kind: ReportType) -> datetime:
    """Walk-ins are scheduled as they come; bookings sit on the quarters of an hour of a US working day."""
    if kind != "provider_booking" or rng.random() < 0.3:
        return created
    days = 1 + int(rng.random() * (LONGEST_LEAD_DAYS - 1))
    return midnight + timedelta(days=days, minutes=15 * int(14 * 4 + rng.random() * 10 * 4))


def _visit(rng: Random, kind: ReportType, booking: Booking) -> Visit:
    _, day, created, scheduled = booking
    fate, days = rng.random(), 1 + int(rng.random() * LATEST_CHANGE_DAYS)
    later = day + timedelta(days=days)
    row = _common_columns(rng, kind, booking) | _OWN_COLUMNS[kind](rng, scheduled)
    if fate < APPEARING_LATER:
        return Visit(created, scheduled, appears_on=later, changes_on=None, row=row, change={})
    if fate < APPEARING_LATER + CHANGED_LATER:
        change = _change(rng, row, later - timedelta(days=1))
        return Visit(created, scheduled, appears_on=day, changes_on=later, row=row, change=change)
    return Visit(created, scheduled, appears_on=day, changes_on=None, row=row, change={})


def _change(rng: Random, row: Row, on: date) -> Row:
    """What is different once somebody has been over the visit, in the evening before it shows."""
    evening = datetime(on.year, on.month, on.day, 23, tzinfo=UTC)
    return {
        "status": "no_show" if row["status"] == "scheduled" else "reviewed",
        "notes": _pick(rng, LATE_NOTES),
        "updated_at": _athena_time(evening + timedelta(milliseconds=int(rng.random() * 3_600_000))),
    }


def _common_columns(rng: Random, kind: ReportType, booking: Booking) -> Row:
    number, day, created, scheduled = booking
    patient = int(rng.random() * PATIENTS)
    provider = int(rng.random() * len(PROVIDERS))
    region = provider % len(REGIONS)
    status, cancellation_reason = _outcome(rng, ahead=scheduled.date() > day)
    held = status == "completed"
    wait = int(rng.random() * 2400)
    started = scheduled + timedelta(seconds=wait)
    ended = started + timedelta(seconds=240 + int(rng.random() * 1500))
    return {
        "visit_id": _guid(rng),
        "visit_number": f"{number:07d}",
        "visit_type": kind,
        "health_system": "Example Health",
        "region_id": f"{region:03d}",
        "region_name": REGIONS[region],
        "department_id": f"{provider % 12:05d}",
        "department_name": DEPARTMENTS[provider % len(DEPARTMENTS)],
        "status": status,
        "cancellation_reason": cancellation_reason,
        "reason_for_visit": _pick(rng, REASONS_FOR_VISIT),
        "notes": _pick(rng, NOTES),
        "patient_id": f"SYN-{patient:06d}",
        "patient_initials": f"{_LETTERS[patient % 26]}{_LETTERS[patient // 26 % 26]}",
        "patient_birth_year": str(1930 + patient % 94),
        "patient_sex": _SEXES[patient % len(_SEXES)],
        "patient_language": LANGUAGES[patient % len(LANGUAGES)],
        "is_new_patient": "true" if rng.random() < 0.2 else "false",
        "payer": PAYERS[patient % len(PAYERS)],
        "payer_plan_code": f"{patient % 90:04d}",
        "copay_amount": None if rng.random() < 0.3 else f"{patient % 80}.{'00' if patient % 3 else '50'}",
        "provider_id": f"prv-{provider:04d}",
        "provider_name": PROVIDERS[provider],
        "provider_npi": f"{provider:010d}",
        "provider_credentials": CREDENTIALS[provider % len(CREDENTIALS)],
        "created_at": _athena_time(created),
        "scheduled_at": _athena_time(scheduled),
        "started_at": _athena_time(started) if held else None,
        "ended_at": _athena_time(ended) if held else None,
        "updated_at": _athena_time(ended if held else created),
        "wait_seconds": str(wait) if held else None,
        "device": _pick(rng, DEVICES),
        "utm_source": _pick(rng, UTM_SOURCES),
        "feedback_score": _pick(rng, FEEDBACK),
    }


def _outcome(rng: Random, *, ahead: bool) -> tuple[str, str | None]:
    """Status and cancellation reason on the visit's own day: a visit booked ahead has not been held yet."""
    chance, reason = rng.random(), _pick(rng, CANCELLATION_REASONS)
    if chance < 0.08:
        return "cancelled", reason
    if ahead:
        return "scheduled", None
    return ("no_show", "") if chance < 0.13 else ("completed", None)


def _virtual_columns(rng: Random, scheduled: datetime) -> Row:
    entered = scheduled - timedelta(seconds=int(rng.random() * 600))
    return {
        "queue_name": _pick(rng, ("Urgent Care", "Behavioral Health", "Español")),
        "queue_position": str(int(rng.random() * 9)),
        "waiting_room_entered_at": _athena_time(entered),
        "waiting_room_left_at": _athena_time(scheduled) if rng.random() < 0.9 else None,
        "modality": _pick(rng, ("video", "video", "video", "phone")),
        "reconnects": str(int(rng.random() * 3)),
        "connection_quality": _pick(rng, ("0.98", "1", "1.0", "NaN", None)),
    }


def _retail_columns(rng: Random, scheduled: datetime) -> Row:
    clinic = int(rng.random() * 15)
    checked_in = scheduled - timedelta(seconds=int(rng.random() * 900))
    return {
        "clinic_id": f"{clinic:03d}",
        "clinic_name": f"Clinic No. {clinic}, Aisle {1 + clinic % 9}",
        "walk_in": "true" if rng.random() < 0.4 else "false",
        "checked_in_at": _athena_time(checked_in) if rng.random() < 0.9 else None,
        "room": _pick(rng, ("1", "01", "1A", "", None)),
        "chief_complaint_code": _pick(rng, ("R05", "J06.9", "1E5", "0x1F", None)),
    }


def _provider_booking_columns(rng: Random, scheduled: datetime) -> Row:
    return {
        "slot_id": f"{int(rng.random() * 10_000_000):012d}",
        "slot_start_at": _athena_time(scheduled),
        "slot_minutes": _pick(rng, ("15", "20", "30")),
        "booking_channel": _pick(rng, ("web", "app", "call center", "partner, embedded")),
        "booked_by": _pick(rng, ("patient", "proxy", "staff", None)),
        "practice_name": _pick(rng, ("Example Primary Care", 'Practice "Northside"', "Clínica Ejemplo")),
        "referral_id": _pick(rng, (None, None, "", "000000001", "12345678901234567890")),
    }


_OWN_COLUMNS = {
    "virtual": _virtual_columns,
    "retail": _retail_columns,
    "provider_booking": _provider_booking_columns,
}


def columns(kind: ReportType, names: ColumnNames) -> tuple[str, ...]:
    """The header of a report, which is there even when no visit is."""
    some_day = date(2000, 1, 1)
    return tuple(as_named(next(visits_created_on(some_day, kind, seed=0, volume=1)).row, names))


def _pick(rng: Random, pool: Sequence[str | None]) -> str | None:
    return pool[int(rng.random() * len(pool))]


def _guid(rng: Random) -> str:
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _athena_time(moment: datetime) -> str:
    """UTC to the millisecond without a zone, as Athena prints a timestamp."""
    return moment.isoformat(" ", "milliseconds").removesuffix("+00:00")


PATIENTS = 5000

PROVIDERS = (
    "Avery Sample",
    "Noor Example",
    "Zoë Muster",
    "Sam O'Template",
    "Jordan Placeholder, Jr.",
    "Łucja Przykład",
    "Kim Null",
    "María José Ejemplo",
    "Robin Test-Case",
    "山田 見本",
    "Casey  Doublespace",
    "Alex Fixture",
)

CREDENTIALS = ("MD", "DO", "MD, PhD", "NP", "PA-C", "ARNP, DNP", None, "")
REGIONS = ("North", "South", "Île-Est", "NA", "West & Coast")
DEPARTMENTS = ("Primary Care", "Urgent Care", "Women's Health", "Ear, Nose & Throat")
LANGUAGES = ("en", "es", "zh", "vi", "so", "null", None)
PAYERS = ("Example Mutual", "Sample Health Plan, Inc.", "Self-pay", "NA", "None", None, "")
CANCELLATION_REASONS = ("Patient cancelled", "Provider out", "Duplicate; see other visit", "N/A", "", None)
DEVICES = ("iPhone", "Android", "Desktop", "Unknown", "", None)
UTM_SOURCES = ("google", "newsletter", "fb|paid", "NULL", "", None)
FEEDBACK = ("5", "4", "05", "4.50", "-1", "", None, None)
NOTES = (
    None,
    None,
    None,
    "",
    "-",
    "=1+1",
    "Called back; left a message.",
    "\\N",
    "\\",
    "see 'plan'",
    "\ttabbed",
)
LATE_NOTES = ("Chart closed late.", "Corrected by the front desk,\nsee the call log.", "")
REASONS_FOR_VISIT = (
    "Cough",
    "Cough, fever and chills",
    "Sore throat",
    "Back pain",
    "Refill",
    'Says it "comes and goes"',
    "Rash\nsince Monday",
    "Two things:\r\n1. ear\r\n2. eye",
    "Fièvre depuis 3 jours",
    "Dolor de cabeza, náuseas",
    "発熱",
    "Follow-up 👩🏽‍⚕️",
    "Pain\u2028after a fall",
    " leading and trailing ",
    '"',
    "NA",
    "null",
    "007",
    "",
    None,
)
_SEXES = ("F", "M", "X", "", None)
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
