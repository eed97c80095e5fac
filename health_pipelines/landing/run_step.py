"""How the step of every asset begins and ends, whatever it does.

Belongs here: saying that this process carries the run out and what the run is about, and what is told of an
error that nobody expected. Does not belong here: what steps do, and errors that have a sentence of their own.

The words of an exception may repeat a value: `KeyError: 'Smith'`, or what an engine could not convert.
Dagster would write them, and those of their causes, into its event log for ever. So of an error without a
sentence only its kind and the lines of code are told, which is what finding the fault takes.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dagster import AssetExecutionContext, DagsterError, Failure, MetadataValue, RetryRequested

from health_pipelines.lake.disk import UnusableDiskError
from health_pipelines.lake.partitions import Table
from health_pipelines.landing import run_tags
from health_pipelines.landing.run_claims import claim_run
from health_pipelines.landing.storage import Storage
from health_pipelines.settings.postgres_address import PostgresError


@contextmanager
def carried_out(context: AssetExecutionContext, storage: Storage, *tables: Table) -> Iterator[None]:
    """Carry out a step. `tables`: of the lake, that it is about.

    Raises `Failure` for an exception that is neither one nor Dagster's own, without its words.
    """
    claim_run(storage.run_claims, context.run.run_id, context.instance)
    run_tags.tell(context, *tables)
    with without_words(context.op_execution_context.op.name):
        yield


@contextmanager
def without_words(step: str) -> Iterator[None]:
    """`step`: its name, for the sentence."""
    problem = None
    try:
        yield
    except (Failure, RetryRequested, DagsterError):
        raise
    except (PostgresError, UnusableDiskError) as error:
        problem = Failure(str(error))
    except Exception as error:
        problem = _unexpected(error, step)
    if problem is not None:
        raise problem from None  # the one above has values in its words, and so may its causes


def _unexpected(error: Exception, step: str) -> Failure:
    # Of several at once the first says it, as of concurrent work.
    while isinstance(error, ExceptionGroup) and error.exceptions[0].__traceback__ is not None:
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    return Failure(
        f"An unexpected {type(error).__name__} in the step {step}, at line {last.lineno} of "
        f"{Path(last.filename).name}; its words are not kept, since they may repeat a patient's value. "
        "Report it with the lines of code beside this sentence.",
        metadata={
            # Neither values nor lines of source: those of other programs' may be anything.
            "lines_of_code": MetadataValue.text(
                "\n".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
            )
        },
        # As before: what is worth another try was tried where it failed.
        allow_retries=False,
    )
