"""When a connection counts as down, and what closes it again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.lifecycle.breaker import (
    PATIENCE,
    RELAPSE,
    UNPROVEN_CAP_S,
    VOUCHED_FOR,
    Breaker,
    Evidence,
    Position,
    Rules,
    Seen,
    after,
    after_test,
    is_in_question,
    probe_interval,
    ramp,
    unverified,
)

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


def unasked(*members: str) -> Seen:
    return replace(failing(*members), evidence=Evidence.UNASKED)


def doubted() -> Breaker:
    return after_test(after(Breaker(), unasked("A", "B", "C", "D", "E"), RULES, NOW), RULES, NOW, passed=True)


def test_a_count_alone_only_raises_the_question() -> None:
    four, five = (after(Breaker(), unasked(*members), RULES, NOW) for members in ("ABCD", "ABCDE"))
    assert (four.position, five.position) == (Position.CLOSED, Position.CLOSED)
    assert not is_in_question(four, RULES, NOW, due=99)
    assert is_in_question(five, RULES, NOW, due=99)
    one = after(Breaker(), unasked(*"AAAAAAAA"), RULES, NOW)
    assert not is_in_question(one, RULES, NOW, due=99)
    assert is_in_question(replace(one, failures=5), RULES, NOW, due=1)


def test_its_own_test_opens_it_or_hands_the_question_on() -> None:
    five = after(Breaker(), unasked("A", "B", "C", "D", "E"), RULES, NOW)
    assert after_test(five, RULES, NOW, passed=False).position is Position.OPEN
    assert (doubted().position, doubted().verify_at) == (Position.CLOSED, NOW)
    assert not is_in_question(doubted(), RULES, NOW, due=99), "it has been raised"


def test_a_good_member_decides() -> None:
    asked = replace(doubted(), probe_instance_id=7)
    refused = after(asked, Seen(is_up=False, failed={7: "GOOD"}, evidence=Evidence.UNASKED), RULES, NOW)
    assert refused.position is Position.OPEN
    assert refused.failing_since == NOW
    served = after(asked, FINE, RULES, NOW)
    assert (served.position, served.failures, served.vouched_at) == (Position.CLOSED, 0, NOW)
    again = after(served, unasked("A", "B", "C", "D", "E"), RULES, NOW)
    assert not is_in_question(again, RULES, NOW + VOUCHED_FOR / 2, due=99), "it was answered a moment ago"
    assert is_in_question(again, RULES, NOW + VOUCHED_FOR, due=99)


def test_a_good_member_that_made_no_call_decides_nothing() -> None:
    asked = replace(doubted(), probe_instance_id=7, verify_at=NOW + timedelta(seconds=45))
    for mute in (
        Seen(is_up=False, failed={}, mute=frozenset({7})),
        Seen(is_up=False, failed={}, untried=frozenset({7})),
    ):
        again = after(asked, mute, RULES, NOW)
        assert again.position is Position.CLOSED
        assert again.verify_at is not None
        assert again.verify_at <= NOW + timedelta(seconds=1)


def test_without_a_good_member_those_on_their_way_decide_and_then_the_count() -> None:
    assert unverified(doubted(), RULES, NOW, others=True) == doubted()
    late = unverified(doubted(), RULES, NOW + PATIENCE, others=True)
    assert (late.position, late.unproven) == (Position.OPEN, True)
    assert unverified(doubted(), RULES, NOW, others=False).position is Position.OPEN
    two = replace(doubted(), failing_members=frozenset("AB"))
    assert unverified(two, RULES, NOW, others=False).position is Position.CLOSED


def test_one_that_was_opened_unproven_is_probed_more_often() -> None:
    assert probe_interval(9, RULES, unproven=True).total_seconds() == UNPROVEN_CAP_S


def test_a_probe_that_made_no_call_is_followed_by_another_at_once() -> None:
    half_open = replace(opened(), position=Position.HALF_OPEN, probes=9, probe_instance_id=7)
    again = after(half_open, Seen(is_up=False, failed={}, mute=frozenset({7})), RULES, NOW)
    assert (again.position, again.probe_at) == (Position.OPEN, NOW)


def test_a_stated_wait_is_a_floor_under_every_probe() -> None:
    floor = NOW + timedelta(seconds=30)
    down = after(Breaker(), replace(failing("A", "B", "C", "D", "E"), wait_s=30), RULES, NOW)
    assert (down.position, down.probe_at, down.wait_until) == (Position.OPEN, floor, floor)
    probing = replace(down, position=Position.HALF_OPEN, probe_instance_id=7)
    later = NOW + timedelta(seconds=31)
    again = after(probing, Seen(is_up=False, failed={7: "A"}, wait_s=30), RULES, later)
    assert again.probe_at == later + timedelta(seconds=30)
    shorter = after(probing, Seen(is_up=False, failed={7: "A"}, wait_s=5), RULES, NOW)
    assert shorter.probe_at == floor, "a shorter one does not shorten it"
    healed = after(down, FINE, RULES, NOW)
    assert healed.wait_until == floor, "nor does somebody's success"
    assert after(down, FINE, RULES, floor).wait_until is None
    assert after(down, replace(FINE, ends_wait=True), RULES, NOW).wait_until is None, "but a person's test"


def test_who_asks_us_to_wait_again_right_after_others_were_served_does_not_open_it() -> None:
    asked = replace(failing("A", "B", "C", "D", "E"), wait_s=30)
    healed = after(after(Breaker(), asked, RULES, NOW), FINE, RULES, NOW + timedelta(seconds=31))
    soon, late = NOW + timedelta(seconds=40), NOW + timedelta(seconds=31) + RELAPSE
    again = after(healed, asked, RULES, soon)
    assert (again.position, again.wait_until) == (Position.CLOSED, soon + timedelta(seconds=30))
    assert after(healed, asked, RULES, late).position is Position.OPEN


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
