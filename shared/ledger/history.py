"""Statements of those who look back: what came of instances minute by minute, and when connections were away.

And how far back one can look: what is older is pruned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from shared.ledger.tallies import outcome_sql
from shared.masking import mask_text


@dataclass(frozen=True, slots=True)
class MinuteCount:
    """What a stage came to within the minute that begins *at*; outcomes as in `shared.ledger.tallies`."""

    at: datetime
    stage: str
    outcome: str
    count: int


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which nothing went out to a connection.

    Shape: *what* `down` or `paused`; *to_at* None: it still is; *why* masked; *who* paused it, None when it is down.
    """

    name: str
    what: str
    from_at: datetime
    to_at: datetime | None
    why: str | None
    who: str | None


def minutes(tx: Connection, *, since: datetime, until: datetime) -> list[MinuteCount]:
    """List the minutes that lie in [*since*, *until*) or reach into it, oldest first; those of nothing are left out."""
    rows = tx.execute(_MINUTES, {"since": since, "until": until})
    return [MinuteCount(row.at, row.stage, row.outcome, row.total) for row in rows]


def counts(tx: Connection, *, since: datetime, until: datetime, step: timedelta) -> list[MinuteCount]:
    """List what stages came to in [*since*, *until*), added up by *step*, oldest first.

    Shape: each counts the *step* that begins `at`.  Steps of an hour or more are read from the hours, kept for months.
    """
    statement = _COUNTS["hour" if step >= timedelta(hours=1) else "minute"]
    rows = tx.execute(statement, {"since": since, "until": until, "step": step})
    return [MinuteCount(row.at, row.stage, row.outcome, int(row.total)) for row in rows]


def happened(tx: Connection, outcomes: Sequence[str], *, since: datetime, until: datetime, limit: int) -> list[int]:
    """Find the newest instances, by id, that came to one of *outcomes* in [*since*, *until*): what a count counted."""
    parameters = {"outcomes": list(outcomes), "since": since, "until": until, "limit": limit}
    return list(tx.execute(_HAPPENED, parameters).scalars())


def outages(tx: Connection, *, since: datetime) -> list[Outage]:
    """List the outages and pauses that were not over at *since*, from their beginning on, oldest first."""
    return [
        Outage(row.name, row.what, row.from_at, row.to_at, None if row.why is None else mask_text(row.why), row.who)
        for row in tx.execute(_OUTAGES, {"since": since})
    ]


def prune(tx: Connection, *, days: int) -> None:
    """Delete what is older than *days*: changes of connections but the newest of each, ended jobs, stray messages.

    What operators did stays for good.
    """
    for statement in _PRUNE:
        tx.execute(statement, {"days": days})


_PRUNE = (
    text("""
        delete from connection_change c
        where at < now() - make_interval(days => :days)
          and exists (select from connection_change n
                      where n.id > c.id and n.name = c.name
                        and (n.what in ('paused', 'resumed')) = (c.what in ('paused', 'resumed')))
    """),
    text("delete from job where ended_at < now() - make_interval(days => :days)"),
    text("delete from stray_message where at < now() - make_interval(days => :days)"),
)
_MINUTES = text("""
    select at, stage, outcome, count as total from minute
    where at > cast(:since as timestamptz) - interval '1 minute' and at < :until order by at, stage, outcome
""")
_COUNTS = {
    table: text(f"""
        select date_bin(cast(:step as interval), at, cast(:since as timestamptz)) as at, stage, outcome,
               sum(count) as total
        from {table} where at >= :since and at < :until group by 1, 2, 3 order by 1, 2, 3
    """)
    for table in ("minute", "hour")
}
_HAPPENED = text(f"""
    select distinct instance_id from ({outcome_sql("at >= :since and at < :until")}) as lines
    where outcome = any(cast(:outcomes as text[])) order by instance_id desc limit :limit
""")
# Downs and ups alternate, pauses and resumes too: each is written while the connection's row is locked.
_OUTAGES = text("""
    select name, what, at as from_at, to_at, why, who
    from (select c.*, lead(at) over (partition by name, what in ('paused', 'resumed') order by id) as to_at
          from connection_change c) as paired
    where what in ('down', 'paused') and (to_at is null or to_at > :since)
    order by at, id
""")
