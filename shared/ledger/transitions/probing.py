"""Statements of those who show whether a connection serves: who probes, who decides, and who is a suspect.

A *good* member is one that is in sync, with nothing queued or on its way: what it had acknowledged last can be repeated
without any effect.  It goes out as an errand of the instance that brought it there, under a lease and a token like any
other, so that nothing newer of that member overtakes the repetition.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, text

from shared.ledger import connections
from shared.ledger.transitions.claims import Claimed
from shared.ledger.transitions.fragments import GOES_OUT
from shared.lifecycle import breaker
from shared.lifecycle.breaker import Breaker, Position, Rules
from shared.pipeline import SYSTEMS, Stage


@dataclass(frozen=True, slots=True)
class Lease:
    """How a good member goes out.  Units: *lease_s* seconds to be begun, *answer_s* until another may be asked."""

    token: int
    lease_s: float
    answer_s: float


def claim_verdict(tx: Connection, stage: Stage, rules: Rules, lease: Lease) -> tuple[Claimed | None, Breaker | None]:
    """Lease a good member to decide whether the system fails, or others; where there is none, decide without.

    Gives whom to send, and the breaker if it was opened.
    """
    found = connections.lock_if_free(tx, stage)
    if found is None or not found.wants_verdict:
        return None, None
    parameters = {"stage": stage, "after": found.breaker.probe_instance_id or 0}
    parameters |= {"token": lease.token, "lease_s": lease.lease_s}
    good = tx.execute(CLAIM_GOOD, parameters).one_or_none()
    if good is not None:
        connections.verifying(tx, stage, good.id, lease_s=lease.answer_s)
        return Claimed(good.id, good.member_number), None
    others = bool(tx.execute(_OTHERS, {"stage": stage}).scalar())
    changed = breaker.unverified(found.breaker, rules, found.now, others=others)
    connections.save(tx, found, changed)
    return None, None if changed.position is Position.CLOSED else changed


def has_good(tx: Connection, stage: Stage) -> bool:
    """Say whether there is a good member to ask."""
    return tx.execute(_FIND_GOOD, {"stage": stage, "after": 0}).first() is not None


def suspect(tx: Connection, stage: Stage, members: Collection[str]) -> int:
    """Name those of *members* that wait after a failure at *stage* suspects: the system served others meanwhile."""
    what = f"a suspect: {SYSTEMS[stage]} serves others meanwhile, so it is tried on by itself and holds up nobody"
    parameters = {"stage": stage, "numbers": sorted(members), "what": what}
    return len(tx.execute(SUSPECT, parameters).all())


# The newest of those who are through: in sync, nothing queued, running or to be read back.  Their number is bounded,
# and of those found the next before the one that was asked last is asked.
_GOOD = """
    select i.id
    from (select id, member_number, errand_at, operation from instance
          where state = 'completed' order by finished_at desc limit 200) as i
    join member m using (member_number)
    where m.applied_id = i.id and m.told_id = i.id and m.synced and not m.unknown_outcome and m.lost_write_id is null
      and m.lost_tell_id is null
      and m.row_id is not null and i.errand_at is null and i.operation <> 'delete'
      and not exists (select from instance q where q.member_number = i.member_number
                                               and q.state in ('pending', 'waiting', 'held'))
      and not exists (select from instance r where r.member_number = i.member_number and r.state = 'running')
      and exists (select from mapping g where g.instance_id = i.id)
    order by i.id < :after desc, i.id desc
    limit 1
"""
_FIND_GOOD = text(_GOOD)
CLAIM_GOOD = text(f"""
    with good as (
        select i.id from instance i join member m using (member_number)
        where i.id = ({_GOOD}) and i.state = 'completed' for update of i, m skip locked
    )
    update instance
    set {GOES_OUT},
        parked_state = state, parked_stage = stage, parked_attempt = attempt, attempt = 0, errand = 'probe',
        stage = :stage
    where id = any(array(select id from good)) and state = 'completed'
      and not exists (select from instance q where q.member_number = instance.member_number and q.id <> instance.id
                                               and q.state in ('pending', 'waiting', 'held', 'running'))
    returning id, member_number, lane
""")
_OTHERS = text("""
    select exists (select from instance where state = 'running' and stage = :stage and errand = 'sync')
        or exists (select from (select state from instance
                                where state in ('pending', 'waiting') and due_stage = :stage and due_at <= now()
                                limit 200) as d where state = 'pending')
""")
SUSPECT = text("""
    with suspects as (
        update instance set suspect = true
        where id = any(array(select id from instance
                             where member_number = any(cast(:numbers as text[])) and state = 'waiting'
                               and failed_stage = :stage and code is not null and not suspect
                             for update skip locked)) and state = 'waiting'
        returning id
    )
    insert into activity (instance_id, stage, state, what, code)
    select id, :stage, 'waiting', :what, 'suspect' from suspects
    returning instance_id
""")
