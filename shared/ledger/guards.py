"""What guards hold: their holds as people read them, what mail tells of them, and how many members each has."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.lifecycle.mass_changes import Change

FLOOD = "flood"
"""The kind of a hold of one Data Error."""
KINDS = (FLOOD, *Change)
"""What guards hold."""


class HoldState(StrEnum):
    """Where a hold is in its life.  Who meets its cause is held while it is `holding` or `releasing`."""

    HOLDING = "holding"
    RELEASING = "releasing"
    """What it holds is sent again, by a requeue."""
    RELEASED = "released"
    """Nothing of it is left: its members got through, or something newer of theirs did."""
    DISCARDING = "discarding"
    """Condemned: its members are being told; of a mass change, dropped."""
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold of a guard.

    Shape: *kind* `flood`: *message* the Data Error without what differs from member to member; *alike* members had met
    it within the window, of *went_out* that the stage decided on, when the hold was opened, and *told* of them had been
    told by then.  *kind* `mass_change` or `blanking`: *message* what changes; *alike* members had changed so within the
    window, of *went_out* that the ledger knew as active, and for *told* of them it was too late.  *held* members it
    holds now; *try_at* when the next one is sent again by itself, null: none is; *job_id* the newest requeue that was
    to release it, and *answer* what came of that.
    """

    id: str
    kind: str
    state: str
    stage: str
    message: str
    alike: int
    went_out: int
    told: int
    held: int
    opened_at: datetime
    tries: int
    try_at: datetime | None
    job_id: str | None
    decided_at: datetime | None
    decided_by: str | None
    reason: str | None
    answer: str | None
    ended_at: datetime | None

    @property
    def waits_for_decision(self) -> bool:
        """Whether somebody has to decide."""
        return self.state == HoldState.HOLDING


@dataclass(frozen=True, slots=True)
class HoldPage:
    """Holds, newest first; *next* is the cursor of the page after this one, None at the end."""

    items: list[Hold]
    next: str | None


def holds(tx: Connection, *, limit: int, before: int | None = None, is_open: bool | None = None) -> HoldPage:
    """List holds, newest first; *is_open*: only those that are not over, or that are."""
    rows = tx.execute(_HOLDS, {"limit": limit + 1, "before": before, "open": is_open}).all()
    items = [_hold(row) for row in rows[:limit]]
    return HoldPage(items, items[-1].id if len(rows) > limit else None)


def hold(tx: Connection, hold_id: int) -> Hold | None:
    """Read one hold; None: there is no such hold."""
    row = tx.execute(_HOLD, {"id": hold_id}).one_or_none()
    return None if row is None else _hold(row)


def open_holds(tx: Connection) -> list[Hold]:
    """List the holds that are not over, the oldest first."""
    return [_hold(row) for row in tx.execute(_OPEN)]


def held_members(tx: Connection, hold_id: int, *, limit: int) -> list[int]:
    """Return the instances that a hold has, the oldest first."""
    return list(tx.execute(_HELD, {"id": hold_id, "limit": limit}).scalars())


def take_new(tx: Connection) -> list[Hold]:
    """Take the holds that no mail tells of yet, the oldest first."""
    found = (hold(tx, one) for one in sorted(tx.execute(_TAKE_NEW).scalars()))
    return [one for one in found if one is not None]


def _hold(row: Row[Any]) -> Hold:
    names = set(Hold.__dataclass_fields__) - {"id", "job_id", "try_at"}
    return Hold(
        id=str(row.id),
        job_id=None if row.job_id is None else str(row.job_id),
        try_at=row.try_at if row.state == HoldState.HOLDING and row.kind == FLOOD else None,
        **{name: getattr(row, name) for name in names},
    )


_READ = """
    select h.*, (select count(*) from instance i where i.state = 'held' and i.hold_id = h.id) as held from guard_hold h
"""
_HOLD = text(f"{_READ} where h.id = :id")
_HOLDS = text(f"""
    {_READ}
    where h.id < coalesce(cast(:before as bigint), 9223372036854775807)
      and (h.ended_at is null) = coalesce(cast(:open as boolean), h.ended_at is null)
    order by h.id desc limit :limit
""")
_OPEN = text(f"{_READ} where h.ended_at is null order by h.id")
_HELD = text("select id from instance where state = 'held' and hold_id = :id order by id limit :limit")
_TAKE_NEW = text("""
    update guard_hold set mailed = true
    where id = any(array(select id from guard_hold where not mailed and ended_at is null
                         order by id for no key update skip locked))
    returning id
""")
