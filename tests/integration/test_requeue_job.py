"""A requeue as a job: its steps, its stopping, its rate, and dispatchers that come, go and die."""

import threading

import pytest
from sqlalchemy import Engine

from shared.ledger.jobs import Kind
from shared.ledger.transitions import requeues
from tests.road import ALWAYS_DOWN, OUTAGE, Road, dying, start


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


def many(count: int) -> list[str]:
    return [f"M-{number:03}" for number in range(count)]


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
    reports = road.sql("select instance_id, due_at from errand order by 1")
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
    ignored = {"due_at": None}
    assert [row | ignored for row in after] == [row | ignored for row in before if row["id"] in ids]
    kept = [report for report in road.sql("select instance_id, due_at from errand order by 1") if report[0] in ids]
    assert kept == [report for report in reports if report[0] in ids]


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
    with road.ledger.begin() as tx:
        assert requeues.stop(tx, Kind.REQUEUE, job, "stopped by olga")
    assert road.states() == {"dead": 2}
    assert (road.job(job).state, road.job(job).stopped_why) == ("stopped", "stopped by olga")


def test_a_stopped_job_follows_what_is_on_its_way_to_its_end(road: Road) -> None:
    road.dead("M-1", "M-2")
    job = start(road)
    road.turn()
    road.claim()
    with road.ledger.begin() as tx:
        assert requeues.stop(tx, Kind.REQUEUE, job, "stopped by olga")
        assert not requeues.stop(tx, Kind.REQUEUE, job, "again")
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
