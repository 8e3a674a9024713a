"""Statements of the budget: calls per minute, counted by all processes together, never exceeded in any 60 s.

A call is paid for right before it is made, by the ledger's clock, into a slot of a quarter of a second.  A slot weighs
for 60.75 s: 60, one slot for its own length, and half a second for the way from the payment to the other side's door.
The less a slot weighs over its minute, the more of the budget can be used.  A call that may have been longer on its
way is counted once more when it has been answered (`shared.systems.permits`).
"""

from dataclasses import dataclass

from sqlalchemy import Connection, text

from shared.ledger import clock
from shared.pipeline import STAGES, Lane, Stage

_LOCK_SPACE = 7_264
_SLOTS_PER_S = 4
_WEIGHS = 60 * _SLOTS_PER_S + 1 + _SLOTS_PER_S // 2
_NOW = f"floor(extract(epoch from clock_timestamp()) * {_SLOTS_PER_S})::bigint"
"""The slot that a payment falls into."""
_GONE = f"(select {_NOW} - {_WEIGHS})"
"""The newest slot that weighs no more; asked once a statement, or the index would be of no use."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How many calls the connection of *stage* may receive in a minute, and the live lane's own share of them."""

    stage: Stage
    per_minute: int
    live_share: float

    def free(self, lane: Lane, used: dict[Lane, int]) -> int:
        """Return how many calls *lane* may still make.  Pure."""
        left = self.per_minute - sum(used.values())
        if lane is Lane.BULK:
            left = min(left, int(self.per_minute * (1 - self.live_share)) - used.get(Lane.BULK, 0))
        return max(0, left)


@dataclass(frozen=True, slots=True)
class Grant:
    """How many calls may be made now, and in how many seconds there are more.

    Units: *paid_at* seconds on `lease_clock`, right before the ledger read its own clock for it.
    """

    calls: int
    more_in_s: float
    paid_at: float = 0.0


def used(tx: Connection, stage: Stage) -> dict[Lane, int]:
    """Count the calls that still weigh, by lane."""
    return {Lane(row.lane): int(row.calls) for row in tx.execute(_USED, {"name": stage})}


def pay(tx: Connection, budget: Budget, lane: Lane, wanted: int, *, heeds_wait: bool = True) -> Grant:
    """Pay for up to *wanted* calls.  Concurrent payers of a connection wait for each other.

    While they asked us to wait there is nothing to be had, unless for a person who looks (*heeds_wait* False).
    """
    stage = budget.stage
    parameters = {"space": _LOCK_SPACE, "stage": STAGES.index(stage), "name": stage}
    wait_s = float(tx.execute(_LOCK, parameters).one().wait_s or 0.0)
    if heeds_wait and wait_s > 0:
        return Grant(0, wait_s)
    granted = min(wanted, budget.free(lane, used(tx, stage)))
    paid_at = _paid(tx, stage, lane, granted) if granted else 0.0
    if paid_at is None:
        return Grant(0, _AGAIN_S)
    return Grant(granted, 0.0 if granted == wanted else more_in_s(tx, stage), paid_at)


def charge(tx: Connection, stage: Stage, lane: Lane, calls: int) -> None:
    """Count calls that were made, from now, whether there is room for them or not."""
    tx.execute(_LOCK, {"space": _LOCK_SPACE, "stage": STAGES.index(stage), "name": stage})
    tx.execute(_PAY, {"name": stage, "lane": lane, "calls": calls})


def pay_share(tx: Connection, budget: Budget, share: float, wanted: int) -> Grant:
    """Pay, in the bulk lane, for up to *wanted* calls of those who may use a *share* of the budget together.

    Shape: *share* above 0, at most 1.  In any 60 s they have no more than that, however many there are.
    """
    tx.execute(_LOCK, {"space": _LOCK_SPACE, "stage": STAGES.index(budget.stage), "name": budget.stage})
    name = f"{budget.stage}{_SHARED}"
    theirs = sum(int(row.calls) for row in tx.execute(_USED, {"name": name}))
    allowed = max(1, int(budget.per_minute * share))
    free = min(allowed - theirs, budget.free(Lane.BULK, used(tx, budget.stage)))
    granted = max(0, min(wanted, free))
    if granted and None in [_paid(tx, of, Lane.BULK, granted) for of in (budget.stage, name)]:
        return Grant(0, _AGAIN_S)
    return Grant(granted, 0.0 if granted == wanted else _AGAIN_S)


def more_in_s(tx: Connection, stage: Stage) -> float:
    """Return in how many seconds there is more to spend, at least a tenth of one."""
    return float(tx.execute(_MORE_IN, {"name": stage}).scalar() or 1.0)


def whole_slots(by_s: float) -> float:
    """Return *by_s* seconds as the nearest number of seconds that is one of whole slots.  Pure."""
    return round(by_s * _SLOTS_PER_S) / _SLOTS_PER_S


def move(tx: Connection, by_s: float) -> None:
    """Move what was spent with the ledger's clock, which was set by *by_s* seconds, a number of whole slots.

    Set forward, that is what weighed right before; what was paid for since weighs already.  Set back, it is what lies
    ahead.
    """
    for stage in STAGES:
        tx.execute(_LOCK, {"space": _LOCK_SPACE, "stage": STAGES.index(stage), "name": stage})
    statement = _TAKE_JUMPED_OVER if by_s > 0 else _TAKE_AHEAD
    taken = tx.execute(statement, {"by": round(by_s * _SLOTS_PER_S)}).mappings().all()
    if taken:
        tx.execute(_PUT, [dict(row) for row in taken])


def _paid(tx: Connection, name: str, lane: Lane, calls: int) -> float | None:
    """Pay; return when that was, on `lease_clock`, or None: the calls may not be made."""
    paid = clock.marked(tx, _PAY, {"name": name, "lane": lane, "calls": calls})
    return paid.before_s if clock.is_spendable(tx, paid) else None


def forget(tx: Connection) -> None:
    """Drop the slots that no longer weigh."""
    tx.execute(_FORGET)


_SHARED = "/share"
"""Beside the name of a connection: what was paid for out of a share of its budget."""
_AGAIN_S = 0.5
_LOCK = text("""
    select pg_advisory_xact_lock(:space, :stage),
           (select extract(epoch from wait_until - clock_timestamp()) from connection where name = :name) as wait_s
""")
_USED = text(f"""
    select lane, sum(calls) as calls from spend where name = :name and slot > {_GONE} group by lane
""")
_PAY = text(f"""
    insert into spend (name, slot, lane, calls) values (:name, {_NOW}, :lane, :calls)
    on conflict (name, slot, lane) do update set calls = spend.calls + excluded.calls
    returning {clock.MARK}
""")
_TAKE_JUMPED_OVER = text(f"""
    delete from spend where slot > {_GONE} - :by and slot <= {_NOW} - :by + {_SLOTS_PER_S}
    returning name, slot + :by as slot, lane, calls
""")
_TAKE_AHEAD = text(f"delete from spend where slot > {_NOW} + 1 returning name, slot + :by as slot, lane, calls")
_PUT = text("""
    insert into spend (name, slot, lane, calls) values (:name, :slot, :lane, :calls)
    on conflict (name, slot, lane) do update set calls = spend.calls + excluded.calls
""")
_MORE_IN = text(f"""
    select greatest(0.1, (min(slot) + {_WEIGHS}) / {_SLOTS_PER_S}.0 - extract(epoch from clock_timestamp())) from spend
    where name = :name and slot > {_GONE}
""")
_FORGET = text(f"delete from spend where slot < {_GONE}")
