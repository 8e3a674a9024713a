"""The audit: what operators did, and what they were not allowed to do, is filed and read again."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Connection, text

_SKEW = timedelta(minutes=10)
"""How far the order of ids and of `at` may differ: transactions that overlapped."""


@dataclass(frozen=True, slots=True)
class Action:
    """One action of one operator.

    Shape: *what* one word (`requeue`, `discard`, `stop`, `pause`, `unmask`, …); *asked* the ids or filter, or the name
    of what it was done to; *count* how many instances it touched; *answer* one sentence.
    """

    who: str
    role: str
    what: str
    answer: str
    reason: str | None = None
    asked: Mapping[str, Any] | None = None
    count: int = 0
    denied: bool = False


@dataclass(frozen=True, slots=True)
class ActionFilter:
    """Which actions; empty fields mean any, several values of a field any of them.

    *denied* True: only what was not allowed; False: only what was.  *since* is included, *until* is not.
    """

    who: tuple[str, ...] = ()
    what: tuple[str, ...] = ()
    denied: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """One action as it was filed; reasons, and filters that were asked, name nobody."""

    action_id: str
    at: datetime
    who: str
    role: str
    what: str
    reason: str | None
    asked: Mapping[str, Any] | None
    count: int
    answer: str
    denied: bool


@dataclass(frozen=True, slots=True)
class ActionPage:
    """Actions, newest first; *next* is the cursor of the page after this one, None at the end."""

    items: list[ActionRecord]
    next: str | None


def record(tx: Connection, action: Action) -> None:
    """File *action*, in the transaction of what it did."""
    asked = None if action.asked is None else orjson.dumps(action.asked).decode()
    tx.execute(_RECORD, {name: getattr(action, name) for name in Action.__dataclass_fields__} | {"asked": asked})


def actions(tx: Connection, where: ActionFilter, *, limit: int, before: int | None = None) -> ActionPage:
    """List the newest *limit* actions that match, newest first; *before* is the cursor of the page before."""
    conditions = []
    parameters: dict[str, Any] = {"limit": limit + 1}
    if where.who:
        conditions.append("who = any(cast(:who as text[]))")
        parameters["who"] = list(where.who)
    if where.what:
        conditions.append("what = any(cast(:what as text[]))")
        parameters["what"] = list(where.what)
    if where.denied is not None:
        conditions.append("denied = :denied")
        parameters["denied"] = where.denied
    # An instant becomes a bound on the id too, which the walk stops at.
    if where.since:
        first = "(select id from operator_action where at >= :since_about order by at limit 1)"
        conditions.append(f"at >= :since and id >= {first}")
        parameters |= {"since": where.since, "since_about": where.since - _SKEW}
    if where.until:
        last = "(select id from operator_action where at < :until_about order by at desc limit 1)"
        conditions.append(f"at < :until and id <= {last}")
        parameters |= {"until": where.until, "until_about": where.until + _SKEW}
    if before is not None:
        conditions.append("id < :before")
        parameters["before"] = before
    found = text(_ACTIONS.format(" and ".join(conditions) or "true"))
    items = [ActionRecord(*row) for row in tx.execute(found, parameters)]
    return ActionPage(items[:limit], items[limit - 1].action_id if len(items) > limit else None)


_ACTIONS = """
    select id::text as action_id, at, who, role, what, reason, asked, count, answer, denied
    from operator_action where {} order by id desc limit :limit
"""
_RECORD = text("""
    insert into operator_action (who, role, what, reason, asked, count, answer, denied)
    values (:who, :role, :what, :reason, cast(:asked as jsonb), :count, :answer, :denied)
""")
