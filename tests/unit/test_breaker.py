"""When a connection counts as down, and what closes it again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.breaker import Breaker, Position, Rules, Seen, after, probe_interval, ramp

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
RULES = Rules(failures=5, members=3, probe_first_s=1, probe_cap_s=60)
FINE = Seen(is_up=True, failed={})


def failing(*members: str, due: int = 99) -> Seen:
    return Seen(is_up=False, failed=dict(enumerate(members, start=1)), error="CrowdTwist: could not connect", due=due)


def opened() -> Breaker:
    return after(Breaker(), failing("A", "B", "C", "D", "E"), RULES, NOW)


def test_five_failures_in_a_row_of_three_members_open_it() -> None:
    four = after(Breaker(), failing("A", "B", "C", "A"), RULES, NOW)
    assert (four.position, four.failures) == (Position.CLOSED, 4)
    five = after(four, failing("B"), RULES, NOW)
    assert (five.position, five.opened_at, five.probe_at) == (Position.OPEN, NOW, NOW + timedelta(seconds=1))


def test_one_member_that_always_fails_does_not_open_it_while_others_are_due() -> None:
    breaker = Breaker()
    for _ in range(50):
        breaker = after(breaker, failing("POISON"), RULES, NOW)
    assert breaker.position is Position.CLOSED


def test_fewer_members_are_enough_when_no_more_are_due() -> None:
    breaker = Breaker()
    for _ in range(5):
        breaker = after(breaker, failing("ONLY", due=1), RULES, NOW)
    assert breaker.position is Position.OPEN


def test_a_success_between_starts_the_count_again() -> None:
    breaker = after(Breaker(), failing("A", "B", "C", "D"), RULES, NOW)
    assert after(breaker, FINE, RULES, NOW) == Breaker()


def test_only_the_probe_is_admitted_and_only_while_it_is_out() -> None:
    half_open = replace(opened(), position=Position.HALF_OPEN, probe_instance_id=7)
    assert [half_open.admits(7), half_open.admits(8), opened().admits(7)] == [True, False, False]


def test_a_probe_that_fails_waits_twice_as_long_up_to_a_minute() -> None:
    intervals = [probe_interval(probes, RULES).total_seconds() for probes in range(9)]
    assert intervals == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    half_open = replace(opened(), position=Position.HALF_OPEN, probes=3, probe_instance_id=7)
    again = after(half_open, Seen(is_up=False, failed={7: "A"}), RULES, NOW)
    assert (again.position, again.probe_at) == (Position.OPEN, NOW + timedelta(seconds=8))


def test_stragglers_that_fail_change_nothing_while_it_is_open() -> None:
    half_open = replace(opened(), position=Position.HALF_OPEN, probe_instance_id=7)
    assert after(half_open, failing("A", "B"), RULES, NOW) == half_open


def test_a_probe_that_could_not_be_paid_for_is_sent_again_soon() -> None:
    half_open = replace(opened(), position=Position.HALF_OPEN, probes=9, probe_instance_id=7)
    again = after(half_open, Seen(is_up=False, failed={}, untried=frozenset({7})), RULES, NOW)
    assert (again.position, again.probe_at) == (Position.OPEN, NOW + timedelta(seconds=1))


def test_the_first_success_of_anybody_closes_it() -> None:
    closed = after(opened(), FINE, RULES, NOW)
    assert (closed.position, closed.healed_at, closed.failures) == (Position.CLOSED, NOW, 0)


def test_after_healing_a_tenth_goes_out_and_twice_as_much_each_five_seconds() -> None:
    parts = [ramp(NOW, NOW + timedelta(seconds=second)) for second in (0, 4, 5, 10, 15, 20, 3600)]
    assert parts == [0.1, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert ramp(None, NOW) == 1.0


seen = st.builds(
    Seen,
    is_up=st.booleans(),
    failed=st.dictionaries(st.integers(1, 9), st.sampled_from("ABCDE"), max_size=6),
    error=st.just("down"),
    due=st.integers(1, 5),
)


@given(st.lists(seen, max_size=40))
def test_whatever_happens_its_facts_agree_with_each_other(batches: list[Seen]) -> None:
    breaker = Breaker()
    for batch in batches:
        breaker = after(breaker, batch, RULES, NOW)
        assert (breaker.position is Position.CLOSED) == (breaker.opened_at is None)
        assert (breaker.failures == 0) == (breaker.failing_since is None)
        assert (breaker.position is Position.CLOSED) == (breaker.probe_at is None)
        if batch.is_up:
            assert breaker.position is Position.CLOSED
