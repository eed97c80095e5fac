"""Whether somebody has said which column of a visit report is which.

Belongs here: a line for each report. Does not belong here: how columns are guessed (`dexcare/columns/`).
"""

from health_pipelines.dexcare.columns.guesses import remembered, visit_columns
from health_pipelines.dexcare.tables import VISIT_REPORTS
from health_pipelines.doctor.finding import Finding, not_set_up, ok, warning
from health_pipelines.doctor.installation import Installation
from health_pipelines.settings.visit_columns import VISIT_COLUMN_ROLES


def columns(installation: Installation) -> list[Finding]:
    """What the last build of the warehouse had to guess, and what nobody knows. Looks into no partition."""
    settings = installation.settings
    known, used, found = remembered(settings), visit_columns(settings), []
    for report in VISIT_REPORTS:
        type_ = report.type.value
        if type_ not in known:
            continue
        guesses, named = known[type_].of, used[type_]
        guessed = [f"{role} is {getattr(named, role)}" for role in named.guessed]
        parts = [f"guessed: {', '.join(guessed)}"] if guessed else []
        unknown = [role for role in VISIT_COLUMN_ROLES if getattr(named, role) is None and role in guesses]
        parts += [f"{role} is not known ({guesses[role].said})" for role in unknown]
        if parts:
            found.append(warning(f"{report.table}: {'; '.join(parts)}. `health-pipelines columns` says why."))
    if found:
        return found
    if any(getattr(named, role) for named in used.values() for role in VISIT_COLUMN_ROLES):
        return [ok("No column is guessed.")]
    return [not_set_up("They are looked for when visits have landed.")]
