"""A lake in a bucket as a tree of files: for tests that do to a bucket what somebody does to a folder."""

from pathlib import Path

import obstore
from obstore.store import from_url

from health_pipelines.lake.bucket_lake import BucketLake


def bucket_lake(url: str, folder: Path, most_bytes: int = 10**9) -> BucketLake:
    """As a machine has it whose data folder is `folder`."""
    return BucketLake(url, folder / "lake_copy", most_bytes)


def store_of(url: str) -> obstore.store.ObjectStore:
    """The store, past all that this project does with it."""
    return from_url(url, client_options={"allow_http": True})


def objects(url: str) -> dict[str, bytes]:
    """Every object by its key."""
    store = store_of(url)
    keys = [str(one["path"]) for page in obstore.list(store) for one in page]
    return {key: bytes(obstore.get(store, key).bytes()) for key in sorted(keys)}


def written_to(url: str, folder: Path) -> dict[str, bytes]:
    """Put the objects into files of an empty folder."""
    found = objects(url)
    for key, content in found.items():
        file = folder / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return found


def brought_up_to(folder: Path, url: str) -> None:
    """Make the bucket what the folder is, without a condition, as its owner may."""
    store, there = store_of(url), objects(url)
    here = {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}
    for key, content in here.items():
        if there.get(key) != content:
            obstore.put(store, key, content)
    for key in there.keys() - here.keys():
        obstore.delete(store, key)
