"""Dagster's daemon as it is, except that it looks after backfills every 2 s instead of every 30 s.

For stories with several backfills: the 30 s are a constant of Dagster that no setting changes.
"""

from dagster._daemon import controller
from dagster._daemon.cli import main

if __name__ == "__main__":
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 2
    main()
