"""The written result of the last probe, one for each place: `probe.json` in its data folder.

Belongs here: the file's form, its permissions and its replacement. Does not belong here: what is found, and
what the doctor says of it. The file holds no row's value, and is still for its owner alone.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from health_pipelines.probe.finding import Finding, Need
from health_pipelines.probe.questions import Probed

FILE_NAME = "probe.json"


class ProbeFileError(Exception):
    """The file is damaged or cannot be used. One sentence that says what to do."""


def keep(folder: Path, probed: Probed) -> None:
    """Write it in place of what was known of the same subject; the folder is made if it is missing."""
    file, work = folder / FILE_NAME, folder / f".{FILE_NAME}.new"
    try:
        others = [one for one in last_probe(folder) if one.subject != probed.subject]
    except ProbeFileError:
        others = []  # what nobody can read is of no use to anybody
    text = json.dumps({"probes": [as_json(one) for one in (*others, probed)]}, indent=1)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Left behind by a writer that died, so that O_EXCL makes the new one with its permissions.
        work.unlink(missing_ok=True)
        handle = os.open(work, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write(text)
        work.replace(file)
    except OSError as error:
        with suppress(OSError):
            work.unlink(missing_ok=True)
        raise ProbeFileError(
            f"{file} cannot be written ({error.strerror}); make room, or make it writable."
        ) from None


def last_probe(folder: Path) -> list[Probed]:
    """What is known, of each subject what came of its last probe. Raises `ProbeFileError`."""
    file = folder / FILE_NAME
    try:
        return [_from_json(one) for one in json.loads(file.read_text(encoding="utf-8"))["probes"]]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ProbeFileError(f"{file} cannot be read ({error.strerror}); make it readable.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ProbeFileError(
            f"{file} is damaged; remove it, and run `health-pipelines probe` again."
        ) from None


def as_json(probed: Probed) -> dict[str, Any]:
    """Times in ISO 8601 with their zone."""
    return {**asdict(probed), "at": probed.at.isoformat()}


def _from_json(known: Mapping[str, Any]) -> Probed:
    findings = tuple(
        Finding(**{**one, "needs": tuple(Need(**need) for need in one["needs"])}) for one in known["findings"]
    )
    return Probed(**{**known, "at": datetime.fromisoformat(known["at"]), "findings": findings})
