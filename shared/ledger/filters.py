"""Which instances are meant: the filter of spec section 5, in statements that an index answers at ten million rows.

What makes them fast:
- Newest first by id, so a common state is found by walking the primary key backwards and stopping at the limit.
- Several states, or a text that may be one of three things, are searched each by itself and merged: every part has an
  index that gives its rows in order, their disjunction has none.
- `since` and `until` become bounds on the id, found by bisection: ids are taken in order of acceptance, give or take.
- Whatever failed has a code; a code or a failed status is looked for only among those.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from itertools import product
from typing import Any

from sqlalchemy import Connection, TextClause, text

from shared.personal import CLOSE, OPEN
from shared.pipeline import Lane, Stage, State, SyncStatus

NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""What a text of a filter may be, in the grammar that Python and JSON Schema share."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ACCEPTANCE_SKEW = timedelta(minutes=10)
"""How far the order of ids and of `accepted_at` may differ: retries of intake, clocks of its hosts."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which instances; empty fields mean any, several values of a field any of them.

    *stages* is where an instance stands, for dead letters and Data Errors where it failed.  *since* (included) and
    *until* (excluded) bound the acceptance.  *text* is the beginning of an event id or member number, or part of the
    error.

    Raises:
        ValueError: a text holds a control character.
    """

    states: tuple[State, ...] = ()
    stages: tuple[Stage, ...] = ()
    statuses: tuple[SyncStatus, ...] = ()
    codes: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    lane: Lane | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str = ""

    def __post_init__(self) -> None:
        for name, words in (("code", self.codes), ("member", self.members), ("text", (self.text,))):
            if any(map(has_control, words)):
                raise ValueError(f"{name}: contains a control character")

    @property
    def is_empty(self) -> bool:
        """Say whether it lets everything through."""
        return not any(getattr(self, field.name) for field in fields(self))


def has_control(word: str) -> bool:
    """Say whether *word* holds a control character: no text that we keep does."""
    return _CONTROL.search(word) is not None


def matching(
    tx: Connection, where: Filter, *, limit: int, before: int | None = None
) -> tuple[TextClause, dict[str, Any]]:
    """Give the statement, and its parameters, that selects the ids of the newest matching instances, newest first.

    *before* continues below an id.
    """
    conditions, parameters = _conditions(where)
    parameters["limit"] = limit
    if where.since:
        conditions.append("id >= :first")
        parameters["first"] = id_at(tx, where.since - _ACCEPTANCE_SKEW)
    if where.until:
        conditions.append("id < :last")
        parameters["last"] = id_at(tx, where.until + _ACCEPTANCE_SKEW)
    if before is not None:
        conditions.append("id < :before")
        parameters["before"] = before
    parts = [
        f"(select id from instance where {' and '.join([*conditions, *part]) or 'true'} order by id desc limit :limit)"
        for part in _parts(where, parameters)
    ]
    return text(f"select id from ({' union '.join(parts)}) as found order by id desc limit :limit"), parameters


def id_at(tx: Connection, instant: datetime) -> int:
    """Find by bisection the first instance accepted at *instant* or later; one past the last if there is none.

    Exact only as far as ids and acceptance ascend together.
    """
    return tx.execute(_ID_AT, {"instant": instant}).scalar() or 1


def _conditions(where: Filter) -> tuple[list[str], dict[str, Any]]:
    """Give what every part has in common."""
    conditions: list[str] = []
    parameters: dict[str, Any] = {}
    if where.stages:
        conditions.append(
            "case when state in ('dead', 'rejected') then failed_stage else stage end = any(cast(:stages as text[]))"
        )
        parameters["stages"] = list(where.stages)
    if where.statuses:
        conditions.append("status = any(cast(:statuses as text[]))")
        parameters["statuses"] = list(where.statuses)
    if where.codes:
        conditions.append("code = any(cast(:codes as text[]))")
        parameters["codes"] = list(where.codes)
    if where.codes or (where.statuses and SyncStatus.SUCCESS not in where.statuses):
        conditions.append("code is not null")
    if where.members:
        conditions.append("member_number = any(cast(:members as text[]))")
        parameters["members"] = list(where.members)
    for name, condition in (("lane", "lane = :lane"), ("since", "accepted_at >= :since")):
        if value := getattr(where, name):
            conditions.append(condition)
            parameters[name] = value
    if where.until:
        conditions.append("accepted_at < :until")
        parameters["until"] = where.until
    return conditions, parameters


def _parts(where: Filter, parameters: dict[str, Any]) -> Iterator[list[str]]:
    """Give the conditions in which the parts differ."""
    states = [[f"state = '{state}'"] for state in where.states] or [[]]
    texts: list[list[str]] = [[]]
    if where.text:
        parameters["text"] = where.text
        parameters["pattern"] = f"%{_escaped(where.text)}%"
        texts = [["event_id ^@ :text"], ["member_number ^@ :text"], ["code is not null", f"{_SAID} ilike :pattern"]]
    for state, said in product(states, texts):
        yield [*state, *said]


# What is masked for most who look is left out: whoever may search for its letters can read it.
_SAID = rf"""
    case when error !~ '[@{OPEN}]' then error
         else regexp_replace(error, '{OPEN}[^{CLOSE}]*{CLOSE}|[^[:space:]@<>"''(),;\:]+@[^[:space:]@<>"''(),;\:]+',
                             '', 'g') end
"""


def _escaped(pattern: str) -> str:
    return pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


_ID_AT = text("""
    with recursive search (low, high) as (
        select min(id), max(id) + 1 from instance
        union all
        select case when probe.accepted_at < :instant then probe.id + 1 else low end,
               case when probe.accepted_at < :instant then high else (low + high) / 2 end
        from search, lateral (
            select id, accepted_at from instance where id >= (low + high) / 2 order by id limit 1
        ) as probe
        where low < high
    )
    select max(low) from search
""")
