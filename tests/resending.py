"""Resends in the ledger, one step at a time: planned, made, and their errands answered as told."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from shared.instances import Done, Errand, Result, Work
from shared.ledger.filters import Filter
from shared.ledger.jobs import Kind, Plan
from shared.ledger.transitions import attempts, errands, requeues, resends
from shared.ledger.transitions.requeues import Order
from shared.lifecycle.retry import RetryPolicy
from shared.lifecycle.verdicts import Rules, conclude
from shared.pipeline import Lane, Stage
from tests.road import TERMS, Road

Answering = Callable[[Work], Result]
SINCE = datetime.now(UTC) - timedelta(days=1)
LIMITS = dict.fromkeys([(lane, stage) for lane in Lane for stage in Stage], 1_000)
GONE = Done("resend: CrowdTwist does not have this user any more", {"gone": True})


def taken(work: Work) -> Result:
    return Done("resend: taken by CrowdTwist", {"ct_user_id": 42, "echoed": {"last_name": str(work.instance_id)}})


def ids(road: Road, *members: str) -> list[int]:
    with road.ledger.begin() as tx:
        return resends.acknowledged(tx, Filter(members=members), SINCE, None, limit=1_000)


def plan(road: Road) -> Plan:
    with road.ledger.begin() as tx:
        return requeues.plan(tx, Kind.RESEND, ids(road), resubmits_max=1)


def start(road: Road, *, recreates: bool = False) -> int:
    asked = {"acknowledged_since": SINCE.isoformat()}
    with road.ledger.begin() as tx:
        order = Order(Kind.RESEND, "olga", "CrowdTwist was restored", asked, recreates=recreates)
        job = requeues.create(tx, order, ids(road), resubmits_max=1)
    assert job is not None
    return job


def errands_of(road: Road, crowdtwist: Answering = taken) -> list[tuple[Errand, int]]:
    """Claim what errands are due and end them; return them with their instances, in the order in which they went."""
    road.sql("update errand set due_at = now() where token = 0")
    with road.ledger.begin() as tx:
        claimed = errands.claim(tx, LIMITS, token=9, lease_s=60)
    found = []
    for (_, stage), some in claimed.items():
        with road.ledger.begin() as tx:
            works = attempts.begin(tx, stage, [one.id for one in some], lease_s=60).works
        for work in sorted(works, key=lambda work: work.instance_id):
            told = {"row_id": "1-R", "told_status": str(work.status), "told_error": work.error}
            result = crowdtwist(work) if stage is Stage.CROWDTWIST else Done("told", told)
            rules = Rules(stage, RetryPolicy(100, 1000, 3), report_after_s=300, jitter=0.5, carried=True)
            with road.ledger.begin() as tx:
                attempts.finish(tx, stage, [conclude(work, result, rules)], TERMS)
            assert work.errand is not None
            found.append((work.errand, work.instance_id))
    return found


def until_over(road: Road, job: int, crowdtwist: Answering = taken) -> list[int]:
    """Take the job to its end; return the instances that went to CrowdTwist, in order."""
    went: list[int] = []
    for _ in range(60):
        road.turn()
        if road.job(job).over:
            return went
        went += [one for errand, one in errands_of(road, crowdtwist) if errand in resends.RESENDING]
    raise AssertionError(f"the job is not over: {road.job(job)}")
