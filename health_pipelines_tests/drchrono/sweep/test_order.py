"""An order is believed if some reading of the values makes it one."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from health_pipelines.drchrono.sweep.order import (
    Order,
    instants,
    local_time,
    order_of_keys,
    order_of_times,
    place_of,
)

DENVER = ZoneInfo("America/Denver")
# Clocks go back at 02:00 on this night, so that the hour before comes twice.
NIGHT = "2025-11-02T"


def on_that_night(*times: str) -> list[str]:
    return [f"{NIGHT}{time}:00" for time in times]


@pytest.mark.parametrize(
    ("values", "order"),
    [
        (on_that_night("00:59", "01:20", "01:50", "01:10", "03:50"), Order.RISING),
        (on_that_night("03:50", "01:10", "01:50", "01:20", "00:59"), Order.FALLING),
        # 01:10 would have to come three times.
        (on_that_night("01:50", "01:10", "01:50", "01:10", "03:50"), Order.NONE),
        (on_that_night("03:50", "01:10", "04:00"), Order.NONE),
        # One may be the first, the other the second.
        (on_that_night("01:50", "01:10"), Order.UNKNOWN),
        # A database that sorts the texts.
        (on_that_night("01:10", "01:20", "01:50", "03:50"), Order.RISING),
        (["2026-03-01T00:00:00Z", "2026-03-01T00:00:00.250000Z", "2026-03-01T00:00:01Z"], Order.RISING),
        # Later by the text, earlier by the clock.
        (["2026-03-01T23:00:00-05:00", "2026-03-01T22:30:00-07:00"], Order.RISING),
        (["2026-03-01T04:00:00Z", "2026-02-28T22:30:00-07:00"], Order.RISING),
        # 02:30 does not exist on the night that clocks go forward.
        (["2026-03-08T01:59:00", "2026-03-08T02:30:00", "2026-03-08T03:40:00"], Order.RISING),
        ([None, None, "2026-03-01T00:00:00", "2026-03-02T00:00:00"], Order.RISING),
        (["2026-03-01T00:00:00", "2026-03-02T00:00:00", None], Order.RISING),
        (["0001-01-01T00:00:00Z", "2026-03-02T00:00:00", "9999-12-31T23:59:59-07:00"], Order.RISING),
        (["2026-03-01T00:00:00", "unknown", "2026-03-02T00:00:00"], Order.RISING),
        (["2026-03-01T00:00:00"] * 3, Order.UNKNOWN),
        ([], Order.UNKNOWN),
        ([None], Order.UNKNOWN),
        (["b", "a", "c"], Order.NONE),
    ],
)
def test_times_are_in_order_if_some_reading_makes_them_so(values: list[Any], order: Order) -> None:
    assert order_of_times(values, DENVER) is order


@pytest.mark.parametrize(
    ("values", "order"),
    [
        (["8", "9", "10"], Order.RISING),
        ([8, 9, 10], Order.RISING),
        ([10, 9, 8], Order.FALLING),
        (["10", "8", "9"], Order.RISING),  # as texts
        (["81_2026-03-01", "8_2026-03-01", "9_2026-03-01"], Order.RISING),
        (["ab", "AC", "b"], Order.RISING),  # without case
        (["AC", "ab", "b"], Order.RISING),  # with it
        ([-9, -8, 7, 10], Order.RISING),
        (["-9", "-8", "7", "10"], Order.RISING),
        # As glibc's en_US sorts: 80 and 8-1 by 80 and 81, and é as e.
        (["80-2026", "8-1-2026", "82-2026", "8-2-2027"], Order.RISING),
        (["ea", "éb", "ec"], Order.RISING),
        ([8, 10, 9, 11], Order.NONE),
        (["b", "a", "c"], Order.NONE),
        (["7", "7"], Order.UNKNOWN),
        ([], Order.UNKNOWN),
    ],
)
def test_ids_are_in_order_as_numbers_or_as_texts(values: list[Any], order: Order) -> None:
    assert order_of_keys(values) is order


@given(
    seconds=st.lists(st.integers(-4 * 3600, 4 * 3600), min_size=2, max_size=12).map(sorted),
    spellings=st.lists(st.sampled_from(["local", "offset", "utc", "fraction"]), min_size=12, max_size=12),
)
def test_whatever_was_sorted_by_instant_is_believed_however_it_is_spelled(
    seconds: list[int], spellings: list[str]
) -> None:
    border = datetime(2025, 11, 2, 8, tzinfo=UTC)
    values = []
    for second, spelling in zip(seconds, spellings, strict=False):
        moment = border + timedelta(seconds=second)
        local = moment.astimezone(DENVER)
        values.append(
            {
                "local": local.isoformat()[:19],
                "offset": local.isoformat(),
                "utc": f"{moment.isoformat()[:19]}Z",
                "fraction": f"{moment.isoformat()[:19]}.000000+00:00",
            }[spelling]
        )

    assert order_of_times(values, DENVER) is not Order.NONE


def test_a_time_that_comes_twice_is_two_instants_an_hour_apart() -> None:
    first, second = instants(f"{NIGHT}01:10:00", DENVER)

    assert second - first == 3_600_000_000
    assert len(instants(f"{NIGHT}03:10:00", DENVER)) == 1
    assert instants("no time", DENVER) == instants(None, DENVER) == instants(7, DENVER) == []


def test_one_time_is_one_place_however_it_is_spelled() -> None:
    spellings = [
        f"{NIGHT}01:10:00",
        f"{NIGHT}01:10:00.000000",
        f"{NIGHT}07:10:00Z",
        f"{NIGHT}08:10:00+00:00",
        f"{NIGHT}01:10:00-07:00",
    ]

    assert len({place_of(one, DENVER) for one in spellings}) == 1
    assert len({place_of(one, DENVER) for one in (f"{NIGHT}01:10:00.25", spellings[0], "no time", None)}) == 4


def test_the_first_and_the_last_year_have_times_on_the_wall() -> None:
    far = local_time("9999-12-31T23:59:59-07:00", ZoneInfo("Pacific/Auckland"))

    assert local_time("0001-01-01T00:00:00Z", DENVER) == datetime(1, 1, 1)  # noqa: DTZ001
    assert far == datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001
    assert local_time("2026-03-01T07:00:00Z", DENVER) == datetime(2026, 3, 1)  # noqa: DTZ001
