"""Dagster's run launcher, for the dagster.yaml at the top of the project: it waits out a restart of the code.

Belongs here: what a refused launch means to the queue of runs. Does not belong here: how runs are launched,
which is Dagster's own.

A code server that is told to stop ends when its last run has, which may take minutes, and refuses runs until
then. To the stock launcher a refusal is final: the run fails at once, its retries are refused as well, and
what it was to ask for nobody asks for. When a code server is gone, however, the run goes back into the queue
(`run_queue` in dagster.yaml). A server that is going should be no worse than one that is gone.
"""

from dagster import DefaultRunLauncher
from dagster._core.errors import DagsterLaunchFailedError, DagsterUserCodeUnreachableError
from dagster._core.launcher import LaunchRunContext

# Dagster has no name for it but these words.
_IS_STOPPING = "after telling it to shut down"


class PatientRunLauncher(DefaultRunLauncher):
    """The stock launcher, to which a code server that is stopping is one that cannot be reached."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Raises `DagsterUserCodeUnreachableError`, upon which the queue tries again later."""
        try:
            super().launch_run(context)
        except DagsterLaunchFailedError as error:
            if _IS_STOPPING not in str(error):
                raise
            raise DagsterUserCodeUnreachableError("The code server is stopping.") from error
