"""Requeue and discard in the ledger: what becomes of which instance, as planned and as judged again when sent."""

import pytest
from sqlalchemy import Engine

from shared.ledger.filters import Filter
from shared.ledger.jobs import Kind
from shared.ledger.transitions import requeues
from shared.ledger.transitions.requeues import Order
from shared.pipeline import State
from tests.road import ALWAYS_REFUSED, Road, plan, start, verdicts


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


def test_a_dead_letter_goes_on_from_the_stage_that_failed_and_says_who_wanted_it(road: Road) -> None:
    road.dead("M-1")
    job = start(road)
    road.turn()
    assert road.sql("select state, stage, lane, attempt, resubmits, code, finished_at from instance") == [
        ("pending", "crowdtwist", "live", 0, 1, "unavailable", None)
    ]
    line = road.sql("select what from activity order by id desc limit 1")
    assert line == [f"requeue by olga, job {job}: CrowdTwist is well again"]
    assert road.until_over(job).state == "done"
    assert road.sql("select state, code from instance") == [("completed", None)]
    assert road.counts(job) == {"succeeded": 1}


def test_a_data_error_goes_on_where_it_was_refused_or_from_the_start(road: Road) -> None:
    road.accept("M-1", "M-2")
    road.travel(ALWAYS_REFUSED)
    start(road, 1)
    start(road, 2, from_start=True)
    for _ in range(2):
        road.turn()
    assert road.sql("select state, stage, due_stage from instance order by id") == [
        ("pending", "crowdtwist", "crowdtwist"),
        ("pending", "oic", "oic"),
    ]
    road.travel()
    assert road.states() == {"completed": 2}


def test_one_that_a_newer_success_overtook_is_closed_and_never_sent(road: Road) -> None:
    road.dead("M-1")
    road.accept("M-1", minute=1)
    road.travel()
    assert verdicts(plan(road, 1)) == {1: ("superseded", "a newer event of the member succeeded")}
    job = start(road, 1)
    road.turn()
    assert road.travel() == []
    assert road.sql("select state from instance order by id") == ["superseded", "completed"]
    assert road.job(job).state == "done"


def test_one_that_is_overtaken_after_the_plan_is_not_sent_either(road: Road) -> None:
    road.dead("M-1", "M-2")
    job = start(road)
    road.accept("M-1", minute=1)
    road.travel()
    road.turn()
    assert road.travel() == [2]
    road.turn()
    assert road.sql("select state, resubmits from instance order by id") == [
        ("superseded", 0),
        ("completed", 1),
        ("completed", 0),
    ]
    assert road.counts(job) == {"succeeded": 1, "closed": 1}


@pytest.mark.parametrize("running", [False, True])
def test_one_that_a_newer_event_is_about_to_overtake_is_merged_into_it(road: Road, *, running: bool) -> None:
    road.dead("M-1")
    road.accept("M-1", minute=1)
    if running:
        road.claim()
    assert verdicts(plan(road, 1))[1][0] == "merged"
    start(road, 1)
    road.turn()
    reason = "a newer event of the member is on its way (instance 2)"
    assert road.sql("select state, reason from instance where id = 1") == [("superseded", reason)]


def test_older_content_is_never_sent_past_a_newer_failure(road: Road) -> None:
    road.dead("M-1")
    road.dead("M-1", minute=1)
    (alone,) = plan(road, 1).items
    assert (alone.verdict, alone.newer_instance_id) == ("refused", "2")
    assert {number: one[0] for number, one in verdicts(plan(road, 1, 2)).items()} == {1: "merged", 2: "send"}
    job = start(road, 1, 2)
    assert road.until_over(job).state == "done"
    assert road.sql("select state, resubmits from instance order by id") == [("superseded", 0), ("completed", 1)]


def test_what_is_no_dead_letter_is_refused_with_the_reason(road: Road) -> None:
    road.dead("M-1")
    road.sql("update instance set state = 'discarded'")
    road.accept("M-2")
    road.claim()
    road.accept("M-3")
    assert verdicts(plan(road, 1, 2, 3, 99)) == {
        1: ("refused", "it is discarded"),
        2: ("refused", "it is running"),
        3: ("refused", "it is pending"),
        99: ("refused", "there is no such instance, or it was pruned"),
    }


def test_a_dead_letter_that_is_just_being_reported_is_sent_and_waits_for_that_call(road: Road) -> None:
    road.dead("M-1")
    reports = road.claim_reports()
    assert verdicts(plan(road, 1))[1][0] == "send"
    job = start(road, 1)
    road.turn()
    assert road.counts(job) == {"sent": 1}
    assert road.claim() == {}
    road.end_reports(reports)
    assert road.sql("select told_status, errand_id from member") == [("CT Failure", None)]
    assert road.until_over(job).counts["succeeded"] == 1
    assert road.sql("select told_status from member") == ["Success"]


def test_a_dead_letter_that_is_just_being_reported_can_be_discarded(road: Road) -> None:
    road.dead("M-1")
    reports = road.claim_reports()
    job = start(road, 1, kind=Kind.DISCARD)
    assert road.until_over(job).counts["closed"] == 1
    road.end_reports(reports)
    assert road.states() == {"discarded": 1}
    assert road.sql("select count(*) from errand") == [0]


def test_nothing_is_requeued_more_often_than_allowed_unless_forced(road: Road) -> None:
    road.dead("M-1")
    road.sql("update instance set resubmits = 10")
    assert verdicts(plan(road, 1))[1] == (
        "refused",
        "it was requeued as often as MEMBERSYNC_REQUEUE_MAX allows",
    )
    assert verdicts(plan(road, 1, forced=True))[1][0] == "send"
    job = start(road, 1, forced=True)
    assert road.until_over(job).counts["succeeded"] == 1
    assert road.sql("select resubmits from instance") == [11]


def test_discarding_is_final_and_leaves_what_runs_alone(road: Road) -> None:
    road.dead("M-1")
    road.accept("M-2")
    road.claim()
    road.accept("M-3")
    job = start(road, 1, 2, 3, kind=Kind.DISCARD)
    road.turn()
    assert road.sql("select state, reason from instance order by id") == [
        ("discarded", f"discard by olga, job {job}: CrowdTwist is well again"),
        ("running", None),
        ("discarded", f"discard by olga, job {job}: CrowdTwist is well again"),
    ]
    assert (road.job(job).state, road.counts(job)) == ("done", {"closed": 2, "refused": 1})
    assert verdicts(plan(road, 1)) == {1: ("refused", "it is discarded")}


def test_a_filter_without_a_state_means_dead_letters(road: Road) -> None:
    road.dead("M-1", "M-2")
    road.accept("M-3")
    road.travel(ALWAYS_REFUSED)
    with road.ledger.begin() as tx:
        assert requeues.select(tx, Filter(codes=("unavailable", "data_error"))) == [2, 1]
        assert requeues.select(tx, Filter(states=(State.REJECTED,))) == [3]


def test_where_all_is_refused_there_is_no_job(road: Road) -> None:
    road.accept("M-1")
    with road.ledger.begin() as tx:
        order = Order(Kind.REQUEUE, "olga", "", {})
        assert requeues.create(tx, order, [1, 77], resubmits_max=10) is None
    assert road.sql("select count(*) from job") == [0]


def test_what_a_requeue_has_no_other_takes_until_it_is_over(road: Road) -> None:
    road.dead("M-1", "M-2")
    first = start(road, 1)
    assert verdicts(plan(road, 1, 2)) == {1: ("refused", "a requeue that is under way has it"), 2: ("send", "")}
    second = start(road, 1, 2)
    assert road.counts(second) == {"planned": 1, "refused": 1}
    road.until_over(first)
    road.until_over(second)
    assert road.states() == {"completed": 2}
    road.dead("M-1", minute=1)
    assert verdicts(plan(road, 3)) == {3: ("send", "")}
