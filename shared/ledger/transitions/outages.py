"""While a connection is down, paused or in doubt: who is held, probes, decides, is a suspect, and is let go again.

A *good* member is one that is in sync, with nothing queued or on its way: what it had acknowledged last can be repeated
without any effect.  It goes out on an errand of the instance that brought it there, under a lease and a token like any
other, so that nothing newer of that member overtakes the repetition.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, TextClause, text

from shared.errors import codes_that_count
from shared.ledger import connections
from shared.ledger.transitions import errands
from shared.ledger.transitions.claims import Claimed
from shared.ledger.transitions.member_queue import GOES_OUT, has_nothing_out, schedule_reports, words
from shared.lifecycle import breaker
from shared.lifecycle.breaker import Breaker, Position, Rules
from shared.pipeline import FAILURE_STATUS, SYSTEMS, Lane, Stage

GIVEN_BACK_MAX = 3
"""Openings of the breaker at which an instance gets its attempt back: poison must not open it for ever."""
_GOOD_FIRST = 3
"""So many probes of an outage are of good members; from then on every other one is, so that both kinds are asked."""

_COUNTING = words(codes_that_count())


@dataclass(frozen=True, slots=True)
class Hold:
    """Who is to be held at a stage.

    Units: *report_after_s* seconds until Siebel is told that it fails; None: a pause is no failure.
    Shape: *failing_since* when the connection began to fail, if it did.
    """

    stage: Stage
    why: str
    report_after_s: float | None
    failing_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """How a good member goes out.  Units: *lease_s* seconds to be begun, *answer_s* until another may be asked."""

    token: int
    lease_s: float
    answer_s: float


def hold_failed(tx: Connection, stage: Stage, since: datetime, ids: Sequence[int] | None = None) -> int:
    """Hold who failed at *stage* since the connection began to fail, and give their attempts back.

    Whoever became a dead letter by such an attempt is no dead letter: it was not tried against a system that was up.
    One that has helped to open the breaker `GIVEN_BACK_MAX` times, and others got through in between, is left to its
    retry policy.  *ids*: only these, of a batch that failed after the others were held, a probe for instance.
    """
    if ids is None:
        tx.execute(GIVE_BACK_UNBEGUN, {"stage": stage, "since": since})
        return len(tx.execute(HOLD_ALL_FAILED, {"stage": stage, "since": since}).all())
    return len(tx.execute(HOLD_FAILED, {"stage": stage, "since": since, "ids": list(ids)}).all())


def hold_due(tx: Connection, hold: Hold, *, limit: int) -> int:
    """Hold up to *limit* instances that are due at a stage where nothing may go out.

    Who failed as it went down, and then came back untried, is no longer among those who failed last: its attempts are
    given back here.
    """
    parameters = {
        "stage": hold.stage,
        "why": hold.why,
        "report_after_s": hold.report_after_s if hold.stage in FAILURE_STATUS else None,
        "status": FAILURE_STATUS.get(hold.stage),
        "limit": limit,
    }
    ids = tx.execute(HOLD_DUE, parameters).scalars().all()
    if ids and hold.failing_since is not None:
        tx.execute(GIVE_BACK_HELD, {"stage": hold.stage, "since": hold.failing_since, "ids": ids})
    return len(ids)


def claim_probe(tx: Connection, stage: Stage, *, token: int, lease_s: float) -> tuple[Lane, Claimed] | None:
    """Lease one instance to see whether the connection is back, another one each time; None: there is none.

    A good member goes first, then who is held and has not failed while it was down, then who has: a poisoned one in
    front keeps nobody waiting.  Only one dispatcher gets it: the connection's row is locked, and its breaker half open
    afterwards.
    """
    found = connections.lock_if_free(tx, stage)
    if found is None or not found.wants_probe:
        return None
    after, probes = found.breaker.probe_instance_id or 0, found.breaker.probes
    good_first = probes < _GOOD_FIRST or probes % 2 == 1
    for of_good in (True, False) if good_first else (False, True):
        if of_good:
            probe = errands.claim_good(tx, stage, after=after, token=token, lease_s=lease_s)
        else:
            parameters = {"stage": stage, "after": after, "token": token, "lease_s": lease_s}
            probe = tx.execute(CLAIM_HELD, parameters).one_or_none()
        if probe is not None:
            connections.half_open(tx, stage, probe.instance_id, lease_s=lease_s)
            return Lane(probe.lane), Claimed(probe.id, probe.instance_id, probe.member_number)
    return None


def claim_verdict(tx: Connection, stage: Stage, rules: Rules, lease: Lease) -> tuple[Claimed | None, Breaker | None]:
    """Lease a good member to decide whether the system fails, or others; where there is none, decide without.

    Returns whom to send, and the breaker if it was opened.
    """
    found = connections.lock_if_free(tx, stage)
    if found is None or not found.wants_verdict:
        return None, None
    after = found.breaker.probe_instance_id or 0
    good = errands.claim_good(tx, stage, after=after, token=lease.token, lease_s=lease.lease_s)
    if good is not None:
        connections.verifying(tx, stage, good.instance_id, lease_s=lease.answer_s)
        return Claimed(good.id, good.instance_id, good.member_number), None
    others = bool(tx.execute(_OTHERS, {"stage": stage}).scalar())
    changed = breaker.unverified(found.breaker, rules, found.now, others=others)
    connections.save(tx, found, changed)
    return None, None if changed.position is Position.CLOSED else changed


def suspect(tx: Connection, stage: Stage, members: Collection[str]) -> int:
    """Name those of *members* that wait after a failure at *stage* suspects: the system served others meanwhile."""
    what = f"a suspect: {SYSTEMS[stage]} serves others meanwhile, so it is tried on by itself and holds up nobody"
    parameters = {"stage": stage, "numbers": sorted(members), "what": what}
    return len(tx.execute(SUSPECT, parameters).all())


def release(tx: Connection, stage: Stage, lane: Lane, *, limit: int) -> int:
    """Make up to *limit* held instances due again, oldest first."""
    return len(tx.execute(RELEASE, {"stage": stage, "lane": lane, "limit": limit}).all())


def waiting_room(tx: Connection, stage: Stage, lane: Lane, *, at_most: int) -> int:
    """Count those that are due at *stage*, up to *at_most*."""
    return int(tx.execute(_DUE, {"stage": stage, "lane": lane, "at_most": at_most}).scalar_one())


def _hold_failed(activity: str, of: str = "true") -> TextClause:
    # From their lines since then to the instances, never the other way: the connection's row is locked meanwhile, and a
    # look at all those lines for each instance took 6.7 s for 1,200 of them.
    return text(f"""
        with failed as (
            select instance_id, count(*) as times from {activity} as a
            where stage = :stage and at >= :since and attempt is not null and code is not null group by instance_id
        ), held as (
            update instance i
            set state = 'held', stage = :stage, due_stage = :stage, finished_at = null,
                attempt = greatest(0, i.attempt - f.times), given_back = least(i.given_back, 32766) + 1
            from failed f
            where i.id = f.instance_id and {of} and i.state in ('waiting', 'dead') and i.failed_stage = :stage
              and i.code in ({_COUNTING})
              and (i.state = 'waiting' or i.finished_at >= :since)
              and not exists (select from instance q where q.member_number = i.member_number and q.id <> i.id
                              and (q.state in ('pending', 'waiting', 'held', 'running')
                                   or i.state = 'dead' and q.id > i.id
                                      and q.state not in ('superseded', 'skipped', 'discarded')))
            returning i.id
        )
        insert into activity (instance_id, stage, state, what)
        select id, :stage, 'held', 'held: the connection is down, the attempt is given back' from held
        returning instance_id
    """)


HOLD_ALL_FAILED = _hold_failed("activity", f"i.given_back < {GIVEN_BACK_MAX}")
"""Hold whoever failed since the connection began to fail, and give the attempts back."""
# The fence keeps the planner from the index on `at`: in a long outage all the world's lines are since then.
HOLD_FAILED = _hold_failed("(select * from activity where instance_id = any(cast(:ids as bigint[])) offset 0)")
"""Hold some of them, who failed after the others were held."""
# Who is on the way to a worker again is not admitted there, and held; what it spent before is given back here.
GIVE_BACK_UNBEGUN = text("""
    with failed as (
        select instance_id, count(*) as times from activity
        where stage = :stage and at >= :since and attempt is not null and code is not null group by instance_id
    )
    update instance i set attempt = greatest(0, i.attempt - f.times)
    from failed f
    where i.id = f.instance_id and i.state = 'running' and not i.begun and i.stage = :stage
""")
"""Give the attempts back of who is on the way to a worker again."""
GIVE_BACK_HELD = text("""
    with tried as (
        select id from instance where id = any(cast(:ids as bigint[])) and state = 'held' and attempt > 0
    ), failed as (
        select a.instance_id, count(*) as times from activity as a join tried on tried.id = a.instance_id
        where a.stage = :stage and a.at >= :since and a.attempt is not null and a.code is not null
        group by a.instance_id
    )
    update instance i set attempt = greatest(0, i.attempt - f.times) from failed f
    where i.id = f.instance_id and i.state = 'held'
""")
"""Give the attempts back of who was just held, and failed since the connection began to."""
# In no order: all of them are held in the end, and to sort the backlog for each piece of it is most of the work.
HOLD_DUE = text(f"""
    with due as (
        select i.id, h.*, m.told_status = h.status and m.told_at >= i.failing_since as told
        from (select cast(:stage as text) as stage, cast(:why as text) as why, cast(:status as text) as status,
                     cast(:report_after_s as float8) as after_s) as h,
             instance i join member m using (member_number)
        where i.state in ('pending', 'waiting') and i.due_stage = :stage and i.due_at <= now()
        limit :limit for update of i skip locked
    ), held as (
        update instance i
        set state = 'held',
            status = case when d.after_s is null then i.status else d.status end,
            error = case when d.after_s is null or i.error <> '' then i.error else d.why end,
            code = case when d.after_s is null then i.code else coalesce(i.code, 'connection_down') end,
            failed_stage = case when d.after_s is null then i.failed_stage else d.stage end,
            failing_since = case when d.after_s is null then i.failing_since else least(i.failing_since, now()) end
        from due d where i.id = d.id and i.state in ('pending', 'waiting')
        returning i.id, i.member_number, i.lane,
                  case when not coalesce(d.told, false) then i.failing_since + make_interval(secs => d.after_s)
                  end as report_at
    ), {schedule_reports("held")}
    insert into activity (instance_id, stage, state, what)
    select id, cast(:stage as text), 'held', 'held: ' || cast(:why as text) from held
    returning instance_id
""")
"""Hold who is due where nothing may go out, and have Siebel told of it in time."""
# Who has not failed yet while it was down, before who has; of each the next by id, and else the first.  The index gives
# them lane by lane, however many are held.
_HELD = """
    (select id, {rank} as rank from instance h
     where state = 'held' and hold_id is null and due_stage = :stage and lane = '{lane}' and {which}
       and exists (select from member m where m.member_number = h.member_number and {free})
     order by id limit 1)
"""
_RANKS = ("id > :after and given_back = 0", "given_back = 0", "id > :after", "true")
_NEXT_HELD = " union all ".join(
    _HELD.format(rank=rank, lane=lane, which=which, free=has_nothing_out("h"))
    for rank, which in enumerate(_RANKS)
    for lane in Lane
)
CLAIM_HELD = text(f"""
    with probe as (
        select i.id from instance i join member m using (member_number)
        where i.id = (select id from ({_NEXT_HELD}) as next order by rank, id limit 1)
          and i.state = 'held' and i.hold_id is null and m.errand_id is null
        for update of i, m skip locked
    )
    update instance
    set {GOES_OUT}, due_at = now()
    where id = any(array(select id from probe)) and state = 'held'
    returning id, id as instance_id, member_number, lane
""")
"""Claim who is held, as the probe."""
RELEASE = text("""
    with free as (
        select id from instance where state = 'held' and hold_id is null and due_stage = :stage and lane = :lane
        order by id limit :limit for update skip locked
    )
    update instance i set state = 'pending', due_at = now() from free where i.id = free.id and i.state = 'held'
    returning i.id
""")
"""Make who is held due again, the oldest first."""
_DUE = text("""
    select count(*) from (select from instance where state in ('pending', 'waiting') and lane = :lane
                                                 and due_stage = :stage and due_at <= now() limit :at_most) as due
""")
_OTHERS = text("""
    select exists (select from instance where state = 'running' and stage = :stage)
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
"""Name who waits after a failure a suspect."""
