"""How patient and how eager calls to a vendor are.

Belongs here: the values that are set. Does not belong here: what follows from them (`health_pipelines.http`).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class HttpPolicy:
    """How patient and how eager we are. Durations in seconds.

    `wait_initial_seconds` doubles with every attempt, with up to `wait_jitter_seconds` at random on top.
    """

    concurrency: int = 5
    attempts: int = 4
    timeout_seconds: float = 30.0
    wait_initial_seconds: float = 0.5
    wait_max_seconds: float = 20.0
    wait_jitter_seconds: float = 1.0
