"""The plan and the turns of a repair: who is sent, overtaken, moving or refused and why; steps, stop, caps."""

import pytest
from sqlalchemy import Engine

from producers.operations.reconcile.repairer import Repairer
from shared.ledger.filters import Filter
from shared.ledger.jobs import ItemState, Kind, Plan
from shared.ledger.transitions import repairs, requeues
from shared.ledger.transitions.job_turns import Caps
from shared.ledger.transitions.repairs import Read
from shared.ledger.transitions.requeues import Order
from shared.reconciling import DriftClass
from shared.settings import Settings
from tests.resending import errands_of
from tests.road import ALWAYS_DOWN, Road

MANY = Caps(1000, 1000)


@pytest.fixture
def road(ledger: Engine) -> Road:
    """A ledger with one run."""
    road = Road(ledger)
    reconciled(road)
    return road


def reconciled(road: Road) -> int:
    (run,) = road.sql("""
        insert into reconciliation (state, mode, requested_by, asked, share, settle_s, seed, ended_at)
        values ('done', 'full', 'olga', '{}', 1, 0, 1, now()) returning id
    """)
    return int(run)


def differs(road: Road, number: str, drift_class: str, *, run: int = 1, repairs_so_far: int = 0) -> int:
    (found,) = road.sql(f"""
        insert into difference (run_id, member_number, class, first_seen_at, seen_at, evidence, repairs)
        values ({run}, '{number}', '{drift_class}', now(), now(), 'seen', {repairs_so_far}) returning id
    """)
    return int(found)


def plan(road: Road, caps: Caps = MANY, *classes: DriftClass, run: int = 1, forced: bool = False) -> Plan:
    with road.ledger.begin() as tx:
        return repairs.plan(tx, repairs.select(tx, run, classes, Filter()), caps, forced=forced)


def start(road: Road, caps: Caps = MANY, *, rate: int | None = None) -> int:
    with road.ledger.begin() as tx:
        ids = repairs.select(tx, 1, (), Filter())
        order = Order(Kind.REPAIR, "olga", "ticket 77", {"run": "1"}, rate_per_minute=rate)
        job = requeues.create(tx, order, ids, resubmits_max=1, caps=caps)
    assert job is not None
    return job


def turn(road: Road, caps: Caps = MANY) -> None:
    road.sql("update job set next_at = now() where ended_at is null")
    more = True
    while more:
        with road.ledger.begin() as tx:
            more = requeues.advance(tx, resubmits_max=1, caps=caps)


def read(road: Road, *, minute: int = 1) -> list[str]:
    """Read who is to be read, and take an event of each in; return who they are."""
    with road.ledger.begin() as tx:
        wanted = repairs.wanted(tx, limit=100, lease_s=60)
    numbers = [one.member_number for one in wanted]
    if numbers:
        road.accept(*numbers, minute=minute)
    made = dict(road.sql("select member_number, max(id) from instance group by member_number"))
    found = [Read(one.job_id, one.difference_id, ItemState.SENT, "", made[one.member_number]) for one in wanted]
    with road.ledger.begin() as tx:
        repairs.taken_in(tx, found)
    return numbers


def why(found: Plan) -> dict[str, tuple[str, str]]:
    return {item.member_number: (item.verdict, item.reason.partition(":")[0]) for item in found.items}


def test_the_plan_says_of_each_what_would_become_of_it(road: Road) -> None:
    road.accept("M-1", "M-2", "M-3", "M-4", "M-5", "M-6", "M-7")
    road.travel()
    differs(road, "M-0", "never_sent")
    differs(road, "M-1", "missed_event")
    differs(road, "M-2", "gone_at_destination")
    differs(road, "M-3", "orphan")
    differs(road, "M-4", "changed_at_destination")
    differs(road, "M-5", "rolled_back")
    differs(road, "M-6", "status_lies")
    differs(road, "M-7", "changed_at_destination", run=reconciled(road), repairs_so_far=2)
    differs(road, "M-7", "changed_at_destination")
    road.accept("M-4", minute=1)
    road.travel()
    road.accept("M-5", minute=1)
    found = why(plan(road))
    assert found["M-0"] == ("send", "")
    assert found["M-1"] == ("send", "")
    assert found["M-2"] == ("refused", "CrowdTwist has it no more, which may be a lawful erasure")
    assert found["M-3"] == ("refused", "no member in Siebel to make an event of")
    assert found["M-6"] == ("send", "")
    assert found["M-7"] == ("refused", "two masters fight")
    assert why(plan(road, forced=True))["M-7"] == ("send", "")
    assert (found["M-4"][0], found["M-5"][0]) == ("overtaken", "moving")
    assert plan(road, MANY, DriftClass.ORPHAN).counts == {"send": 0, "overtaken": 0, "moving": 0, "refused": 1}


def test_the_caps_hold_in_the_plan_and_while_it_goes(road: Road) -> None:
    for place in range(6):
        differs(road, f"M-{place}", "never_sent")
    assert plan(road, Caps(4, 10)).counts["send"] == 4
    assert plan(road, Caps(10, 3)).counts["send"] == 3
    reasons = {one.reason for one in plan(road, Caps(4, 3)).reasons}
    assert reasons == {
        "MEMBERSYNC_RECONCILE__REPAIR_CAP_PER_DAY allows no more today",
        "MEMBERSYNC_RECONCILE__REPAIR_CAP_PER_RUN allows no more of this run",
    }
    job = start(road)
    for _ in range(4):
        turn(road, Caps(4, 10))
        read(road)
        road.travel()
    turn(road, Caps(4, 10))
    assert road.counts(job) == {"succeeded": 4, "refused": 2}
    assert road.sql("select count(*) from difference where repairs > 0") == [4]
    assert plan(road, Caps(4, 10)).counts["send"] == 0


def test_it_goes_1_then_10_then_the_rest_and_each_is_what_its_event_comes_to(road: Road) -> None:
    for place in range(25):
        differs(road, f"M-{place:02}", "never_sent")
    job = start(road)
    went = []
    while not road.job(job).over:
        turn(road)
        went.append(len(read(road)))
        road.travel()
    assert went[:3] == [1, 10, 14]
    assert road.counts(job) == {"succeeded": 25}


def test_one_that_fails_stops_the_repair_and_the_rest_counts_as_not_repaired(road: Road) -> None:
    for place in range(5):
        differs(road, f"M-{place}", "never_sent")
    job = start(road)
    turn(road)
    read(road)
    road.travel(ALWAYS_DOWN)
    turn(road)
    assert (road.job(job).state, road.job(job).stopped_why) == ("stopped", "1 of 1 failed again")
    assert road.counts(job) == {"failed": 1, "put_back": 4}
    assert road.sql("select count(*) from difference where repairs > 0") == [1]
    (item,) = road.job(job).troubled
    assert (item.instance_id, item.member_number) == ("1", "M-0")


def test_stopped_in_the_middle_nothing_more_is_read_and_what_was_made_goes_on(road: Road) -> None:
    for place in range(20):
        differs(road, f"M-{place:02}", "never_sent")
    job = start(road)
    turn(road)
    read(road)
    road.travel()
    turn(road)
    with road.ledger.begin() as tx:
        assert requeues.stop(tx, Kind.REPAIR, job, "stopped by olga")
    assert read(road) == []
    assert (road.job(job).over, road.counts(job)) == (True, {"succeeded": 1, "put_back": 19})
    assert road.sql("select count(*) from difference where repairs > 0") == [1]


def test_who_was_taken_up_by_one_that_died_is_taken_up_again(road: Road) -> None:
    differs(road, "M-1", "never_sent")
    start(road)
    turn(road)
    with road.ledger.begin() as tx:
        assert [one.tries for one in repairs.wanted(tx, limit=9, lease_s=60)] == [1]
    with road.ledger.begin() as tx:
        assert repairs.wanted(tx, limit=9, lease_s=60) == []
    road.sql("""update job_item set was = was || '{"until": "2020-01-01T00:00:00Z"}'""")
    with road.ledger.begin() as tx:
        assert [one.tries for one in repairs.wanted(tx, limit=9, lease_s=60)] == [2]


def test_a_status_that_lies_is_told_once_more_by_the_errand_that_does_so(road: Road) -> None:
    road.accept("M-1")
    road.travel()
    differs(road, "M-1", "status_lies")
    job = start(road)
    turn(road)
    assert read(road) == []
    assert [errand for errand, _ in errands_of(road)] == ["tell_again"]
    turn(road)
    assert (road.job(job).state, road.counts(job)) == ("done", {"succeeded": 1})
    assert road.sql("select told_status, told_id from member") == [("Success", 1)]
    assert road.sql("select state from instance") == ["completed"]


def test_a_status_whose_event_is_on_its_way_or_never_told_is_left_alone(road: Road) -> None:
    road.accept("M-1", "M-2")
    road.travel()
    road.accept("M-1", minute=1)
    road.travel(ALWAYS_DOWN)
    road.accept("M-2", minute=1)
    differs(road, "M-1", "status_lies")
    differs(road, "M-2", "status_lies")
    found = why(plan(road))
    assert found["M-1"] == ("refused", "the newest event has no outcome that Siebel could be told")
    assert found["M-2"][0] == "moving"


def test_an_event_that_comes_before_it_is_read_makes_the_difference_overtaken(road: Road) -> None:
    road.accept("M-1", "M-2")
    road.travel()
    for number in ("M-1", "M-2"):
        differs(road, number, "missed_event")
    job = start(road)
    road.accept("M-2", minute=1)
    road.travel()
    while not road.job(job).over:
        turn(road)
        read(road, minute=2)
        road.travel()
    assert road.counts(job) == {"succeeded": 1, "closed": 1}
    assert road.sql("select sum(repairs) from difference") == [1]


def test_a_filter_chooses_members_and_what_their_newest_instance_is(road: Road) -> None:
    road.accept("M-1", "M-2")
    road.travel()
    for number in ("M-0", "M-1", "M-2"):
        differs(road, number, "missed_event")
    with road.ledger.begin() as tx:
        assert len(repairs.select(tx, 1, (), Filter(members=("M-0", "M-1")))) == 2
        assert len(repairs.select(tx, 1, (), Filter(text="M-2"))) == 1
        assert repairs.select(tx, 1, (DriftClass.ORPHAN,), Filter()) == []


def test_without_siebel_nothing_is_made_and_the_repair_says_why(road: Road, ledger_url: str) -> None:
    differs(road, "M-1", "never_sent")
    job = start(road)
    turn(road)
    assert Repairer(Settings(_env_file=None, ledger_url=ledger_url)).turn()
    turn(road)
    (item,) = road.job(job).troubled
    assert (item.state, item.reason) == ("refused", "MEMBERSYNC_SIEBEL__BASE_URL is not set")
    assert road.sql("select repairs from difference") == [0]
