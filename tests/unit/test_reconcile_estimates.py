"""How sure a sample makes us: exact bounds within a stratum, and over all of them the interval covers the truth."""

from math import comb
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.operations.reconcile.estimates import Estimate, Looked, allocation, bounds, estimate, said
from producers.operations.reconcile.figures import Differing, computed
from shared.ledger.sightings import StratumCount
from shared.reconciling import Stratum

STRATA = {"long_untouched": 95_000, "recent": 4_000, "given_up": 600, "unsure": 250, "requeued": 100, "never": 50}
RATES = {"long_untouched": 0.002, "recent": 0.01, "given_up": 0.03, "unsure": 0.08, "requeued": 0.05, "never": 1.0}


@st.composite
def strata(draw: st.DrawFn, largest: int = 60) -> Looked:
    size = draw(st.integers(1, largest))
    looked = draw(st.integers(1, size))
    return Looked(size, looked, draw(st.integers(0, looked)))


def at_most(size: int, looked: int, found: int, differing: int) -> float:
    ways = sum(comb(differing, x) * comb(size - differing, looked - x) for x in range(found + 1))
    return ways / comb(size, looked)


@given(strata())
def test_bounds_are_those_of_counting_every_way_to_draw(of: Looked) -> None:
    possible = range(of.found, of.size - of.looked + of.found + 1)
    likely = [
        differing
        for differing in possible
        if at_most(of.size, of.looked, of.found, differing) > 0.025
        and 1 - at_most(of.size, of.looked, of.found - 1, differing) > 0.025
    ]
    low, high = bounds(of)
    assert low <= of.found * of.size / of.looked <= high
    assert (low, high) == (min(likely), max(likely))


@given(st.integers(1, 10**6), st.data())
def test_who_looked_at_all_is_sure(size: int, data: st.DataObject) -> None:
    found = data.draw(st.integers(0, size))
    assert bounds(Looked(size, size, found)) == (found, found)
    part = found / size
    assert estimate([Looked(size, size, found)]) == Estimate(part, part, part)


@pytest.mark.parametrize(("looked", "at_most_in_10_000"), [(300, 120), (3_000, 10), (9_000, 1)])
def test_nothing_found_is_not_nothing_there(looked: int, at_most_in_10_000: int) -> None:
    assert bounds(Looked(10_000, looked, 0)) == (0, at_most_in_10_000)


def test_nothing_found_among_few_of_a_million_leaves_about_3_7_in_as_many() -> None:
    found = estimate([Looked(1_000_000, 3_000, 0)])
    assert found is not None
    assert (found.estimate, found.low) == (0, 0)
    assert found.high == pytest.approx(3.69 / 3_000, rel=0.01)
    words = said(found, members=1_000_000, compared=3_000, differ=0, all_take_s=120_000)
    assert words == (
        "none of 3,000 members looked at differs: with 95 % confidence no more than 0.12% of 1,000,000 members (1,227) "
        "do; to look at all would take 33.3 h"
    )


def test_of_a_stratum_that_nobody_looked_into_anything_is_possible() -> None:
    found = estimate([Looked(900, 900, 9), Looked(100, 0, 0)])
    assert found is not None
    assert (found.estimate, found.low, found.high) == pytest.approx((0.009, 0.009, 0.109))
    assert estimate([Looked(10, 0, 0)]) is None


@given(st.lists(strata(5_000), min_size=1, max_size=6))
def test_the_estimate_lies_within_its_interval(parts: list[Looked]) -> None:
    found = estimate(parts)
    assert found is not None
    assert 0 <= found.low <= found.estimate + 1e-12
    assert found.estimate <= found.high + 1e-12 <= 1 + 1e-9


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 100_000), min_size=1, max_size=9), st.integers(0, 20_000))
def test_a_sample_is_given_out_whole_and_nobody_is_drawn_twice(sizes: dict[str, int], sample: int) -> None:
    drawn = allocation(sizes, sample)
    assert drawn.keys() == sizes.keys()
    assert sum(drawn.values()) == min(sample, sum(sizes.values()))
    assert all(0 <= drawn[name] <= sizes[name] for name in sizes)


def test_the_few_at_risk_are_looked_at_more_closely_and_the_many_most() -> None:
    drawn = allocation(STRATA, 3_000)
    assert drawn["never"] == 50
    assert drawn["long_untouched"] > 1_500
    assert drawn["given_up"] / STRATA["given_up"] > 5 * drawn["long_untouched"] / STRATA["long_untouched"]


@pytest.mark.parametrize("scale", [0.1, 1.0], ids=["rare", "common"])
def test_over_200_sampled_runs_the_interval_covers_the_truth(scale: float) -> None:
    differing = {name: round(size * min(1.0, RATES[name] * scale)) for name, size in STRATA.items()}
    truth = sum(differing.values()) / sum(STRATA.values())
    drawn = allocation(STRATA, 3_000)
    covered, widths = 0, []
    for seed in range(200):
        rng = Random(seed)  # noqa: S311  # a sample, repeated
        parts = []
        for name, size in STRATA.items():
            found = sum(place < differing[name] for place in rng.sample(range(size), drawn[name]))
            parts.append(Looked(size, drawn[name], found))
        interval = estimate(parts)
        assert interval is not None
        covered += interval.low <= truth <= interval.high
        widths.append(interval.high - interval.low)
    assert covered >= 186  # 93 %
    assert max(widths) < 0.01  # who says "anything" covers the truth too


def test_one_found_among_many_that_could_not_be_looked_at_is_not_all_members() -> None:
    counts = [
        StratumCount(Stratum.LONG_UNTOUCHED, size=0, looked=0, moving=0, unread=45),
        StratumCount(Stratum.NOT_IN_SIEBEL, size=1, looked=1, moving=0, unread=0),
    ]
    found = computed(counts, [Differing(Stratum.NOT_IN_SIEBEL, ("orphan",), looked=True, total=1)], per_minute=100)
    drift, classes = found["drift"], found["classes"]
    assert (drift["low"], drift["high"]) == pytest.approx((1 / 46, 1.0))
    assert drift["meaning"] == ("1 of 46 members were looked at: 1 differ; 45 could not be looked at, and may differ")
    assert (classes["orphan"]["low"], classes["orphan"]["high"]) == pytest.approx((1 / 46, 1 / 46))
    assert (classes["rolled_back"]["low"], classes["rolled_back"]["high"]) == pytest.approx((0.0, 45 / 46))
