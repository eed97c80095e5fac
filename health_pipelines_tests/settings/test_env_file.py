"""Settings that are added to a file which people have written."""

import os
from pathlib import Path

import pytest
from dotenv import dotenv_values

from health_pipelines.settings import SettingError
from health_pipelines.settings.env_file import add_settings, line

NEW = {"DEXCARE_AVR_RETAIL_KEY": "visit_id", "DEXCARE_AVR_RETAIL_STATUS": "Visit's #1 state"}
ADDED = b"# Why.\nDEXCARE_AVR_RETAIL_KEY=visit_id\nDEXCARE_AVR_RETAIL_STATUS='Visit\\'s #1 state'\n"


@pytest.mark.parametrize(
    "value",
    [
        "visit_id",
        "Visit ID",
        " leading",
        "a#b",
        "a #b",
        "it's",
        'say "x"',
        "back\\slash",
        "end\\",
        "é",
        "=",
        "$x",
        "a\nb",
        "\\n",
    ],
)
def test_any_column_name_is_read_as_it_was_written(tmp_path: Path, value: str) -> None:
    file = tmp_path / ".env"

    add_settings(file, {"A": value, "B": "it's"}, "Why.")

    assert dotenv_values(file) == {"A": value, "B": "it's"}


def test_a_plain_name_is_not_quoted() -> None:
    assert line("A", "visit_id") == "A=visit_id"
    assert line("A", "visit id") == "A='visit id'"


@pytest.mark.parametrize(
    "old",
    [b"", b"# mine\nHEALTH_TIMEZONE=UTC\n", b"X='a\nb'\r\n\n  export Y = 1 # why\n", "# é\nX=ü\n".encode()],
)
def test_what_is_there_stays_byte_for_byte(tmp_path: Path, old: bytes) -> None:
    file = tmp_path / ".env"
    file.write_bytes(old)

    assert add_settings(file, NEW, "Why.") == list(NEW)

    assert file.read_bytes() == old + ADDED


def test_a_last_line_without_an_end_gets_one(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"X=1")
    add_settings(file, NEW, "Why.")
    assert file.read_bytes() == b"X=1\n" + ADDED


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    add_settings(file, NEW, "Why.")
    before = file.stat()

    assert add_settings(file, NEW, "Why.") == []

    assert file.stat() == before


def test_a_new_file_is_its_owners_alone_and_an_old_one_keeps_its_permissions(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    old.touch()
    old.chmod(0o640)
    for file in (new, old):
        add_settings(file, NEW, "Why.")
    assert (new.stat().st_mode & 0o777, old.stat().st_mode & 0o777) == (0o600, 0o640)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / ".env"
    target.write_text("X=1\n")
    link.symlink_to(target)
    add_settings(link, NEW, "Why.")
    assert link.is_symlink()
    assert target.read_bytes() == b"X=1\n" + ADDED


def test_an_open_quote_or_a_reference_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    for old, new in ((b"X='open\n", NEW), (b"X=1\n", {"A": "${X}"})):
        file.write_bytes(old)
        with pytest.raises(SettingError, match="the lines would be read as something else"):
            add_settings(file, new, "Why.")
        assert file.read_bytes() == old
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


def test_what_cannot_be_written_or_read_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"no/\.env cannot be written: No such file"):
        add_settings(tmp_path / "no" / ".env", NEW, "Why.")
    (tmp_path / "latin").write_bytes(b"X=\xff\n")
    with pytest.raises(SettingError, match="latin cannot be added to: it is not UTF-8 text"):
        add_settings(tmp_path / "latin", NEW, "Why.")
    with pytest.raises(SettingError, match="cannot be written: Is a directory"):
        add_settings(tmp_path, NEW, "Why.")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_closed_is_said_in_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SettingError, match="cannot be written: Permission denied"):
        add_settings(tmp_path / ".env", NEW, "Why.")
