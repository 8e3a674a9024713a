"""Statements of the dispatcher: what is due, who may go, and whose lease has run out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.instances import Errand
from shared.ledger.front import OUT, Front, due_from, out_from
from shared.ledger.transitions.member_queue import GOES_OUT, has_nothing_out
from shared.lifecycle.verdicts import Lost
from shared.pipeline import Lane, Stage, SyncStatus


@dataclass(frozen=True, slots=True)
class Claimed:
    """An instance, or an errand for one, that is on its way to a worker."""

    id: int
    """What its message carries: the instance's id, or the errand's, which is below zero."""
    instance_id: int
    member_number: str
    apart: bool = False
    """It must go in a batch of its own."""


def claim(
    tx: Connection,
    limits: Mapping[tuple[Lane, Stage], int],
    *,
    token: int,
    lease_s: float,
    front: Front | None = None,
) -> dict[tuple[Lane, Stage], list[Claimed]]:
    """Lease due instances, of each lane and stage at most its limit: oldest first, none whose member has one running.

    *token* fences every later write; it must be random, since a sequence may repeat itself after a crash.
    """
    parameters = {
        "lanes": [lane for lane, _ in limits],
        "stages": [stage for _, stage in limits],
        "limits": list(limits.values()),
        **due_from(front, limits),
        "token": token,
        "lease_s": lease_s,
    }
    return by_lane_and_stage(tx.execute(CLAIM, parameters))


def by_lane_and_stage(rows: Iterable[Row[Any]]) -> dict[tuple[Lane, Stage], list[Claimed]]:
    """Sort what a claim has returned."""
    claimed: dict[tuple[Lane, Stage], list[Claimed]] = {}
    for row in rows:
        one = Claimed(row.id, row.instance_id, row.member_number, row.apart)
        claimed.setdefault((Lane(row.lane), Stage(row.stage)), []).append(one)
    return claimed


def let_go(tx: Connection, ids: Sequence[int], *, token: int) -> None:
    """End the lease of what was claimed and is not on the broker, unless a worker has begun it after all."""
    tx.execute(LET_GO, {"ids": list(ids), "token": token})


def expired(tx: Connection, *, limit: int, front: Front | None = None) -> list[Lost]:
    """Read instances and errands whose lease has run out; nobody can begin them, and `finish` checks tokens."""
    return [
        Lost(
            instance_id=row.id,
            errand_id=row.errand_id,
            token=row.token,
            member_number=row.member_number,
            stage=Stage(row.stage),
            attempt=row.attempt,
            begun=row.begun,
            losses=row.losses,
            alone=row.alone,
            errand=Errand(row.errand) if row.errand else None,
            status=SyncStatus(row.status) if row.status else None,
        )
        for row in tx.execute(EXPIRED, {"limit": limit, **out_from(front)})
    ]


def prune(tx: Connection, *, days: int, limit: int) -> int:
    """Delete up to *limit* finished instances older than *days*, with payload and activity.

    Dead letters stay, and whoever has an errand out, or a member that is just being claimed.  A check of a lost answer
    that was about one of them is due no more.
    """
    old = list(tx.execute(LOCK_OLD, {"days": days, "limit": limit}).scalars())
    if not old:
        return 0
    tx.execute(PRUNE_ERRANDS, {"ids": old})
    numbers = {row.id: row.member_number for row in tx.execute(PRUNE, {"ids": old})}
    for statement in _PRUNE_BESIDE:
        tx.execute(statement, {"ids": list(numbers)})
    tx.execute(FORGET_CHECKS, {"ids": list(numbers), "numbers": list(numbers.values())})
    return len(numbers)


CLAIM = text(f"""
    with due as (
        select d.id
        from unnest(cast(:lanes as text[]), cast(:stages as text[]), cast(:limits as int[]),
                    cast(:from_at as timestamptz[]), cast(:from_id as bigint[])) as l (lane, stage, size, at, id),
        lateral (
            select i.id
            from instance i join member m using (member_number)
            where i.state in ('pending', 'waiting') and i.lane = l.lane and i.due_stage = l.stage and i.due_at <= now()
              and (i.due_at, i.id) >= (l.at, l.id) and {has_nothing_out("i")}
            order by i.due_at, i.id
            limit l.size
            for update of i, m skip locked
        ) as d
    )
    update instance
    set {GOES_OUT}
    where id = any(array(select id from due))
    returning id, id as instance_id, member_number, lane, stage, apart
""")
"""Claim due instances, of each lane and stage at most so many, none whose member has a call out."""
LET_GO = text("""
    with errands as (
        update errand set lease_until = now()
        where id = any(cast(:ids as bigint[])) and token = :token and not begun
    )
    update instance set lease_until = now() where id = any(cast(:ids as bigint[])) and token = :token and not begun
""")
"""End the lease of claimed instances and errands that did not get to the broker."""
EXPIRED = text(f"""
    select i.id, 0 as errand_id, i.token, i.member_number, i.stage, i.attempt, i.begun, i.losses, i.alone,
           null as errand, i.status
    from {OUT} where i.lease_until < now()
    union all
    select i.id, e.id, e.token, e.member_number, e.stage, e.attempt, e.begun, 0, e.alone, e.kind, i.status
    from errand e join instance i on i.id = e.instance_id where e.token <> 0 and e.lease_until < now()
    limit :limit
""")
"""Find instances and errands whose lease has run out."""
LOCK_OLD = text("""
    select i.id from instance i join member m using (member_number)
    where i.finished_at < now() - make_interval(days => :days) and i.state not in ('dead', 'running')
    order by i.finished_at limit :limit for update of i, m skip locked
""")
"""Lock instances that finished long ago, and their members: nobody can claim an errand for them now."""
PRUNE_ERRANDS = text("delete from errand where instance_id = any(cast(:ids as bigint[])) and token = 0")
"""Delete what is not out of the errands of locked instances."""
PRUNE = text("""
    delete from instance i
    where id = any(cast(:ids as bigint[])) and not exists (select from errand e where e.instance_id = i.id)
    returning id, member_number
""")
"""Delete locked instances that have no errand out."""
FORGET_CHECKS = text("""
    update member
    set read_back_at = case when applied_id = any(cast(:ids as bigint[])) then null else read_back_at end,
        tell_again_at = case when told_id = any(cast(:ids as bigint[])) then null else tell_again_at end
    where member_number = any(cast(:numbers as text[]))
      and (read_back_at is not null and applied_id = any(cast(:ids as bigint[]))
           or tell_again_at is not null and told_id = any(cast(:ids as bigint[])))
""")
"""Set no time any more for a check of what was pruned; the mark of the loss stays for the next success."""
_PRUNE_BESIDE = [
    text(f"delete from {table} where instance_id = any(cast(:ids as bigint[]))")
    for table in ("payload", "mapping", "activity")
]
