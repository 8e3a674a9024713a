"""Whatever lies ahead moves with the ledger's clock when that is set: leases, due times, probes, what was spent.

So each is as far off after a step as it was before.  What was written between the step and the move is so by the new
clock already; of two that cannot be told apart the one is moved, or left, with which nothing is called twice:

- A lease never becomes shorter than its holder takes it for.  Set back, only those are moved that are longer than any
  that is given; the others are late by no more than one lease.
- Set forward, what is due is moved if the step jumped over it; what is further off is due so much earlier.  A lease is
  moved unless the step is longer than any, and a floor that an outside system has stated unless it is very long.

Due times of what is pending are those of its arrival, and there may be very many of them: set back, they follow piece
by piece (`bring_forward`).  Calendar times, and what is only shown, stay.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection, TextClause, text

from shared.ledger import clock, spending
from shared.pipeline import Lane, Stage


class Follows(StrEnum):
    """How an instant follows the clock."""

    LEASED = "leased"
    """Somebody counts on it by his own clock: never brought nearer than that."""
    AHEAD = "ahead"
    STATED = "stated"
    """An outside system asked us not to come sooner."""
    AGED = "aged"
    """It counts how long ago it was, however long."""
    PAST = "past"
    """Since when, or up to where: only set back, for ahead of the clock it would hide what happens now."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Instants of a table that move with the clock, in the rows *where*."""

    follows: Follows
    table: str
    columns: str
    where: str = "true"

    @property
    def statements(self) -> list[TextClause]:
        """Give a statement for each column."""
        return [
            text(f"""
                update {self.table}
                set {column} = least({column} + make_interval(secs => :by_s), greatest({column}, :most))
                where {self.where} and {column} > :low and {column} <= :high
            """)
            for column in self.columns.split()
        ]


_UNDER_WAY = "run_id = any(array(select id from reconciliation where ended_at is null))"
MOVED = (
    Moved(Follows.LEASED, "instance", "lease_until", "token > 0"),
    # An errand that was scheduled anew while it is out is due after its lease: that must stay so.
    Moved(Follows.LEASED, "errand", "due_at", "token <> 0 and due_at > lease_until and lease_until > :low"),
    Moved(Follows.LEASED, "errand", "lease_until", "token <> 0"),
    Moved(Follows.LEASED, "reconciliation", "lease_until", "ended_at is null"),
    Moved(Follows.LEASED, "member", "read_back_at", "read_back_at is not null"),
    Moved(Follows.LEASED, "member", "tell_again_at", "tell_again_at is not null"),
    Moved(Follows.AHEAD, "instance", "due_at", "state = 'waiting'"),
    Moved(Follows.AHEAD, "errand", "due_at", "token = 0"),
    Moved(Follows.AHEAD, "connection", "probe_at verify_at healed_at vouched_at"),
    Moved(Follows.STATED, "connection", "wait_until"),
    Moved(Follows.AHEAD, "job", "next_at paid_until", "ended_at is null"),
    Moved(Follows.AHEAD, "mail", "due_at", "sent_at is null"),
    Moved(Follows.AHEAD, "data_case", "look_at looked_up_at", "closed_at is null"),
    Moved(Follows.AHEAD, "address_cycle", "deadline_at", "ended_at is null"),
    Moved(Follows.AHEAD, "guard_hold", "try_at", "ended_at is null"),
    Moved(Follows.AGED, "heartbeat", "beat_at started_at ended_at"),
    Moved(Follows.AHEAD, "call_limit", "looked_at upto"),
    Moved(Follows.AHEAD, "call_window", "at"),
    Moved(Follows.PAST, "connection", "failing_since opened_at"),
    Moved(Follows.PAST, "bookmark", "upto"),
    Moved(Follows.PAST, "incident", "counted_upto"),
    Moved(Follows.PAST, "sighting", "suspected_at", _UNDER_WAY),
)
_FAR = timedelta(minutes=10)
_JUST_OVER = timedelta(minutes=1)
"""What was over for no longer before a step forward is over for as long after it."""
_DUE_AFTER = timedelta(seconds=1)
"""How long after a lease, at least, an errand that was scheduled anew is due."""
_RETRIED_WITHIN = timedelta(minutes=30)
_SOON_AGAIN = ("instance", "errand", "connection")
"""Whose due times are mostly within that."""
_EVER = datetime.min.replace(tzinfo=UTC)
_FOREVER = datetime.max.replace(tzinfo=UTC)


def follow(tx: Connection, *, lease_s: float) -> float:
    """Move what lies ahead with the clock, if it was set and nobody else has; return by how much.

    Units: seconds; *lease_s* the longest lease that is given.
    """
    found_s = clock.look(tx, lock=True).step_s
    if not found_s:
        return 0.0
    by_s = spending.whole_slots(found_s)
    now: datetime = tx.execute(_NOW).scalar_one()
    if by_s < 0:
        clock.counted(tx, by_s)
    for one in MOVED:
        if by_s < 0 or one.follows is not Follows.PAST:
            low, high = _bounds(one.follows, now, timedelta(seconds=by_s), timedelta(seconds=lease_s))
            for statement in one.statements:
                tx.execute(statement, {"by_s": by_s, "low": low, "high": high, "most": _FOREVER})
    spending.move(tx, by_s)
    clock.moved(tx, by_s)
    return by_s


def bear(tx: Connection, doubted_s: float, *, lease_s: float) -> None:
    """Have nothing end too early, though the clock may have been set forward by *doubted_s*, and none too late if not.

    Units: seconds; *lease_s* the longest lease that is given.  A lease that was in force is so for as long as was left
    of it, but no longer than a whole one from now.  What was spent right before weighs now.  What is due stays due.
    """
    by_s = spending.whole_slots(doubted_s)
    now: datetime = tx.execute(_NOW).scalar_one()
    by, lease = timedelta(seconds=by_s), timedelta(seconds=lease_s)
    for one in MOVED:
        for column, statement in zip(one.columns.split(), one.statements, strict=True):
            if one.follows in {Follows.LEASED, Follows.STATED}:
                most = now + lease + (_DUE_AFTER if column == "due_at" else timedelta())
                low = now - by - _JUST_OVER
                tx.execute(statement, {"by_s": by_s, "low": low, "high": _FOREVER, "most": most})
    spending.move(tx, by_s)
    clock.doubted(tx, by_s)


def follow_up(tx: Connection, *, lease_s: float) -> None:
    """Move what was written since the newest step by transactions that began before it.

    It can be told from all else by how far it is off: leases always, due times where the step was long.
    """
    step = clock.newest_step(tx)
    now: datetime = tx.execute(_NOW).scalar_one()
    fresh = timedelta(seconds=clock.FRESH_S)
    if step is None or step.is_doubted or abs(now - step.at) > fresh:
        return
    by, lease = timedelta(seconds=step.by_s), timedelta(seconds=lease_s)
    for one in MOVED:
        is_leased = one.follows is Follows.LEASED
        if step.by_s > 0:
            low, high = now - by - fresh - _JUST_OVER, now - by + fresh + lease
            applies = is_leased and by > _FAR
        else:
            low, high = (now + lease, _FOREVER) if is_leased else (now - by - fresh, now - by + _RETRIED_WITHIN)
            applies = is_leased or (one.table in _SOON_AGAIN and one.follows is Follows.AHEAD and -by > _FAR)
        for statement in one.statements if applies else ():
            tx.execute(statement, {"by_s": step.by_s, "low": low, "high": high, "most": _FOREVER})


def _bounds(follows: Follows, now: datetime, by: timedelta, lease: timedelta) -> tuple[datetime, datetime]:
    """Return after which instant, and up to which, something moves when the clock is set *by* so much, to *now*."""
    if follows is Follows.AGED:
        return _EVER, _FOREVER if by < timedelta() else now - by
    if by < timedelta():
        return now + (lease if follows is Follows.LEASED else timedelta()), _FOREVER
    longest = {Follows.LEASED: lease, Follows.STATED: _FAR}.get(follows, timedelta())
    return now - by - _JUST_OVER, now if by > longest else _FOREVER


def bring_forward(tx: Connection, *, limit: int) -> int:
    """Bring forward up to *limit* of a lane and stage that are pending from before a step back; return how many."""
    places = [(lane, stage) for lane in Lane for stage in Stage]
    values = {"lanes": [lane for lane, _ in places], "stages": [stage for _, stage in places], "limit": limit}
    return tx.execute(_BRING_FORWARD, values).rowcount


_NOW = text("select clock_timestamp()")
_BRING_FORWARD = text("""
    with late as (
        select d.id from unnest(cast(:lanes as text[]), cast(:stages as text[])) as l (lane, stage), lateral (
            select i.id from instance i
            where i.state = 'pending' and i.lane = l.lane and i.due_stage = l.stage and i.due_at > now()
            order by i.due_at, i.id limit :limit for update skip locked
        ) as d
    )
    update instance i set due_at = least(i.due_at + make_interval(secs => least(c.step_s, 0)), now())
    from late, ledger_clock c where i.id = late.id and i.state = 'pending'
""")
