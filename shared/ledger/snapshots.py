"""Who holds an old snapshot of the ledger: until it is let go, no dead row of the hot tables can be cleared away.

A report, a dump, a transaction that somebody forgot, a replication slot, a standby's query: each claim then walks past
all that has died since.  PostgreSQL tells other users' sessions only to members of `pg_read_all_stats`.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection, text

from shared.masking import mask_text

_QUERY_LONGEST = 100
_MOST = 10


class Holds(StrEnum):
    """What holds a snapshot."""

    SESSION = "session"
    STANDBY = "standby"
    SLOT = "replication slot"
    PREPARED = "prepared transaction"


@dataclass(frozen=True, slots=True)
class SnapshotHolder:
    """One that holds a snapshot.

    Shape: *name* the pid, the name of a slot or of a prepared transaction; *who* application and user; *state* as
    PostgreSQL says it; *query* its newest, without values, "" where there is none.  Units: *age_s* seconds.
    """

    holds: Holds
    name: str
    who: str
    state: str
    query: str
    age_s: float
    since: datetime

    @property
    def is_working(self) -> bool:
        """Whether it may come to its end by itself."""
        return self.holds is Holds.STANDBY or self.state == "active"

    @property
    def named(self) -> str:
        """Who it is, in a few words."""
        kind = "pid" if self.holds is Holds.SESSION else self.holds
        return f"{kind} {self.name} ({', '.join(filter(None, (self.who, self.state)))})"


def holders(tx: Connection, *, over_s: float = 0) -> list[SnapshotHolder]:
    """List those that have held a snapshot for longer than *over_s* seconds, the oldest first, at most ten."""
    found = tx.execute(_HOLDERS, {"over_s": over_s, "most": _MOST})
    return [
        SnapshotHolder(
            Holds(row.holds),
            mask_text(row.name),
            mask_text(row.who),
            row.state,
            without_values(row.query),
            row.age_s,
            row.since,
        )
        for row in found
    ]


def sees_all(tx: Connection) -> bool:
    """Return whether our user is shown the sessions of others."""
    return bool(tx.execute(_SEES_ALL).scalar_one())


def take_new(tx: Connection, *, over_s: float) -> list[SnapshotHolder]:
    """Take those that have come to hold one for longer than *over_s* and were not taken yet; whoever asks, once each.

    The bookmark says up to which beginning they were taken.
    """
    upto = tx.execute(_LOCK_TAKEN).scalar_one_or_none()
    if upto is None:
        return []
    now: datetime = tx.execute(_NOW).scalar_one()
    found = [one for one in holders(tx, over_s=over_s) if one.since > upto]
    if found:
        tx.execute(_MOVE_TAKEN, {"upto": now - timedelta(seconds=over_s)})
    return found


def without_values(query: str) -> str:
    """Return the beginning of a statement without comments and literals, which may name a person.  Pure."""
    bare = _VALUES.sub(lambda found: found[0] if found[0].startswith('"') else _STARS[found[0][:2] in _COMMENTS], query)
    words = " ".join(mask_text(bare[: 3 * _QUERY_LONGEST]).split())
    return words if len(words) <= _QUERY_LONGEST else f"{words[: _QUERY_LONGEST - 1]}…"


_COMMENTS = ("--", "/*")
_STARS = {True: " ", False: "***"}
# A server cuts long statements, so what begins may not end.  Quoted names stay.
_VALUES = re.compile(
    r"""
      --[^\n]* | /\*.*?(?:\*/|\Z) | "[^"]*"
    | [eE]'(?:[^'\\]|''|\\.)*'? | '(?:[^']|'')*'?
    | \$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z)
    | \b\d{4,}\b
    """,
    re.DOTALL | re.VERBOSE,
)
# Sessions of other databases hold ours back once they have written: new snapshots begin at the oldest writer of the
# server.  VACUUM itself holds nothing.  Of slots and standbys PostgreSQL tells no time: the newest minute that was
# counted before what they need tells it, by the transaction that wrote it.
_HOLDERS = text("""
    with held as (
        select 'session' as holds, a.pid::text as name,
               concat_ws(', ', nullif(a.application_name, ''), a.usename) as who,
               coalesce(a.state, '') as state, coalesce(a.query, '') as query, a.xact_start as since
        from pg_stat_activity a
        where a.pid <> pg_backend_pid() and a.backend_type <> 'walsender' and a.xact_start is not null
          and (a.backend_xid is not null or a.backend_xmin is not null and a.datname = current_database())
          and not exists (select from pg_stat_progress_vacuum v where v.pid = a.pid)
        union all
        select 'prepared transaction', p.gid, p.owner, '', '', p.prepared from pg_prepared_xacts p
        union all
        select x.holds, x.name, x.who, x.state, '', coalesce(
                   (select m.at from minute m where age(m.xmin) > age(x.needs) order by m.at desc limit 1),
                   (select min(m.at) from minute m), now())
        from (
            select 'replication slot' as holds, s.slot_name::text as name,
                   coalesce(s.plugin::text, s.slot_type) as who,
                   case when s.active then 'in use' else 'not in use' end as state,
                   coalesce(s.xmin, s.catalog_xmin) as needs
            from pg_replication_slots s
            where s.xmin is not null or s.catalog_xmin is not null and s.database = current_database()
            union all
            select 'standby', r.pid::text, concat_ws(', ', nullif(r.application_name, ''), r.usename), r.state,
                   r.backend_xmin
            from pg_stat_replication r where r.backend_xmin is not null
        ) as x
    )
    select *, extract(epoch from now() - since)::float8 as age_s from held
    where since < now() - make_interval(secs => :over_s) order by since limit :most
""")
_SEES_ALL = text("select pg_has_role('pg_read_all_stats', 'usage')")
_NOW = text("select now()")
_LOCK_TAKEN = text("select upto from bookmark where name = 'snapshot' for update skip locked")
_MOVE_TAKEN = text("update bookmark set upto = :upto where name = 'snapshot'")
