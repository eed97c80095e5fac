"""How a step says that some days of its range did not work out, in one sentence.

Belongs here: that sentence. Does not belong here: why a day failed.
"""

from collections.abc import Mapping

from dagster import AssetKey, Failure


def days_failed(asset: AssetKey, failed: Mapping[str, object], asked: int, what: str) -> Failure:
    """`failed`: the reason by day, not empty. `what`: such as "could not be landed"."""
    first = min(failed)
    return Failure(
        f"{asset.to_user_string()}: {len(failed)} of {asked} days {what}, {first} the first: {failed[first]}",
        # What is worth another try was tried again where it failed.
        allow_retries=False,
    )


def step_failed(asset: AssetKey, error: Exception) -> Failure:
    """Nothing could be done for any day."""
    return Failure(f"{asset.to_user_string()}: {error}", allow_retries=False)
