"""Who failed while a connection was going down is held, and has lost nothing by it."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from shared.errors import BudgetSpentError
from shared.ledger.engine import transaction
from shared.ledger.transitions import outages
from shared.ledger.transitions.outages import Hold
from shared.pipeline import Stage
from tests.road import ALWAYS_DOWN, ALWAYS_REFUSED, Road


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


def hold(road: Road, since: datetime, *ids: int) -> int:
    with transaction(road.ledger) as tx:
        return outages.hold_failed(tx, Stage.CROWDTWIST, since, list(ids) or None)


def test_dead_letters_and_attempts_of_that_time_are_given_back_and_no_others(road: Road) -> None:
    road.dead("M-1")
    since = datetime.now(UTC)
    road.dead("M-2")
    road.accept("M-3")
    road.travel(ALWAYS_DOWN, attempts_max=5)
    assert hold(road, since) == 2
    assert road.sql("select member_number, state, attempt, finished_at is null from instance order by id") == [
        ("M-1", "dead", 1, False),
        ("M-2", "held", 0, True),
        ("M-3", "held", 0, True),
    ]
    assert hold(road, since) == 0


def test_whoever_opens_the_breaker_again_and_again_is_left_to_its_policy(road: Road) -> None:
    since = datetime.now(UTC)
    road.accept("P-1")
    for times in range(1, outages.GIVEN_BACK_MAX + 1):
        road.travel(ALWAYS_DOWN, attempts_max=5)
        assert hold(road, since) == 1
        assert road.sql("select attempt, given_back from instance") == [(0, times)]
        road.sql("update instance set state = 'pending', due_at = now()")
    (again,) = road.travel(ALWAYS_DOWN, attempts_max=5)
    assert hold(road, since) == 0
    assert road.sql("select state, attempt from instance") == [("waiting", 1)]
    assert hold(road, since, again) == 1  # as a probe, while the connection is down, it loses nothing


def test_who_has_not_failed_yet_probes_first_and_then_each_in_turn(road: Road) -> None:
    since = datetime.now(UTC)
    road.accept("P-1", "P-2")
    road.travel(ALWAYS_DOWN, attempts_max=5)
    hold(road, since)
    road.accept("M-3", "M-4")
    road.sql("update instance set state = 'held', stage = 'crowdtwist', due_stage = 'crowdtwist'")
    facts = ("failing_since", "opened_at", "probe_at")
    down = "update connection set breaker = 'open', failures = 5, " + ", ".join(f"{fact} = now()" for fact in facts)
    order = []
    for _ in range(6):
        road.sql(f"{down} where name = 'crowdtwist'")
        with transaction(road.ledger) as tx:
            probe = outages.claim_probe(tx, Stage.CROWDTWIST, token=5, lease_s=60)
        assert probe is not None
        order.append(probe[1].member_number)
        road.sql("update instance set state = 'held', token = 0, lease_until = null, given_back = 1 where token = 5")
    assert order == ["M-3", "M-4", "P-1", "P-2", "M-3", "M-4"]


def test_of_a_batch_that_failed_after_the_others_only_its_own_are_held(road: Road) -> None:
    since = datetime.now(UTC)
    road.accept("M-1", "M-2")
    first, second = road.travel(ALWAYS_DOWN, attempts_max=5)
    assert hold(road, since, second) == 1
    assert road.sql("select id, state from instance order by id") == [(first, "waiting"), (second, "held")]


def test_of_two_dead_letters_of_a_member_the_newer_one_is_held(road: Road) -> None:
    since = datetime.now(UTC)
    road.dead("M-1")
    road.dead("M-1", minute=1)
    assert hold(road, since) == 1
    assert road.sql("select state from instance order by id") == ["dead", "held"]


def test_a_dead_letter_that_a_newer_outcome_has_overtaken_stays_one(road: Road) -> None:
    since = datetime.now(UTC)
    road.dead("M-1")
    road.accept("M-1", minute=1)
    road.travel(ALWAYS_REFUSED)
    assert hold(road, since) == 0
    assert road.sql("select state from instance order by id") == ["dead", "rejected"]


def test_who_failed_and_then_came_back_untried_has_lost_nothing_either(road: Road) -> None:
    since = datetime.now(UTC)
    road.accept("M-1")
    road.travel(ALWAYS_DOWN, attempts_max=5)
    road.sql("update instance set due_at = now()")
    road.travel(lambda _work: BudgetSpentError("CrowdTwist", 0.0, "as many calls as it takes are in flight"))
    assert road.sql("select state, attempt from instance") == [("pending", 1)]
    with transaction(road.ledger) as tx:
        outages.hold_due(tx, Hold(Stage.CROWDTWIST, "it is down", 300.0, since), limit=10)
    assert road.sql("select state, attempt from instance") == [("held", 0)]
