"""Cycles of addresses, let loose step by step: the statements of `shared.lifecycle.cycles`.

The first step is an errand, which sends CrowdTwist what it acknowledged of one member last with another address; to put
the old address back is a resend.  All steps between are those of chains: whoever was refused for an address that has
become free is sent again (`member_queue`).  So each step is in the ledger before it is made, and whoever is killed
between two of them changes nothing; instances stay as they are, Siebel is told nothing of a parked address, and what is
newer goes before it.

Locks are taken in this order: members in key order, cycle.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.instances import Errand
from shared.ledger.engine import json_rows, wake
from shared.ledger.people import key_sql, user_sql
from shared.ledger.transitions.member_queue import IS_QUEUED, LOCK_MEMBERS, send_freed
from shared.lifecycle.cycles import CycleEnd, CycleFacts, CycleState, End, PutBack, StayParked, Wait, next_step
from shared.lifecycle.verdicts import ErrandEnded

_OPEN_MAX = 20
"""Cycles that are let loose at once."""
_SEEN_MAX = 200


def start_some(
    tx: Connection, *, parking: Callable[[str], str | None], deadline_s: float, asked_only: bool
) -> list[int]:
    """Begin to let cycles loose, as many as may be at once; return their ids.

    *parking*: the address to park a member at, None: it cannot be.  *asked_only*: only where CrowdTwist has shown who
    has each of the addresses.  A cycle that was tried with the same events, and did not come loose, is left to people.
    """
    if not tx.execute(_ONE_AT_A_TIME).scalar():
        return []
    room = _OPEN_MAX - int(tx.execute(_COUNT_OPEN).scalar_one())
    rings = tx.execute(_RINGS, {"limit": _SEEN_MAX}).all() if room > 0 else []
    started: list[int] = []
    for ring in rings:
        begun = _start(tx, ring.members, parking, deadline_s=deadline_s, asked_only=asked_only)
        started += [] if begun is None else [begun]
        if len(started) == room:
            break
    if started:
        wake(tx)
    return started


def _start(
    tx: Connection, members: Sequence[str], parking: Callable[[str], str | None], *, deadline_s: float, asked_only: bool
) -> int | None:
    tx.execute(LOCK_MEMBERS, {"numbers": sorted(members)})
    found = {row.member_number: row for row in tx.execute(_REFUSED, {"numbers": list(members)})}
    if len(found) < len(members) or (asked_only and any(row.looked is None for row in found.values())):
        return None
    ring = [found[number] for number in members]
    if any(after.held_key != row.wants_key for row, after in zip(ring, ring[1:] + ring[:1], strict=True)):
        return None
    refused = sorted(row.instance_id for row in ring)
    tried = {row.member_number: row.ended_how for row in tx.execute(_TRIED, {"refused": refused})}
    if set(tried.values()) - {CycleEnd.REFUSED, CycleEnd.GONE}:
        return None
    places = (at for at, row in enumerate(ring) if row.can_park and row.member_number not in tried)
    place, address = next(((at, to) for at in places if (to := parking(ring[at].member_number))), (0, None))
    if address is None:
        return None
    ring = ring[place:] + ring[:place]
    cycle: int = tx.execute(
        _INSERT,
        {
            "number": ring[0].member_number,
            "applied": ring[0].applied_id,
            "refused": refused,
            "keys": [row.wants_key for row in ring],
            "old": ring[0].held_key,
            "address": address,
            "deadline_s": deadline_s,
        },
    ).scalar_one()
    steps = [
        {"position": at, "member_number": row.member_number, "instance_id": row.instance_id}
        for at, row in enumerate(reversed(ring), start=1)
    ]
    tx.execute(_INSERT_STEPS, {"cycle": cycle, "rows": json_rows(steps)})
    _send(tx, cycle, Errand.PARK, "it is parked at another address, so that the cycle comes loose")
    return cycle


def open_ids(tx: Connection) -> list[int]:
    """Return the cycles that have not ended."""
    return list(tx.execute(_OPEN_IDS).scalars())


def advance(tx: Connection, cycle: int) -> CycleEnd | None:
    """Note which steps are done, and do what is next; return how the cycle ended, None: it goes on."""
    numbers = sorted(tx.execute(_MEMBERS, {"cycle": cycle}).scalars())
    tx.execute(LOCK_MEMBERS, {"numbers": numbers})
    if tx.execute(_LOCK, {"cycle": cycle}).first() is None:
        return None
    tx.execute(_NOTE_STEPS, {"cycle": cycle})
    row = tx.execute(_FACTS, {"cycle": cycle}).one()
    match next_step(_facts(row)):
        case Wait():
            return None
        case PutBack():
            tx.execute(_DROP, {"cycle": cycle})
            tx.execute(_RETURN, {"cycle": cycle})
            _send(tx, cycle, Errand.RESEND, "the address that it had before is put back: the cycle does not come loose")
            wake(tx)
            return None
        case StayParked():
            tx.execute(_STAY, {"cycle": cycle})
            return None
        case End(how):
            tx.execute(_DROP, {"cycle": cycle})
            tx.execute(_END, {"cycle": cycle, "how": how})
            return how


def finish(tx: Connection, ended: Sequence[ErrandEnded]) -> None:
    """Keep what the errands that park showed, their members locked; send whom that sets free."""
    parked = [one for one in ended if one.facts is not None and not one.facts.get("gone")]
    if parked:
        records = [{"id": one.instance_id, "echoed": (one.facts or {}).get("echoed")} for one in parked]
        tx.execute(_PARKED, {"rows": json_rows(records)})
        send_freed(tx, [one.member_number for one in parked])
    ends = [(one, CycleEnd.GONE) for one in ended if one.facts is not None and one.facts.get("gone")]
    ends += [(one, CycleEnd.REFUSED) for one in ended if one.facts is None and one.refused is not None]
    for one, how in ends:
        tx.execute(_END_OF, {"id": one.instance_id, "how": how})


def prune(tx: Connection, *, days: int) -> None:
    """Delete cycles that ended so many days ago."""
    tx.execute(_PRUNE, {"days": days})


def _send(tx: Connection, cycle: int, errand: Errand, what: str) -> None:
    tx.execute(_SEND, {"cycle": cycle, "kind": errand, "what": what})


def _facts(row: Row[Any]) -> CycleFacts:
    values = row._asdict()
    return CycleFacts(**values | {"state": CycleState(row.state)})


_ONE_AT_A_TIME = text("select pg_try_advisory_xact_lock(7264013113)")
"""Two desks do not begin the same cycle."""
_COUNT_OPEN = text("select count(*) from address_cycle where ended_at is null")
_RINGS = text("""
    select array[c.member_number] || c.path as members
    from data_case c
    where c.closed_at is null and c.kind = 'cycle' and c.member_number < all(c.path)
      and not exists (select from address_cycle_step s join address_cycle y on y.id = s.cycle_id
                      where s.member_number = c.member_number and y.ended_at is null)
    order by c.id limit :limit
""")
"""Each cycle once, from its first member in key order on."""
_REFUSED = text(f"""
    select m.member_number, c.instance_id, c.wants_key, c.looked, m.held_email_key as held_key, m.applied_id,
           m.lost_write_id is null and m.read_back_at is null and a.operation <> 'delete'
               and {key_sql(user_sql("p") + "->>'email_address'")} = m.held_email_key as can_park
    from member m
    join data_case c on c.member_number = m.member_number and c.closed_at is null and c.kind = 'cycle'
    join instance i on i.id = c.instance_id and i.id = m.newest_id
                   and i.state = 'rejected' and i.failed_stage = 'crowdtwist' and i.operation <> 'delete'
    left join instance a on a.id = m.applied_id
    left join mapping p on p.instance_id = m.applied_id
    where m.member_number = any(cast(:numbers as text[])) and m.errand_id is null and m.held_email_key is not null
      and not exists (select from instance q where q.member_number = m.member_number
                                               and q.state in ({IS_QUEUED}, 'running'))
    for update of c
""")
"""Of locked members, those that stand still with what was refused; with what else of them is known."""
_TRIED = text("select member_number, ended_how from address_cycle where refused_ids = cast(:refused as bigint[])")
_INSERT = text(f"""
    insert into address_cycle (member_number, instance_id, refused_ids, address_keys, old_key, park_key, deadline_at)
    values (:number, :applied, cast(:refused as bigint[]), cast(:keys as bytea[]), :old,
            {key_sql("cast(:address as text)")}, now() + make_interval(secs => :deadline_s))
    returning id
""")
_INSERT_STEPS = text("""
    insert into address_cycle_step (cycle_id, position, member_number, instance_id)
    select :cycle, position, member_number, instance_id
    from json_to_recordset(cast(:rows as json)) as r (position smallint, member_number text, instance_id bigint)
""")
_SEND = text("""
    with noted as (
        insert into activity (instance_id, stage, state, what)
        select m.newest_id, 'crowdtwist', i.state, :what
        from address_cycle y join member m using (member_number) join instance i on i.id = m.newest_id
        where y.id = :cycle
    )
    insert into errand (instance_id, member_number, kind, stage, lane, due_at)
    select instance_id, member_number, :kind, 'crowdtwist', 'live', now() from address_cycle where id = :cycle
    on conflict (instance_id, kind) do nothing
""")
_OPEN_IDS = text("select id from address_cycle where ended_at is null order by id")
_MEMBERS = text("select member_number from address_cycle_step where cycle_id = :cycle")
_LOCK = text("select from address_cycle where id = :cycle and ended_at is null for update")
_NOTE_STEPS = text("""
    update address_cycle_step s set done_at = clock_timestamp()
    from member m
    where s.cycle_id = :cycle and s.done_at is null and m.member_number = s.member_number
      and m.applied_id >= s.instance_id
""")
_FACTS = text(f"""
    select y.state, e.id is not null as is_sending, coalesce(e.token <> 0, false) as is_out,
           coalesce(e.attempt > 0, false) as was_tried, coalesce(m.applied_id > y.instance_id, false) as is_own,
           s.all_moved, s.is_whole, s.is_moving,
           exists (select from member h where h.held_email_key = y.old_key
                                          and h.member_number <> y.member_number) as is_taken,
           coalesce(m.acknowledged_at > y.returned_at, false) as is_back,
           extract(epoch from now() - greatest(y.started_at, y.parked_at, y.returned_at, s.done_at))::float8 as still_s,
           extract(epoch from now() - y.deadline_at)::float8 as late_s,
           extract(epoch from now() - y.returned_at)::float8 as returned_s
    from address_cycle y
    join member m using (member_number)
    left join errand e on e.instance_id = y.instance_id
                      and e.kind = case y.state when 'returning' then 'resend' else 'park' end,
    lateral (
        select bool_and(s.done_at is not null) as all_moved, bool_and(o.newest_id = s.instance_id) as is_whole,
               bool_or(exists (select from instance q where q.member_number = s.member_number
                                                        and q.state in ({IS_QUEUED}, 'running'))) as is_moving,
               max(s.done_at) as done_at
        from address_cycle_step s join member o on o.member_number = s.member_number
        where s.cycle_id = y.id
    ) as s
    where y.id = :cycle
""")
_DROP = text("""
    delete from errand e using address_cycle y
    where y.id = :cycle and e.instance_id = y.instance_id and e.kind = 'park' and e.token = 0
""")
_RETURN = text("update address_cycle set state = 'returning', returned_at = clock_timestamp() where id = :cycle")
_STAY = text("update address_cycle set state = 'parked', parked_at = coalesce(parked_at, now()) where id = :cycle")
_END = text("""
    update address_cycle set state = 'ended', ended_at = clock_timestamp(), ended_how = :how where id = :cycle
""")
_END_OF = text("""
    update address_cycle set state = 'ended', ended_at = clock_timestamp(), ended_how = :how
    where instance_id = :id and state = 'parking'
""")
_PARKED = text("""
    with shown as (
        update address_cycle y set state = 'parked', parked_at = clock_timestamp()
        from json_to_recordset(cast(:rows as json)) as r (id bigint, echoed jsonb)
        where y.instance_id = r.id and y.state = 'parking'
        returning y.member_number, y.park_key, r.echoed
    )
    update member m set held_email_key = s.park_key, echoed = coalesce(s.echoed, m.echoed)
    from shown s where m.member_number = s.member_number
""")
_PRUNE = text("delete from address_cycle where ended_at < now() - make_interval(days => :days)")
