"""Planned windows of a connection: while one lasts the connection is paused, and nobody is alarmed; it ends by itself.

A dispatcher begins and ends them (`turn`), so that a window is an ordinary pause with who, why and until when, and what
it held goes out by the ramp.  Who resumes the connection meanwhile ends the pause, and the window begins no other; a
connection that somebody has paused already stays theirs.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.ledger import connections
from shared.ledger.engine import wake
from shared.ledger.records import MaintenanceWindow
from shared.pipeline import Stage


@dataclass(frozen=True, slots=True)
class NewWindow:
    """A window to be added: *from_at* is included, *until_at* is not."""

    stage: Stage
    from_at: datetime
    until_at: datetime
    reason: str
    by: str


@dataclass(frozen=True, slots=True)
class WindowPage:
    """Windows, the latest first; *next* is the cursor of the page after this one, None at the end."""

    items: list[MaintenanceWindow]
    next: str | None


def windows(tx: Connection, *, limit: int, before: int | None = None) -> WindowPage:
    """List windows, newest first."""
    rows = tx.execute(_WINDOWS, {"limit": limit + 1, "before": before}).all()
    items = [MaintenanceWindow(*row) for row in rows[:limit]]
    return WindowPage(items, items[-1].id if len(rows) > limit else None)


def window(tx: Connection, window_id: int) -> MaintenanceWindow | None:
    """Read one window; None: there is no such window."""
    row = tx.execute(_WINDOW, {"id": window_id}).one_or_none()
    return None if row is None else MaintenanceWindow(*row)


def in_the_way(tx: Connection, new: NewWindow) -> MaintenanceWindow | None:
    """Return a window of the connection that *new* would overlap; nobody adds another until the end of the transaction.

    None: there is none.
    """
    tx.execute(_LOCK, {"name": new.stage})
    row = tx.execute(_OVERLAPPING, {"name": new.stage, "from_at": new.from_at, "until_at": new.until_at}).first()
    return None if row is None else MaintenanceWindow(*row)


def add(tx: Connection, new: NewWindow) -> int:
    """Add a window; return its id."""
    parameters = {"name": new.stage, "from_at": new.from_at, "until_at": new.until_at}
    wake(tx)
    return int(tx.execute(_ADD, parameters | {"reason": new.reason, "by": new.by}).scalar_one())


def remove(tx: Connection, window_id: int, *, by: str) -> bool:
    """End a window before its time, or before it begins; False: there is none, or it is over."""
    removed = tx.execute(_REMOVE, {"id": window_id, "by": by}).rowcount == 1
    turn(tx)
    return removed


def turn(tx: Connection) -> None:
    """End the windows that are over, then begin those whose time has come; cheap where there is neither."""
    due = tx.execute(_DUE).all()
    for row in sorted(due, key=lambda row: not row.is_over):
        if row.is_over:
            _end(tx, row)
        else:
            _begin(tx, row)


def _begin(tx: Connection, row: Row[Any]) -> None:
    reason = f"maintenance until {row.until_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC: {row.reason}"
    if connections.pause(tx, Stage(row.name), by=row.added_by, reason=reason):
        tx.execute(_OWN, {"name": row.name, "id": row.id})
    tx.execute(_BEGUN, {"id": row.id})


def _end(tx: Connection, row: Row[Any]) -> None:
    if tx.execute(_DISOWN, {"name": row.name, "id": row.id}).rowcount:
        connections.resume(tx, Stage(row.name), by=row.removed_by or row.added_by)
        wake(tx)
    tx.execute(_ENDED, {"id": row.id})


_READ = """
    select id::text, name,
           case when removed_at is not null and began_at is null then 'removed' when ended_at is not null then 'over'
                when began_at is not null then 'active' else 'planned' end as state,
           from_at, until_at, reason, added_by, added_at, began_at, ended_at, removed_by
    from maintenance
"""
_WINDOW = text(f"{_READ} where id = :id")
_WINDOWS = text(f"""
    {_READ} where id < coalesce(cast(:before as bigint), 9223372036854775807) order by maintenance.id desc limit :limit
""")
_LOCK = text("select from connection where name = :name for update")
_OVERLAPPING = text(f"""
    {_READ} where name = :name and ended_at is null and from_at < :until_at and until_at > :from_at
    order by from_at limit 1
""")
_ADD = text("""
    insert into maintenance (name, from_at, until_at, reason, added_by)
    values (:name, :from_at, :until_at, :reason, :by) returning id
""")
_REMOVE = text("""
    update maintenance set removed_at = now(), removed_by = :by
    where id = :id and ended_at is null and removed_at is null
""")
_DUE = text("""
    select *, until_at <= now() or removed_at is not null as is_over from maintenance
    where ended_at is null and (until_at <= now() or removed_at is not null or began_at is null and from_at <= now())
    order by id for update skip locked
""")
_OWN = text("update connection set window_id = :id where name = :name")
_DISOWN = text("update connection set window_id = null where name = :name and window_id = :id")
_BEGUN = text("update maintenance set began_at = now() where id = :id")
_ENDED = text("update maintenance set ended_at = now() where id = :id")
