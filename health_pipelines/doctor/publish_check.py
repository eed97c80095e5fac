"""Whether the database that is published into is reached, and may be written.

Belongs here: what becomes of what it says. Does not belong here: what is asked of it (`publish/target.py`).
"""

from health_pipelines.doctor.finding import Finding, not_set_up, ok, problem
from health_pipelines.doctor.installation import Installation
from health_pipelines.publish.databases import publication_of, published_models
from health_pipelines.publish.tables import PublishError
from health_pipelines.settings.variables import PUBLISH_URL


def publishing(installation: Installation) -> Finding:
    """The server's version and how much is published, or what is in the way."""
    settings = installation.settings
    try:
        publication = publication_of(settings)
        if publication is None:
            return not_set_up(f"{PUBLISH_URL.name} is not set; nothing is published into a database.")
        tables = published_models(settings)
        access = publication.target.examine(list(publication.schemas.values()))
    except PublishError as error:
        return problem(str(error))
    if access.problems:
        return problem(" ".join(access.problems))
    return ok(
        f"{publication.target.identity}, version {access.version}, answers and lets {len(tables)} tables be "
        f"published into {' and '.join(publication.schemas.values())}."
    )
