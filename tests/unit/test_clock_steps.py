"""What is a step of the ledger's clock, and what is a slow answer, a drift, or a machine of ours that stood still."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.lifecycle.clock_steps import Look, better, doubted_s, step_s

MOST_S = 3.0
AT = 1_800_000_000.0
BEFORE = Look(ledger_s=AT, before_s=100.0, after_s=100.01, moved_s=0.0, looked_s=AT - 1)


def later(s: float, *, ledger_by: float, took_s: float = 0.01, moved_s: float = 0.0, looked_ago_s: float = 1.0) -> Look:
    """Return a look *s* seconds later by our clock, and *ledger_by* by the ledger's."""
    at = AT + ledger_by
    return Look(at, 100.0 + s, 100.0 + s + took_s, moved_s, at - looked_ago_s)


@pytest.mark.parametrize("by_s", [-3_600.0, -4.0, 4.0, 3_600.0])
def test_what_the_ledgers_clock_went_by_more_or_less_than_ours_is_a_step(by_s: float) -> None:
    now = later(10, ledger_by=10 + by_s, looked_ago_s=1 + max(by_s, 0))
    assert step_s(BEFORE.ahead, now, MOST_S) == pytest.approx(by_s, abs=0.02)


@pytest.mark.parametrize(
    ("s", "ledger_by", "took_s"),
    [(10.0, 10.0, 0.01), (3_600.0, 3_601.8, 0.01), (10.0, 12.9, 0.01), (10.0, 40.0, 30.0), (10.0, 10.0, 30.0)],
    ids=["together", "drifted by 500 ppm for an hour", "hardly", "read late", "answered late"],
)
def test_what_may_be_the_way_or_drift_is_none(s: float, ledger_by: float, took_s: float) -> None:
    assert step_s(BEFORE.ahead, later(s, ledger_by=ledger_by, took_s=took_s), MOST_S) == 0


@pytest.mark.parametrize("by_s", [-3_600.0, 3_600.0])
def test_a_step_that_the_ledger_knows_of_is_none_any_more(by_s: float) -> None:
    assert step_s(BEFORE.ahead, later(10, ledger_by=10 + by_s, moved_s=by_s), MOST_S) == 0


def test_a_machine_of_ours_that_stood_still_while_others_looked_has_seen_no_step() -> None:
    woken = later(1, ledger_by=3_601)
    assert step_s(BEFORE.ahead, woken, MOST_S) == 0
    assert better(BEFORE.ahead, woken, MOST_S) == woken.ahead


def test_who_has_not_looked_before_knows_of_a_step_back_by_the_last_look_of_anybody() -> None:
    assert step_s(None, later(0, ledger_by=0, looked_ago_s=-3_600), MOST_S) == -3_600
    assert step_s(None, later(0, ledger_by=0, looked_ago_s=3_600), MOST_S) == 0


def test_a_look_that_was_long_on_its_way_is_not_compared_with() -> None:
    slow, quick = later(10, ledger_by=11, took_s=2), later(20, ledger_by=20)
    assert better(BEFORE.ahead, slow, MOST_S) == BEFORE.ahead
    assert better(BEFORE.ahead, quick, MOST_S) == quick.ahead


@pytest.mark.parametrize(
    ("is_ahead_s", "looked_ago_s", "by_s"),
    [(3_600.5, 3_700, 3_600), (4.5, 60, 4), (2.5, 3_700, 0), (3_600.5, 5, 0), (-3_599.5, 3_700, 0)],
    ids=["an hour ahead", "a little ahead", "as much as clocks differ", "somebody runs", "back"],
)
def test_only_a_step_forward_while_nobody_ran_is_doubted(is_ahead_s: float, looked_ago_s: float, by_s: float) -> None:
    assert doubted_s(0.5, is_ahead_s, looked_ago_s, MOST_S) == by_s


@given(
    gap_s=st.floats(0.1, 600),
    took_s=st.floats(0, 60),
    read=st.floats(0, 1),
    by_s=st.floats(-7_200, 7_200),
)
def test_no_way_to_the_ledger_makes_a_step_of_none_or_hides_one_longer_than_it(
    gap_s: float, took_s: float, read: float, by_s: float
) -> None:
    def look(step: float) -> Look:
        at = AT + gap_s + took_s * read
        return Look(at + step, 100 + gap_s, 100 + gap_s + took_s, 0, AT - 100)

    assert step_s(BEFORE.ahead, look(0), MOST_S) == 0
    found_s = step_s(BEFORE.ahead, look(by_s), MOST_S)
    if abs(by_s) > MOST_S + took_s + 0.1:
        assert abs(found_s - by_s) <= took_s / 2 + 0.1
    if abs(by_s) < MOST_S:
        assert found_s == 0
