"""The file that keeps DrChrono's tokens between runs, for all processes of one machine.

Belongs here: its permissions, its lock and its atomic replacement. Does not belong here: what is kept
(`token_store.py`), when tokens are renewed, and how (`tokens.py`).

Whoever can read the file can read patients' records. So nobody but its owner may, not even for the moment in
which it is made, and no error says anything of what is in it.
"""

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from health_pipelines.drchrono.api.token_store import KeptTokens, from_json, to_json
from health_pipelines.http import PermanentError
from health_pipelines.lake.locks import LockedElsewhereError, take

_LOOK_AGAIN_SECONDS = 0.05


class TokenFileError(PermanentError):
    """The file is damaged, open to others, or cannot be written. One sentence that says what to do."""


class TokenFile:
    """A `TokenStore`.

    The folder is made if it is missing, for its owner only. Methods raise `TokenFileError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._work = path.with_name(f".{path.name}.new")
        self._lock = path.with_name(f".{path.name}.lock")

    @property
    def shown(self) -> str:
        return str(self.path)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        handle = await self._take()
        try:
            yield
        finally:
            os.close(handle)

    def read(self, chain: str) -> KeptTokens | None:
        return self._read().get(chain)

    def remove(self) -> None:
        """Forget everything, because it is kept elsewhere."""
        with suppress(OSError):
            self.path.unlink()

    async def write(self, chain: str, tokens: KeptTokens, *, forget_others: bool = False) -> None:
        chains = {**({} if forget_others else self._read()), chain: tokens}
        text = json.dumps({name: to_json(known) for name, known in chains.items()}, indent=1)
        problem = None
        try:
            # Left behind by a writer that died, so that O_EXCL makes the new one with its permissions.
            self._work.unlink(missing_ok=True)
            handle = os.open(self._work, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(handle)
            self._work.replace(self.path)
            _sync(self.path.parent)
        except OSError as error:
            problem = error.strerror
            with suppress(OSError):
                self._work.unlink(missing_ok=True)
        if problem:
            raise TokenFileError(
                f"The file of DrChrono's tokens, {self.path}, cannot be written ({problem}); "
                "make room or make it writable."
            )

    async def _take(self) -> int:
        problem = None
        try:
            self._make_folder()
            os.close(os.open(self._lock, os.O_RDONLY | os.O_CREAT, 0o600))
        except OSError as error:
            problem = error.strerror
        if problem:
            raise TokenFileError(
                f"The folder of DrChrono's tokens, {self.path.parent}, cannot be used ({problem}); "
                "make it writable."
            )
        while True:
            try:
                return take(self._lock, wait=False)
            except LockedElsewhereError:
                # Whoever holds it is asking the vendor for a token, which has time limits of its own.
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    def _make_folder(self) -> None:
        folder = self.path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise TokenFileError(
                f"Others may write into the folder of DrChrono's tokens; run `chmod go-w '{folder}'`."
            )

    def _read(self) -> dict[str, KeptTokens]:
        text, problem = "", None
        try:
            with self.path.open(encoding="utf-8") as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read()
        except FileNotFoundError:
            return {}
        except OSError as error:
            problem = error.strerror
        except UnicodeDecodeError:
            problem = "it is damaged"
        if problem is None and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise TokenFileError(
                f"Others may read DrChrono's tokens; run `chmod 600 '{self.path}'`, and if somebody may have "
                "read them, authorise the application again in DrChrono and set DRCHRONO_REFRESH_TOKEN."
            )
        found = _from_text(text) if problem is None else None
        # Raised out here: the exceptions above hold the text.
        if found is None:
            raise TokenFileError(
                f"The file of DrChrono's tokens, {self.path}, cannot be read ({problem or 'it is damaged'}); "
                "repair or remove it, and if DRCHRONO_REFRESH_TOKEN is refused then, authorise the "
                "application again in DrChrono and set DRCHRONO_REFRESH_TOKEN."
            )
        return found


def _from_text(text: str) -> dict[str, KeptTokens] | None:
    """None for a text that no `TokenFile` wrote."""
    try:
        return {str(name): from_json(known) for name, known in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError, KeyError):
        return None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
