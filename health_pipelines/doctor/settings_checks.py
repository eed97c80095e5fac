"""Whether the settings can be read, and what of them is likely not meant.

Belongs here: names and values of settings. Does not belong here: whether an address answers or a key is good.
"""

from difflib import get_close_matches

from health_pipelines.doctor.finding import Finding, not_set_up, ok, problem, warning
from health_pipelines.doctor.installation import Installation
from health_pipelines.settings import MissingSettingError, SettingError, Settings
from health_pipelines.settings.variables import (
    ALERT_SMTP_HOST,
    ALERT_WEBHOOK_URL,
    ALL_SETTINGS,
    DEXCARE_BASE_URL,
    DEXCARE_SERVICE_KEY,
    DRCHRONO_TIMEZONE,
    HEALTH_PLACES_DIR,
    HEALTH_TIMEZONE,
)

# So alike are a name and the same with a letter missing, too many or swapped.
MISSPELT = 0.9


def readable(installation: Installation) -> list[Finding]:
    """A line for each setting that is malformed; those that are missing are the matter of who needs them."""
    wrong = dict.fromkeys(
        sentence for name in Settings.names() if (sentence := _what_is_wrong(installation, name))
    )
    doubtful = [
        *_misspelt(installation),
        *_without_effect(installation),
        *_vendor_without_address(installation),
    ]
    if wrong or doubtful:
        return [*map(problem, wrong), *map(warning, doubtful)]
    given = sum(1 for one in ALL_SETTINGS if any(map(installation.environment.get, one.variables)))
    return [ok(f"{given} are set, and all {len(ALL_SETTINGS)} can be read.")]


def time_zones(installation: Installation) -> Finding:
    """The zones, and whether somebody chose them."""
    settings = installation.settings
    zone = settings.timezone.key
    said = f"Days are those of {zone}"
    if settings.has_drchrono:
        said += f", and DrChrono's times are {settings.drchrono_timezone.key}"
    if not installation.environment.get(HEALTH_TIMEZONE.name, "").strip():
        account = (
            f", and {DRCHRONO_TIMEZONE.name} if DrChrono's account has another"
            if settings.has_drchrono
            else ""
        )
        return warning(
            f"{HEALTH_TIMEZONE.name} is not set. {said}, the default; set it to the health system's zone, "
            f"such as America/Chicago{account}."
        )
    return ok(f"{said}.")


def places(installation: Installation) -> list[Finding]:
    """Said where settings of places exist and the command was not told which place is meant."""
    if installation.place is not None or not installation.environment.get(HEALTH_PLACES_DIR.name, "").strip():
        return []
    folder = installation.settings.places_dir
    if not folder.is_dir():
        return [problem(f"{HEALTH_PLACES_DIR.name} is {folder}, which is not a folder.")]
    names = sorted(path.stem for path in folder.glob("*.env"))
    if not names:
        return [problem(f"{HEALTH_PLACES_DIR.name} is {folder}, which has no settings file such as uat.env.")]
    commands = ", ".join(f"--place {name}" for name in names)
    return [ok(f"What follows is about the environment; examine each place by itself, with {commands}.")]


def alerts(installation: Installation) -> Finding:
    """Whether somebody is told when a day is missing. Sends nothing."""
    settings = installation.settings
    ways = []
    if settings.has_webhook_alert:
        _ = settings.alert_webhook_url
        ways.append("the webhook")
    if settings.has_email_alert:
        _ = settings.alert_smtp_host, settings.alert_email_from, settings.alert_email_to
        if settings.alert_smtp_user:
            _ = settings.alert_smtp_password
        ways.append("e-mail")
    if not ways:
        return not_set_up(
            f"Nobody is told when a run fails or a day is missing; set {ALERT_WEBHOOK_URL.name} or "
            f"{ALERT_SMTP_HOST.name} and its kin."
        )
    return ok(f"Alerts go to {' and '.join(ways)}; no test is sent.")


def _what_is_wrong(installation: Installation, name: str) -> str | None:
    try:
        getattr(installation.settings, name)
    except MissingSettingError:
        return None
    except SettingError as error:
        return str(error)
    return None


def _misspelt(installation: Installation) -> list[str]:
    known = [name for setting in ALL_SETTINGS for name in setting.variables]
    found = []
    for name in sorted(installation.process_environment):
        # Dagster's own variables, and those of other programs, are alike by right.
        if name not in known and not name.startswith("DAGSTER_"):
            meant = get_close_matches(name, known, n=1, cutoff=MISSPELT)
            found += [f"{name} is set and is no setting; is {meant[0]} meant?"] if meant else []
    return found


def _without_effect(installation: Installation) -> list[str]:
    found = []
    if installation.ignored:
        found.append(
            f"The place {installation.place} takes its settings from its file alone; "
            f"ignored in the environment: {', '.join(installation.ignored)}."
        )
    # Dagster's commands take `.env` first, this project's commands take the environment first.
    for name in sorted(installation.from_dotenv.keys() & installation.process_environment.keys()):
        if installation.from_dotenv[name] != installation.process_environment[name]:
            found.append(
                f"{name} is one thing in .env and another in the environment: Dagster's own commands use the "
                "first and this command the second; remove one of them."
            )
    return found


def _vendor_without_address(installation: Installation) -> list[str]:
    settings = installation.settings
    has_key = any(installation.environment.get(name, "").strip() for name in DEXCARE_SERVICE_KEY.variables)
    if has_key and not settings.has_dexcare:
        return [
            f"{DEXCARE_SERVICE_KEY.name} is set, but {DEXCARE_BASE_URL.name} is not, so that nothing is "
            "asked of DexCare."
        ]
    return []
