"""Jobs: a requeue, discard, undo, resend or repair that an operator asked for, as ledger, api and command line say it.

A job is durable and belongs to nobody: whichever dispatcher is alive carries it on.  What sends goes in steps, first 1,
then 10, then the rest, and stops by itself when more than half of a step fails again.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.ledger.records import id_text
from shared.lifecycle.forecasts import Forecast
from shared.masking import mask_text
from shared.pipeline import QUEUED, State


class Kind(StrEnum):
    """What a job does with its instances."""

    REQUEUE = "requeue"
    DISCARD = "discard"
    UNDO = "undo"
    """Lets what was discarded be what it was before."""
    RESEND = "resend"
    """Sends CrowdTwist once more what it acknowledged; the instances stay as they are."""
    REPAIR = "repair"
    """Sends differences on that a reconciliation found; its items are those, and not instances."""


class JobState(StrEnum):
    """Where a job is in its life.  `planned`: nobody has begun it yet; `stopped`: by itself or by an operator."""

    AWAITING = "awaiting_approval"
    PLANNED = "planned"
    RUNNING = "running"
    STOPPED = "stopped"
    DONE = "done"


class Verdict(StrEnum):
    """What is to become of one instance."""

    SEND = "send"
    """Sent on from the stage that failed; in a resend, to CrowdTwist once more."""
    SUPERSEDED = "superseded"
    """Closed: a newer event of the member succeeded."""
    MERGED = "merged"
    """Closed: a newer event of the member is on its way."""
    DISCARD = "discard"
    RESTORE = "restore"
    """Of a discarded instance: it is again what it was before."""
    REFUSED = "refused"
    OVERTAKEN = "overtaken"
    """Of a difference: an event of the member came since it was seen, or Siebel was told."""
    MOVING = "moving"
    """Of a difference: an event of the member is on its way."""


class ItemState(StrEnum):
    """How far a job is with one instance."""

    PLANNED = "planned"
    SENT = "sent"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Failed again; it may still be waiting for another attempt of its policy."""
    PUT_BACK = "put_back"
    """As it was before, because the job stopped."""
    CLOSED = "closed"
    """Superseded or discarded, by this job or while it was on its way."""
    REFUSED = "refused"
    GONE = "gone"
    """CrowdTwist does not have the member any more: nothing was changed there."""


REQUEUED_FROM: tuple[State, ...] = (State.DEAD, State.REJECTED)
DISCARDED_FROM: tuple[State, ...] = (State.DEAD, State.REJECTED, *QUEUED)


@dataclass(frozen=True, slots=True)
class Item:
    """One instance of a plan or job.

    *reason* says why it is not simply sent; *newer_instance_id* is the other instance of the member that decided it.
    In a repair *instance_id* is the instance that was made of Siebel's row; empty: none so far.
    """

    instance_id: str
    member_number: str
    verdict: str
    reason: str
    newer_instance_id: str | None
    state: str = ItemState.PLANNED


@dataclass(frozen=True, slots=True)
class Reason:
    """How many instances of a plan share a verdict and the reason for it."""

    verdict: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What would become of a selection.

    Shape: *counts* has every verdict of the kind; *items* are the first of each verdict, those not sent before those
    that are; the whole list stands in the job.  *forecast* None: it calls nobody.
    """

    kind: str
    matched: int
    counts: Mapping[str, int]
    reasons: Sequence[Reason]
    items: Sequence[Item]
    forecast: Forecast | None = None

    @property
    def touched(self) -> int:
        """How many instances it would change."""
        if self.kind == Kind.REPAIR:
            return self.counts[Verdict.SEND]
        return self.matched - self.counts[Verdict.REFUSED]


@dataclass(frozen=True, slots=True)
class Job:
    """A job and how far it is.

    Shape: *asked* is the selection as it was asked for: `filter`, or the first `ids` and how many there are beside
    them, `and_more`; of a resend `acknowledged_since` too.  *counts* has every `ItemState`; *troubled* are the first
    of those that failed again, were refused or are gone.  *step* 1: the first, 2: ten, 3: the rest, 4 and more: who was
    refused once more.  *recreates*: a resend also creates whom CrowdTwist created since and does not have any more.
    *approved_by* who else had to say that it may begin, None: nobody had to, or has yet.  *forecast* when it ends.
    """

    job_id: str
    kind: str
    state: str
    requested_by: str
    approved_by: str | None
    reason: str
    asked: Mapping[str, Any]
    from_start: bool
    forced: bool
    recreates: bool
    rate_per_minute: int | None
    step: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    stopped_why: str | None
    total: int
    counts: Mapping[str, int]
    troubled: Sequence[Item] = ()
    forecast: Forecast | None = None

    @property
    def over(self) -> bool:
        """Whether nothing of it is on its way any more."""
        return self.ended_at is not None


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs, newest first; *next* is the cursor of the page after this one, None at the end."""

    items: list[Job]
    next: str | None


SHOWN = 100
"""Instances of each verdict that a plan lists."""

_VERDICTS = {
    Kind.REQUEUE: (Verdict.REFUSED, Verdict.SUPERSEDED, Verdict.MERGED, Verdict.SEND),
    Kind.DISCARD: (Verdict.REFUSED, Verdict.DISCARD),
    Kind.UNDO: (Verdict.REFUSED, Verdict.RESTORE),
    Kind.RESEND: (Verdict.REFUSED, Verdict.SUPERSEDED, Verdict.MERGED, Verdict.SEND),
    Kind.REPAIR: (Verdict.REFUSED, Verdict.MOVING, Verdict.OVERTAKEN, Verdict.SEND),
}


def plan_of(kind: Kind, rows: Iterable[Row[Any]]) -> Plan:
    """Sum up judged instances."""
    counts: Counter[str] = Counter()
    reasons: Counter[tuple[str, str]] = Counter()
    shown: dict[str, list[Item]] = {verdict: [] for verdict in _VERDICTS[kind]}
    for row in rows:
        counts[row.verdict] += 1
        if row.reason:
            reasons[row.verdict, row.reason] += 1
        if len(shown[row.verdict]) < SHOWN:
            instance_id = "" if kind is Kind.REPAIR else str(row.id)
            shown[row.verdict].append(
                Item(instance_id, row.member_number, row.verdict, row.reason, id_text(row.newer_id))
            )
    return Plan(
        kind=kind,
        matched=counts.total(),
        counts={verdict.value: counts[verdict] for verdict in reversed(_VERDICTS[kind])},
        reasons=[Reason(verdict, reason, count) for (verdict, reason), count in reasons.most_common()],
        items=list(chain.from_iterable(shown.values())),
    )


def read_job(tx: Connection, kind: Kind | None, job_id: int) -> Job | None:
    """Read one job and how far it is; None: there is no such job of that kind."""
    row = tx.execute(_JOB, {"id": job_id, "kind": kind}).one_or_none()
    if row is None:
        return None
    troubled = [
        Item(
            str(one.newer_id or "") if row.kind == Kind.REPAIR else str(one.instance_id),
            one.member_number,
            one.verdict,
            mask_text(one.error) if one.state == ItemState.FAILED and one.error else one.reason,
            None if row.kind == Kind.REPAIR else id_text(one.newer_id),
            one.state,
        )
        for one in tx.execute(_TROUBLED, {"id": job_id, "limit": SHOWN})
    ]
    return _job(row, _counts(tx, [job_id])[job_id], troubled)


def list_jobs(tx: Connection, kind: Kind | None, *, limit: int, before: int | None = None) -> JobPage:
    """List jobs, newest first; *before* is the cursor of the page before."""
    parameters = {"kind": kind, "limit": limit + 1, "before": before}
    rows = tx.execute(_JOBS, parameters).all()
    counts = _counts(tx, [row.id for row in rows])
    items = [_job(row, counts[row.id], []) for row in rows[:limit]]
    return JobPage(items, items[-1].job_id if len(rows) > limit else None)


def jobs_of(tx: Connection, ids: Sequence[int]) -> dict[str, str]:
    """Return the job under way that has each of these instances, of those that one has."""
    return {str(row.instance_id): str(row.job_id) for row in tx.execute(_JOBS_OF, {"ids": list(ids)})}


def put_back(tx: Connection, job_id: int) -> list[int]:
    """Return the instances that a job which stopped has put back, and that stand as they did since."""
    return list(tx.execute(_PUT_BACK, {"job_id": job_id}).scalars())


def _counts(tx: Connection, ids: list[int]) -> dict[int, dict[str, int]]:
    counts = {job_id: {state.value: 0 for state in ItemState} for job_id in ids}
    for row in tx.execute(_COUNTS, {"ids": ids}):
        counts[row.job_id][row.state] = row.total
    return counts


def _job(row: Row[Any], counts: dict[str, int], troubled: list[Item]) -> Job:
    names = set(Job.__dataclass_fields__) - {"job_id", "asked", "total", "counts", "troubled", "forecast"}
    ids = row.asked.get("ids", ())
    return Job(
        job_id=str(row.id),
        asked=row.asked if len(ids) <= SHOWN else {"ids": ids[:SHOWN], "and_more": len(ids) - SHOWN},
        total=sum(counts.values()),
        counts=counts,
        troubled=troubled,
        **{name: getattr(row, name) for name in names},
    )


_JOB = text("select * from job where id = :id and kind = coalesce(cast(:kind as text), kind)")
_JOBS = text("""
    select * from job
    where kind = coalesce(cast(:kind as text), kind) and id < coalesce(cast(:before as bigint), 9223372036854775807)
    order by id desc limit :limit
""")
_COUNTS = text("""
    select job_id, state, count(*) as total from job_item where job_id = any(cast(:ids as bigint[])) group by 1, 2
""")
_TROUBLED = text("""
    select j.*, i.error
    from job_item j join job o on o.id = j.job_id
    left join instance i on i.id = case o.kind when 'repair' then j.newer_id else j.instance_id end
    where j.job_id = :id and j.state in ('failed', 'refused', 'gone')
    order by j.state, j.instance_id limit :limit
""")
_JOBS_OF = text("""
    select t.instance_id, t.job_id from job o join job_item t on t.job_id = o.id
    where o.ended_at is null and o.kind <> 'repair' and t.instance_id = any(cast(:ids as bigint[]))
      and t.state in ('planned', 'sent')
""")
_PUT_BACK = text("""
    select i.id from job_item t join instance i on i.id = t.instance_id
    where t.job_id = :job_id and t.state = 'put_back' and i.state in ('dead', 'rejected') order by i.id desc
""")
