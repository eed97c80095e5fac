"""`health-pipelines publish`: bring the database of PUBLISH_URL up to the warehouse.

Belongs here: what the command prints. Does not belong here: publishing (`publish/publisher.py`).
"""

import sys

from health_pipelines.commands.environment import user_environment
from health_pipelines.commands.problem import ProblemError
from health_pipelines.commands.progress import Showing
from health_pipelines.commands.text_table import text_table
from health_pipelines.lake.ownership import keep_new_files_private
from health_pipelines.publish.databases import publication_of, published_models
from health_pipelines.publish.publisher import Publisher
from health_pipelines.publish.source import opened
from health_pipelines.publish.tables import PublishError
from health_pipelines.settings import Settings
from health_pipelines.settings.clock import utc_now
from health_pipelines.settings.place_files import settings_of_place
from health_pipelines.settings.variables import PUBLISH_URL
from health_pipelines.warehouse.storage import warehouse_of


def publish(place: str | None, *, compare: bool) -> int:
    """Returns the exit code: 1 if a table could not be published, which is as it was then.

    `place`: one of HEALTH_PLACES_DIR. `compare`: whether every row is compared with the target's. Raises
    `ProblemError` with one sentence if nothing could be published.
    """
    settings = Settings(settings_of_place(place, user_environment()) if place else user_environment())
    keep_new_files_private(settings.data_group)
    lines: list[list[str]] = []
    problems: list[str] = []
    try:
        publication = publication_of(settings)
        if publication is None:
            raise ProblemError(f"{PUBLISH_URL.name} is not set, so that nothing is published.")
        models = published_models(settings)
        with (
            Showing("tables published", len(models), to_stderr=True) as showing,
            opened(warehouse_of(settings), publication.work, with_deleted=publication.with_deleted) as source,
        ):
            publisher = Publisher(
                source, publication.target, publication.memory, publication.schemas, utc_now()
            )
            for number, model in enumerate(models):
                rows = sum(int(line[1]) for line in lines)
                showing.update(number, f"{rows:,} rows, now {model.full_name}")
                if not source.has(model.full_name):
                    continue
                try:
                    done = publisher.publish(model, compare=compare)
                except PublishError as error:
                    problems.append(str(error))
                    continue
                merged = done.merged
                lines.append([done.full_name, str(done.totals.rows), done.way, str(merged.inserted)])
                lines[-1] += [str(merged.updated), str(merged.deleted), f"{done.seconds:.1f}"]
    except PublishError as error:
        raise ProblemError(str(error)) from None
    if lines:
        print(text_table(("table", "rows", "how", "inserted", "updated", "deleted", "seconds"), lines))
    for sentence in problems:
        print(f"\n{sentence}", file=sys.stderr)
    return 1 if problems else 0
