"""Dagster's daemon as it is, but it looks after backfills every 2 s and after its code servers every 10 s.

For stories with several backfills, or with code servers that come and go: the 30 s and 60 s are constants of
Dagster that no setting changes.
"""

from dagster._daemon import controller
from dagster._daemon.cli import main

if __name__ == "__main__":
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 2
    controller.RELOAD_WORKSPACE_INTERVAL = 10
    main()
