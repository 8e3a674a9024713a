"""Forecasts: how near they come in worlds that are played through minute by minute, and when there is none."""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from producers.operations.foretelling import said
from shared.lifecycle.forecasts import (
    DRAWS,
    Capacity,
    Conditions,
    Demand,
    Forecast,
    Trend,
    Work,
    departure,
    foresee,
    hour_of_week,
    lane_forecast,
    width_of,
)
from tests.knee import seeded

NOW = datetime(2026, 11, 25, 10, 0, tzinfo=UTC)
BUDGET = Capacity("CrowdTwist's budget", 10_000, bulk=0.5, is_budget=True)
QUIET = Demand([0.0])
WORKERS = Capacity("the workers", 120_000)


def under(demand: Demand = QUIET, *capacities: Capacity) -> Conditions:
    return Conditions(capacities or (BUDGET, WORKERS), demand, NOW)


def done_after_s(work: int, live: Callable[[int], float], capacities: Sequence[Capacity]) -> float:
    """Play the world through: *live* instances in each minute; return when *work* has gone through."""
    left, minute = float(work), 0
    while True:
        through = min(one.left(live(minute)) for one in capacities)
        if left <= through:
            return (minute + left / through) * 60
        left -= through
        minute += 1


def worlds() -> list[tuple[Demand, Callable[[int], float], int]]:
    """Return ten: idle, busy at random, busier in the next hour than now; each with what was seen before."""
    found: list[tuple[Demand, Callable[[int], float], int]] = []
    for seed in range(10):
        dice = seeded(seed)
        busy = (0.0, 4_000.0, 7_000.0)[seed % 3]

        def live(minute: int, dice: random.Random = dice, busy: float = busy, *, rises: bool = seed % 3 == 2) -> float:
            return max(0.0, dice.gauss(busy * (1.2 if rises and minute >= 60 else 1.0), busy / 5))

        recent = [live(0) for _ in range(60)]
        by_hour = {
            hour_of_week(NOW + timedelta(hours=hour)): [live(60 * hour) for _ in range(8)] for hour in range(168)
        }
        found.append((Demand(recent, by_hour), live, 20_000 * (1 + seed)))
    return found


def test_in_nine_of_ten_worlds_the_end_comes_within_15_percent_and_in_the_band() -> None:
    near = inside = 0
    for demand, live, work in worlds():
        found = foresee(Work(work, calls_seen=100), under(demand))
        took_s = done_after_s(work, live, (BUDGET, WORKERS))
        assert found.expected_s is not None
        assert found.lower_s is not None
        assert found.upper_s is not None
        near += abs(found.expected_s - took_s) <= 0.15 * took_s
        inside += found.lower_s <= took_s <= found.upper_s

    assert near >= 9
    assert inside >= 9


def test_under_way_the_end_comes_within_15_percent_though_the_limit_moves() -> None:
    near = inside = 0
    for seed in range(10):
        dice = seeded(seed)
        under_way, left, pace = 10, 60_000.0 * (1 + seed), list[float]()
        while left > 0:
            if len(pace) == under_way:
                limit = Capacity("CrowdTwist's limit", 3_000 * dice.uniform(0.7, 1.3), moves=True)
                found, at_minute = foresee(Work(int(left), pace=pace, calls_seen=100), under(QUIET, limit)), len(pace)
            through = min(left, 3_000 * dice.uniform(0.7, 1.3))
            pace.append(through)
            left -= through
        took_s = (len(pace) - at_minute) * 60.0
        assert found.expected_s is not None
        assert found.lower_s is not None
        assert found.upper_s is not None
        near += abs(found.expected_s - took_s) <= max(60.0, 0.15 * took_s)
        inside += found.lower_s - 60 <= took_s <= found.upper_s + 60

    assert near >= 9
    assert inside >= 9


@pytest.mark.parametrize(
    ("capacities", "binding"),
    [
        ((BUDGET, WORKERS), "CrowdTwist's budget"),
        ((BUDGET, Capacity("Siebel's limit of calls in flight", 900)), "Siebel's limit of calls in flight"),
        ((BUDGET, WORKERS, Capacity("its own rate", 60, is_shared=False)), "its own rate"),
    ],
)
def test_what_is_tightest_sets_the_pace_and_is_named(capacities: tuple[Capacity, ...], binding: str) -> None:
    found = foresee(Work(5_000, calls_seen=100), under(Demand([100.0]), *capacities))

    assert found.binding == binding
    assert (found.more_share_s is not None) == (binding == BUDGET.name)


def test_ten_percent_more_of_the_budget_ends_it_sooner_and_less_later() -> None:
    found = foresee(Work(50_000, calls_seen=100), under())

    assert found.expected_s == pytest.approx(600)
    assert found.more_share_s == pytest.approx(500)
    assert found.less_share_s == pytest.approx(750)


def test_live_members_who_need_more_than_is_kept_for_them_are_told_of() -> None:
    found = foresee(Work(50_000, calls_seen=100), under(Demand([4_000.0, 4_000.0, 6_000.0, 4_000.0])))

    assert found.live_short == 0.25


def test_what_goes_before_counts() -> None:
    alone = foresee(Work(10_000, calls_seen=100), under())
    behind = foresee(Work(10_000, ahead=10_000, calls_seen=100), under())

    assert behind.expected_s == pytest.approx(2 * (alone.expected_s or 0))


def test_a_job_that_has_shown_a_slower_pace_is_foreseen_by_that() -> None:
    found = foresee(Work(1_000, pace=[90.0, 100.0, 110.0], calls_seen=100), under())

    assert found.expected_s == pytest.approx(600, rel=0.15)
    assert found.binding == "the pace so far"


@pytest.mark.parametrize(
    ("work", "why"),
    [
        (Work(0, calls_seen=100), "nothing is left to do"),
        (Work(9, calls_seen=19), "only 19 calls were seen so far, too few to tell"),
        (Work(9, calls_seen=100, stalled="CrowdTwist is down"), "CrowdTwist is down"),
        (Work(10**9, calls_seen=100), "it would take more than two weeks"),
    ],
)
def test_where_nothing_honest_can_be_said_it_says_why(work: Work, why: str) -> None:
    found = foresee(work, under())

    assert found.none == why
    assert found.expected_s is found.lower_s is found.upper_s is None


def test_live_members_who_take_all_leave_no_end_in_sight() -> None:
    assert foresee(Work(9, calls_seen=100), under(Demand([10_000.0]))).none == "it would take more than two weeks"


def test_the_same_question_has_the_same_answer() -> None:
    demand = Demand([float(one) for one in range(0, 9_000, 100)])

    assert foresee(Work(10_000, calls_seen=100), under(demand)) == foresee(Work(10_000, calls_seen=100), under(demand))
    assert DRAWS >= 50


def outcome(took_s: float) -> tuple[Forecast, float]:
    return Forecast(1, lower_s=90.0, expected_s=100.0, upper_s=110.0), took_s


def test_the_band_widens_until_nine_of_ten_have_come_true() -> None:
    assert width_of([outcome(200.0)] * 9) == 1.0  # fewer than ten say nothing
    assert width_of([outcome(105.0)] * 20) == 1.0  # never narrower than it was drawn
    assert width_of([*[outcome(105.0)] * 8, *[outcome(130.0)] * 2]) == pytest.approx(3.0)
    assert width_of([outcome(70.0)] * 20) == pytest.approx(3.0)
    assert width_of([outcome(9_000.0)] * 20) == 5.0
    wide = foresee(Work(50_000, calls_seen=100), under(), width=3.0)
    assert wide.lower_s == pytest.approx(420)
    assert wide.upper_s == pytest.approx(780)


def line(per_s: float, start: int = 10_000, noise: int = 0) -> list[tuple[float, int]]:
    return [(20.0 * step, int(start + per_s * 20 * step) + (noise if step % 2 else -noise)) for step in range(10)]


@pytest.mark.parametrize(
    ("depths", "ended", "why", "trend"),
    [
        (line(-10.0, noise=20), 600.0, None, Trend.CLEARS),
        (line(12.0, noise=20), 600.0, "CrowdTwist is down", Trend.GROWS),
        (line(0.0), 0.0, "no worker serves the bulk lane", Trend.STALLED),
        (line(0.0, noise=300), 600.0, None, Trend.STEADY),
        (line(0.0, start=10), 0.0, None, Trend.KEEPS_UP),
        (line(0.0, start=500), 900.0, None, Trend.KEEPS_UP),
        (line(-10.0)[:3], 600.0, None, Trend.UNKNOWN),
        ([], 0.0, None, Trend.KEEPS_UP),
    ],
)
def test_a_lane_is_judged_by_the_change_of_its_depth(
    depths: list[tuple[float, int]], ended: float, why: str | None, trend: Trend
) -> None:
    found = lane_forecast("bulk", depths, ended_per_minute=ended, why=why)

    assert found.trend is trend
    assert (found.clears_s is not None) == (trend is Trend.CLEARS)
    if trend is Trend.CLEARS:
        assert found.clears_s == pytest.approx(found.depth / 10, rel=0.05)
    if trend is Trend.GROWS:
        assert found.per_s == pytest.approx(12.0, rel=0.05)
    assert found.why == (why if trend in (Trend.STALLED, Trend.GROWS) else None)


FIRST = Forecast(1000, None, 540.0, 600.0, 660.0, "CrowdTwist's budget")


@pytest.mark.parametrize(
    ("now", "ago_s", "said"),
    [
        (Forecast(500, None, 280.0, 300.0, 340.0, "CrowdTwist's budget"), 300, None),
        (Forecast(900, None, 500.0, 550.0, 600.0, "the workers"), 300, "later"),
        (
            Forecast(900, None, 500.0, 550.0, 600.0, "CrowdTwist's budget"),
            300,
            "it does 20 a minute, 100 were foreseen",
        ),
        (Forecast(100, None, 20.0, 30.0, 40.0, "CrowdTwist's budget"), 300, "sooner"),
        (Forecast(900, none="CrowdTwist is down"), 300, None),
        (Forecast(900, none="CrowdTwist is down"), 730, "later than foreseen at first: CrowdTwist is down"),
        (
            Forecast(900, None, 500.0, 550.0, 600.0, "CrowdTwist's budget", live_short=0.5),
            300,
            "live members need more",
        ),
        (Forecast(900, None, 500.0, 550.0, None, "CrowdTwist's budget"), 0, None),
    ],
)
def test_a_job_that_leaves_its_first_band_says_so_and_why(now: Forecast, ago_s: float, said: str | None) -> None:
    found = departure(FIRST, ago_s, now)
    assert found is None if said is None else said in (found or "")
    if now.binding == "the workers":
        assert found == "later than foreseen at first: what bounds it is the workers, not CrowdTwist's budget"


def test_without_a_first_figure_nothing_can_be_left() -> None:
    assert departure(Forecast(10, none="too few calls"), 60, FIRST) is None


def test_what_is_over_at_once_is_said_without_a_range_that_is_none() -> None:
    short = Forecast(1, None, 10, 10, 10, binding="the budget", more_share_s=10, less_share_s=10)
    assert said(short) == "done in about 10 s; the budget sets the pace"
