"""What is known of cases: read for those who judge them, and for people; it names whom it is about.

Who has the address that was refused is known from two sides.  By the ledger: the member that CrowdTwist last took it
from (`shared.ledger.people`).  By CrowdTwist, when it was asked after the refusal: that goes first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.ledger import packed_events
from shared.ledger.people import event_sql, user_sql
from shared.lifecycle import cases
from shared.lifecycle.cases import CaseKind, Standing

_ORDER = 10**12
"""A cursor: how much a case unblocks, times this, and its id."""


@dataclass(frozen=True, slots=True)
class CaseFilter:
    """Which cases; empty fields mean any.  *is_open* None: open and closed."""

    kinds: tuple[CaseKind, ...] = ()
    members: tuple[str, ...] = ()
    is_open: bool | None = True


@dataclass(frozen=True, slots=True)
class HolderFacts:
    """Who has the address.

    Shape: *user* what is known of the person, in CrowdTwist's words; *by_look_up*: CrowdTwist showed it, at *seen_at*;
    else it is by the ledger.
    """

    member_number: str | None
    ct_user_id: int | None
    is_ours: bool
    is_active: bool | None
    moves: bool
    operation: str | None
    by_look_up: bool
    seen_at: datetime | None
    user: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class CycleShown:
    """The cycle of addresses that a member is in while it is let loose.

    Shape: *parked_member* is parked, or about to be, *parked_at* since when, None: not yet; *done* of *steps* members
    have what they wanted; *is_late*: its deadline is over.
    """

    parked_member: str
    parked_at: datetime | None
    deadline_at: datetime
    done: int
    steps: int
    is_late: bool


@dataclass(frozen=True, slots=True)
class Parked:
    """How many members are parked: within the deadline of their cycle, and past it."""

    in_time: int
    late: int


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """One case with all that is known about it; it names people."""

    case_id: int
    member_number: str
    instance_id: int
    kind: str | None
    field: str | None
    rule: str | None
    character: str | None
    words: str
    refused_by: str | None
    user: Mapping[str, Any] | None
    member: Mapping[str, Any]
    holder: HolderFacts | None
    looked: str | None
    looked_up_at: datetime | None
    path: list[str]
    unblocks: int
    retries: int
    standing: Standing
    coming_id: int | None
    coming_hold_id: int | None
    cycle: CycleShown | None
    opened_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    note: str | None
    closed_at: datetime | None
    closed_how: str | None


@dataclass(frozen=True, slots=True)
class CaseFactsPage:
    """Cases, what unblocks most first; *next* is the cursor of the page after this one, None at the end."""

    items: list[CaseFacts]
    next: str | None


def listed(tx: Connection, where: CaseFilter, *, limit: int, before: int | None = None) -> CaseFactsPage:
    """List at most *limit* cases, what unblocks most first, then the oldest; *before*: cursor of the page before."""
    unblocks, last = divmod(before, _ORDER) if before is not None else (None, None)
    parameters = {
        "kinds": list(where.kinds) or None,
        "members": list(where.members) or None,
        "is_open": where.is_open,
        "limit": limit + 1,
        "unblocks": unblocks,
        "last": last,
    }
    ids = list(tx.execute(_LISTED, parameters).scalars())
    items = read(tx, ids[:limit])
    following = str(items[-1].unblocks * _ORDER + items[-1].case_id) if len(ids) > limit and items else None
    return CaseFactsPage(items, following)


def newest_ids(tx: Connection, *, limit: int, before: int | None = None) -> list[tuple[int, int]]:
    """Return the newest cases below *before*, open and closed: the id of each, and of the instance that was refused."""
    rows = tx.execute(_NEWEST, {"before": before, "limit": limit})
    return [(row.id, row.instance_id) for row in rows]


def case(tx: Connection, case_id: int) -> CaseFacts | None:
    """Read one case; None: there is none."""
    return next(iter(read(tx, [case_id])), None)


def open_case_of(tx: Connection, member_number: str) -> int | None:
    """Return the id of a member's open case; None: it has none."""
    found: int | None = tx.execute(_OF_MEMBER, {"number": member_number}).scalar()
    return found


def counts(tx: Connection) -> dict[str, int]:
    """Count the open cases by kind; one that is not judged yet is `other`."""
    return {row.kind: row.total for row in tx.execute(_COUNTS)}


def parked(tx: Connection) -> Parked:
    """Count the members that are parked, or may be."""
    return Parked(*tx.execute(_PARKED).one())


def read(tx: Connection, ids: Sequence[int]) -> list[CaseFacts]:
    """Read these cases, in this order."""
    found = {row.case_id: _facts(row) for row in tx.execute(_CASES, {"ids": list(ids)})}
    return [found[one] for one in ids if one in found]


def _facts(row: Row[Any]) -> CaseFacts:
    holder = None
    if row.holder is not None or row.has_it is not None:
        shown: Mapping[str, Any] = row.holder or {}
        by_look_up = row.holder is not None
        holder = HolderFacts(
            member_number=shown.get("third_party_id") if by_look_up else row.has_it,
            ct_user_id=shown.get("id") if by_look_up else row.holder_ct_user_id,
            is_ours=row.has_it is not None,
            is_active=shown.get("is_active") if by_look_up else row.holder_active,
            moves=bool(row.holder_moves),
            operation=row.holder_operation,
            by_look_up=by_look_up,
            seen_at=row.looked_up_at if by_look_up else None,
            user=shown if by_look_up else row.holder_echoed,
        )
    standing = Standing(
        row.state,
        row.stage,
        row.status,
        row.operation,
        row.is_same,
        bool(row.is_same_content),
        row.retries > 0,
        bool(row.is_parked),
    )
    cycle = None
    if row.parked_member is not None:
        cycle = CycleShown(row.parked_member, row.parked_at, row.deadline_at, row.done, row.steps, row.is_late)
    return CaseFacts(
        row.case_id,
        row.member_number,
        row.instance_id,
        row.kind,
        row.field,
        row.rule,
        row.character,
        row.words or "",
        row.refused_by,
        row.user_object,
        packed_events.member(row.event) or {},
        holder,
        row.looked,
        row.looked_up_at,
        row.path,
        row.unblocks,
        row.retries,
        standing,
        row.newest_id if cases.is_coming(standing) else None,
        row.hold_id if cases.is_coming(standing) else None,
        cycle,
        row.opened_at,
        row.acknowledged_at,
        row.acknowledged_by,
        row.note,
        row.closed_at,
        row.closed_how,
    )


HAS_IT = (
    "case when {0}.looked is null then {0}.held_by when {0}.looked = 'found' then {0}.holder->>'third_party_id' end"
)
"""Of a case: the member that has the address."""
_FACTS = f"""
    select c.id as case_id, c.member_number, c.instance_id, c.kind, c.field, c.rule, c.character,
           b.error as words, b.failed_stage as refused_by, {user_sql("u")} as user_object,
           {event_sql("p")} as event,
           c.looked, c.looked_up_at, c.holder, c.path, c.unblocks, c.retries, c.opened_at, c.acknowledged_at,
           c.acknowledged_by, c.note, c.closed_at, c.closed_how,
           m.newest_id, m.newest_id = c.instance_id as is_same, n.state, n.stage, n.status, n.operation, n.hold_id,
           n.content_hash = b.content_hash as is_same_content,
           h.member_number as has_it, h.ct_user_id as holder_ct_user_id, h.newest_operation as holder_operation,
           h.echoed as holder_echoed,
           case when jsonb_typeof(h.echoed->'is_active') = 'boolean' then cast(h.echoed->'is_active' as boolean)
                when h.newest_operation = 'delete' and h.synced then false end as holder_active,
           h.email_key is distinct from h.held_email_key and hn.state not in ('completed', 'unchanged', 'skipped')
               as holder_moves,
           y.parked_member, y.parked_at, y.deadline_at, y.done, y.steps, y.deadline_at <= now() as is_late,
           y.parked_member = c.member_number and m.applied_id = y.instance_id as is_parked
    from data_case c
    join member m on m.member_number = c.member_number
    left join instance n on n.id = m.newest_id
    left join instance b on b.id = c.instance_id
    left join payload p on p.instance_id = c.instance_id
    left join mapping u on u.instance_id = c.instance_id
    left join member h on c.closed_at is null and h.member_number = {HAS_IT.format("c")}
    left join instance hn on hn.id = h.newest_id
    left join lateral (
        select y.member_number as parked_member, y.instance_id, y.parked_at, y.deadline_at,
               (select count(*) from address_cycle_step t where t.cycle_id = y.id) as steps,
               (select count(*) from address_cycle_step t where t.cycle_id = y.id and t.done_at is not null) as done
        from address_cycle_step s join address_cycle y on y.id = s.cycle_id and y.ended_at is null
        where s.member_number = c.member_number order by y.id desc limit 1
    ) as y on c.closed_at is null
    where c.id = any(cast(:ids as bigint[]))
"""
_CASES = text(_FACTS)
_LISTED = text("""
    select id from data_case
    where (cast(:is_open as boolean) is null or (closed_at is null) = :is_open)
      and (cast(:kinds as text[]) is null or kind = any(:kinds))
      and (cast(:members as text[]) is null or member_number = any(:members))
      and (cast(:last as bigint) is null or unblocks < :unblocks or unblocks = :unblocks and id > :last)
    order by unblocks desc, id limit :limit
""")
_NEWEST = text("""
    select id, instance_id from data_case
    where cast(:before as bigint) is null or id < :before order by id desc limit :limit
""")
_OF_MEMBER = text("select id from data_case where member_number = :number and closed_at is null")
_PARKED = text("""
    select count(*) filter (where y.deadline_at > now()), count(*) filter (where y.deadline_at <= now())
    from address_cycle y join member m using (member_number)
    left join errand e on e.instance_id = y.instance_id and e.kind = 'park'
    where y.ended_at is null and m.applied_id = y.instance_id
      and not (y.state = 'parking' and e.id is not null and e.attempt = 0)
""")
"""Who has the errand that parks it still, and was not tried, is not parked."""
_COUNTS = text(
    "select coalesce(kind, 'other') as kind, count(*) as total from data_case where closed_at is null group by 1"
)
