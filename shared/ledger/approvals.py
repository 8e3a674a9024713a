"""What waits for a second person: a job, or a decision on a guard's hold, that touches more than one may alone.

Whoever asked cannot approve.  A job that waits is made already, so that nobody else takes its instances, and no
dispatcher takes it up; a hold stays as it is until the decision is approved.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.ledger.engine import wake


class ApprovalState(StrEnum):
    """Where it stands."""

    WAITING = "waiting"
    APPROVED = "approved"
    REFUSED = "refused"
    LAPSED = "lapsed"
    """What it was about was over by then."""


@dataclass(frozen=True, slots=True)
class Approval:
    """Something that waits for a second person, or did.

    Shape: *what* the action as the audit calls it; *job_id* or *guard_id* what it is about; *count* how many instances
    or members it touches.
    """

    id: str
    state: str
    what: str
    job_id: str | None
    guard_id: str | None
    count: int
    asked_by: str
    asked_at: datetime
    reason: str
    decided_by: str | None
    decided_at: datetime | None
    answer: str | None


@dataclass(frozen=True, slots=True)
class ApprovalPage:
    """What waits and did, newest first; *next* is the cursor of the page after this one, None at the end."""

    items: list[Approval]
    next: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants to do and may not alone: to a job, or a guard's hold."""

    what: str
    count: int
    by: str
    reason: str
    job_id: int | None = None
    guard_id: int | None = None


def ask(tx: Connection, wanted: Wanted) -> int:
    """Have it wait for a second person; return its id.  A hold has one at a time: the newest counts."""
    parameters = {name: getattr(wanted, name) for name in Wanted.__dataclass_fields__}
    if wanted.guard_id is not None:
        tx.execute(_LAPSE, {"guard_id": wanted.guard_id})
    return int(tx.execute(_ASK, parameters).scalar_one())


def approvals(tx: Connection, *, limit: int, before: int | None = None, waiting: bool = False) -> ApprovalPage:
    """List what waits for a second person and did, newest first; *waiting*: only what does."""
    rows = tx.execute(_APPROVALS, {"limit": limit + 1, "before": before, "waiting": waiting}).all()
    items = [_approval(row) for row in rows[:limit]]
    return ApprovalPage(items, items[-1].id if len(rows) > limit else None)


def lock(tx: Connection, approval_id: int) -> Approval | None:
    """Lock one and read it; None: there is no such thing."""
    row = tx.execute(_LOCK, {"id": approval_id}).one_or_none()
    return None if row is None else _approval(row)


def settle(tx: Connection, approval_id: int, state: ApprovalState, *, by: str, answer: str) -> None:
    """Write what became of a locked one."""
    tx.execute(_SETTLE, {"id": approval_id, "state": state, "by": by, "answer": answer})


def let_go(tx: Connection, job_id: int, *, by: str) -> str | None:
    """Let a job that waits for it begin; return its kind, None: it does not wait any more."""
    kind: str | None = tx.execute(_LET_GO, {"id": job_id, "by": by}).scalar()
    wake(tx)
    return kind


def _approval(row: Row[Any]) -> Approval:
    return Approval(**row._asdict())


# Of a job that was stopped, and of a hold that is over, nothing waits any more.
_READ = """
    select a.id::text, case when a.state = 'waiting' and not (
               exists (select from job j where j.id = a.job_id and j.state = 'awaiting_approval')
               or exists (select from guard_hold h where h.id = a.guard_id and h.state in ('holding', 'releasing')))
           then 'lapsed' else a.state end as state,
           a.what, a.job_id::text, a.guard_id::text, a.count, a.asked_by, a.asked_at, a.reason, a.decided_by,
           a.decided_at, a.answer
    from approval a
"""
_APPROVALS = text(f"""
    select * from ({_READ} where a.id < coalesce(cast(:before as bigint), 9223372036854775807)) as r
    where not :waiting or state = 'waiting' order by cast(id as bigint) desc limit :limit
""")
_LOCK = text(f"{_READ} where a.id = :id for update of a")
_LAPSE = text("update approval set state = 'lapsed' where guard_id = :guard_id and state = 'waiting'")
_ASK = text("""
    insert into approval (state, what, job_id, guard_id, count, asked_by, reason)
    values ('waiting', :what, :job_id, :guard_id, :count, :by, :reason) returning id
""")
_SETTLE = text("""
    update approval set state = :state, decided_by = :by, decided_at = now(), answer = :answer where id = :id
""")
_LET_GO = text("""
    update job set state = 'planned', approved_by = :by, next_at = now()
    where id = :id and state = 'awaiting_approval' returning kind
""")
