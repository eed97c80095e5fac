"""The written result: whole, for its owner alone, one for each subject."""

import os
import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from health_pipelines.lake.ownership import OWNERS_ALONE, open_paths
from health_pipelines.probe.finding import Finding, Need
from health_pipelines.probe.questions import Probed
from health_pipelines.probe.record import FILE_NAME, ProbeFileError, keep, last_probe

PROBED = Probed(
    "DexCare",
    "https://ecvapi.care.example.org",
    datetime(2026, 3, 12, 8, tzinfo=UTC),
    most_calls=61,
    calls=17,
    stopped="The network is gone.",
    findings=(
        Finding(
            "a result lives", "not stated", "gone", holds=False, needs=(Need("X", "it died", at_most=2),)
        ),
        Finding("NULL", "not stated", "no value is missing", holds=None),
    ),
)


def test_what_was_kept_is_read_as_it_was(tmp_path: Path) -> None:
    keep(tmp_path / "data", PROBED)

    assert last_probe(tmp_path / "data") == [PROBED]


def test_a_new_probe_replaces_that_of_its_subject_alone(tmp_path: Path) -> None:
    other = replace(PROBED, subject="DrChrono")
    newer = replace(PROBED, calls=18)
    for one in (PROBED, other, newer):
        keep(tmp_path, one)

    assert last_probe(tmp_path) == [other, newer]


def test_nobody_but_the_owner_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    os.umask(0o000)
    keep(tmp_path / "data", PROBED)

    assert stat.S_IMODE((tmp_path / "data" / FILE_NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert open_paths(tmp_path / "data", None) == []
    assert FILE_NAME in OWNERS_ALONE


def test_nothing_is_known_where_nobody_probed(tmp_path: Path) -> None:
    assert last_probe(tmp_path) == []


@pytest.mark.parametrize("text", ["", "{}", '{"probes": [{}]}', '{"probes": 7}', "no JSON"])
def test_a_damaged_file_is_told_in_a_sentence_and_replaced_by_the_next_probe(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / FILE_NAME).write_text(text)

    with pytest.raises(ProbeFileError, match="is damaged; remove it"):
        last_probe(tmp_path)
    keep(tmp_path, PROBED)

    assert last_probe(tmp_path) == [PROBED]
