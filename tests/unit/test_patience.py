"""How long what was published may wait follows whether workers are slow, not whether something was lost once."""

from producers.dispatch.patience import Patience


def looked(patience: Patience, unbegun: list[int], *, every_s: float = 1.0, begin_s: float = 1_000.0) -> list[float]:
    """Return the lease after each look."""
    leases = []
    for turn, count in enumerate(unbegun):
        patience.look(count, begin_s + turn * every_s)
        leases.append(patience.lease_s)
    return leases


def test_what_is_lost_once_costs_one_lease_and_changes_nothing() -> None:
    assert set(looked(Patience(4, 32), [0] * 9 + [300, 20, 5] + [0] * 40)) == {4}


def test_leases_that_are_over_again_and_again_grow_to_the_longest_and_no_further() -> None:
    leases = looked(Patience(4, 32), [100] * 80)
    assert leases == sorted(leases)
    assert sorted(set(leases)) == [4, 8, 16, 32]
    assert leases.index(8) == 4  # the first lease is over, and the one that was given then
    assert leases.index(16) == 4 + 8


def test_what_is_long_enough_is_taken_back_by_halves() -> None:
    patience = Patience(4, 32)
    looked(patience, [100] * 80)
    leases = looked(patience, [0] * 200, begin_s=1_080.0)
    assert [leases.index(one) for one in (16, 8, 4)] == sorted(leases.index(one) for one in (16, 8, 4))
    assert leases[-1] == 4


def test_a_base_that_is_longer_than_the_longest_stays() -> None:
    assert set(looked(Patience(60, 30), [9] * 400)) == {60}
