"""How long what is kept: of each kind its oldest row, and the statements that delete what is older, piece by piece.

Instances go with all that is beside them (`transitions.claims.prune`), jobs, mail and refusals each by their own.  What
has people in it may go before: the contents of events, and the requests and responses of calls.  Those of whoever is
not through, of dead letters and Data Errors, and of each member's newest and last applied event stay with the instance,
since they are needed for what is still to be done.  A piece begins where the one before ended, by its bookmark.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, TextClause, text

PIECE = 2_000
"""Rows of one transaction."""


@dataclass(frozen=True, slots=True)
class Oldest:
    """The oldest row of a kind that is pruned by age; None: there is none.  Units: *age_days* days."""

    kind: str
    at: datetime | None
    age_days: float


def turn(tx: Connection, *, events_days: int, calls_days: int, audit_days: int) -> bool:
    """Delete a piece of each kind that is too old; say whether there may be more.  What another is at is passed by.

    Units: days; 0: as long as the instance, and of the audit for good.
    """
    more = False
    for name, days, statement in (
        ("events kept", events_days, _EVENTS),
        ("calls kept", calls_days, _CALLS),
    ):
        if days:
            tx.execute(_BEGIN, {"name": name})
            more |= _piece(tx, name, days, statement)
    if audit_days:
        more |= tx.execute(_AUDIT, {"days": audit_days, "limit": PIECE}).rowcount == PIECE
    return more


def _piece(tx: Connection, name: str, days: int, statement: TextClause) -> bool:
    upto = tx.execute(_TAKE, {"name": name}).scalar_one_or_none()
    if upto is None:
        return False
    row = tx.execute(statement, {"upto": upto, "days": days, "limit": PIECE}).one()
    if row.last is not None:
        tx.execute(_MOVE, {"name": name, "upto": row.last})
    return bool(row.seen == PIECE and row.last > upto)


def oldest(tx: Connection) -> Sequence[Oldest]:
    """Return the oldest of each kind."""
    return [Oldest(*row) for row in tx.execute(_OLDEST)]


_BEGIN = text("""
    insert into bookmark (name, upto) values (:name, timestamptz '1970-01-01 00:00:00+00') on conflict do nothing
""")
_TAKE = text("select upto from bookmark where name = :name for update skip locked")
_MOVE = text("update bookmark set upto = :upto where name = :name")
_EVENTS = text("""
    with seen as (
        select i.id, i.member_number, i.state, i.finished_at from instance i
        where i.finished_at >= :upto and i.finished_at < now() - make_interval(days => :days)
        order by i.finished_at limit :limit
    ), old as (
        select s.id from seen s join member m using (member_number)
        where s.state not in ('dead', 'rejected') and s.id is distinct from m.newest_id
          and s.id is distinct from m.applied_id
    ), payloads as (
        delete from payload p using old o where p.instance_id = o.id
    ), mappings as (
        delete from mapping p using old o where p.instance_id = o.id
    )
    select count(*) as seen, max(finished_at) as last from seen
""")
_CALLS = text("""
    with seen as (
        select a.instance_id, a.id, a.at from activity a
        where a.at >= :upto and a.at < now() - make_interval(days => :days) order by a.at limit :limit
    ), old as (
        select s.instance_id, s.id from seen s join instance i on i.id = s.instance_id
        where i.finished_at is not null and i.state not in ('dead', 'rejected')
    ), bare as (
        update activity a set calls = null, calls_json = null, calls_packed = null from old o
        where a.instance_id = o.instance_id and a.id = o.id and num_nonnulls(a.calls, a.calls_json, a.calls_packed) > 0
    )
    select count(*) as seen, max(at) as last from seen
""")
# Who was forgotten stays so: that row has nothing of the person, and shuts the door to what is old.
_AUDIT = text("""
    delete from operator_action where id = any(array(
        select id from operator_action
        where at < now() - make_interval(days => :days) and (what <> 'forget' or denied) order by at limit :limit
        for update skip locked))
""")
_OLDEST = text("""
    select kind, at, coalesce(extract(epoch from now() - at) / 86400, 0)::float8 as age_days from (values
        ('instances', (select min(finished_at) from instance
                       where finished_at is not null and state not in ('dead', 'running'))),
        ('dead letters', (select min(finished_at) from instance where state = 'dead')),
        ('activity', (select min(at) from activity)),
        ('refused events', (select min(at) from refusal)),
        ('jobs', (select min(ended_at) from job)),
        ('mail', (select min(created_at) from mail)),
        ('audit', (select min(at) from operator_action))
    ) as o (kind, at)
""")
