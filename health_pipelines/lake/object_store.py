"""A bucket: reading, listing, and putting on the condition that nobody else did meanwhile.

Belongs here: the calls, by keys below the lake's prefix. Does not belong here: what the keys are
(`bucket_lake.py`), copies on this machine (`copies.py`), and what is said of a bucket in trouble
(`store_problems.py`).

Every put is one request, whatever its size, so that it is whole or not at all. Credentials are found where
the cloud's own tools look for them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from health_pipelines.lake.manifests import file_hash, text_hash
from health_pipelines.lake.store_problems import (
    ChangedMeanwhileError,
    UnusableStoreError,
    has_no_bucket,
    no_connection,
    sentence_about,
)
from health_pipelines.libraries import loaded_when_used
from health_pipelines.settings.this_machine import is_loopback
from health_pipelines.settings.variables import HEALTH_LAKE_URL

if TYPE_CHECKING:
    import obstore
    import obstore.exceptions
    import obstore.store
else:
    obstore = loaded_when_used("obstore")

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
# 0.2 + 0.4 + ... seconds of pauses: a moment of trouble passes, a longer one is said.
_RETRIES = {
    "max_retries": 5,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=5), "base": 2},
}
_CALL_WITHIN = timedelta(minutes=10)
_CONNECT_WITHIN = timedelta(seconds=10)
# What S3 takes in one request.
MOST_BYTES = 5 * 1024**3


@dataclass(frozen=True)
class Kept:
    """An object as it was seen. `at`: when it was put there (aware, UTC). `e_tag`, `version`: the store's."""

    key: str
    size: int
    at: datetime
    e_tag: str | None
    version: str | None = None

    @property
    def tag(self) -> str:
        """Another one for other bytes under the same key; fit for a file's name."""
        what = self.e_tag or f"{self.size} {self.at.isoformat()}"
        return sha256(what.encode()).hexdigest()[:16]

    @property
    def condition(self) -> dict[str, str]:
        """What a put has to find there; stores tell versions apart by the one or the other."""
        return {
            name: value
            for name, value in (("e_tag", self.e_tag), ("version", self.version))
            if value is not None
        }


@dataclass(frozen=True)
class Bucket:
    """The objects below the prefix of `url` (`s3://bucket/prefix`); threads may share it.

    Every method raises `UnusableStoreError` with one sentence.
    """

    url: str

    def head(self, key: str) -> Kept | None:
        """None if there is no such object."""
        with self._naming():
            try:
                return _kept(key, obstore.head(self._store, key))
            except FileNotFoundError:
                return None

    def read(self, key: str, unless: Kept | None = None) -> tuple[bytes, Kept] | None:
        """A small object; None if there is none, or if it is still the version `unless`."""
        options: Any = {"if_none_match": unless.e_tag} if unless and unless.e_tag else {}
        with self._naming():
            try:
                got = obstore.get(self._store, key, options=options)
                return bytes(got.bytes()), _kept(key, got.meta)
            except FileNotFoundError as error:
                if has_no_bucket(error):
                    raise
                return None
            except obstore.exceptions.NotModifiedError:
                return None

    def fetch(self, kept: Kept, target: Path) -> None:
        """Write that version into a file. Raises `ChangedMeanwhileError` if it is there no longer."""
        with target.open("wb") as file:
            for piece in self._pieces(kept):
                file.write(piece)
        if target.stat().st_size != kept.size:
            raise no_connection(self.url)

    def hash_of(self, kept: Kept) -> str:
        """SHA-256 of that version's bytes, which are not kept. Raises `ChangedMeanwhileError`."""
        found = sha256()
        for piece in self._pieces(kept):
            found.update(piece)
        return f"sha256:{found.hexdigest()}"

    def tail(self, kept: Kept, size: int) -> bytes:
        """Its last bytes. Raises `ChangedMeanwhileError`."""
        with self._naming():
            try:
                start = max(0, kept.size - size)
                options: Any = {"range": (start, kept.size), **_if_match(kept)}
                return bytes(obstore.get(self._store, kept.key, options=options).bytes())
            except (FileNotFoundError, obstore.exceptions.PreconditionError):
                raise ChangedMeanwhileError(kept.key) from None

    def listed(self, prefix: str) -> list[Kept]:
        """Every object below a prefix that ends with a slash, by key: a call for each thousand."""
        with self._naming():
            pages = obstore.list(self._store, prefix)
            return sorted(
                (_kept(one["path"], one) for page in pages for one in page), key=lambda one: one.key
            )

    def folders(self, prefix: str | None = None) -> list[str]:
        """The names that follow `prefix` up to a slash; one call for a thousand."""
        with self._naming():
            found = obstore.list_with_delimiter(self._store, prefix)["common_prefixes"]
        return sorted(one.rstrip("/").rpartition("/")[2] for one in found)

    def put(self, key: str, body: bytes | Path, seen: Kept | None) -> Kept:
        """Make `body` the object, if it is still the version `seen`, or if there is none yet (None).

        Raises `ChangedMeanwhileError`; the object is as somebody else left it then. An answer that was lost
        looks like that as well, so that whoever is refused looks whether what is there is what he wrote.
        """
        size = body.stat().st_size if isinstance(body, Path) else len(body)
        if size > MOST_BYTES:
            raise UnusableStoreError(
                f"{key} has {size / 10**9:,.1f} GB, and a bucket ({HEALTH_LAKE_URL.name}) takes 5.4 GB at "
                "once; ask for less in a day, or keep the lake in a folder."
            )
        mode: Any = "create" if seen is None else seen.condition
        with self._naming():
            try:
                put = obstore.put(self._store, key, body, mode=mode, use_multipart=False)
                return Kept(key, size, datetime.now().astimezone(), put["e_tag"], put["version"])
            except (
                obstore.exceptions.PreconditionError,
                obstore.exceptions.AlreadyExistsError,
                FileNotFoundError,  # what was to be replaced is gone
            ) as error:
                if has_no_bucket(error):
                    raise
        stands = self.head(key)
        wanted = text_hash(body) if isinstance(body, bytes) else file_hash(body)
        if stands is not None and stands.size == size and self.hash_of(stands) == wanted:
            return stands
        raise ChangedMeanwhileError(key)

    def delete(self, key: str) -> None:
        """Take it away, if it is there; whatever version it is."""
        with self._naming():
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError as error:
                if has_no_bucket(error):
                    raise

    def _pieces(self, kept: Kept) -> Iterator[bytes]:
        with self._naming():
            try:
                options: Any = _if_match(kept)
                for piece in obstore.get(self._store, kept.key, options=options).stream():
                    yield bytes(piece)
            except (FileNotFoundError, obstore.exceptions.PreconditionError):
                raise ChangedMeanwhileError(kept.key) from None

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except (obstore.exceptions.BaseError, FileNotFoundError) as error:
            # `from None`: it holds what the store said.
            raise UnusableStoreError(sentence_about(self.url, error)) from None

    @property
    def _store(self) -> obstore.store.ObjectStore:
        # Not one that a parent made: its threads are not here.
        key = (os.getpid(), self.url)
        with _making:
            if key not in _made:
                _made[key] = _opened(self.url)
            return _made[key]


_made: dict[tuple[int, str], Any] = {}
_making = threading.Lock()


def _forget_parents() -> None:
    global _making  # noqa: PLW0603 - another thread of the parent may have been in it
    _making = threading.Lock()


os.register_at_fork(after_in_child=_forget_parents)


def _opened(url: str) -> Any:
    options: dict[str, Any] = {"timeout": _CALL_WITHIN, "connect_timeout": _CONNECT_WITHIN}
    more: dict[str, Any] = {}
    if url.startswith("s3:"):
        name, endpoint = next(((name, at) for name in _ENDPOINTS if (at := os.environ.get(name))), ("", ""))
        parts = urlsplit(endpoint)
        if parts.scheme == "http":
            if not is_loopback(parts.hostname or ""):
                raise UnusableStoreError(
                    f"{name} starts with http:// but {parts.hostname} is not this machine; use https://, as "
                    f"what is in the bucket of {HEALTH_LAKE_URL.name} is about patients."
                )
            options["allow_http"] = True
        if os.environ.get("AWS_PROFILE") and not os.environ.get("AWS_ACCESS_KEY_ID"):
            more["credential_provider"] = _of_a_profile()
    return obstore.store.from_url(url, client_options=options, retry_config=_RETRIES, **more)


def _of_a_profile() -> Any:
    """What reads `~/.aws`, single sign-on included: the cloud's own library, where it is installed."""
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415 - needs boto3
    except ImportError:
        raise UnusableStoreError(
            f"AWS_PROFILE is set for the bucket of {HEALTH_LAKE_URL.name}, and a profile is read by boto3; "
            "run `pip install boto3`, or set what `aws configure export-credentials --format env` says."
        ) from None
    try:
        return Boto3CredentialProvider()
    except Exception as error:  # of botocore, which need not be there
        says = (
            f"The profile in AWS_PROFILE gives no credentials for the bucket of {HEALTH_LAKE_URL.name} "
            f"({type(error).__name__}); run `aws sso login` or `aws configure`."
        )
    raise UnusableStoreError(says)


def _if_match(kept: Kept) -> dict[str, str]:
    return {"if_match": kept.e_tag} if kept.e_tag else {}


def _kept(key: str, meta: Any) -> Kept:
    return Kept(key, meta["size"], meta["last_modified"], meta["e_tag"], meta["version"])
