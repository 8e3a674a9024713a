"""Errands beside the way of their instance: never two calls of a member at once, whoever claims, dies or freezes."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from alembic import command
from sqlalchemy import Engine, text

from deploy.local.servers import scratch_postgres
from shared.errors import LeaseLostError, LedgerConflictError
from shared.instances import Call, Done, Failed, Work
from shared.ledger import agenda
from shared.ledger.checkup import migrate
from shared.ledger.engine import engine, transaction
from shared.ledger.front import Front
from shared.ledger.transitions import attempts, claims, errands
from shared.lifecycle.retry import RetryPolicy
from shared.lifecycle.verdicts import Ending, Rules, after_loss, conclude, held
from shared.pipeline import Lane, Stage
from tests.migrations import configured
from tests.road import TERMS, Road

MEMBERS = [f"M-{index}" for index in range(12)]
BOTH_OUT = """
    select member_number from instance where state = 'running'
    intersect select member_number from errand where token <> 0
"""
WITHOUT_ITS_MARK = """
    select from member m full join (select * from errand where token <> 0) as e using (member_number)
    where m.errand_id is distinct from e.id
"""
ROUNDS = 40
LIMITS = dict.fromkeys([(lane, stage) for lane in Lane for stage in Stage], 3)


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


def reported_and_queued(road: Road, *numbers: str) -> None:
    """Let each member have a dead letter of which Siebel is to be told, and a newer event that is due."""
    road.dead(*numbers)
    road.accept(*numbers, minute=1)


def claim_errands(road: Road, limit: int = 5) -> list[claims.Claimed]:
    with transaction(road.ledger) as tx:
        claimed = errands.claim(tx, dict.fromkeys(LIMITS, limit), token=9, lease_s=60)
    return [one for some in claimed.values() for one in some]


def give_back(road: Road) -> None:
    with transaction(road.ledger) as tx:
        for table in ("instance", "errand"):
            tx.execute(text(f"update {table} set lease_until = now() - interval '1 s' where token <> 0"))
    with transaction(road.ledger) as tx:
        lost = claims.expired(tx, limit=1000)
    for one in lost:
        with transaction(road.ledger) as tx:
            attempts.finish(tx, one.stage, [after_loss(one, losses_max=99)], TERMS)


def test_while_an_errand_is_out_no_instance_of_its_member_goes_and_the_other_way_round(road: Road) -> None:
    reported_and_queued(road, "M-1")
    assert [one.instance_id for one in claim_errands(road)] == [1]
    assert road.claim() == {}
    assert claim_errands(road) == []
    give_back(road)
    assert sum(map(len, road.claim().values())) == 1
    assert claim_errands(road) == []
    assert road.sql("select state from instance order by id") == ["dead", "running"]


def test_whoever_claims_at_the_same_time_a_member_never_has_two_calls_out(road: Road) -> None:
    reported_and_queued(road, *MEMBERS)
    claimed = {"instances": 0, "errands": 0}
    start = threading.Barrier(4)

    def instances() -> int:
        with transaction(road.ledger) as tx:
            return sum(map(len, claims.claim(tx, LIMITS, token=5, lease_s=60).values()))

    def go(what: str, claim: Callable[[], int]) -> None:
        start.wait(60)
        for _ in range(3):
            with suppress(LedgerConflictError):
                claimed[what] += claim()

    for _ in range(ROUNDS):
        with ThreadPoolExecutor(4) as pool:
            runs = [pool.submit(go, "instances", instances) for _ in range(2)]
            runs += [pool.submit(go, "errands", lambda: len(claim_errands(road, 3))) for _ in range(2)]
        for run in runs:
            run.result()
        assert road.sql(BOTH_OUT) == []
        assert road.sql(WITHOUT_ITS_MARK) == []
        give_back(road)
        assert road.sql("select count(*) from member where errand_id is not null") == [0]
    assert min(claimed.values()) > ROUNDS, claimed


def test_whose_worker_dies_on_an_errand_stays_what_it_is_and_siebel_is_told_all_the_same(road: Road) -> None:
    road.dead("M-1")
    before = road.sql("select to_jsonb(i) from instance i")
    for _ in range(5):  # more often than an instance may lose its worker
        road.sql("update errand set due_at = now()")
        (claimed,) = claim_errands(road)
        with transaction(road.ledger) as tx:
            (frozen,) = attempts.begin(tx, Stage.SIEBEL, [claimed.id], lease_s=60).works
        assert road.sql("select to_jsonb(i) from instance i") == before
        give_back(road)
    assert road.sql("select to_jsonb(i) from instance i") == before
    assert road.sql("select lost_tell_id, errand_id from member") == [(1, None)]
    road.report()
    assert road.sql("select told_status from member") == ["CT Failure"]
    assert road.sql("select count(*) from errand where kind = 'report'") == [0]
    with transaction(road.ledger) as tx:  # the frozen one wakes, and writes nothing
        done = Done("told", {"told_status": "CT Failure", "told_error": ""}, (Call("PUT", "/", 200, 1.0),))
        rules = Rules(Stage.SIEBEL, RetryPolicy(1, 1, 9), report_after_s=300, jitter=0.5, carried=False)
        assert attempts.finish(tx, Stage.SIEBEL, [conclude(frozen, done, rules)], TERMS) == 0
    assert road.sql("select tell_again_at is null, lost_tell_id from member") == [(False, 1)]


def test_an_errand_whose_call_is_not_made_costs_no_attempt(road: Road) -> None:
    road.dead("M-1")
    late = Failed(LeaseLostError("membersync"))
    rules = Rules(Stage.SIEBEL, RetryPolicy(1, 1, 9), report_after_s=300, jitter=0.5, carried=False)
    endings: list[Callable[[Work], Ending]] = [
        lambda work: held(work, Stage.SIEBEL, why="Siebel is paused", report_after_s=None),
        lambda work: conclude(work, late, rules),
    ]
    for ending in endings:
        road.sql("update errand set due_at = now()")
        (claimed,) = claim_errands(road)
        with transaction(road.ledger) as tx:
            (work,) = attempts.begin(tx, Stage.SIEBEL, [claimed.id], lease_s=60).works
        assert work.attempt == 1
        with transaction(road.ledger) as tx:
            attempts.finish(tx, Stage.SIEBEL, [ending(work)], TERMS)
        assert road.sql("select attempt, token from errand") == [(0, 0)]


def test_an_errand_that_did_not_get_to_the_broker_is_due_again(road: Road) -> None:
    road.dead("M-1")
    (claimed,) = claim_errands(road)
    with transaction(road.ledger) as tx:
        assert agenda.look(tx, Front()).unbegun == {Lane.LIVE: 1, Lane.BULK: 0}
        claims.let_go(tx, [claimed.id], token=9)
    with transaction(road.ledger) as tx:
        (lost,) = claims.expired(tx, limit=10)
    assert (lost.errand_id, lost.instance_id, lost.begun) == (claimed.id, 1, False)


def test_nothing_is_pruned_that_has_an_errand_out(road: Road) -> None:
    road.accept("M-1", "M-2")
    road.travel()
    road.sql("update member set read_back_at = now(), lost_write_id = applied_id where member_number = 'M-1'")
    (claimed,) = claim_errands(road)
    road.sql("update instance set finished_at = now() - interval '91 days'")
    with transaction(road.ledger) as tx:
        assert claims.prune(tx, days=90, limit=10) == 1
    assert road.sql("select id from instance") == [claimed.instance_id]
    assert road.sql("select count(distinct instance_id) from payload") == [1]
    give_back(road)
    with transaction(road.ledger) as tx:
        assert claims.prune(tx, days=90, limit=10) == 1
    assert road.sql("select count(*) from errand") == [0]


@pytest.fixture
def of_its_own() -> Iterator[str]:
    """A ledger that may be migrated to and fro."""
    with scratch_postgres() as url:
        migrate(url)
        yield url
        engine(url).dispose()


def test_errands_move_to_their_table_and_back(of_its_own: str) -> None:
    url = of_its_own
    road = Road(engine(url))
    road.sql("insert into connection (name) values ('oic'), ('crowdtwist'), ('siebel') on conflict do nothing")
    reported_and_queued(road, "M-1", "M-2", "M-3")
    road.sql("update errand set due_at = now() + interval '1 min' where member_number = 'M-2'")
    (first, second) = claim_errands(road)
    with transaction(road.ledger) as tx:
        attempts.begin(tx, Stage.SIEBEL, [first.id], lease_s=60)
    kept = "instance_id, member_number, kind, stage, lane, attempt, token, lease_until, begun, alone, apart"
    looks = (
        f"select {kept} from errand order by 1",
        "select to_jsonb(i) - 'alone' from instance i order by id",  # it was begun last with its errand, by then
        "select member_number, errand_id is null from member order by 1",
    )
    before = [road.sql(look) for look in looks]
    engine(url).dispose()
    command.downgrade(configured(url), "0015")
    stood = "select id, state, parked_state, stage, errand, errand_at is null from instance where state <> 'pending'"
    assert road.sql(f"{stood} order by id") == [
        (first.instance_id, "running", "dead", "siebel", "report", True),
        (2, "dead", None, "crowdtwist", "sync", False),
        (second.instance_id, "running", "dead", "siebel", "report", True),
    ]
    engine(url).dispose()
    migrate(url)
    engine(url).dispose()
    assert [road.sql(look) for look in looks] == before
    assert road.sql("select count(*) from errand where token = 0 and due_at > now()") == [1]
    give_back(road)
    road.report()
    assert road.sql("select told_status from member order by 1") == ["CT Failure"] * 3
