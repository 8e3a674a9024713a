"""Statements of intake: how accepted events get into the ledger, many in one transaction, none row by row.

Order matters: `lock_members` first, in a statement of its own.  Everything read afterwards sees what concurrent intakes
of the same members committed; a read in the same statement as the lock would not.

A member that is new has no row to lock.  It is written whole, with its first event: made beforehand and filled then, it
would be two versions of a row, each in its indexes.  Of two intakes that write the same one, the second finds it there
(`LedgerConflictError`) and begins anew, with `make`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, NotRequired, TypedDict

from sqlalchemy import Connection, text

from shared.events import Version
from shared.ledger import packed_events
from shared.ledger.engine import json_lines, json_rows
from shared.ledger.people import event_sql, forgotten_key_sql, key_sql
from shared.ledger.transitions.member_queue import IS_QUEUED
from shared.lifecycle.mass_changes import shown_of
from shared.pipeline import State


@dataclass(frozen=True, slots=True)
class Queued:
    """The one instance of a member that waits for its turn."""

    instance_id: int
    failing: bool
    cleared: int = 0
    """What its event takes from the member, which nobody outside has taken yet."""


@dataclass(slots=True)
class Standing:
    """What is known of a member when an event of it arrives; each event that is taken in moves it on."""

    newest: Version | None = None
    newest_operation: str | None = None
    row_id: str | None = None
    """Of the row whose changes the newest event counts."""
    foreign_rows: frozenset[str] = frozenset()
    """Rows that Siebel has shown to be other members', of those that arriving events name: no word about this one."""
    sequence_from: datetime | None = None
    """Since when Siebel counts the modifications that compare; what occurred before is older, whatever it counts."""
    applied_hash: bytes | None = None
    synced: bool = False
    running: bool = False
    queued: Queued | None = None
    forgotten_until: datetime | None = None
    """The member was forgotten: what occurred until then is not to be known any more."""
    shown: int | None = None
    """What the newest event shows of the member (`shared.lifecycle.mass_changes`); None: not known."""

    @property
    def had(self) -> int | None:
        """What the member shows outside, before the next event: what is queued has been taken from nobody yet."""
        return None if self.shown is None else self.shown | (self.queued.cleared if self.queued else 0)

    @property
    def is_unread(self) -> bool:
        """Whether its newest event came before it was noted what events show."""
        return self.newest is not None and self.shown is None


@dataclass(frozen=True, slots=True)
class Known:
    """An event that is in the ledger already."""

    instance_id: int
    event_hash: bytes


class NewInstance(TypedDict):
    """An instance to be written.

    Shape: *reason* says why it will not be sent, None when it will; *cleared* what it takes from its member, as bits,
    absent: nothing; *traceparent* its place in a trace, absent: in none.
    """

    instance_id: int
    event_id: str
    event_hash: bytes
    content_hash: bytes
    member_number: str
    operation: str
    lane: str
    origin: str | None
    modification: int | None
    occurred_at: datetime
    state: State
    reason: str | None
    cleared: NotRequired[int]
    traceparent: NotRequired[str]


class Newest(TypedDict):
    """The newest accepted event of a member, and what the order of the next one depends on."""

    member_number: str
    instance_id: int
    operation: str
    modification: int | None
    occurred_at: datetime
    occurred_until: datetime | None
    row_id: str | None
    sequence_from: datetime | None
    email: str
    shown: int | None


def lock_members(tx: Connection, member_numbers: Sequence[str], *, make: bool) -> set[str]:
    """Lock the members in key order, so that two intakes cannot deadlock; return those that are there.

    *make*: whoever is not there is made, with nothing but the number, and locked too.
    """
    meant = sorted(set(member_numbers))
    numbers = {"numbers": json_rows(meant)}
    if make:
        tx.execute(_INSERT_MEMBERS, numbers)
    locked = set(tx.execute(_LOCK_MEMBERS, numbers).scalars()) - {None}
    if make and len(locked) < len(meant):  # one is just being forgotten
        return lock_members(tx, meant, make=True)
    return locked


def lock_whole(tx: Connection, member_number: str) -> None:
    """Lock a member against every intake until this transaction ends, also against one that finds it new."""
    if not tx.execute(_IS_THERE, {"number": member_number}).scalar():
        tx.execute(_CLOSE_DOOR)
    lock_members(tx, [member_number], make=True)


def drop_unknown(tx: Connection, member_numbers: Sequence[str]) -> None:
    """Delete those of these locked members of which no event was ever taken in."""
    tx.execute(_DROP_UNKNOWN, {"numbers": json_rows(member_numbers)})


def standings(tx: Connection, member_numbers: Sequence[str]) -> dict[str, Standing]:
    """Read where each locked member stands."""
    rows = tx.execute(_STANDINGS, {"numbers": json_rows(set(member_numbers))})
    return {
        row.member_number: Standing(
            newest=Version(row.newest_modification, row.newest_occurred_at, row.newest_occurred_until)
            if row.newest_occurred_at
            else None,
            newest_operation=row.newest_operation,
            row_id=row.row_id,
            sequence_from=row.sequence_from,
            applied_hash=row.applied_hash,
            synced=row.synced,
            running=row.running,
            queued=Queued(row.queued_id, row.failing, row.cleared or 0) if row.queued_id else None,
            shown=row.shown,
            forgotten_until=row.forgotten_until,
        )
        for row in rows
    }


def shown_before(tx: Connection, member_numbers: Sequence[str]) -> dict[str, int]:
    """Return what the newest events of these members show, of those that came before that was noted."""
    rows = tx.execute(_SHOWN_BEFORE, {"numbers": json_rows(member_numbers)})
    return {row.member_number: shown_of(row.operation, packed_events.member(row.event) or {}) for row in rows}


def row_owners(tx: Connection, row_ids: Sequence[str]) -> dict[str, str]:
    """Return of which member each of these rows is, of those that Siebel has shown to be somebody's."""
    rows = tx.execute(_ROW_OWNERS, {"row_ids": json_rows(set(row_ids))})
    return {row.proven_row_id: row.member_number for row in rows}


def known_events(tx: Connection, event_ids: Sequence[str]) -> dict[str, Known]:
    """Find which of these event ids the ledger has already."""
    rows = tx.execute(_KNOWN, {"ids": json_rows(event_ids)})
    return {row.event_id: Known(row.id, row.event_hash) for row in rows}


class Taken(NamedTuple):
    """Instance ids, ascending; the time by the ledger's clock; and whether it packs events."""

    ids: list[int]
    now: datetime
    packs: bool


def take_ids(tx: Connection, count: int) -> Taken:
    """Take *count* instance ids, at least one."""
    taken = tx.execute(_TAKE_IDS, {"count": count}).all()
    return Taken([row.id for row in taken], taken[0].now, taken[0].packs)


def insert(  # noqa: PLR0913  # what is written, and where it meets what is there
    tx: Connection,
    instances: Sequence[NewInstance],
    events: Sequence[Mapping[str, Any]],
    newest: Mapping[str, Newest],
    *,
    there: Collection[str],
    taken: Taken,
) -> None:
    """Write the instances with the event of each and the first line of their activity; move their members on.

    *newest* by member number; a member that is not *there* is made.

    Raises:
        LedgerConflictError: at the end of the statement: another intake has made it meanwhile.
    """
    if not instances:
        return
    strangers = sorted({one["member_number"] for one in instances}.difference(there))
    lines = json_lines(events)
    rows = {
        "rows": json_rows(instances),
        "events": "" if taken.packs else lines,
        "packed": packed_events.packed(lines.split("\n")) if taken.packs else "",
        "strangers": json_rows(newest.get(number, {"member_number": number}) for number in strangers),
        "newest": json_rows(one for number, one in newest.items() if number in there),
    }
    tx.execute(_INSERT, rows | {"now": taken.now})


# Texts come as one JSON array: psycopg takes ten times as long for an array of PostgreSQL's.
_INSERT_MEMBERS = text("""
    insert into member (member_number)
    select number from json_array_elements_text(cast(:numbers as json)) as number order by number
    on conflict do nothing
""")
_DOOR = 7264013115
"""What every intake holds a share of: whoever has all of it has no intake beside it."""
_CLOSE_DOOR = text(f"select pg_advisory_xact_lock({_DOOR})")
_IS_THERE = text("select exists (select from member where member_number = :number)")
_LOCK_MEMBERS = text(f"""
    select m.member_number
    from pg_advisory_xact_lock_shared({_DOOR}) as door
    left join lateral (
        select member_number from member
        where member_number = any(array(select json_array_elements_text(cast(:numbers as json))))
        order by member_number for update
    ) as m on true
""")
_DROP_UNKNOWN = text("""
    delete from member m
    where m.member_number = any(array(select json_array_elements_text(cast(:numbers as json))))
      and m.newest_id is null and not exists (select from instance i where i.member_number = m.member_number)
""")
_FORGOTTEN = "what = 'forget' and not denied"
_STANDINGS = text(f"""
    select n.number as member_number, m.newest_modification, m.newest_occurred_at, m.newest_occurred_until,
           m.newest_operation, m.row_id, m.sequence_from, m.applied_hash, coalesce(m.synced, false) as synced, m.shown,
           q.id as queued_id, q.cleared, r.id is not null or m.errand_id is not null as running,
           q.failing_since is not null and q.failed_stage in ('oic', 'crowdtwist') as failing,
           case when exists (select from operator_action where {_FORGOTTEN}) then (
               select max(cast(f.asked->>'until' as timestamptz)) from operator_action f
               where {_FORGOTTEN} and f.asked->>'key' = {forgotten_key_sql("n.number")}) end as forgotten_until
    from json_array_elements_text(cast(:numbers as json)) as n (number)
    left join member m on m.member_number = n.number
    left join lateral (select * from instance i where i.member_number = m.member_number and i.state in ({IS_QUEUED})
                       limit 1) as q on true
    left join lateral (select id from instance i where i.member_number = m.member_number and i.state = 'running'
                       limit 1) as r on true
""")
_SHOWN_BEFORE = text(f"""
    select m.member_number, m.newest_operation as operation, {event_sql("p")} as event
    from member m join payload p on p.instance_id = m.newest_id
    where m.member_number = any(array(select json_array_elements_text(cast(:numbers as json))))
""")
_ROW_OWNERS = text("""
    select proven_row_id, member_number from member
    where proven_row_id = any(array(select json_array_elements_text(cast(:row_ids as json))))
""")
_KNOWN = text("""
    select event_id, id, event_hash from instance
    where event_id = any(array(select json_array_elements_text(cast(:ids as json))))
""")
_TAKE_IDS = text("""
    select nextval((select cast(pg_get_serial_sequence('instance', 'id') as regclass))) as id, c.now,
           (select packs from compatibility) as packs
    from (select clock_timestamp() as now) as c, generate_series(1, :count) order by id
""")
_REPAIRED = "; a repair made it of Siebel''s row"
# Who is new comes first, in key order: two intakes that meet there wait before they hold anything else.
# The events apart from their rows, line by line: taken out of one array of JSON, each would be read twice more.
_NEWEST = """member_number text, instance_id bigint, operation text, modification bigint, occurred_at timestamptz,
             occurred_until timestamptz, row_id text, sequence_from timestamptz, email text, shown int"""
_INSERT = text(f"""
    with strangers as (
        insert into member (member_number, newest_id, newest_operation, newest_modification, newest_occurred_at,
                            newest_occurred_until, row_id, sequence_from, email_key, shown)
        select member_number, instance_id, operation, modification, occurred_at, occurred_until, row_id, sequence_from,
               {key_sql("r.email")}, shown
        from json_to_recordset(cast(:strangers as json)) as r ({_NEWEST}) order by member_number
        returning member_number
    ), arrived as materialized (
        select * from rows from (
            json_to_recordset(cast(:rows as json))
                as (instance_id bigint, event_id text, event_hash text, content_hash text, member_number text,
                    operation text, lane text, origin text, modification bigint, occurred_at timestamptz, state text,
                    reason text, cleared int, traceparent text),
            string_to_table(:events, chr(10)), string_to_table(:packed, chr(10))
        ) as r (instance_id, event_id, event_hash, content_hash, member_number, operation, lane, origin, modification,
                occurred_at, state, reason, cleared, traceparent, event, packed)
    ), instances as (
        insert into instance (id, event_id, event_hash, content_hash, member_number, operation, lane, origin,
                              modification, occurred_at, accepted_at, state, reason, due_at, finished_at,
                              cleared)
        select instance_id, event_id, decode(event_hash, 'hex'), decode(content_hash, 'hex'), member_number, operation,
               lane, origin, modification, occurred_at, :now, state, reason, :now,
               case when state = 'pending' then null else cast(:now as timestamptz) end, cleared
        from arrived where (select count(*) from strangers) is not null
    ), newest as (
        update member m
        set newest_id = r.instance_id, newest_operation = r.operation, newest_modification = r.modification,
            newest_occurred_at = r.occurred_at, newest_occurred_until = r.occurred_until, row_id = r.row_id,
            sequence_from = r.sequence_from, email_key = {key_sql("r.email")}, shown = r.shown
        from json_to_recordset(cast(:newest as json)) as r ({_NEWEST})
        where m.member_number = r.member_number
    ), lines as (
        insert into activity (instance_id, state, what)
        select instance_id, state,
               coalesce(reason, 'accepted') || case origin when 'reconcile' then '{_REPAIRED}' else '' end
        from arrived
    )
    insert into payload (instance_id, event_json, event_packed, traceparent)
    select instance_id, cast(event as json), decode(packed, 'hex'), traceparent from arrived
""")
