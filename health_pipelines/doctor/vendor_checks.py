"""Whether each vendor is reached and takes the key.

Belongs here: when a question can be asked, and what its answer means. Does not belong here: the questions
(`landing/vendor.py`, and each vendor's own). No question starts a report or a list, or reads a patient's
record.
"""

import asyncio

from health_pipelines.doctor.database_check import database
from health_pipelines.doctor.finding import Finding, Mark, not_set_up, ok, problem, warning
from health_pipelines.doctor.folder_checks import belongs_to_somebody_else
from health_pipelines.doctor.installation import Installation
from health_pipelines.http import NotFoundError, VendorError
from health_pipelines.landing.vendor import NotAskedError, Question


def asked(question: Question, installation: Installation) -> Finding:
    """Ask, if there is somebody to ask and it does no harm."""
    settings = installation.settings
    if reason := question.not_set_up(settings):
        return not_set_up(reason)
    if question.leaves_something and (harm := _harm_of_asking(installation)):
        return harm
    try:
        asyncio.run(question.ask())
    except NotAskedError as error:
        return warning(str(error))
    except VendorError as error:
        return problem(f"{error} {question.if_not_found}" if isinstance(error, NotFoundError) else str(error))
    return ok(f"{question.host(settings)} answers and takes the {question.takes}.")


def _harm_of_asking(installation: Installation) -> Finding | None:
    if belongs_to_somebody_else(installation.settings.data_dir):
        return warning(
            "Not asked: what root leaves in the folder of tokens, Dagster could not read. Run this as the "
            "user that runs Dagster."
        )
    if database(installation).mark is Mark.PROBLEM:
        return problem(
            "Not asked, as the quota is kept in the database, which cannot be used; every run would wait too."
        )
    return None
