"""How the benchmark reads the stub's slots of 10 ms: what of a budget was used, and whether it was overrun."""

from tests.bench.scenarios.budget import spending

SECOND = 100


def test_a_budget_spent_each_62_seconds_is_not_all_of_it() -> None:
    slots = [10, *[0] * (62 * SECOND - 1), 10, *[0] * (62 * SECOND - 1), 1]
    spent = spending(slots, per_minute=10, minutes=2)
    assert (spent.took_s, spent.busiest, spent.overruns) == (124, 10, 0)


def test_a_call_too_many_in_any_60_seconds_is_an_overrun() -> None:
    slots = [0, 0, 6, *[0] * (30 * SECOND), 4, *[0] * (29 * SECOND), 1]
    spent = spending(slots, per_minute=10, minutes=1)
    assert (spent.busiest, spent.overruns) == (11, 1)


def test_what_is_sixty_seconds_apart_is_not_in_one_window() -> None:
    slots = [10, *[0] * (60 * SECOND - 1), 1]
    spent = spending(slots, per_minute=10, minutes=1)
    assert (spent.took_s, spent.busiest, spent.overruns) == (60, 10, 0)
