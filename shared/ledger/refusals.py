"""What intake refused: kept for a while and masked, listed, grouped, and counted with all else that intake did.

A sender of nothing but rubbish must not fill the ledger: of each one a bounded number is kept within an hour, what is
more becomes one row that counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from shared.ledger.engine import json_rows
from shared.ledger.filters import has_control

KEPT_PER_HOUR = 2_000
"""Refusals of one sender that are kept singly within an hour."""

_MORE = "more were refused within the hour than are kept singly"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One event that was refused.

    Shape: *outcome* `refused` or `conflict`; *position* in its request or file from 0, None: all of it could not be
    read; *line* from 1; *excerpt* masked.
    """

    outcome: str
    position: int | None
    line: int | None
    field: str
    reason: str
    member_number: str | None
    excerpt: str | None


@dataclass(frozen=True, slots=True)
class RefusalFilter:
    """Which refusals; empty fields mean any, several values of a field any of them.

    *since* is included, *until* is not.

    Raises:
        ValueError: a text holds a control character.
    """

    senders: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        for name, words in (("sender", self.senders), ("field", self.fields), ("member", self.members)):
            if any(map(has_control, words)):
                raise ValueError(f"{name}: contains a control character")


@dataclass(frozen=True, slots=True)
class RefusalRecord:
    """One refusal as it is kept; *count* is more than 1 where one row stands for several."""

    refusal_id: str
    at: datetime
    sender: str
    source: str
    outcome: str
    position: int | None
    line: int | None
    field: str
    reason: str
    member_number: str | None
    excerpt: str | None
    count: int


@dataclass(frozen=True, slots=True)
class RefusalPage:
    """Refusals, newest first; *next* is the cursor of the page after this one, None at the end."""

    items: list[RefusalRecord]
    next: str | None


@dataclass(frozen=True, slots=True)
class RefusalGroup:
    """The refusals of one field and sender."""

    field: str
    sender: str
    reason: str
    count: int
    first_at: datetime
    last_at: datetime


def keep(tx: Connection, sender: str, source: str, refusals: Sequence[Refusal], *, more: int) -> None:
    """Keep *refusals* of one request or file, and that there were *more*."""
    kept = 0
    if refusals:
        parameters = {"sender": sender, "source": source, "rows": json_rows(refusals), "most": KEPT_PER_HOUR}
        kept = tx.execute(_KEEP, parameters).rowcount
    left_out = len(refusals) - kept + more
    if left_out:
        tx.execute(_SUM_UP, {"sender": sender, "source": source, "reason": _MORE, "count": left_out})


def count(tx: Connection, outcomes: Mapping[str, int]) -> None:
    """Count what intake did; the last statement of its transaction, so that nobody waits long for a slot."""
    if outcomes:
        tx.execute(_COUNT, {"outcomes": list(outcomes), "counts": list(outcomes.values())})


def counts(tx: Connection) -> dict[str, int]:
    """Return what intake did since the ledger began, by outcome."""
    return {row.outcome: int(row.total) for row in tx.execute(_COUNTS)}


def refusals(tx: Connection, where: RefusalFilter, *, limit: int, before: int | None = None) -> RefusalPage:
    """List the newest *limit* refusals that match, newest first; *before* is the cursor of the page before."""
    condition, parameters = _conditions(where)
    if before is not None:
        condition += " and id < :before"
    found = text(f"select {_RECORD} from refusal where {condition} order by id desc limit :limit")
    items = [RefusalRecord(*row) for row in tx.execute(found, parameters | {"limit": limit + 1, "before": before})]
    return RefusalPage(items[:limit], items[limit - 1].refusal_id if len(items) > limit else None)


def groups(tx: Connection, where: RefusalFilter, *, limit: int) -> list[RefusalGroup]:
    """Group the refusals that match by field and sender, the commonest first."""
    condition, parameters = _conditions(where)
    found = tx.execute(text(_GROUPS.format(condition)), parameters | {"limit": limit})
    return [RefusalGroup(*row) for row in found]


def refused_since(tx: Connection, since: datetime) -> int:
    """Count the events that were refused then or later, of those that are kept."""
    return int(tx.execute(_SINCE, {"since": since}).scalar_one())


def prune(tx: Connection, *, days: int) -> None:
    """Delete the refusals older than *days*; the counts stay."""
    tx.execute(_PRUNE, {"days": days})


def _conditions(where: RefusalFilter) -> tuple[str, dict[str, Any]]:
    conditions, parameters = ["true"], {}
    for name, column in (("senders", "sender"), ("fields", "field"), ("members", "member_number")):
        if values := getattr(where, name):
            conditions.append(f"{column} = any(cast(:{name} as text[]))")
            parameters[name] = list(values)
    for name, condition in (("since", "at >= :since"), ("until", "at < :until")):
        if value := getattr(where, name):
            conditions.append(condition)
            parameters[name] = value
    return " and ".join(conditions), parameters


_RECORD = """
    id::text as refusal_id, at, sender, source, outcome, position, line, field, reason, member_number, excerpt, count
"""
_KEEP = text("""
    with given as (
        select r.*, row_number() over () as nth
        from json_to_recordset(cast(:rows as json))
             as r (outcome text, position int, line int, field text, reason text, member_number text, excerpt text)
    ), recent as (
        select count(*) as total
        from (select from refusal where sender = :sender and at > now() - interval '1 hour' limit :most) as those
    )
    insert into refusal (sender, source, outcome, position, line, field, reason, member_number, excerpt)
    select :sender, :source, outcome, position, line, field, reason, member_number, excerpt
    from given, recent where nth <= :most - total order by nth
""")
_SUM_UP = text("""
    with summed as (
        update refusal set count = count + :count
        where id = (select id from refusal
                    where sender = :sender and several and at > now() - interval '1 hour' order by at desc limit 1)
        returning id
    )
    insert into refusal (sender, source, outcome, field, reason, several, count)
    select :sender, :source, 'refused', '', :reason, true, :count where not exists (select from summed)
""")
_COUNT = text("""
    insert into intake_tally as t (outcome, slot, count)
    select outcome, pg_backend_pid() % 64, count
    from unnest(cast(:outcomes as text[]), cast(:counts as bigint[])) as r (outcome, count) order by outcome
    on conflict (outcome, slot) do update set count = t.count + excluded.count
""")
_COUNTS = text("select outcome, sum(count) as total from intake_tally group by outcome")
_SINCE = text("select coalesce(sum(count), 0) from refusal where at >= :since")
_GROUPS = """
    select field, sender, (array_agg(reason order by id desc))[1], sum(count)::bigint as total, min(at),
           max(at) as last_at
    from refusal where {} group by field, sender order by total desc, last_at desc limit :limit
"""
_PRUNE = text("delete from refusal where at < now() - make_interval(days => :days)")
