"""What a soak takes for growth, and what for a swing."""

import math

import pytest

from tests.soak import LIMITS, SWINGS, judged, table

_FLAT = dict.fromkeys(LIMITS, 100.0)
_COUNT = 90


def swing(at: int) -> float:
    return math.sin(2 * math.pi * SWINGS * at / _COUNT)


def test_what_fills_at_first_and_swings_with_the_hours_does_not_grow() -> None:
    samples = [{name: 100 + min(at, 20) + 5 * swing(at) for name in LIMITS} for at in range(_COUNT)]
    trends = judged(samples)
    assert [one.name for one in trends if one.grows] == []
    assert "grows" not in table(trends)


@pytest.mark.parametrize("name", LIMITS)
def test_what_rises_all_the_time_grows(name: str) -> None:
    samples = [_FLAT | {name: 10_000 * (1 + at / 10) + swing(at)} for at in range(_COUNT)]
    trends = judged(samples)
    assert [one.name for one in trends if one.grows] == [name]
    assert sum("grows" in line for line in table(trends).splitlines()) == 1
