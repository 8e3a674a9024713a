"""Errands: calls for an instance beside its own way through the stages; the instance stays as it is meanwhile.

| kind         | what it does                                             | due by                    | stage        |
|--------------|----------------------------------------------------------|---------------------------|--------------|
| `report`     | tell Siebel of a failure that lasts, or of a dead letter | who parks or holds it     | siebel       |
| `read_back`  | see what CrowdTwist shows after a lost answer            | `member.read_back_at`     | crowdtwist   |
| `tell_again` | tell Siebel once more after a lost answer                | `member.tell_again_at`    | siebel       |
| `probe`      | repeat what was acknowledged last, of a good member      | the breaker               | the one down |
| `resend`     | the same, since CrowdTwist may have lost it              | a job (`resends`)         | crowdtwist   |
| `recreate`   | the same, and create whom it has no longer               | a job                     | crowdtwist   |
| `park`       | the same with another address: a cycle comes loose       | the desk (`cycles`)       | crowdtwist   |

A row is there while there is something to do: its token is 0 until it is claimed, and again when it is to be repeated
at `due_at`; the row of one that is done is deleted.  Who recovers, and is past its stage, leaves its report alone: the
way through the stages costs nothing more for it, and the claim drops what has become pointless.  A report of what was
overtaken is never sent: it goes to the newer instance, if that inherits the failure, when that is accepted or, if it is
out by then, when it ends; else it is dropped.

**A member never has two calls out**, be they of instances or errands.  Whoever claims locks the member:

- `member.errand_id` names the errand that is out.  A claim of instances goes by it: it locks the member's row, and sees
  its newest version, however old its snapshot is.
- A claim of errands locks its members in one statement and looks for running instances in the next, whose snapshot is
  taken under the lock.
- `errand_one_out` and `instance_one_running` keep two of one kind apart.

An errand's id is below zero: on the wire it is told from an instance's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, TextClause, text

from shared.instances import Errand
from shared.ledger import learned
from shared.ledger.engine import json_rows
from shared.ledger.learned import LEARN_TOLD, LEARN_TOLD_AGAIN
from shared.ledger.transitions import cycles, resends
from shared.ledger.transitions.claims import Claimed, by_lane_and_stage
from shared.ledger.transitions.member_queue import (
    COMES_BACK,
    IS_QUEUED,
    RESCHEDULED,
    has_nothing_out,
    schedule_reports,
    words,
)
from shared.ledger.transitions.resends import IS_OVERTAKING, RESENDING
from shared.lifecycle.verdicts import ErrandEnded
from shared.pipeline import Lane, Stage


def claim(
    tx: Connection, limits: Mapping[tuple[Lane, Stage], int], *, token: int, lease_s: float
) -> dict[tuple[Lane, Stage], list[Claimed]]:
    """Lease errands that are due, of each kind at most the limit of its lane and stage; without a limit none.

    One of a member at a time, what is nearest to CrowdTwist first.  A report that has become pointless is dropped: the
    instance has recovered, was overtaken or discarded, or Siebel was told this already, or something newer that was not
    discarded since, or may have been.
    """
    stages = list({stage for _, stage in limits})
    parameters = {
        "lanes": [lane for lane, _ in limits],
        "at": [stage for _, stage in limits],
        "limits": list(limits.values()),
        "stages": stages,
    }
    numbers = list(tx.execute(LOCK_DUE, parameters).scalars())
    if not numbers:
        return {}
    tx.execute(DROP_POINTLESS, {"numbers": numbers})
    parameters = {"numbers": numbers, "stages": stages, "token": token, "lease_s": lease_s}
    return by_lane_and_stage(tx.execute(TAKE_DUE, parameters))


def claim_good(tx: Connection, stage: Stage, *, after: int, token: int, lease_s: float) -> Row[Any] | None:
    """Lease a good member, the next before instance *after*, to repeat at *stage* what it had acknowledged last."""
    found = tx.execute(LOCK_GOOD, {"after": after}).one_or_none()
    if found is None:
        return None
    return tx.execute(TAKE_GOOD, {"id": found.id, "stage": stage, "token": token, "lease_s": lease_s}).one_or_none()


def has_good(tx: Connection) -> bool:
    """Return whether there is a good member to ask."""
    return tx.execute(_FIND_GOOD, {"after": 0}).first() is not None


def finish(tx: Connection, stage: Stage, ended: Sequence[ErrandEnded], *, settle_s: float) -> dict[int, str]:
    """Write what came of errands, except where the token was overtaken; return the states of their instances."""
    records = [
        # Whether there is another probe is for the breaker to say.
        {"id": one.errand_id, "token": one.token, "apart": one.apart, "untried": one.untried}
        | {"again_in_s": None if one.errand is Errand.PROBE else one.again_in_s}
        for one in ended
    ]
    over = {row.id: row for row in tx.execute(END, {"rows": json_rows(records)})}
    written = {errand_id: row.state for errand_id, row in over.items()}
    ended = [one for one in ended if one.errand_id in written]
    for errand, statement in _LEARN.items():
        told = [{"id": one.instance_id, **one.facts} for one in ended if one.errand is errand and one.facts]
        if told:
            tx.execute(statement, {"rows": json_rows(told), "settle_s": settle_s})
    learned.lost(tx, stage, [one.instance_id for one in ended if one.unsure])
    # It repeated what is newest, and may land after something newer still: nobody else will look.
    repeats = [one.instance_id for one in ended if one.unsure and one.errand in {Errand.PROBE, *RESENDING}]
    learned.check(tx, stage, repeats, settle_s=settle_s)
    if resent := [one for one in ended if one.errand in RESENDING]:
        resends.finish(tx, resent, settle_s=settle_s)
    if parks := [one for one in ended if one.errand is Errand.PARK]:
        cycles.finish(tx, parks)
    checks = [one for one in ended if one.errand in {Errand.READ_BACK, Errand.TELL_AGAIN}]
    well = {one.instance_id: over[one.errand_id].due_at for one in checks if one.facts is not None}
    learned.checked(tx, stage, well, settle_s=settle_s)
    # What this check itself lost may land as late as what it was to check.
    again = {
        one.instance_id: max(one.again_in_s, settle_s) if one.unsure and one.again_in_s is not None else one.again_in_s
        for one in checks
        if one.facts is None
    }
    learned.check_again(tx, stage, again)
    return written


def prune(tx: Connection) -> int:
    """Delete rows of checks and probes that nobody will claim again, and return how many there were."""
    return tx.execute(_PRUNE).rowcount


def _due_check(stage: Stage, kind: Errand, of: str, lost: str, at: str) -> str:
    """Return the query for the check of a lost answer that is due of a member `m`.

    It is about the instance whose success came after the loss, and not due while something newer may be out.
    """
    return f"""
        select i.id as instance_id, i.member_number, '{kind}' as kind, '{stage}' as stage, i.lane, m.{at} as due_at
        from instance i
        where i.id = m.{of} and m.{at} <= now() and m.{of} >= coalesce(m.{lost}, 0)
          and '{stage}' = any(cast(:stages as text[]))
    """


_IS_PARKED = "exists (select from address_cycle y where y.member_number = m.member_number and y.ended_at is null)"
"""Of a member `m`: it has another address than the one it is checked for, or may have."""
_DUE = {
    Errand.READ_BACK: (
        Stage.CROWDTWIST,
        _due_check(Stage.CROWDTWIST, Errand.READ_BACK, "applied_id", "lost_write_id", "read_back_at")
        + f" and not {_IS_PARKED}",
    ),
    Errand.REPORT: (
        Stage.SIEBEL,
        f"""
            select e.instance_id, e.member_number, e.kind, e.stage, e.lane, e.due_at
            from errand e
            where e.member_number = m.member_number and e.kind = 'report' and e.token = 0 and e.due_at <= now()
              and '{Stage.SIEBEL}' = any(cast(:stages as text[]))
        """,
    ),
    Errand.TELL_AGAIN: (
        Stage.SIEBEL,
        _due_check(Stage.SIEBEL, Errand.TELL_AGAIN, "told_id", "lost_tell_id", "tell_again_at"),
    ),
    Errand.RESEND: (
        Stage.CROWDTWIST,
        f"""
            select e.instance_id, e.member_number, e.kind, e.stage, e.lane, e.due_at
            from errand e
            where e.member_number = m.member_number and e.kind in ({words((*RESENDING, Errand.PARK))}) and e.token = 0
              and e.due_at <= now() and '{Stage.CROWDTWIST}' = any(cast(:stages as text[])) and not {IS_OVERTAKING}
        """,
    ),
}
"""What is due of a member `m`, and at which stage: a query for each kind."""
_IS_FREE = has_nothing_out("m")
LOCK_DUE = text(" union all ".join(f"""
    select f.member_number
    from unnest(cast(:lanes as text[]), cast(:at as text[]), cast(:limits as int[])) as l (lane, stage, size), lateral (
        select m.member_number from member m, lateral ({due}) as d
        where d.lane = l.lane and {_IS_FREE} order by d.due_at limit l.size for update of m skip locked
    ) as f
    where l.stage = '{stage}'
""" for stage, due in _DUE.values()))  # fmt: skip
"""Lock the members of whom an errand is due, of each lane, stage and kind at most so many."""
# From the members to their errands, whatever the planner believes: statistics lag behind a burst of reports.
_LOCKED = "unnest(cast(:numbers as text[])) as n (number) join member m on m.member_number = n.number"
DROP_POINTLESS = text(f"""
    delete from errand e using {_LOCKED}, instance i
    where e.member_number = n.number and e.token = 0 and e.due_at <= now() and i.id = e.instance_id
      and case e.kind
          when 'report' then i.failing_since is null or i.state in ('superseded', 'discarded')
                             or m.told_id > i.id and not exists (
                                 select from instance t where t.id = m.told_id and t.state = 'discarded')
                             or m.lost_tell_id > i.id
                             or i.state in ({IS_QUEUED}) and m.told_status = i.status and m.told_at >= i.failing_since
          when 'read_back' then m.applied_id <> i.id
          when 'tell_again' then m.told_id <> i.id
          else m.applied_id <> i.id
      end
""")
"""Delete due errands of locked members that have become pointless."""


def _take(due: str) -> TextClause:
    """Return the statement that claims errands as *due*, a query, gives them, and names them in their members' rows."""
    return text(f"""
        with taken as (
            insert into errand (instance_id, member_number, kind, stage, lane, due_at, token, lease_until)
            select instance_id, member_number, kind, stage, lane, due_at, :token,
                   now() + make_interval(secs => :lease_s)
            from ({due}) as d
            on conflict (instance_id, kind)
            do update set stage = excluded.stage, lane = excluded.lane, due_at = excluded.due_at,
                          token = excluded.token, lease_until = excluded.lease_until
            returning id, instance_id, member_number, lane, stage, apart
        ), named as (
            update member m set errand_id = t.id from taken t where m.member_number = t.member_number
        )
        select * from taken
    """)


TAKE_DUE = _take(f"""
    select distinct on (m.member_number) d.*
    from {_LOCKED}, lateral ({" union all ".join(due for _, due in _DUE.values())}) as d
    where {_IS_FREE} order by m.member_number, d.kind, d.due_at
""")
"""Claim what is due of locked members, one each."""
# In sync, with nothing queued, running or to be checked.
_IS_GOOD = f"""m.applied_id = i.id and m.told_id = i.id and m.synced and not m.unknown_outcome
    and m.lost_write_id is null and m.lost_tell_id is null and m.row_id is not null and i.operation <> 'delete'
    and not exists (select from instance q where q.member_number = m.member_number
                                             and q.state in ('pending', 'waiting', 'held'))
    and exists (select from mapping g where g.instance_id = i.id) and {_IS_FREE}"""
# The newest of those who are through.  Their number is bounded, and of those found the next before the one that was
# asked last is asked.
_GOOD = f"""
    select i.id
    from (select id, member_number, operation from instance
          where state = 'completed' order by finished_at desc limit 200) as i
    join member m using (member_number)
    where {_IS_GOOD}
    order by i.id < :after desc, i.id desc
    limit 1
"""
_FIND_GOOD = text(_GOOD)
LOCK_GOOD = text(f"""
    select i.id from instance i join member m using (member_number) where i.id = ({_GOOD}) for update of m skip locked
""")
"""Lock a good member; return the instance that brought it there."""
TAKE_GOOD = _take(f"""
    select i.id as instance_id, i.member_number, 'probe' as kind, cast(:stage as text) as stage, i.lane,
           now() as due_at
    from instance i join member m using (member_number) where i.id = :id and i.state = 'completed' and {_IS_GOOD}
""")
"""Claim the probe of a locked member, if it is good still."""
_BY_MARK = (Errand.READ_BACK, Errand.TELL_AGAIN, Errand.PROBE)
"""Whose row does not say that there is something to do: a mark of the member does, or the breaker."""
# Of theirs it says only that the ledger's clock was set while they were out.
_IS_RESCHEDULED = f"({RESCHEDULED} and e.kind not in ({words(_BY_MARK)}))"
END = text(f"""
    with over as (
        select e.id, e.member_number, e.due_at, i.state, r.apart, r.untried, {_IS_RESCHEDULED} as rescheduled,
               coalesce(now() + make_interval(secs => r.again_in_s), case when {_IS_RESCHEDULED} then e.due_at end)
                   as again_at,
               e.kind = 'report' and i.state = 'superseded' as overtaken
        from json_to_recordset(cast(:rows as json))
             as r (id bigint, token bigint, again_in_s float8, apart boolean, untried boolean)
        join errand e on e.id = r.id and e.token = r.token
        join instance i on i.id = e.instance_id
        for update of e
    ), again as (
        update errand e
        set {COMES_BACK}, due_at = o.again_at, apart = e.apart or o.apart,
            attempt = case when o.rescheduled then 0 when o.untried then e.attempt - 1 else e.attempt end
        from over o where e.id = o.id and o.again_at is not null and not o.overtaken
    ), done as (
        delete from errand e using over o where e.id = o.id and (o.again_at is null or o.overtaken)
    ), heirs as (
        select q.id, q.member_number, q.lane, o.again_at as report_at
        from over o join instance q on q.member_number = o.member_number
        where o.overtaken and q.state in ({IS_QUEUED}) and q.failing_since is not null
        for update of q
    ), {schedule_reports("heirs")}, free as (
        update member m set errand_id = null from over o where m.member_number = o.member_number and m.errand_id = o.id
    )
    select id, state, due_at from over
""")
"""End errands of locked members: delete them, or have them repeated; the members are free for what is next.

A report whose instance was overtaken meanwhile is repeated for the newer one, if that has inherited the failure; one
that was scheduled anew meanwhile is due again.
"""
_PRUNE = text("""
    delete from errand e using member m
    where m.member_number = e.member_number and e.token = 0
      and case e.kind when 'probe' then true when 'read_back' then m.read_back_at is null
                      when 'tell_again' then m.tell_again_at is null end
""")
_LEARN = {Errand.REPORT: LEARN_TOLD, Errand.TELL_AGAIN: LEARN_TOLD_AGAIN}
