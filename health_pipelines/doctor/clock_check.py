"""Whether this machine's clock is right: a wrong one asks for wrong days and counts a quota in wrong hours.

Belongs here: the comparison with a vendor's clock. Does not belong here: what a vendor is asked with a key;
this one call has none, and is outside of a vendor's API.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from health_pipelines.doctor.finding import Finding, not_set_up, ok, warning
from health_pipelines.doctor.installation import HTTP_TIMEOUT_SECONDS, Installation
from health_pipelines.http import is_loopback

# Servers agree within a second; this much does harm around midnight and the full hour.
MOST_DIFFERENCE = timedelta(seconds=60)


def clock(installation: Installation) -> Finding:
    """The difference to the clock of the first vendor that is set."""
    settings = installation.settings
    if settings.has_dexcare:
        return _compared(settings.dexcare_base_url, "DexCare", installation.now)
    if settings.has_drchrono:
        return _compared(settings.drchrono_base_url, "DrChrono", installation.now)
    return not_set_up("No vendor is set whose clock this machine's could be compared with.")


def _compared(base_url: str, vendor: str, now: Callable[[], datetime]) -> Finding:
    parts = urlsplit(base_url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        return warning(f"Cannot be compared, as {vendor}'s address does not begin with https://.")
    try:
        before = now()
        with httpx.Client(trust_env=False, timeout=HTTP_TIMEOUT_SECONDS) as client:
            said = client.head(f"{parts.scheme}://{parts.netloc}/").headers.get("Date", "")
        ours = before + (now() - before) / 2
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return warning(f"Cannot be compared, as {vendor} does not answer ({type(error).__name__}).")
    try:
        theirs = parsedate_to_datetime(said)
    except ValueError:
        return warning(f"Cannot be compared, as {vendor} does not say what time it is.")
    return clock_finding(ours, theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC), vendor)


def clock_finding(ours: datetime, theirs: datetime, vendor: str) -> Finding:
    """Both times are aware."""
    difference = ours - theirs
    if abs(difference) <= MOST_DIFFERENCE:
        return ok(f"This machine's clock and {vendor}'s agree within a minute.")
    way = "ahead of" if difference > timedelta() else "behind"
    how_much = timedelta(seconds=round(abs(difference).total_seconds()))
    return warning(
        f"This machine's clock is {how_much} (h:mm:ss) {way} {vendor}'s; let it be set by a time server."
    )
