"""Instances on their road, one step at a time: accepted, claimed, taken through the stages, failing as told."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, text

from producers.intake.accept import IntakeRules, accept
from shared.errors import DataError, StageError, UnavailableError
from shared.events import parse_event
from shared.instances import Done, Failed, Result, Work
from shared.ledger.jobs import Job, Kind, Plan, read_job
from shared.ledger.transitions import attempts, claims, errands, requeues
from shared.ledger.transitions.claims import Claimed
from shared.ledger.transitions.requeues import Order
from shared.lifecycle.retry import RetryPolicy
from shared.lifecycle.verdicts import Rules, conclude
from shared.pipeline import Lane, Stage, SyncStatus

NOW = datetime.now(UTC) - timedelta(days=1)
TERMS = attempts.Terms(lease_s=60, settle_s=0, tell_settle_s=0, task_id="T-1")
REFUSED = DataError("CrowdTwist", "Email Address is already taken", 400)
OUTAGE = UnavailableError("CrowdTwist", "answered 503", 503)
Fate = Callable[[Work], StageError | None]
ALWAYS_WELL: Fate = lambda _work: None  # noqa: E731  # a value like the others
ALWAYS_DOWN: Fate = lambda _work: OUTAGE  # noqa: E731  # same
ALWAYS_REFUSED: Fate = lambda _work: REFUSED  # noqa: E731  # same


class Road:
    """The ledger with somebody who plays dispatcher and worker."""

    def __init__(self, ledger: Engine) -> None:
        self.ledger = ledger

    def accept(self, *numbers: str, minute: int = 0, lane: Lane = Lane.LIVE) -> None:
        """Accept an event of each member that occurred at *minute*."""
        events = [
            {
                "operation": "update",
                "occurred_at": (NOW + timedelta(minutes=minute)).isoformat(),
                "member": {"member_number": number, "last_name": f"Lee the {minute}th", "status": "Active"},
            }
            for number in numbers
        ]
        items = [(position, parse_event(event, max_bytes=64_000)) for position, event in enumerate(events)]
        accept(self.ledger, items, IntakeRules(lane))

    def dead(self, *numbers: str, minute: int = 0) -> None:
        """Accept an event of each member and let CrowdTwist fail until it is a dead letter."""
        self.accept(*numbers, minute=minute)
        self.travel(ALWAYS_DOWN)

    def travel(self, crowdtwist: Fate = ALWAYS_WELL, *, attempts_max: int = 1, limit: int = 10_000) -> list[int]:
        """Take what is due through its stages; give the ids that were claimed."""
        claimed = self.claim(limit)
        self.travel_on(claimed, crowdtwist, attempts_max=attempts_max)
        return [one.instance_id for some in claimed.values() for one in some]

    def travel_on(
        self,
        claimed: Mapping[tuple[Lane, Stage], list[Claimed]],
        crowdtwist: Fate = ALWAYS_WELL,
        *,
        attempts_max: int = 1,
    ) -> None:
        """Take what was claimed through its stages."""
        for (_, start), some in claimed.items():
            for stage in start.rest:
                for work in self._begin(stage, some):
                    error = crowdtwist(work) if stage is Stage.CROWDTWIST else None
                    self._end(stage, work, Failed(error) if error else _good(stage, work), attempts_max)

    def report(self) -> None:
        """Tell Siebel of those that fail, or failed for good, whether or not they have failed for long."""
        self.end_reports(self.claim_reports())

    def claim_reports(self) -> list[Claimed]:
        self.sql("update errand set due_at = now() where token = 0")
        with self.ledger.begin() as tx:
            claimed = errands.claim(tx, {(lane, Stage.SIEBEL): 100 for lane in Lane}, token=9, lease_s=60)
        return [one for some in claimed.values() for one in some]

    def end_reports(self, some: list[Claimed]) -> None:
        self.conclude(Stage.SIEBEL, self._begin(Stage.SIEBEL, some))

    def claim(self, limit: int = 10_000) -> dict[tuple[Lane, Stage], list[Claimed]]:
        limits = {(lane, stage): limit for lane in Lane for stage in Stage}
        with self.ledger.begin() as tx:
            return claims.claim(tx, limits, token=7, lease_s=60)

    def conclude(self, stage: Stage, works: Sequence[Work]) -> None:
        """End *works* well."""
        for work in works:
            self._end(stage, work, _good(stage, work), 1)

    def _begin(self, stage: Stage, some: list[Claimed]) -> list[Work]:
        with self.ledger.begin() as tx:
            return attempts.begin(tx, stage, [one.id for one in some], lease_s=60).works

    def _end(self, stage: Stage, work: Work, result: Result, attempts_max: int) -> None:
        rules = Rules(stage, RetryPolicy(100, 1000, attempts_max), report_after_s=300, jitter=0.5, carried=True)
        with self.ledger.begin() as tx:
            attempts.finish(tx, stage, [conclude(work, result, rules)], TERMS)

    def turn(self, *, resubmits_max: int = 10) -> None:
        """Let a dispatcher advance the jobs until nothing can go on at once."""
        self.sql("update job set next_at = now() where ended_at is null")
        more = True
        while more:
            with self.ledger.begin() as tx:
                more = requeues.advance(tx, resubmits_max=resubmits_max)

    def until_over(self, job_id: int, crowdtwist: Fate = ALWAYS_WELL, *, turns: int = 20) -> Job:
        """Advance and travel by turns until the job is over."""
        for _ in range(turns):
            self.turn()
            if self.job(job_id).over:
                return self.job(job_id)
            self.travel(crowdtwist)
        raise AssertionError(f"the job is not over: {self.job(job_id)}")

    def job(self, job_id: int) -> Job:
        with self.ledger.begin() as tx:
            found = read_job(tx, None, job_id)
        assert found is not None
        return found

    def counts(self, job_id: int) -> dict[str, int]:
        return {state: count for state, count in self.job(job_id).counts.items() if count}

    def states(self) -> dict[str, int]:
        return dict(self.sql("select state, count(*) from instance group by state"))

    def note(self, **columns: object) -> None:
        """Add a line to the activity of the first instance."""
        names, bound = ", ".join(columns), ", ".join(f":{name}" for name in columns)
        with self.ledger.begin() as tx:
            line = f"insert into activity (instance_id, what, {names}) values (1, 'noted', {bound})"
            tx.execute(text(line), columns)

    def sql(self, statement: str) -> list[Any]:
        with self.ledger.begin() as tx:
            result = tx.execute(text(statement))
            if not result.returns_rows:
                return []
            return [tuple(row) if len(row) > 1 else row[0] for row in result]


def _good(stage: Stage, work: Work) -> Result:
    status = (work.status or SyncStatus.SUCCESS).value
    facts: dict[Stage, dict[str, Any]] = {
        Stage.OIC: {"user": {"third_party_id": work.member_number}},
        Stage.CROWDTWIST: {"ct_user_id": 42},
        Stage.SIEBEL: {"row_id": "1-R", "told_status": status, "told_error": ""},
    }
    return Done("done", facts[stage])


@contextmanager
def busy(road: Road, crowdtwist: Fate = ALWAYS_WELL) -> Iterator[None]:
    """Advance jobs and take what is due through its stages, all the time."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.02):
            road.turn()
            road.travel(crowdtwist)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()


@contextmanager
def dying(ledger: Engine) -> Iterator[Any]:
    """A transaction whose process dies before it commits."""
    with ledger.connect() as tx:
        yield tx
        tx.invalidate()


def plan(road: Road, *ids: int, kind: Kind = Kind.REQUEUE, forced: bool = False) -> Plan:
    with road.ledger.begin() as tx:
        return requeues.plan(tx, kind, ids, resubmits_max=10, forced=forced)


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
    with road.ledger.begin() as tx:
        job = requeues.create(tx, order, ids or every_dead(road), resubmits_max=10)
    assert job is not None
    return job


def every_dead(road: Road) -> list[int]:
    return road.sql("select id from instance where state = 'dead' order by id")
