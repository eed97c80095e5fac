"""The key that an installation makes for itself: once, for its owner alone, on however many hosts."""

import errno
import os
from pathlib import Path

import pytest

from health_pipelines.privacy.keyed_hash import LostKeyError, own_key


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "privacy"
    key = own_key(folder)
    assert len(key) == 32
    assert own_key(folder) == key
    assert [(file.name, oct(file.stat().st_mode)[-3:]) for file in folder.iterdir()] == [("key", "600")]


def test_the_key_that_another_host_made_meanwhile_is_the_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between hosts the lock of a folder does not hold."""
    folder, theirs, link = tmp_path / "privacy", "ab" * 32, os.link

    def another_host_is_first(made: Path, file: Path) -> None:
        file.write_text(f"{theirs}\n")
        link(made, file)

    monkeypatch.setattr(os, "link", another_host_is_first)
    assert own_key(folder) == bytes.fromhex(theirs)
    assert [file.name for file in folder.iterdir()] == ["key"]


def test_a_key_is_made_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def has_none(made: Path, _: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(made))

    monkeypatch.setattr(os, "link", has_none)
    key = own_key(tmp_path)
    assert own_key(tmp_path) == key
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


def test_no_other_key_is_made_where_there_are_hashes(tmp_path: Path) -> None:
    (tmp_path / "erased.jsonl").write_text("{}\n")
    with pytest.raises(LostKeyError, match="restore it from a backup"):
        own_key(tmp_path)
