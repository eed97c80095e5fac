"""When a setting contradicts what was seen."""

import pytest

from health_pipelines.probe.finding import Assumption, Need
from health_pipelines.settings import SettingError, Settings

POLL = "DEXCARE_POLL_SECONDS"  # 15 unless it is set
ZONE = "DRCHRONO_TIMEZONE"


@pytest.mark.parametrize(
    ("need", "value", "contradicted"),
    [
        (Need(POLL, "", at_most=15), "", None),
        (Need(POLL, "", at_most=14), "", "15"),
        (Need(POLL, "", at_most=14), "14", None),
        (Need(POLL, "", at_least=15), "", None),
        (Need(POLL, "", at_least=16), "", "15"),
        (Need(ZONE, "", other_than="America/Denver"), "America/Denver", "America/Denver"),
        (Need(ZONE, "", other_than="America/Denver"), "America/Chicago", None),
    ],
)
def test_a_setting_contradicts_a_need_or_not(need: Need, value: str, contradicted: str | None) -> None:
    assert need.contradicted(Settings({need.setting: value})) == contradicted


def test_where_a_setting_is_not_set_the_one_that_counts_instead_contradicts() -> None:
    need = Need(ZONE, "", other_than="America/Denver", instead="HEALTH_TIMEZONE")

    assert need.contradicted(Settings({"HEALTH_TIMEZONE": "America/Denver"})) == "America/Denver"
    assert need.contradicted(Settings({})) is None
    both = {"HEALTH_TIMEZONE": "America/Denver", ZONE: "America/Chicago"}
    assert need.contradicted(Settings(both)) is None


def test_a_setting_that_cannot_be_read_is_refused_by_its_reader() -> None:
    with pytest.raises(SettingError, match=POLL):
        Need(POLL, "", at_most=14).contradicted(Settings({POLL: "often"}))


def test_a_need_says_what_to_set() -> None:
    assert Need(POLL, "", at_most=2).wish == "DEXCARE_POLL_SECONDS at most 2"
    assert Need(POLL, "", at_least=2).wish == "DEXCARE_POLL_SECONDS at least 2"
    assert Need(ZONE, "", other_than="UTC").wish == "DRCHRONO_TIMEZONE other than UTC"


def test_what_was_not_seen_neither_holds_nor_differs() -> None:
    assert Assumption("a", "b").not_seen("why").holds is None
