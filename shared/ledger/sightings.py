"""Statements of a run under way: what is known of members, what was seen of them, who is drawn, who is suspected.

Whoever carries a run on has its token; each step is one transaction that ends with `run_turns.advance`, which writes
how far the run is, and fails if it is no longer theirs: so a cursor and what it stands for are written together or not
at all, and who has lost the lease writes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from shared.ledger import packed_events
from shared.ledger.engine import json_rows
from shared.ledger.people import event_sql, user_sql
from shared.ledger.transitions.member_queue import IS_QUEUED
from shared.reconciling import Outcome

RECENT_H = 24


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knows of a member, as far as comparing needs it; see `shared.ledger.models.pipeline.Member`.

    Shape: *newest_hash* of the content of the newest accepted event, None: pruned; *applied_…* of what CrowdTwist last
    took; *marker* is another when anything was accepted, applied or told since.
    """

    member_number: str
    row_id: str | None
    newest_id: int | None
    newest_operation: str | None
    newest_modification: int | None
    newest_occurred_at: datetime | None
    newest_occurred_until: datetime | None
    newest_state: str | None
    newest_status: str | None
    newest_hash: bytes | None
    newest_accepted_at: datetime | None
    applied_id: int | None
    applied_hash: bytes | None
    applied_operation: str | None
    is_in_crowdtwist: bool
    echoed: Mapping[str, Any] | None
    told_status: str | None
    told_error: str | None
    told_id: int | None
    told_at: datetime | None
    is_unsure: bool
    is_telling_unsure: bool
    is_requeued: bool
    in_flight: bool
    marker: str


@dataclass(frozen=True, slots=True)
class Details:
    """What tells a difference of one member: its newest event, when CrowdTwist acknowledged, and what it took before.

    Shape: *event* None: pruned; *earlier* the users that were sent before the one that CrowdTwist has, newest first.
    """

    event: Mapping[str, Any] | None
    acknowledged_at: datetime | None
    earlier: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Sighting:
    """A member as it was seen; see `shared.ledger.models.reconciling.Sighting`."""

    member_number: str
    stratum: str
    page: str = ""
    row_id: str | None = None
    marker: str = ""
    drawn: bool = False
    looked_at: datetime | None = None
    suspected_at: datetime | None = None
    siebel: bytes | None = None
    crowdtwist: bytes | None = None
    from_file: Mapping[str, Any] | None = None
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A difference that was seen for the second time; fields as of `shared.ledger.reconciliations.Difference`."""

    member_number: str
    drift_class: str
    field: str | None
    siebel: Any
    crowdtwist: Any
    ledger: Any
    first_seen_at: datetime
    evidence: str
    acknowledged_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StratumCount:
    """How many of a stratum were seen, could be compared, and were looked at in CrowdTwist."""

    stratum: str
    size: int
    looked: int
    moving: int
    unread: int


def known(tx: Connection, numbers: Sequence[str]) -> dict[str, Known]:
    """Read what is known of these members; absent: nothing is."""
    rows = tx.execute(_KNOWN, {"numbers": json_rows(set(numbers))}).all()
    return {row[0]: Known(*row) for row in rows}


def details(tx: Connection, numbers: Sequence[str]) -> dict[str, Details]:
    """Read what tells the differences of these members."""
    rows = tx.execute(_DETAILS, {"numbers": json_rows(set(numbers))}).all()
    return {
        row.member_number: Details(packed_events.found(row.event), row.acknowledged_at, row.earlier) for row in rows
    }


def acknowledged(tx: Connection, numbers: Sequence[str]) -> dict[str, datetime | None]:
    """Read when CrowdTwist acknowledged these members last, as `details` does, and no more than that."""
    rows = tx.execute(_ACKNOWLEDGED, {"numbers": json_rows(set(numbers))}).all()
    return {row.member_number: row.acknowledged_at for row in rows}


def members_of_users(tx: Connection, user_ids: Sequence[int]) -> dict[int, str]:
    """Return whose these CrowdTwist ids are, of those that one member is known to have."""
    return {row.ct_user_id: row.member_number for row in tx.execute(_OF_USERS, {"ids": list(user_ids)})}


def see(tx: Connection, run_id: int, seed: int, seen: Sequence[Sighting]) -> int:
    """Write down who was seen, once each; return how many were not yet."""
    if not seen:
        return 0
    return tx.execute(_SEE, {"run_id": run_id, "seed": seed, "rows": json_rows(seen)}).rowcount


def seen(tx: Connection, run_id: int, numbers: Sequence[str]) -> dict[str, Sighting]:
    """Return how each of these members was seen, of those that were."""
    rows = tx.execute(_SEEN, {"run_id": run_id, "numbers": json_rows(set(numbers))}).all()
    return {row.member_number: Sighting(*row) for row in rows}


def unseen(tx: Connection, run_id: int, *, after: str, limit: int) -> tuple[list[str], str | None, int]:
    """Go on through the ledger's members behind *after*.

    Returns those of the next *limit* that CrowdTwist has and Siebel did not show, the last of all, and how many.
    """
    row = tx.execute(_UNSEEN, {"run_id": run_id, "after": after, "limit": limit}).one()
    return row.unseen or [], row.last, row.total


def sizes(tx: Connection, run_id: int) -> list[StratumCount]:
    """Count the members that were seen, by stratum."""
    return [StratumCount(*row) for row in tx.execute(_SIZES, {"run_id": run_id})]


def draw(tx: Connection, run_id: int, drawn: Mapping[str, int]) -> None:
    """Draw so many of each stratum, in the order of their places; who has been looked at already counts."""
    tx.execute(_SORTS)
    rows = [{"stratum": stratum, "size": size} for stratum, size in drawn.items() if size]
    tx.execute(_DRAW, {"run_id": run_id, "rows": json_rows(rows)})


def to_look_at(tx: Connection, run_id: int, *, limit: int) -> list[Sighting]:
    """Return who is to be looked at next in CrowdTwist."""
    return [Sighting(*row) for row in tx.execute(_TO_LOOK_AT, {"run_id": run_id, "limit": limit}).all()]


def looked(tx: Connection, run_id: int, changed: Sequence[Sighting]) -> None:
    """Write what the first look at CrowdTwist, or a row of its file, showed."""
    in_order: dict[datetime | None, list[str]] = {}
    others = []
    for one in changed:
        if one.suspected_at is None and one.outcome is None:
            in_order.setdefault(one.looked_at, []).append(one.member_number)
        else:
            others.append(one)
    for at, numbers in in_order.items():
        tx.execute(_LOOKED_IN_ORDER, {"run_id": run_id, "at": at, "numbers": json_rows(numbers)})
    if others:
        tx.execute(_LOOKED, {"run_id": run_id, "rows": json_rows(others)})


def suspected(tx: Connection, run_id: int, *, settle_s: float, limit: int) -> list[Sighting]:
    """Return who is to be looked at for the second time and has settled, page by page."""
    some = {"run_id": run_id, "settle_s": settle_s, "limit": limit}
    return [Sighting(*row) for row in tx.execute(_SUSPECTED, some).all()]


def settles_in_s(tx: Connection, run_id: int, *, settle_s: float) -> float | None:
    """Return in how many seconds the next of those suspected has settled, None: nobody is."""
    found = tx.execute(_SETTLES, {"run_id": run_id, "settle_s": settle_s}).scalar()
    return None if found is None else max(0.0, float(found))


def conclude(tx: Connection, run_id: int, outcomes: Mapping[str, Outcome], found: Sequence[Found]) -> None:
    """Write what the second look came to: the outcome of each member, and the differences of those that differ."""
    rows = [{"member_number": number, "outcome": outcome} for number, outcome in outcomes.items()]
    tx.execute(_CONCLUDE, {"run_id": run_id, "rows": json_rows(rows)})
    if found:
        tx.execute(_FOUND, {"run_id": run_id, "rows": json_rows(found)})


def leave_moving(tx: Connection, run_id: int) -> None:
    """Take it that whoever is suspected still, and not seen twice, is moving."""
    tx.execute(_LEAVE_MOVING, {"run_id": run_id})


def found_by_stratum(tx: Connection, run_id: int) -> list[tuple[str, tuple[str, ...], bool, int]]:
    """Count the members that differ, by stratum, by their classes, and by whether CrowdTwist was looked at."""
    rows = tx.execute(_FOUND_BY_STRATUM, {"run_id": run_id})
    return [(row.stratum, tuple(row.classes), row.looked, row.total) for row in rows]


def restored(tx: Connection, run_id: int) -> tuple[int, datetime | None, datetime | None]:
    """Count who was rolled back, and say between which acknowledgements."""
    row = tx.execute(_RESTORED, {"run_id": run_id}).one()
    return row.total, row.first_at, row.last_at


def forget(tx: Connection, *, limit: int) -> int:
    """Delete what ended runs have seen and were handed, some of it; return how much."""
    return tx.execute(_FORGET_FILES).rowcount + tx.execute(_FORGET, {"limit": limit}).rowcount


IN_FLIGHT = f"""
           m.errand_id is not null
               or exists (select from errand e where e.member_number = m.member_number)
               or exists (select from instance q where q.member_number = m.member_number and q.state in ({IS_QUEUED}))
               or exists (select from instance q where q.member_number = m.member_number and q.state = 'running')"""
"""Whether something of a member `m` is under way."""
MARKER = """
           concat_ws(':', coalesce(m.newest_id, 0), coalesce(m.applied_id, 0), coalesce(m.told_id, 0),
                     coalesce(extract(epoch from m.told_at), 0))"""
"""What is known of a member `m`, as one word: another when anything was accepted, applied or told since."""
# When CrowdTwist took it is the line of that stage; where that is pruned, when Siebel was told of it.
ACKNOWLEDGED_AT = """
           coalesce((select max(l.at) from activity l
                     where l.instance_id = m.applied_id and l.stage = 'crowdtwist' and l.code is null
                       and (l.calls_json is not null or l.calls is not null)),
                    (select i.finished_at from instance i where i.id = m.applied_id),
                    case when m.told_id >= m.applied_id then m.told_at end)"""
"""When CrowdTwist took what a member `m` has there."""
_SIGHTING = ", ".join(Sighting.__dataclass_fields__)
_NUMBERS = "(select json_array_elements_text(cast(:numbers as json)))"
_KNOWN = text(f"""
    select m.member_number, m.row_id, m.newest_id, m.newest_operation, m.newest_modification, m.newest_occurred_at,
           m.newest_occurred_until, n.state, n.status,
           coalesce(n.content_hash, case when m.applied_id = m.newest_id then m.applied_hash end), n.accepted_at,
           m.applied_id, m.applied_hash,
           coalesce(a.operation, case when m.applied_id = m.newest_id then m.newest_operation end),
           m.known_in_crowdtwist or m.ct_user_id is not null, m.echoed, m.told_status, m.told_error, m.told_id,
           m.told_at,
           m.unknown_outcome or m.lost_write_id is not null or coalesce(n.losses, 0) > 0 or coalesce(a.losses, 0) > 0,
           m.lost_tell_id is not null or m.tell_again_at is not null,
           coalesce(n.resubmits, 0) > 0 or coalesce(a.resubmits, 0) > 0,
           {IN_FLIGHT}, {MARKER}
    from member m
    left join instance n on n.id = m.newest_id
    left join instance a on a.id = m.applied_id
    where m.member_number = any(array{_NUMBERS})
""")
_ACKNOWLEDGED = text(f"""
    select m.member_number, {ACKNOWLEDGED_AT} as acknowledged_at
    from member m where m.member_number = any(array{_NUMBERS})
""")
_DETAILS = text(f"""
    select m.member_number, {event_sql("p")} as event, {ACKNOWLEDGED_AT} as acknowledged_at,
           array(select {user_sql("u")} from instance i join mapping u on u.instance_id = i.id
                 where i.member_number = m.member_number and i.id < m.applied_id order by i.id desc limit 5) as earlier
    from member m left join payload p on p.instance_id = m.newest_id
    where m.member_number = any(array{_NUMBERS})
""")
_OF_USERS = text("""
    select ct_user_id, min(member_number) as member_number from member
    where ct_user_id = any(cast(:ids as bigint[])) group by ct_user_id having count(*) = 1
""")
_COLUMNS = """r (member_number text, stratum text, page text, row_id text, marker text, drawn boolean,
                    looked_at timestamptz, suspected_at timestamptz, siebel text, crowdtwist text, from_file jsonb,
                    outcome text)"""
_SEE = text(f"""
    insert into sighting (run_id, member_number, stratum, place, page, row_id, marker, drawn, looked_at, suspected_at,
                          siebel, crowdtwist, from_file, outcome)
    select :run_id, member_number, stratum, hashtextextended(member_number, :seed), page, row_id, marker, drawn,
           looked_at, suspected_at, decode(siebel, 'hex'), decode(crowdtwist, 'hex'), from_file, outcome
    from json_to_recordset(cast(:rows as json)) as {_COLUMNS}
    on conflict do nothing
""")
_SEEN = text(f"""
    select {_SIGHTING} from sighting where run_id = :run_id and member_number = any(array{_NUMBERS})
""")
# `limit`: of anything else the planner makes a look through all that the run has seen, in each step.
_UNSEEN = text("""
    select count(*) as total, max(m.member_number) as last,
           array_agg(m.member_number order by m.member_number) filter (where m.is_there and s.run_id is null) as unseen
    from (
        select member_number, known_in_crowdtwist or ct_user_id is not null as is_there
        from member where member_number > :after and newest_id is not null order by member_number limit :limit
    ) as m left join lateral (
        select run_id from sighting o where o.run_id = :run_id and o.member_number = m.member_number limit 1
    ) as s on true
""")
_SIZES = text("""
    select stratum, count(*) filter (where outcome is null or outcome in ('same', 'differs')) as size,
           count(*) filter (where looked_at is not null and (outcome is null or outcome in ('same', 'differs'))),
           count(*) filter (where outcome = 'moving'), count(*) filter (where outcome = 'unread')
    from sighting where run_id = :run_id group by stratum order by stratum
""")
_SORTS = text("""
    select set_config('enable_hashjoin', 'on', true), set_config('enable_seqscan', 'on', true),
           set_config('work_mem', '64MB', true)
""")
_DRAW = text("""
    with ranked as (
        select member_number, stratum, row_number() over (partition by stratum order by place) as place
        from sighting where run_id = :run_id and outcome is null
    )
    update sighting s set drawn = true
    from ranked q join json_to_recordset(cast(:rows as json)) as r (stratum text, size bigint)
         on r.stratum = q.stratum and q.place <= r.size
    where s.run_id = :run_id and s.member_number = q.member_number and s.looked_at is null
""")
_TO_LOOK_AT = text(f"""
    select {_SIGHTING} from sighting where run_id = :run_id and drawn and looked_at is null and outcome is null
    order by place limit :limit
""")
_LOOKED_IN_ORDER = text(f"""
    update sighting set looked_at = coalesce(looked_at, :at), drawn = false
    where run_id = :run_id and member_number = any(array{_NUMBERS})
""")
_LOOKED = text(f"""
    update sighting s
    set looked_at = coalesce(s.looked_at, r.looked_at), drawn = false, suspected_at = r.suspected_at, marker = r.marker,
        crowdtwist = decode(r.crowdtwist, 'hex'), from_file = coalesce(r.from_file, s.from_file), outcome = r.outcome
    from json_to_recordset(cast(:rows as json)) as {_COLUMNS}
    where s.run_id = :run_id and s.member_number = r.member_number
""")
_IS_SUSPECTED = "run_id = :run_id and suspected_at is not null and outcome is null"
_SUSPECTED = text(f"""
    select {_SIGHTING} from sighting where {_IS_SUSPECTED} and suspected_at <= now() - make_interval(secs => :settle_s)
    order by page, member_number limit :limit
""")
_SETTLES = text(f"""
    select extract(epoch from min(suspected_at) - now()) + :settle_s from sighting where {_IS_SUSPECTED}
""")
_CONCLUDE = text("""
    update sighting s set outcome = r.outcome
    from json_to_recordset(cast(:rows as json)) as r (member_number text, outcome text)
    where s.run_id = :run_id and s.member_number = r.member_number
""")
_FOUND = text("""
    insert into difference (run_id, member_number, class, field, siebel, crowdtwist, ledger, first_seen_at, seen_at,
                            evidence, acknowledged_at)
    select :run_id, member_number, drift_class, field, nullif(siebel, 'null'), nullif(crowdtwist, 'null'),
           nullif(ledger, 'null'), first_seen_at, now(), evidence, acknowledged_at
    from json_to_recordset(cast(:rows as json))
         as r (member_number text, drift_class text, field text, siebel jsonb, crowdtwist jsonb, ledger jsonb,
               first_seen_at timestamptz, evidence text, acknowledged_at timestamptz)
    on conflict do nothing
""")
_LEAVE_MOVING = text(f"update sighting set outcome = 'moving' where {_IS_SUSPECTED}")
_FOUND_BY_STRATUM = text("""
    select s.stratum, d.classes, s.looked_at is not null as looked, count(*) as total
    from (select member_number, array_agg(class order by class) as classes
          from difference where run_id = :run_id group by 1) as d
    join sighting s on s.run_id = :run_id and s.member_number = d.member_number
    group by 1, 2, 3
""")
_RESTORED = text("""
    select count(*) as total, min(acknowledged_at) as first_at, max(acknowledged_at) as last_at
    from difference where run_id = :run_id and class = 'rolled_back'
""")
_FORGET_FILES = text("""
    delete from reconciliation_file f using reconciliation r where r.id = f.run_id and r.ended_at is not null
""")
_FORGET = text("""
    delete from sighting s using (
        select s.run_id, s.member_number from reconciliation r join sighting s on s.run_id = r.id
        where r.ended_at is not null limit :limit
    ) as o
    where s.run_id = o.run_id and s.member_number = o.member_number
""")
