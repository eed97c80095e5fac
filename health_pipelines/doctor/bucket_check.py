"""Whether the bucket of a lake at a URL can be used, and keeps its one-writer rule.

Belongs here: that. Does not belong here: what is in the lake (`folder_checks.py`). A note of a few bytes is
put there and removed.
"""

import uuid

from health_pipelines.doctor.finding import Finding, ok, problem
from health_pipelines.doctor.installation import Installation
from health_pipelines.lake.object_store import Bucket, Kept
from health_pipelines.lake.opening import COPIES
from health_pipelines.lake.store_problems import ChangedMeanwhileError
from health_pipelines.settings.variables import HEALTH_LAKE_URL


def object_storage(installation: Installation) -> Finding:
    """Raises `SettingError` and `UnusableStoreError`."""
    url = installation.settings.lake_url
    if url is None:
        return ok(f"The lake is a folder, as {HEALTH_LAKE_URL.name} is not set.")
    bucket, key = Bucket(url), f"_doctor/{uuid.uuid4().hex}"
    first = bucket.put(key, b"1", None)
    try:
        bucket.put(key, b"12", first)
        # As two writers would that saw the same, and two that saw nothing.
        is_strict = all(_is_refused(bucket, key, body, seen) for body, seen in ((b"3", first), (b"4", None)))
        listed = bucket.listed("_doctor/")
    finally:
        bucket.delete(key)
    if not is_strict or all(one.key != key for one in listed):
        return problem(
            f"{url} takes a put whose condition does not hold, or does not list what was put, so that of "
            "two writers of one day both could think that theirs is in place; take another store for "
            f"{HEALTH_LAKE_URL.name}."
        )
    here = installation.settings.data_dir / COPIES
    return ok(f"{url} can be listed, read and written, and refuses a second writer; copies are in {here}.")


def _is_refused(bucket: Bucket, key: str, body: bytes, seen: Kept | None) -> bool:
    try:
        bucket.put(key, body, seen)
    except ChangedMeanwhileError:
        return True
    return False
