"""A resend: what CrowdTwist acknowledged goes out once more; newer content wins, and nobody is told anything wrong."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from producers.intake.accept import IntakeRules, accept
from shared.errors import DataError
from shared.events import parse_event
from shared.instances import Errand, Failed, Result, Work
from shared.ledger.filters import Filter
from shared.ledger.jobs import Kind
from shared.ledger.transitions import attempts, errands, requeues, resends
from shared.lifecycle.retry import RetryPolicy
from shared.lifecycle.verdicts import Rules, conclude
from shared.pipeline import Lane, Stage
from tests.resending import GONE, LIMITS, SINCE, errands_of, ids, plan, start, taken, until_over
from tests.road import ALWAYS_DOWN, ALWAYS_REFUSED, ALWAYS_WELL, NOW, OUTAGE, REFUSED, TERMS, Road, verdicts


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


def many(count: int) -> list[str]:
    return [f"M-{number:03}" for number in range(count)]


def told(road: Road) -> list[Any]:
    return road.sql("select told_id, told_status, told_error from member order by member_number")


def test_each_member_that_was_acknowledged_since_goes_out_once_and_its_instances_stay_as_they_are(road: Road) -> None:
    road.accept(*many(25))
    road.travel()
    before = road.sql("select to_jsonb(i) from instance i order by id")
    said = told(road)
    job = start(road)
    went = until_over(road, job)
    assert went == list(range(1, 26))
    assert road.counts(job) == {"succeeded": 25}
    assert road.sql("select to_jsonb(i) from instance i order by id") == before
    assert told(road) == said
    assert road.sql("select count(*) from member where errand_id is not null") == [0]
    assert road.sql("select count(*) from activity where what = 'resend: taken by CrowdTwist'") == [25]


def test_what_crowdtwist_shows_anew_is_kept_and_counts_as_acknowledged(road: Road) -> None:
    road.accept("M-1")
    road.travel()
    road.sql("update member set acknowledged_at = now() - interval '20 min', echoed = '{}'")
    until_over(road, start(road))
    (row,) = road.sql("select echoed->>'last_name', acknowledged_at > now() - interval '1 min', synced from member")
    assert row == ("1", True, True)


def test_it_goes_1_then_10_then_the_rest_in_the_bulk_lane(road: Road) -> None:
    road.accept(*many(25))
    road.travel()
    job = start(road)
    sent = []
    while not road.job(job).over:
        road.turn()
        sent.append(len(road.sql("select id from errand where kind = 'resend' and lane = 'bulk'")))
        errands_of(road)
    assert sent == [1, 10, 14, 0]


def test_only_who_was_acknowledged_in_that_time_and_matches_is_meant(road: Road) -> None:
    road.accept("M-1", "M-2", "M-3")
    road.travel()
    road.dead("M-4")
    road.sql("update member set acknowledged_at = now() - interval '2 days' where member_number = 'M-1'")
    assert ids(road) == [3, 2]
    assert ids(road, "M-2", "M-4") == [2]
    with road.ledger.begin() as tx:
        assert resends.acknowledged(tx, Filter(), SINCE, SINCE, limit=9) == []
        assert resends.acknowledged(tx, Filter(), SINCE, datetime.now(UTC), limit=1) == [3]


def test_a_newer_event_that_is_on_its_way_wins(road: Road) -> None:
    road.accept("M-1", "M-2")
    road.travel()
    road.accept("M-2", minute=1)
    found = verdicts(plan(road))
    assert {one: verdict for one, (verdict, _) in found.items()} == {1: "send", 2: "merged"}
    job = start(road)
    road.turn()
    assert errands_of(road) == [(Errand.RESEND, 1)]
    road.travel()
    assert until_over(road, job) == []
    assert road.counts(job) == {"succeeded": 1, "closed": 1}
    assert road.sql("select applied_id from member order by 1") == [1, 3]


def test_an_event_that_comes_while_a_resend_waits_goes_first_and_what_is_older_never_goes(road: Road) -> None:
    road.accept("M-1")
    road.travel()
    job = start(road)
    road.turn()
    road.accept("M-1", minute=1)
    assert errands_of(road) == []
    road.travel()
    assert errands_of(road) == []
    assert until_over(road, job) == []
    assert road.counts(job) == {"closed": 1}
    assert road.sql("select count(*) from errand") == [0]


def test_while_a_resend_is_out_no_event_of_the_member_goes(road: Road) -> None:
    road.accept("M-1")
    road.travel()
    start(road)
    road.turn()
    with road.ledger.begin() as tx:
        claimed = errands.claim(tx, LIMITS, token=9, lease_s=60)
    assert sum(map(len, claimed.values())) == 1
    road.accept("M-1", minute=1)
    assert road.claim() == {}


def test_where_the_newer_event_is_refused_what_was_acknowledged_goes_out_after_all(road: Road) -> None:
    road.accept("M-1")
    road.travel()
    road.accept("M-1", minute=1)
    job = start(road)
    assert until_over(road, job) == []
    assert road.counts(job) == {"closed": 1}
    assert errands_of(road) == []
    road.travel(ALWAYS_REFUSED)
    said = told(road)
    assert errands_of(road) == [(Errand.RESEND, 1)]
    assert told(road) == said
    assert road.sql("select state from instance order by id") == ["completed", "rejected"]
    assert road.sql("select synced, applied_id from member") == [(False, 1)]


def test_of_a_member_whose_newest_event_is_a_data_error_the_acknowledged_content_goes_and_siebel_shows_the_error(
    road: Road,
) -> None:
    road.accept("M-1")
    road.travel()
    road.accept("M-1", minute=1)
    road.travel(ALWAYS_REFUSED)
    said = told(road)
    job = start(road)
    assert until_over(road, job) == [1]
    assert told(road) == said
    assert road.sql("select state from instance order by id") == ["completed", "rejected"]
    assert road.sql("select synced from member") == [False]


def test_whom_crowdtwist_has_no_longer_is_named_and_the_same_content_is_not_unchanged_any_more(road: Road) -> None:
    road.accept("M-1", "M-2", "M-3")
    road.travel()
    said = told(road)
    job = start(road)
    until_over(road, job, lambda work: GONE if work.member_number == "M-1" else taken(work))
    over = road.job(job)
    assert (over.state, road.counts(job)) == ("done", {"succeeded": 2, "gone": 1})
    (item,) = over.troubled
    assert (item.member_number, item.state, item.reason) == ("M-1", "gone", resends.MAY_BE_ERASED)
    assert told(road) == said
    assert road.sql("select state from instance order by id") == ["completed"] * 3
    road.accept("M-1", minute=1)
    assert road.sql("select state from instance where member_number = 'M-1' order by id") == ["completed", "pending"]


def created(road: Road, instance_id: int, ago: str) -> None:
    """Note a call that created the member in CrowdTwist so long ago."""
    road.sql(f"""
        insert into activity (instance_id, at, stage, state, what, calls)
        values ({instance_id}, now() - interval '{ago}', 'crowdtwist', 'running', 'created in CrowdTwist',
                '[{{"method": "POST", "http_status": 200}}]')
    """)


def test_whom_crowdtwist_created_since_and_lost_is_created_again_only_if_that_is_wanted(road: Road) -> None:
    road.accept("M-1", "M-2")
    road.travel()
    created(road, 1, "10 min")
    created(road, 2, "2 days")
    job = start(road)
    until_over(road, job, lambda _: GONE)
    assert {item.member_number: item.reason for item in road.job(job).troubled} == {
        "M-1": resends.LOST,
        "M-2": resends.MAY_BE_ERASED,
    }
    assert road.sql("select synced from member") == [False, False]
    again = start(road, recreates=True)
    kinds = []
    while not road.job(again).over:
        road.turn()
        kinds += errands_of(road, lambda work: taken(work) if work.errand is Errand.RECREATE else GONE)
    assert kinds == [(Errand.RECREATE, 1), (Errand.RESEND, 2)]
    assert road.counts(again) == {"succeeded": 1, "gone": 1}
    assert road.sql("select member_number, synced from member order by 1") == [("M-1", True), ("M-2", False)]


def test_most_of_them_gone_is_another_crowdtwist_and_stops_the_job(road: Road) -> None:
    road.accept(*many(40))
    road.travel()
    job = start(road)
    went = until_over(road, job, lambda work: taken(work) if work.instance_id == 1 else GONE)
    over = road.job(job)
    assert (over.state, over.stopped_why) == ("stopped", "of 11 that were sent, 10 gone")
    assert len(went) == 11
    assert road.counts(job) == {"succeeded": 1, "gone": 10, "put_back": 29}


def test_who_is_refused_is_tried_again_when_the_address_is_free_and_siebel_is_told_nothing_meanwhile(
    road: Road,
) -> None:
    """M-000 wants what M-002 gives up, M-002 what M-004 does: refused until those went."""
    road.accept(*many(5))
    road.travel()
    said = told(road)
    went: list[str] = []

    def first_come(work: Work) -> Result:
        needs = {"M-000": "M-002", "M-002": "M-004"}.get(work.member_number)
        if needs is not None and needs not in went:
            return Failed(REFUSED)
        went.append(work.member_number)
        return taken(work)

    job = start(road)
    assert until_over(road, job, first_come) == [1, 2, 3, 4, 5, 1, 3, 1]
    assert road.counts(job) == {"succeeded": 5}
    assert told(road) == said
    assert road.sql("select distinct state from instance") == ["completed"]


def test_who_is_refused_to_the_end_is_a_data_error_and_siebel_is_told(road: Road) -> None:
    road.accept(*many(5))
    road.travel()
    job = start(road)
    went = until_over(road, job, lambda work: Failed(REFUSED) if work.instance_id == 2 else taken(work))
    assert went == [1, 2, 3, 4, 5, 2]
    assert (road.job(job).state, road.counts(job)) == ("done", {"succeeded": 4, "failed": 1})
    assert road.sql("select state, status, error, code, failed_stage from instance where id = 2") == [
        ("rejected", "Data Error", "Email Address is already taken", "data_error", "crowdtwist")
    ]
    assert errands_of(road) == [(Errand.TELL_AGAIN, 2)]
    assert told(road)[1] == (2, "Data Error", "Email Address is already taken")
    assert road.sql("select synced from member order by member_number") == [True, False, True, True, True]
    road.sql("update instance set resubmits = 0")
    with road.ledger.begin() as tx:
        (found,) = requeues.plan(tx, Kind.REQUEUE, [2], resubmits_max=1).items
    assert found.verdict == "send"


def test_a_refusal_of_most_stops_the_job_and_tells_nobody_anything(road: Road) -> None:
    road.accept(*many(40))
    road.travel()
    said = told(road)
    job = start(road)
    until_over(road, job, lambda _: Failed(DataError("CrowdTwist", "Unknown field", 400)))
    assert (road.job(job).state, road.job(job).stopped_why) == ("stopped", "of 10 that were sent, 10 refused")
    assert told(road) == said
    assert road.sql("select distinct state from instance") == ["completed"]
    assert errands_of(road) == []


def test_one_that_fails_stops_the_job_and_nothing_of_it_goes_out_any_more(road: Road) -> None:
    road.accept(*many(5))
    road.travel()
    job = start(road)
    road.turn()
    errands_of(road, lambda _: Failed(OUTAGE))
    road.turn()
    assert (road.job(job).state, road.job(job).stopped_why) == ("stopped", "1 of 1 failed again")
    assert road.counts(job) == {"failed": 1, "put_back": 4}
    assert road.sql("select count(*) from errand") == [0]
    assert road.sql("select distinct state from instance") == ["completed"]


def test_a_job_that_is_stopped_leaves_the_rest_unsent_and_follows_what_is_out(road: Road) -> None:
    road.accept(*many(30))
    road.travel()
    job = start(road)
    for _ in range(2):
        road.turn()
        errands_of(road)
    road.turn()
    with road.ledger.begin() as tx:
        out = errands.claim(tx, dict.fromkeys(LIMITS, 3), token=9, lease_s=60)
        assert requeues.stop(tx, Kind.RESEND, job, "stopped by olga")
    road.turn()
    assert (road.job(job).over, road.counts(job)) == (False, {"sent": 3, "succeeded": 11, "put_back": 16})
    ((_, some),) = out.items()
    with road.ledger.begin() as tx:
        works = attempts.begin(tx, Stage.CROWDTWIST, [one.id for one in some], lease_s=60).works
    for work in works:
        rules = Rules(Stage.CROWDTWIST, RetryPolicy(100, 1000, 3), report_after_s=300, jitter=0.5, carried=True)
        with road.ledger.begin() as tx:
            attempts.finish(tx, Stage.CROWDTWIST, [conclude(work, taken(work), rules)], TERMS)
    road.turn()
    assert (road.job(job).over, road.counts(job)) == (True, {"succeeded": 14, "put_back": 16})
    assert road.sql("select count(*) from errand") == [0]


def test_two_resends_do_not_both_take_a_member(road: Road) -> None:
    road.accept("M-1")
    road.travel()
    job = start(road)
    assert verdicts(plan(road)) == {1: ("refused", "a resend that is under way has it")}
    until_over(road, job)
    assert verdicts(plan(road)) == {1: ("send", "")}


@pytest.mark.parametrize(("kept", "content"), [(True, "Lee"), (False, None)])
def test_a_deletion_brings_along_the_content_that_was_acknowledged_before_it(
    road: Road, *, kept: bool, content: str | None
) -> None:
    for minute in range(3):
        road.accept("M-1", minute=minute)
        road.travel(ALWAYS_WELL if minute < 2 else ALWAYS_REFUSED)
    later = (NOW + timedelta(minutes=9)).isoformat()
    gone = {"operation": "delete", "occurred_at": later, "member": {"member_number": "M-1"}}
    accept(road.ledger, [(0, parse_event(gone, max_bytes=9_000))], IntakeRules(Lane.LIVE))
    road.travel()
    road.sql("delete from mapping")
    for instance_id, user in (
        *([(1, '{"last_name": "Older", "is_active": 1}'), (2, '{"last_name": "Lee", "is_active": 1}')] if kept else []),
        *((3, '{"last_name": "Refused", "is_active": 1}'), (4, '{"third_party_id": "M-1", "is_active": 0}')),
    ):
        road.sql(f"insert into mapping (instance_id, user_json) values ({instance_id}, '{user}')")
    sent: list[Any] = []

    def noted(work: Work) -> Result:
        sent.append(work.user)
        return taken(work)

    assert until_over(road, start(road), noted) == [4]
    (user,) = sent
    assert (user["is_active"], user.get("last_name"), user["third_party_id"]) == (0, content, "M-1")


def test_whoever_was_pruned_since_is_said_to_be(road: Road) -> None:
    road.accept("M-1", "M-2")
    road.travel()
    road.sql("delete from activity where instance_id = 1; delete from mapping where instance_id = 1")
    road.sql("delete from instance where id = 1")
    assert verdicts(plan(road)) == {
        1: ("refused", "there is no such instance, or it was pruned"),
        2: ("send", ""),
    }


def test_dead_letters_are_no_matter_of_a_resend(road: Road) -> None:
    road.accept("M-1")
    road.travel()
    road.accept("M-1", minute=1)
    road.travel(ALWAYS_DOWN)
    job = start(road)
    assert until_over(road, job) == [1]
    assert road.sql("select state from instance order by id") == ["completed", "dead"]
