"""Statements of cases: opened where a Data Error is written, judged, looked up, acknowledged, closed.

A case is of a member whose newest event is a Data Error.  It is opened in the transaction that writes the Data Error,
and all else is done beside the way of events: `refresh` judges what is new, and closes what is over; `weigh` counts who
waits for whom.  Whoever reads cases refreshes first, so that nobody is shown what is over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from shared.ledger.case_facts import HAS_IT, CaseFacts, read
from shared.ledger.engine import json_rows
from shared.ledger.people import key_sql, user_sql
from shared.lifecycle import cases
from shared.lifecycle.cases import LONGEST_PATH, CaseKind, Finding, Holder, LookUp, Refused
from shared.personal import unmarked

_WAITS_MAX = 100_000
"""Cases that wait for another member, of which it is counted who waits for whom."""


@dataclass(frozen=True, slots=True)
class ToLookUp:
    """A case of which CrowdTwist is to be asked who has *address*."""

    case_id: int
    member_number: str
    address: str


def opened(tx: Connection, ids: Sequence[int]) -> None:
    """Open cases of these instances, of those that are Data Errors and the newest of their locked members.

    A member whose case is open goes on with that.
    """
    tx.execute(_OPEN, {"ids": list(ids)})


def refresh(tx: Connection, *, limit: int, after: int | None = None) -> tuple[int, int]:
    """Judge at most *limit* new cases; *after*: and as many open ones from this id on, which may be over.

    Returns how many have changed, and the id to go on after, 0 at the end.  Cases that another has are passed by.
    """
    ids = list(tx.execute(_NEW, {"limit": limit}).scalars())
    last = 0
    if after is not None:
        next_ones = list(tx.execute(_NEXT, {"after": after, "limit": limit}).scalars())
        last = next_ones[-1] if len(next_ones) == limit else 0
        ids += [one for one in next_ones if one not in set(ids)]
    return judged(tx, ids), last


def judged(tx: Connection, ids: Sequence[int]) -> int:
    """Judge these cases, or close them; return how many have changed."""
    ids = list(tx.execute(_LOCK, {"ids": list(ids)}).scalars()) if ids else []
    if not ids:
        return 0
    tx.execute(_ADOPT, {"ids": ids})
    found = read(tx, ids)
    edges = {row.member_number: row.holder for row in tx.execute(_EDGES, {"ids": ids, "longest": LONGEST_PATH})}
    closed, changed = [], []
    for one in found:
        if (how := cases.closing(one.standing)) is not None:
            closed.append({"id": one.case_id, "how": how})
            continue
        path, in_ring = cases.path(one.member_number, edges)
        finding = _judged(one, in_ring=in_ring)
        was = Finding(CaseKind(one.kind), one.field, one.rule, one.character) if one.kind else None
        if (was, one.path) != (finding, list(path)):
            asks = cases.is_about_address(finding)
            changed.append(
                {"id": one.case_id, "path": list(path), "asks": asks}
                | {name: getattr(finding, name) for name in Finding.__dataclass_fields__}
            )
    if closed:
        tx.execute(_CLOSE, {"rows": json_rows(closed)})
    if changed:
        tx.execute(_JUDGE, {"rows": json_rows(changed)})
    return len(closed) + len(changed)


def weigh(tx: Connection) -> None:
    """Count anew how many cases wait for each of the others."""
    waits = {row.member_number: row.holder for row in tx.execute(_WAITS, {"limit": _WAITS_MAX})}
    counts = cases.unblocked(waits)
    rows = [{"member_number": number, "unblocks": count} for number, count in counts.items()]
    tx.execute(_WEIGH, {"rows": json_rows(rows)})


def claim_look_ups(tx: Connection, *, per_minute: int, limit: int, lease_s: float) -> list[ToLookUp]:
    """Take cases of which CrowdTwist is to be asked now, no more than *per_minute* are asked by all."""
    if not tx.execute(_ONE_AT_A_TIME).scalar():
        return []
    parameters = {"per_minute": per_minute, "limit": limit, "lease_s": lease_s}
    return [ToLookUp(*row) for row in tx.execute(_CLAIM_LOOK_UPS, parameters)]


def take_look_up(tx: Connection, case_id: int, *, lease_s: float) -> ToLookUp | None:
    """Take one case to ask about now, since somebody wants it; None: it is closed, or about no address."""
    row = tx.execute(_TAKE_LOOK_UP, {"id": case_id, "lease_s": lease_s}).one_or_none()
    return None if row is None else ToLookUp(*row)


def looked_up(
    tx: Connection, case_id: int, looked: LookUp, holder: Mapping[str, Any] | None, *, fresh_s: float
) -> None:
    """Keep what CrowdTwist showed: `member_queue.send_all_freed` then sends again whom that frees.

    It counts as seen when it was asked, not when the answer came: whoever moves in between has moved since.  A holder
    that has moved gives who waited for it all its retries again.

    Shape: *holder* is a user with `id`, `third_party_id`, `is_active` and the synced fields.
    """
    tx.execute(
        _LOOKED_UP,
        {
            "id": case_id,
            "looked": looked,
            "holder": None if holder is None else json_rows([holder]),
            "fresh_s": fresh_s,
        },
    )
    judged(tx, [case_id])


def look_again(tx: Connection, case_ids: Sequence[int], *, after_s: float) -> None:
    """Have CrowdTwist asked again soon about these cases, of which it has answered nothing."""
    tx.execute(_LOOK_AGAIN, {"ids": list(case_ids), "after_s": after_s})


def acknowledge(tx: Connection, case_id: int, *, by: str, note: str | None) -> bool:
    """Note that somebody has taken an open case up; say whether there is one."""
    return tx.execute(_ACKNOWLEDGE, {"id": case_id, "by": by, "note": note}).first() is not None


def prune(tx: Connection, *, days: int) -> None:
    """Delete cases that were closed so many days ago."""
    tx.execute(_PRUNE, {"days": days})


def _judged(facts: CaseFacts, *, in_ring: bool) -> Finding:
    shown = facts.holder
    holder = None if shown is None else Holder(shown.member_number, shown.is_ours, shown.is_active, shown.moves)
    looked = LookUp(facts.looked) if facts.looked else None
    return cases.judge(Refused(unmarked(facts.words), facts.user, facts.member), holder, looked, in_ring=in_ring)


_EMAIL = f"{user_sql('p')}->>'email_address'"
"""Of a mapping `p`: the address that was sent."""
_OPEN = text(f"""
    insert into data_case (member_number, instance_id, wants_key, held_by)
    select i.member_number, i.id, w.key,
           (select h.member_number from member h
            where h.held_email_key = w.key and h.member_number <> i.member_number order by h.member_number limit 1)
    from instance i
    join member m on m.member_number = i.member_number and m.newest_id = i.id
    left join mapping p on p.instance_id = i.id,
    lateral (select {key_sql(_EMAIL)} as key) as w
    where i.id = any(cast(:ids as bigint[])) and i.status = 'Data Error'
    on conflict (member_number) where closed_at is null
    do update set instance_id = excluded.instance_id, refused_at = clock_timestamp(), kind = null,
                  wants_key = excluded.wants_key, held_by = excluded.held_by,
                  looked = null, holder = null, look_at = null,
                  retries = case when data_case.instance_id = excluded.instance_id then data_case.retries else 0 end
""")
_NEW = text("select id from data_case where closed_at is null and kind is null order by id limit :limit")
_NEXT = text("""
    select id from data_case
    where closed_at is null and kind is not null and id > :after order by id limit :limit
""")
_LOCK = text("""
    select id from data_case
    where id = any(cast(:ids as bigint[])) and closed_at is null order by id for update skip locked
""")
_ADOPT = text("""
    update data_case c set held_by = h.member_number
    from member h
    where c.id = any(cast(:ids as bigint[])) and h.held_email_key = c.wants_key and h.member_number <> c.member_number
      and c.held_by is distinct from h.member_number
""")
"""Note who has the address by the ledger now; who had it stays until somebody else has."""
_EDGES = text(f"""
    with recursive e (member_number, holder, depth) as (
        select c.member_number, {HAS_IT.format("c")}, 1 from data_case c where c.id = any(cast(:ids as bigint[]))
        union
        select n.member_number, {HAS_IT.format("n")}, e.depth + 1
        from e join data_case n on n.member_number = e.holder and n.closed_at is null where e.depth <= :longest
    )
    select distinct member_number, holder from e where holder is not null
""")
"""From who wants an address to who has it, as far as cases lead."""
_JUDGE = text("""
    update data_case c
    set kind = r.kind, field = r.field, rule = r.rule, character = r.character,
        path = array(select json_array_elements_text(r.path)),
        look_at = case when not r.asks then null when c.looked is null then coalesce(c.look_at, now())
                       else c.look_at end
    from json_to_recordset(cast(:rows as json))
         as r (id bigint, kind text, field text, rule text, character text, path json, asks boolean)
    where c.id = r.id
""")
_CLOSE = text("""
    update data_case c set closed_at = clock_timestamp(), closed_how = r.how, holder = null, look_at = null
    from json_to_recordset(cast(:rows as json)) as r (id bigint, how text) where c.id = r.id
""")
_WAITS = text(f"""
    select c.member_number, {HAS_IT.format("c")} as holder from data_case c
    where c.closed_at is null and {HAS_IT.format("c")} is not null limit :limit
""")
_WEIGH = text("""
    with counted as (
        select c.id, coalesce(r.unblocks, 0) as unblocks
        from data_case c
        left join json_to_recordset(cast(:rows as json)) as r (member_number text, unblocks int)
               on r.member_number = c.member_number
        where c.closed_at is null and (r.unblocks is not null or c.unblocks > 0)
        for update of c skip locked
    )
    update data_case c set unblocks = r.unblocks from counted r where c.id = r.id and c.unblocks <> r.unblocks
""")
_ONE_AT_A_TIME = text("select pg_try_advisory_xact_lock(7264013112)")
"""Two dispatchers do not together ask more than may be asked in a minute."""
_ADDRESS = f"(select {_EMAIL} from mapping p where p.instance_id = c.instance_id)"
_CLAIM_LOOK_UPS = text(f"""
    update data_case c set look_at = now() + make_interval(secs => :lease_s), looked_up_at = now()
    where c.id = any(array(
        select c.id from data_case c
        where c.closed_at is null and c.look_at <= now() and {_ADDRESS} is not null order by c.look_at
        limit least(:limit, greatest(0, :per_minute - (
            select count(*) from data_case where looked_up_at > now() - interval '1 minute')))
        for update skip locked))
    returning c.id, c.member_number, {_ADDRESS}
""")
_TAKE_LOOK_UP = text(f"""
    update data_case c set look_at = now() + make_interval(secs => :lease_s), looked_up_at = now()
    where c.id = :id and c.closed_at is null and c.field = 'email_address' and {_ADDRESS} is not null
      and c.kind not in ('format', 'missing')
    returning c.id, c.member_number, {_ADDRESS}
""")
_LOOKED_UP = text("""
    update data_case
    set looked = :looked, holder = cast(:holder as jsonb)->0, look_at = now() + make_interval(secs => :fresh_s),
        retries = case when looked = 'found' and :looked <> 'found' then 0 else retries end
    where id = :id and closed_at is null
""")
_LOOK_AGAIN = text("""
    update data_case set look_at = least(look_at, now() + make_interval(secs => :after_s))
    where id = any(cast(:ids as bigint[])) and closed_at is null and look_at is not null
""")
_ACKNOWLEDGE = text("""
    update data_case set acknowledged_at = now(), acknowledged_by = :by, note = :note
    where id = :id and closed_at is null returning id
""")
_PRUNE = text("delete from data_case where closed_at < now() - make_interval(days => :days)")
