"""How patient and how eager calls to a vendor are.

Belongs here: the values that are set. Does not belong here: what follows from them (`health_pipelines.http`).
"""

from dataclasses import dataclass

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class HttpPolicy:
    """How patient and how eager we are. Durations in seconds.

    `wait_initial_seconds` doubles with every attempt, with up to `wait_jitter_seconds` at random on top.
    `timeout_seconds`: the longest silence; `longest_seconds`: from the sending of a call to the last byte of
    its answer. Sizes are of plain bytes, whatever came compressed: `largest_answer_bytes` of an answer that
    is held in memory, `largest_download_bytes` of one that is written to a file.
    """

    concurrency: int = 5
    attempts: int = 4
    timeout_seconds: float = 30.0
    longest_seconds: float = 3600.0
    largest_answer_bytes: int = 256 * MEGABYTE
    largest_download_bytes: int = 20_000 * MEGABYTE
    wait_initial_seconds: float = 0.5
    wait_max_seconds: float = 20.0
    wait_jitter_seconds: float = 1.0
