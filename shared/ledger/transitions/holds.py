"""The life of a guard's hold: released, or condemned, and seen to its end.

What is decided about a hold is done turn by turn by whichever dispatcher is alive (`turn`).  A release is a requeue of
what the hold has, from the start, by its steps; who meets the cause again is held again, and a requeue that stops
leaves the hold as it was.  Locks are taken in this order: hold, count, job, member.

Discarded, a flood is told: its members are Data Errors.  A mass change is dropped: its instances are discarded, nobody
is told, and the members show what they showed before.  A flood decides for itself in the end; a mass change never.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.ledger import cases
from shared.ledger.audit import Action, record
from shared.ledger.engine import wake
from shared.ledger.guards import FLOOD, HoldState, held_members
from shared.ledger.jobs import JobState, Kind
from shared.ledger.transitions import requeues
from shared.ledger.transitions.member_queue import drop_reports
from shared.ledger.transitions.requeues import SELECTION_MAX, Order
from shared.lifecycle.floods import FloodRules

OURSELVES = "membersync"
"""Who decides where nobody else does, as the audit has it."""
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a hold: who says so, and why."""

    by: str
    reason: str


def release(tx: Connection, hold_id: int, said: Decision) -> str | None:
    """Send again what a hold has; return what came of it in words, None: there is no such hold."""
    row = tx.execute(LOCK, {"id": hold_id}).one_or_none()
    if row is None:
        return None
    if row.state not in {HoldState.HOLDING, HoldState.RELEASING}:
        return f"refused: it is {row.state}"
    if row.state == HoldState.RELEASING and row.decided_by != OURSELVES:
        return "refused: it is being released already"
    if row.state == HoldState.RELEASING:
        requeues.stop(tx, Kind.REQUEUE, row.job_id, f"{said.by} releases the whole")
    _release(tx, row, held_members(tx, hold_id, limit=SELECTION_MAX), said)
    return "released: what it has is sent again, first one, then ten, then the rest"


def condemn(tx: Connection, hold_id: int, said: Decision) -> str | None:
    """Let a flood be Data Errors that Siebel is told, and drop a mass change; return what came of it.

    None: there is no such hold.
    """
    row = tx.execute(LOCK, {"id": hold_id}).one_or_none()
    if row is None:
        return None
    if row.state not in {HoldState.HOLDING, HoldState.RELEASING}:
        return f"refused: it is {row.state}"
    if row.state == HoldState.RELEASING:
        requeues.stop(tx, Kind.REQUEUE, row.job_id, f"{said.by} condemned what it was to send")
    tx.execute(MOVE, _moved(row, HoldState.DISCARDING) | {"decided_by": said.by, "reason": said.reason})
    wake(tx)
    if row.kind == FLOOD:
        return "condemned: its members are Data Errors, and Siebel is told"
    return "discarded: nothing of it is sent, nobody is told, and the members stay as they are"


def turn(tx: Connection, rules: FloodRules) -> bool:
    """Take the holds that nobody else has a little further; return whether there is more at once."""
    is_busy = False
    for row in tx.execute(TURN).all():
        match HoldState(row.state):
            case HoldState.HOLDING if row.kind == FLOOD:
                _wait(tx, row, rules)
            case HoldState.HOLDING:
                if not held_members(tx, row.id, limit=1):
                    tx.execute(MOVE, _moved(row, HoldState.RELEASED))
            case HoldState.RELEASING:
                _follow(tx, row, rules)
            case _:
                is_busy |= _tell(tx, row)
    return is_busy


def prune(tx: Connection, *, days: int) -> None:
    """Forget counts that no window reaches, and holds that were over long ago."""
    tx.execute(PRUNE_COUNTS)
    tx.execute(PRUNE_HOLDS, {"days": days})


def _wait(tx: Connection, row: Row[Any], rules: FloodRules) -> None:
    """Nobody has decided: condemn it in the end, try one of them meanwhile; what has nobody left is over."""
    if not rules.is_on or row.age_s >= rules.held_max_s:
        why = "nobody decided in time" if rules.is_on else "the guard is switched off"
        answer = condemn(tx, row.id, Decision(OURSELVES, why)) or ""
        _note(tx, row, "discard guard", answer, why)
        return
    some = held_members(tx, row.id, limit=row.tries + 1)
    if not some:
        tx.execute(MOVE, _moved(row, HoldState.RELEASED))
    elif row.is_due:
        said = Decision(OURSELVES, "tried by itself: is the cause mended?")
        _release(tx, row, some[-1:], said, try_s=rules.next_try_s(row.tries + 1))


def _follow(tx: Connection, row: Row[Any], rules: FloodRules) -> None:
    """See what came of the requeue that is to release it, once that is over."""
    job = tx.execute(JOB, {"id": row.job_id}).one_or_none()
    if job is not None and job.ended_at is None:
        return
    left = held_members(tx, row.id, limit=SELECTION_MAX)
    if job is None or job.state == JobState.STOPPED or (left and not job.succeeded):
        why = "nothing of it got through" if job is None or job.stopped_why is None else job.stopped_why
        answer = f"job {row.job_id}: {why}"
        tx.execute(MOVE, _moved(row, HoldState.HOLDING) | {"answer": answer, "try_s": rules.next_try_s(row.tries)})
    elif left:
        _release(tx, row, left, Decision(row.decided_by, row.reason))
    else:
        tx.execute(MOVE, _moved(row, HoldState.RELEASED) | {"answer": f"job {row.job_id}: all of it got through"})
        tx.execute(FORGET_COUNT, {"fingerprint": row.fingerprint})


def _tell(tx: Connection, row: Row[Any]) -> bool:
    """Have the next chunk of a condemned hold told, or dropped."""
    ids = list(tx.execute(LOCK_HELD, {"id": row.id, "limit": _CHUNK}).scalars())
    if not ids:
        if not held_members(tx, row.id, limit=1):
            tx.execute(MOVE, _moved(row, HoldState.DISCARDED))
        return False
    if row.kind == FLOOD:
        what = f"condemned by {row.decided_by}, guard {row.id}: {row.reason}"
        tx.execute(TELL, {"ids": ids, "hold": row.id, "what": what})
        cases.opened(tx, ids)
        wake(tx)
    else:
        what = f"discarded by {row.decided_by}, guard {row.id}: {row.reason}"
        tx.execute(DROP, {"ids": ids, "hold": row.id, "what": what})
    return True


def _release(tx: Connection, row: Row[Any], ids: Sequence[int], said: Decision, *, try_s: float | None = None) -> None:
    """Make the requeue of *ids*; where there is nobody left to be sent, the hold is over."""
    order = Order(Kind.REQUEUE, said.by, said.reason, {"guard": str(row.id)}, from_start=True, forced=True)
    job_id = requeues.create(tx, order, ids, resubmits_max=0) if ids else None
    moved = _moved(row, HoldState.RELEASING if job_id else HoldState.RELEASED)
    tried = {"tries": row.tries + 1, "try_s": try_s} if try_s is not None else {}
    tx.execute(MOVE, moved | {"job_id": job_id, "decided_by": said.by, "reason": said.reason} | tried)
    if said.by == OURSELVES and job_id:
        _note(tx, row, "try guard", f"job {job_id}", said.reason)


def _moved(row: Row[Any], state: HoldState) -> dict[str, Any]:
    """Return the parameters that move a hold to *state* and change nothing else."""
    names = ("job_id", "decided_by", "reason", "answer", "tries")
    return {"id": row.id, "state": state, "try_s": None, **{name: getattr(row, name) for name in names}}


def _note(tx: Connection, row: Row[Any], what: str, answer: str, reason: str) -> None:
    record(tx, Action(OURSELVES, "system", what, answer, reason, {"guard": str(row.id)}))


_ROW = """
    select *, extract(epoch from now() - opened_at)::float8 as age_s, try_at <= now() as is_due from guard_hold
"""
LOCK = text(f"{_ROW} where id = :id for update")
"""Lock one hold: nobody is held under it meanwhile."""
TURN = text(f"{_ROW} where ended_at is null order by id for update skip locked")
"""Lock the holds that are not over, unless another process has them."""
JOB = text("""
    select state, ended_at, stopped_why,
           exists (select from job_item t where t.job_id = job.id and t.state = 'succeeded') as succeeded
    from job where id = :id
""")
MOVE = text("""
    update guard_hold
    set state = :state, job_id = :job_id, decided_by = :decided_by, reason = :reason, answer = :answer, tries = :tries,
        decided_at = case when :state in ('releasing', 'discarding') and state <> :state then now() else decided_at end,
        try_at = case when cast(:try_s as float8) is null then try_at else now() + make_interval(secs => :try_s) end,
        ended_at = case when :state in ('released', 'discarded') then now() end
    where id = :id
""")
"""Move a locked hold on."""
LOCK_HELD = text("""
    select i.id from instance i join member m using (member_number)
    where i.state = 'held' and i.hold_id = :id order by i.id limit :limit for update of i, m skip locked
""")
"""Lock instances of a hold, and their members; whom an intake has locked comes later, for it may wait for a hold."""
TELL = text("""
    with told as (
        update instance
        set state = 'pending', stage = 'siebel', due_stage = 'siebel', status = 'Data Error', hold_id = null,
            attempt = 0, due_at = now()
        where id = any(cast(:ids as bigint[])) and state = 'held' and hold_id = :hold
        returning id, failed_stage
    )
    insert into activity (instance_id, stage, state, what) select id, failed_stage, 'pending', :what from told
""")
"""Make condemned instances Data Errors that Siebel is to be told, with their members locked."""
DROP = text(f"""
    with gone as (
        update instance set state = 'discarded', finished_at = now(), reason = :what
        where id = any(cast(:ids as bigint[])) and state = 'held' and hold_id = :hold
        returning id, stage, member_number, cleared
    ), shown as (
        update member m set shown = m.shown | d.cleared
        from gone d where m.member_number = d.member_number and m.newest_id = d.id
    ), {drop_reports("select id from gone")}
    insert into activity (instance_id, stage, state, what) select id, stage, 'discarded', :what from gone
""")
"""Discard held instances with their members locked: what they would have cleared the members have still."""
FORGET_COUNT = text("delete from flood_count where fingerprint = :fingerprint")
PRUNE_COUNTS = text("delete from flood_count where at < now() - interval '1 day'")
PRUNE_HOLDS = text("delete from guard_hold where ended_at < now() - make_interval(days => :days)")
