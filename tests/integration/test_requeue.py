"""Requeue and discard in the ledger: what the plan says, how a job goes on, stops, and survives."""

import threading

import pytest
from sqlalchemy import Engine

from shared.jobs import Kind, Plan
from shared.ledger import requeues
from shared.ledger.filters import Filter
from shared.ledger.requeues import Order
from shared.pipeline import State
from tests.road import ALWAYS_DOWN, ALWAYS_REFUSED, OUTAGE, Road, dying


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


def plan(road: Road, *ids: int, kind: Kind = Kind.REQUEUE, forced: bool = False) -> Plan:
    with road.ledger.begin() as connection:
        return requeues.plan(connection, kind, ids, resubmits_max=10, forced=forced)


def verdicts(of: Plan) -> dict[int, tuple[str, str]]:
    return {int(item.instance_id): (item.verdict, item.reason) for item in of.items}


def start(
    road: Road,
    *ids: int,
    kind: Kind = Kind.REQUEUE,
    from_start: bool = False,
    forced: bool = False,
    rate: int | None = None,
) -> int:
    order = Order(kind, "olga", "CrowdTwist is well again", {"ids": []}, from_start, forced, rate)
    with road.ledger.begin() as connection:
        job = requeues.create(connection, order, ids or every_dead(road), resubmits_max=10)
    assert job is not None
    return job


def every_dead(road: Road) -> list[int]:
    return road.sql("select id from instance where state = 'dead' order by id")


def many(count: int) -> list[str]:
    return [f"M-{number:03}" for number in range(count)]


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


def test_a_dead_letter_that_is_just_being_reported_is_not_taken_for_running(road: Road) -> None:
    road.dead("M-1")
    road.sql(
        "update instance set state = 'running', errand = 'report', parked_state = state, parked_stage = stage,"
        " parked_attempt = attempt, token = 9, lease_until = now() + interval '1 min', stage = 'siebel'"
    )
    assert verdicts(plan(road, 1))[1][0] == "send"
    job = start(road, 1)
    road.turn()
    assert road.counts(job) == {"planned": 1}
    road.sql(
        "update instance set state = 'dead', errand = 'sync', stage = parked_stage, parked_state = null,"
        " parked_stage = null, parked_attempt = null, token = 0, lease_until = null"
    )
    assert road.until_over(job).counts["succeeded"] == 1


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


def test_a_job_sends_1_then_10_then_the_rest_in_the_bulk_lane(road: Road) -> None:
    road.dead(*many(25))
    job = start(road)
    sent = []
    while not road.job(job).over:
        road.turn()
        sent.append(road.states().get("pending", 0))
        road.turn()
        assert road.states().get("pending", 0) == sent[-1], "nothing more while the step is on its way"
        road.travel()
    assert sent == [1, 10, 14, 0]
    assert road.sql("select distinct lane from instance") == ["bulk"]
    assert road.counts(job) == {"succeeded": 25}


def test_a_job_stops_by_itself_when_more_than_half_of_a_step_fails_again(road: Road) -> None:
    road.dead(*many(25))
    road.sql("update instance set error = 'as it was'")
    job = start(road)
    road.turn()
    road.travel()
    over = road.until_over(job, ALWAYS_DOWN)
    assert (over.state, over.stopped_why) == ("stopped", "10 of 10 failed again")
    assert road.counts(job) == {"succeeded": 1, "failed": 10, "put_back": 14}
    assert road.states() == {"completed": 1, "dead": 24}
    assert road.sql("select count(*) from instance where error = 'as it was' and resubmits = 0") == [14]


def test_the_rest_is_judged_while_it_goes_and_what_has_not_begun_is_put_back_as_it_was(road: Road) -> None:
    road.dead(*many(40))
    road.sql("update instance set error = 'as it was'")
    before = road.sql("select to_jsonb(i) from instance i order by id")
    job = start(road)
    for _ in range(2):
        road.turn()
        road.travel()
    road.turn()
    road.travel(ALWAYS_DOWN, limit=12)
    road.turn()
    assert road.job(job).stopped_why == "12 of 12 failed again"
    assert road.counts(job) == {"succeeded": 11, "failed": 12, "put_back": 17}
    after = road.sql("select to_jsonb(i) from instance i where error = 'as it was' and state = 'dead' order by id")
    ids = {row["id"] for row in after}
    assert len(ids) == 17
    ignored = {"due_at": None, "errand_attempt": None}
    assert [row | ignored for row in after] == [row | ignored for row in before if row["id"] in ids]


def test_half_of_a_step_may_fail(road: Road) -> None:
    road.dead(*many(15))
    bad = {f"M-{number:03}" for number in range(1, 6)}
    job = start(road)
    over = road.until_over(job, lambda work: OUTAGE if work.member_number in bad else None)
    assert (over.state, over.counts["succeeded"], over.counts["failed"]) == ("done", 10, 5)
    assert {item.state for item in over.troubled} == {"failed"}


def test_one_that_waits_for_another_attempt_has_failed_again_and_may_yet_succeed(road: Road) -> None:
    road.dead("M-1", "M-2", "M-3")
    job = start(road)
    road.turn()
    road.travel()
    road.turn()
    road.travel(lambda work: OUTAGE if work.member_number == "M-2" else None, attempts_max=5)
    assert road.states() == {"completed": 2, "waiting": 1}
    road.turn()
    assert road.counts(job) == {"succeeded": 2, "failed": 1}


def test_one_that_is_held_has_neither_failed_nor_succeeded_and_can_be_put_back(road: Road) -> None:
    road.dead("M-1", "M-2")
    job = start(road)
    road.turn()
    road.sql("update instance set state = 'held' where state = 'pending'")
    road.turn()
    assert road.counts(job) == {"planned": 1, "sent": 1}
    with road.ledger.begin() as connection:
        assert requeues.stop(connection, Kind.REQUEUE, job, "stopped by olga")
    assert road.states() == {"dead": 2}
    assert (road.job(job).state, road.job(job).stopped_why) == ("stopped", "stopped by olga")


def test_a_stopped_job_follows_what_is_on_its_way_to_its_end(road: Road) -> None:
    road.dead("M-1", "M-2")
    job = start(road)
    road.turn()
    road.claim()
    with road.ledger.begin() as connection:
        assert requeues.stop(connection, Kind.REQUEUE, job, "stopped by olga")
        assert not requeues.stop(connection, Kind.REQUEUE, job, "again")
    road.turn()
    assert (road.job(job).over, road.counts(job)) == (False, {"sent": 1, "put_back": 1})
    road.sql("update instance set state = 'completed', token = 0, lease_until = null, finished_at = now() where id = 1")
    road.turn()
    assert (road.job(job).over, road.counts(job)) == (True, {"succeeded": 1, "put_back": 1})


def test_dispatchers_that_advance_at_once_send_nothing_twice(road: Road) -> None:
    road.dead(*many(60))
    job = start(road)
    barrier = threading.Barrier(4)

    def advance() -> None:
        barrier.wait()
        for _ in range(5):
            road.turn()

    for _ in range(4):
        threads = [threading.Thread(target=advance) for _ in range(3)]
        for thread in threads:
            thread.start()
        barrier.wait()
        for thread in threads:
            thread.join()
        road.travel()
    assert road.until_over(job).counts["succeeded"] == 60
    assert road.sql("select distinct resubmits from instance") == [1]


def test_a_job_whose_dispatcher_dies_in_the_middle_of_a_turn_goes_on_with_another(road: Road) -> None:
    road.dead(*many(12))
    job = start(road)
    for _ in range(3):
        with dying(road.ledger) as connection:
            requeues.advance(connection, resubmits_max=10)
        road.turn()
        road.travel()
    assert road.until_over(job).counts["succeeded"] == 12
    assert road.sql("select distinct resubmits from instance") == [1]


def test_a_rate_is_kept_and_little_of_it_is_caught_up_on(road: Road) -> None:
    road.dead(*many(40))
    job = start(road, rate=60)
    for _ in range(2):
        road.sql("update job set paid_until = null")
        road.turn()
        road.travel()
    assert road.counts(job) == {"succeeded": 1, "sent": 1, "planned": 38}
    road.sql("update job set paid_until = now() - interval '1 h'")
    road.turn()
    assert road.counts(job)["sent"] == 2, "what 2 seconds allow"


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
    with road.ledger.begin() as connection:
        assert requeues.select(connection, Filter(codes=("unavailable", "data_error"))) == [2, 1]
        assert requeues.select(connection, Filter(states=(State.REJECTED,))) == [3]


def test_where_all_is_refused_there_is_no_job(road: Road) -> None:
    road.accept("M-1")
    with road.ledger.begin() as connection:
        order = Order(Kind.REQUEUE, "olga", "", {})
        assert requeues.create(connection, order, [1, 77], resubmits_max=10) is None
    assert road.sql("select count(*) from job") == [0]
