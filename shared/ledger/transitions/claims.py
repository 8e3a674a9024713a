"""Statements of the dispatcher: what is due, who may go, and whose lease has run out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.instances import Errand
from shared.ledger.transitions.fragments import GOES_OUT
from shared.pipeline import Lane, Stage


@dataclass(frozen=True, slots=True)
class Claimed:
    """An instance that is on its way to a worker."""

    instance_id: int
    member_number: str
    apart: bool = False
    """It must go in a batch of its own."""


def unbegun(tx: Connection) -> dict[Lane, int]:
    """Count the instances that wait in the broker for a worker, by lane."""
    counts = {Lane(row.lane): int(row.waiting) for row in tx.execute(_UNBEGUN)}
    return {lane: counts.get(lane, 0) for lane in Lane}


def claim(
    tx: Connection, limits: Mapping[tuple[Lane, Stage], int], *, token: int, lease_s: float
) -> dict[tuple[Lane, Stage], list[Claimed]]:
    """Lease due instances, of each lane and stage at most its limit: oldest first, none whose member has one running.

    *token* fences every later write; it must be random, since a sequence may repeat itself after a crash.
    """
    parameters = {
        "lanes": [lane for lane, _ in limits],
        "stages": [stage for _, stage in limits],
        "limits": list(limits.values()),
        "token": token,
        "lease_s": lease_s,
    }
    return _by_lane_and_stage(tx.execute(CLAIM, parameters))


def claim_errands(
    tx: Connection, stages: Sequence[Stage], limits: Mapping[Lane, int], *, token: int, lease_s: float
) -> dict[tuple[Lane, Stage], list[Claimed]]:
    """Lease instances whose errand is due and goes to one of *stages*, of each lane and kind at most its limit.

    The errands: a report to Siebel, and the checks of lost calls (`unanswered`): a read-back in CrowdTwist, a status
    told again in Siebel.  A report that a newer instance's status has made pointless is dropped.
    """
    tx.execute(DROP_POINTLESS)
    parameters = {
        "lanes": list(limits),
        "limits": list(limits.values()),
        "stages": list(stages),
        "token": token,
        "lease_s": lease_s,
    }
    return _by_lane_and_stage(tx.execute(CLAIM_ERRANDS, parameters))


def _by_lane_and_stage(rows: Iterable[Row[Any]]) -> dict[tuple[Lane, Stage], list[Claimed]]:
    claimed: dict[tuple[Lane, Stage], list[Claimed]] = {}
    for row in rows:
        claimed.setdefault((Lane(row.lane), Stage(row.stage)), []).append(Claimed(row.id, row.member_number, row.apart))
    return claimed


def let_go(tx: Connection, ids: Sequence[int], *, token: int) -> None:
    """End the lease of claimed instances that did not get to the broker, unless a worker has begun them after all."""
    tx.execute(LET_GO, {"ids": list(ids), "token": token})


def prune(tx: Connection, *, days: int, limit: int) -> int:
    """Delete up to *limit* finished instances older than *days*, with payload and activity.  Dead letters stay."""
    ids = list(tx.execute(_PRUNE, {"days": days, "limit": limit}).scalars())
    if ids:
        for statement in _PRUNE_BESIDE:
            tx.execute(statement, {"ids": ids})
    return len(ids)


_UNBEGUN = text("select lane, count(*) as waiting from instance where state = 'running' and not begun group by lane")
CLAIM = text(f"""
    with due as (
        select d.id
        from unnest(cast(:lanes as text[]), cast(:stages as text[]), cast(:limits as int[])) as l (lane, stage, size),
        lateral (
            select i.id
            from instance i join member m using (member_number)
            where i.state in ('pending', 'waiting') and i.lane = l.lane and i.due_stage = l.stage and i.due_at <= now()
              and not exists (select from instance r where r.member_number = i.member_number and r.state = 'running')
            order by i.due_at, i.id
            limit l.size
            for update of i, m skip locked
        ) as d
    )
    update instance
    set {GOES_OUT}
    where id = any(array(select id from due)) and state in ('pending', 'waiting')
    returning id, member_number, lane, stage, apart
""")
DROP_POINTLESS = text("""
    update instance i set errand_at = null
    from member m
    where i.errand_at <= now() and i.state not in ('completed', 'running') and m.member_number = i.member_number
      and (m.told_id > i.id or m.lost_tell_id > i.id)
""")


def _due_errands(stage: Stage, errand: Errand, of: str, at: str) -> str:
    return f"""
        select d.*, '{errand}' as errand
        from unnest(cast(:lanes as text[]), cast(:limits as int[])) as l (lane, size), lateral (
            select i.id, i.member_number
            from instance i join member m using (member_number)
            where {at} <= now() and {of} and i.lane = l.lane and '{stage}' = any(cast(:stages as text[]))
              and not exists (select from instance r where r.member_number = i.member_number and r.state = 'running')
            order by {at}
            limit l.size
            for update of i, m skip locked
        ) as d
    """


_READ_BACK = "i.id = m.applied_id and m.applied_id >= coalesce(m.lost_write_id, 0)"
_TELL_AGAIN = "i.id = m.told_id and m.told_id >= coalesce(m.lost_tell_id, 0)"
# One of a member at a time, what is nearest to CrowdTwist first.
CLAIM_ERRANDS = text(f"""
    with due as (
        {_due_errands(Stage.CROWDTWIST, Errand.READ_BACK, _READ_BACK, "m.read_back_at")}
        union all
        {_due_errands(Stage.SIEBEL, Errand.REPORT, "i.state not in ('completed', 'running')", "i.errand_at")}
        union all
        {_due_errands(Stage.SIEBEL, Errand.TELL_AGAIN, _TELL_AGAIN, "m.tell_again_at")}
    ), first as (
        select distinct on (member_number) id, errand from due order by member_number, errand
    )
    update instance i
    set {GOES_OUT},
        parked_state = state, parked_stage = stage, parked_attempt = attempt, attempt = errand_attempt,
        errand_at = case when first.errand <> 'report' then i.errand_at end,
        errand = first.errand,
        stage = case when first.errand = 'read_back' then 'crowdtwist' else 'siebel' end
    from first where i.id = first.id
    returning i.id, member_number, lane, stage, apart
""")
LET_GO = text("""
    update instance set lease_until = now() where id = any(cast(:ids as bigint[])) and token = :token and not begun
""")
_PRUNE = text("""
    delete from instance where id = any(array(
        select id from instance
        where finished_at < now() - make_interval(days => :days) and state not in ('dead', 'running')
        order by finished_at limit :limit for update skip locked))
    returning id
""")
_PRUNE_BESIDE = [
    text(f"delete from {table} where instance_id = any(cast(:ids as bigint[]))")
    for table in ("payload", "mapping", "activity")
]
