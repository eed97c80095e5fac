"""What a caller asks a bulk list for, read as strictly as the vendor documents it.

The words of the refusals are those of Django REST framework, in which the vendor's API is written (guess).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from health_pipelines.sandbox.answers import AnsweredError, json_answer
from health_pipelines.sandbox.drchrono.calendar import Calendar
from health_pipelines.sandbox.drchrono.collection import Record, Wanted
from health_pipelines.sandbox.drchrono.kinds import Filter, Kind, Order
from health_pipelines.sandbox.drchrono.rows import Teller
from health_pipelines.sandbox.drchrono.settings import DrChronoSettings

MOST_PAGES = 1000
WINDOW_NAMES = ("since", "date", "date_range")


class NotAllowedError(AnsweredError):
    """The vendor would answer 400, complaining of one parameter, or of the call."""

    def __init__(self, message: str, parameter: str | None = None) -> None:
        body: object = {"detail": message} if parameter is None else {parameter: [message]}
        super().__init__(json_answer(400, body))


@dataclass(frozen=True)
class Query:
    """One page of one list. `since` in seconds since 1970 (UTC)."""

    since: int | None
    page: int
    page_size: int
    order_by: Order
    verbose: bool
    archived_too: bool
    filters: tuple[tuple[str, str], ...]
    since_creation: bool = False
    """Whether `since` is compared with the time of creation instead of the last change."""

    @property
    def rows(self) -> object:
        """What decides which rows there are and in which order, for all pages alike."""
        return (self.since, self.since_creation, self.order_by, self.archived_too, self.filters)


def read_query(kind: Kind, given: Mapping[str, str], calendar: Calendar, settings: DrChronoSettings) -> Query:
    """The query of a POST; parameters that the vendor does not document are ignored."""
    if kind.needs_window and not any(given.get(name) for name in WINDOW_NAMES):
        raise NotAllowedError(
            f"Either {', '.join(WINDOW_NAMES[:-1])} or {WINDOW_NAMES[-1]} must be specified"
        )
    order = given.get("order_by", kind.orders[0])
    if order not in kind.orders:
        raise NotAllowedError(
            f"Select a valid choice. {order} is not one of the available choices.", "order_by"
        )
    page_size = _whole(given, "page_size", min(settings.drchrono_default_page, kind.largest_page))
    if page_size > kind.largest_page:
        if settings.drchrono_oversize_page == "refuse":
            raise NotAllowedError(
                f"Ensure this value is less than or equal to {kind.largest_page}.", "page_size"
            )
        page_size = kind.largest_page
    if settings.drchrono_largest_page:
        page_size = min(page_size, settings.drchrono_largest_page)
    page = _whole(given, "page", 1)
    if page > MOST_PAGES:
        raise NotAllowedError(f"Ensure this value is less than or equal to {MOST_PAGES}.", "page")
    filters = tuple((name, given[name]) for name in sorted(kind.filters) if given.get(name))
    for name, value in filters:
        _check(name, value, kind.filters[name])
    return Query(
        since=read_since(given.get("since"), calendar, settings),
        page=page,
        page_size=page_size,
        order_by=order,
        verbose=_truth(given, "verbose"),
        archived_too=kind.name != "appointments" or _truth(given, "show_archived"),
        filters=filters,
        since_creation=settings.drchrono_since_counts == "created",
    )


def read_since(text: str | None, calendar: Calendar, settings: DrChronoSettings) -> int | None:
    """The lower bound, inclusive: a day begins in the account's zone, or in UTC."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise NotAllowedError("Enter a valid date.", "since") from None
    if len(text) == len("2026-03-01") and text[4] == "-":
        return _midnight(moment, calendar, settings)
    if settings.drchrono_since_time == "refuse":
        raise NotAllowedError("Enter a valid date.", "since")
    if settings.drchrono_since_time == "ignore":
        return _midnight(moment, calendar, settings)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=calendar.zone)).timestamp())


def _midnight(moment: datetime, calendar: Calendar, settings: DrChronoSettings) -> int:
    if settings.drchrono_since_zone == "account":
        return calendar.midnight(moment.date())
    return int(datetime.combine(moment.date(), time(), UTC).timestamp())


def wanted_by(query: Query, kind: Kind, teller: Teller) -> Wanted:
    """Whether a record belongs to a list."""
    since, archived_too = query.since, query.archived_too
    tests = [(kind.filters[name].field, _test(value, kind.filters[name])) for name, value in query.filters]

    def wanted(record: Record) -> bool:
        if since is not None and (record.created if query.since_creation else record.changed) < since:
            return False
        if record.archived and not archived_too:
            return False
        if not tests:
            return True
        row = teller.row(kind.name, record, verbose=False)
        return all(test(row.get(field)) for field, test in tests)

    return wanted


def _whole(given: Mapping[str, str], name: str, default: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not text.lstrip("-").isdecimal():
        raise NotAllowedError("A valid integer is required.", name)
    if int(text) < 1:
        raise NotAllowedError("Ensure this value is greater than or equal to 1.", name)
    return int(text)


def _truth(given: Mapping[str, str], name: str) -> bool:
    return given.get(name, "").lower() in ("true", "1")


def _check(name: str, value: str, how: Filter) -> None:
    try:
        if how.how == "number":
            int(value)
        elif how.how == "date":
            date.fromisoformat(value)
        elif how.how == "dates":
            first, last = (date.fromisoformat(one) for one in value.split("/"))
            if first > last:
                raise ValueError
    except ValueError:
        words = {
            "number": "Enter a number.",
            "date": "Enter a valid date.",
            "dates": "Enter a valid date range.",
        }
        raise NotAllowedError(words[how.how], name) from None


def _test(value: str, how: Filter) -> Callable[[object], bool]:
    match how.how:
        case "date":
            return lambda found: str(found)[:10] == value
        case "dates":
            first, _, last = value.partition("/")
            return lambda found: first <= str(found)[:10] <= last
        case "codes":
            codes = set(value.split(","))
            return lambda found: found in codes
        case "number":
            return lambda found: str(found) == str(int(value))
        case "text":
            return lambda found: str(found) == value
