"""What the ledger holds of people: what instances carry, and who has which e-mail address.

An instance carries the event as accepted, and the CrowdTwist user that the oic stage once made of it.

CrowdTwist lets one member have an e-mail address, so a refusal may hang on another's pending change.  A member has two
keys of addresses: `email_key` of its newest accepted event, `held_email_key` of what CrowdTwist last took.  A key is a
SHA-256 under a secret of this ledger: it finds who has an exact address and tells nobody which.

A gives an address up and B takes it; B's call comes first and is refused.  While A's change is on its way, B waits;
when A's call has ended, whichever way, B is due at once, and a refusal with nobody to wait for stands.  Members that
wait for each other in a ring wait for nothing: their refusals stand too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from shared.ledger import packed_events
from shared.personal import Persons
from shared.pipeline import QUEUED, Stage, State


@dataclass(frozen=True, slots=True)
class Carried:
    """One instance's event and user; None: never mapped, or pruned."""

    instance_id: int
    member_number: str
    event: Mapping[str, Any] | None
    user: Mapping[str, Any] | None


def carried(tx: Connection, ids: Sequence[int]) -> list[Carried]:
    """Read what *ids* carry, in the order of their ids."""
    rows = tx.execute(_CARRIED, {"ids": list(ids)})
    return [Carried(row.id, row.member_number, packed_events.found(row.event), row.user_object) for row in rows]


def in_trouble(tx: Connection, *, limit: int) -> list[Persons]:
    """Read who the newest *limit* are that failed, or are failing."""
    return [(row.user_object, packed_events.member(row.event)) for row in tx.execute(_IN_TROUBLE, {"limit": limit})]


def of_late(tx: Connection, *, limit: int) -> list[Persons]:
    """Read who the newest *limit* are, and the newest that failed."""
    newest = [(row.user_object, packed_events.member(row.event)) for row in tx.execute(_NEWEST, {"limit": limit})]
    return newest + in_trouble(tx, limit=limit)


def event_sql(payload: str) -> str:
    """Return the expression of the event, for `packed_events.read`, of *payload*, a row of that table."""
    as_text = f"coalesce(cast({payload}.event_json as text), cast({payload}.event as text))"
    return f"coalesce({payload}.event_packed, convert_to({as_text}, 'UTF8'))"


def user_sql(mapping: str) -> str:
    """Return the expression of the CrowdTwist user, as json, of *mapping*, a row of that table."""
    return f"coalesce({mapping}.user_json, cast({mapping}.user_object as json))"


def resent_sql(work: str, mapping: str) -> str:
    """Return the same of an errand's *work*, whose instance has this *mapping*.

    A deletion that is sent again brings along what was acknowledged before it, for CrowdTwist may have lost that too.
    """
    return f"""
        case when {work}.operation = 'delete' and {work}.errand in ('resend', 'recreate') then coalesce((
                 select cast(cast({user_sql("e")} as jsonb) || cast({user_sql(mapping)} as jsonb) as json)
                 from instance a join mapping e on e.instance_id = a.id
                 where a.member_number = {work}.member_number and a.id < {work}.id and a.state = 'completed'
                   and a.operation <> 'delete'
                 order by a.id desc limit 1), {user_sql(mapping)})
             else {user_sql(mapping)} end"""


def reads(user: str) -> dict[Stage | None, tuple[str, str]]:
    """Return what a stage reads of `mine`, whom it begins, and of `m`, its member: expressions, and where they are.

    Shape: the event and *user*, the expression of the CrowdTwist user in which `f` is the mapping, as text, null where
    the stage does not need it; whether Siebel was told of the same content last; the trace.  None: nothing of it.
    """
    event, payload, untold = event_sql("f"), "join payload f on f.instance_id = mine.id", "null as told_of_this"
    no_user, no_event = "null as user_object", "null as event"
    return {
        None: (f"{no_event}, {no_user}, {untold}, null as traceparent", ""),
        Stage.OIC: (f"{event} as event, {no_user}, {untold}, f.traceparent", payload),
        # What another side says of a member is kept without its names.
        Stage.CROWDTWIST: (
            f"{event_sql('p')} as event, cast({user} as text) as user_object, {untold}, p.traceparent",
            "left join mapping f on f.instance_id = mine.id left join payload p on p.instance_id = mine.id",
        ),
        Stage.SIEBEL: (
            f"{event} as event, {no_user}, t.content_hash = mine.content_hash, f.traceparent",
            f"left {payload} left join instance t on t.id = m.told_id",
        ),
    }


_CARRIES = f"{event_sql('p')} as event, {user_sql('m')} as user_object"
_NEWEST = text(f"""
    select {_CARRIES}
    from (select id from instance order by id desc limit :limit) as i
    left join payload p on p.instance_id = i.id left join mapping m on m.instance_id = i.id
""")
_IN_TROUBLE = text(f"""
    select {_CARRIES}
    from (select id from instance where code is not null order by id desc limit :limit) as i
    left join payload p on p.instance_id = i.id left join mapping m on m.instance_id = i.id
""")
_CARRIED = text(f"""
    select i.id, i.member_number, {_CARRIES}
    from instance i left join payload p on p.instance_id = i.id left join mapping m on m.instance_id = i.id
    where i.id = any(cast(:ids as bigint[])) order by i.id
""")


PENDING = "address_pending"
"""The code of who waits for an address."""
_RING_MAX = 20
"""Members that are followed from one to the next; a longer row is taken for a ring."""


def key_sql(address: str) -> str:
    """Return the expression of the key of *address*, an expression of text; null where that is null or empty."""
    folded = f"nullif(lower(btrim({address})), '')"
    return f"sha256((select value from secret where name = 'email') || convert_to({folded}, 'UTF8'))"


def forgotten_key_sql(number: str) -> str:
    """Return the expression of the key under which it is kept that member *number*, an expression, was forgotten."""
    key = f"sha256((select value from secret where name = 'email') || convert_to('forgotten ' || {number}, 'UTF8'))"
    return f"encode({key}, 'hex')"


def giving_up(tx: Connection, ids: Sequence[int]) -> dict[int, str]:
    """Return for which of these refused instances another member is giving up the address, and which member that is."""
    rows = tx.execute(_GIVING_UP, {"ids": list(ids), "ring": _RING_MAX})
    return {row.id: row.holder for row in rows}


def members_of(tx: Connection, address: str) -> list[str]:
    """Find the first ten members that have exactly this address, in their newest event or in CrowdTwist."""
    return list(tx.execute(_MEMBERS, {"address": address}).scalars())


_ON_ITS_WAY = ", ".join(f"'{state}'" for state in (*QUEUED, State.RUNNING))
_GIVES_UP = f"""
    h.email_key is distinct from h.held_email_key
    and exists (select from instance n where n.id = h.newest_id and n.state in ({_ON_ITS_WAY})
                and n.stage in ('oic', 'crowdtwist'))
"""
_GIVING_UP = text(f"""
    with recursive wanted (id, first, member_number, key, depth) as (
        select i.id, h.member_number, h.member_number, h.email_key, 1
        from instance i
        join mapping p on p.instance_id = i.id
        join member h on h.held_email_key = {key_sql(user_sql("p") + "->>'email_address'")}
                     and h.member_number <> i.member_number
        where i.id = any(cast(:ids as bigint[])) and i.operation <> 'delete' and {_GIVES_UP}
        union all
        select w.id, w.first, h.member_number, h.email_key, w.depth + 1
        from wanted w join member h on h.held_email_key = w.key and h.member_number <> w.member_number
        where w.depth <= :ring and {_GIVES_UP}
    )
    select w.id, min(w.first) as holder
    from wanted w join instance i on i.id = w.id
    group by w.id, i.member_number
    having not bool_or(w.member_number = i.member_number) and max(w.depth) <= :ring
""")
_MEMBERS = text(f"""
    select member_number from member
    where email_key = {key_sql("cast(:address as text)")} or held_email_key = {key_sql("cast(:address as text)")}
    order by member_number limit 10
""")
