"""Where the lake of an installation is: in a folder, or in a bucket.

Belongs here: that choice. Does not belong here: either of the two (`partitions.py`, `bucket_lake.py`). What a
bucket needs is imported where one is set.
"""

from health_pipelines.lake.host_locks import HostLocks, host_locks
from health_pipelines.lake.partitions import Lake
from health_pipelines.settings import SettingError, Settings
from health_pipelines.settings.variables import HEALTH_LAKE_URL

# Below the data folder: of a lake in a folder, and of one in a bucket what lies here of it.
LAKE, COPIES = "lake", "lake_copy"


def lake_of(settings: Settings) -> Lake:
    """To write to it. Raises `SettingError`."""
    return _lake(settings, host_locks(settings.postgres_url))


def lake_to_read(settings: Settings) -> Lake:
    """To read it, for which no lock is needed. Raises `SettingError`."""
    return _lake(settings, None)


def _lake(settings: Settings, hosts: HostLocks | None) -> Lake:
    folder, url = settings.data_dir / LAKE, settings.lake_url
    if url is None:
        return Lake(folder, hosts)
    if folder.exists():
        in_folder = Lake(folder)
        if any(in_folder.days(table) for table in in_folder.tables()):
            raise SettingError(
                f"{HEALTH_LAKE_URL.name} is {url}, while partitions are in {folder}; copy that folder there "
                "(docs/lake-in-object-storage.md) and rename it, or remove the setting."
            )
    from health_pipelines.lake.bucket_lake import BucketLake  # noqa: PLC0415 - where a bucket is set

    return BucketLake(url, settings.data_dir / COPIES, settings.most_bytes_of_copies, hosts)
