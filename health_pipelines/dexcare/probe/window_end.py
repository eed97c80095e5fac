"""What it says of a window's end whether a row at its very instant came. Pure.

Belongs here: the verdict, which reports and histories share. Does not belong here: which rows there are.
"""

from collections.abc import Collection

from health_pipelines.probe.finding import Assumption, Finding


def end_found_by(came: Collection[bool], assumption: Assumption, *, follows: str) -> Finding:
    """`came`: whether the row came, by each time that may be searched. `follows`: if ends are included."""
    if len(came) != 1:
        return assumption.not_seen(
            "The rows do not show by which time the window is cut, or changed meanwhile."
        )
    if True in came:
        return assumption.seen("included", holds=False, follows=follows)
    return assumption.seen("not included")
