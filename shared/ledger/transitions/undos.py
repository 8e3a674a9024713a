"""Undoing a discard: an instance is again what it was before, unless something newer of its member came since.

Dead letters and Data Errors are those again, and wait for a person; what was on its way is due at once.  What a guard
held is held by it again while it holds, goes out if it was released since, and stays discarded if that was condemned.
Only the newest event of a member comes back: an older one would go out after a newer one.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, text

from shared.ledger import cases
from shared.ledger.engine import wake
from shared.ledger.jobs import Kind, Plan, Verdict, plan_of
from shared.ledger.transitions.member_queue import IS_QUEUED, schedule_reports
from shared.ledger.transitions.requeue_sql import GONE, answered, planning, taking
from shared.pipeline import State, is_a

_WHY: dict[str, tuple[Verdict, str]] = {
    "restore": (Verdict.RESTORE, ""),
    "late": (Verdict.REFUSED, "it was discarded longer ago than MEMBERSYNC_OPERATIONS__UNDO_DISCARD_S allows"),
    "unknown": (Verdict.REFUSED, "it was not discarded by a job: send the member again instead"),
    "newer_done": (Verdict.REFUSED, "a newer event of the member succeeded"),
    "newer_going": (Verdict.REFUSED, "a newer event of the member is on its way"),
    "newer_failed": (Verdict.REFUSED, "a newer event of the member came since"),
    "older_going": (Verdict.REFUSED, "an older event of the member is on its way"),
    "condemned": (Verdict.REFUSED, "the guard that held it was discarded since"),
    "gone": GONE,
    **{f"is_{state}": (Verdict.REFUSED, f"it is {is_a(state)}") for state in State if state is not State.DISCARDED},
}
_JUDGED = f"""
    select p.id, i.member_number, i.state, d.was, h.state as hold, n.done, n.going, n.failed, q.id as older,
           m.applied_id,
           case when i.id is null then 'gone'
                when i.state <> 'discarded' then 'is_' || i.state
                when i.finished_at < now() - make_interval(secs => :undo_s) then 'late'
                when d.was is null then 'unknown'
                when n.done is not null or m.applied_id > i.id then 'newer_done'
                when n.going is not null then 'newer_going'
                when n.failed is not null or m.newest_id > i.id then 'newer_failed'
                when q.id is not null then 'older_going'
                when d.was->>'hold_id' is not null and coalesce(h.state, 'discarded') in ('discarding', 'discarded')
                then 'condemned'
                else 'restore' end as why
    from unnest(cast(:ids as bigint[])) as p (id)
    left join instance i on i.id = p.id
    left join member m on m.member_number = i.member_number
    left join lateral (
        select t.was from job o join job_item t on t.job_id = o.id and t.instance_id = i.id
        where o.kind = 'discard' and t.state = 'closed' and t.verdict = 'discard'
          and coalesce(o.ended_at, now()) >= now() - make_interval(secs => :undo_s)
        order by o.id desc limit 1
    ) as d on i.state = 'discarded'
    left join guard_hold h on h.id = cast(d.was->>'hold_id' as bigint)
    left join lateral (
        select max(id) filter (where state in ('completed', 'unchanged')) as done,
               max(id) filter (where state in ('running', {IS_QUEUED})) as going,
               max(id) filter (where state in ('dead', 'rejected', 'discarded')) as failed
        from instance o where o.member_number = i.member_number and o.id > i.id
    ) as n on true
    left join lateral (
        select o.id from instance o
        where o.member_number = i.member_number and o.state in ('running', {IS_QUEUED}) and o.id < i.id limit 1
    ) as q on true
"""
_ANSWERED = answered(_JUDGED, _WHY)
_PLAN = planning(_ANSWERED)
INSERT_ITEMS = taking(_ANSWERED)
RESTORE = text(f"""
    with fate as materialized (
        select id, reason, verdict, newer_id, was, hold from ({_ANSWERED}) as j
    ), back as (
        update instance i
        set state = case when w.state in ('dead', 'rejected') then w.state
                         when w.hold_id is not null and f.hold in ('holding', 'releasing') then 'held'
                         else 'pending' end,
            hold_id = case when f.hold in ('holding', 'releasing') then w.hold_id end,
            finished_at = case when w.state in ('dead', 'rejected') then w.finished_at end,
            due_at = case when w.state in ('dead', 'rejected') then i.due_at else now() end,
            due_stage = case when w.state in ('dead', 'rejected') then i.due_stage else i.stage end, reason = w.reason
        from fate f, member m,
             jsonb_to_record(f.was) as w (state text, reason text, finished_at timestamptz, hold_id bigint,
                                          errand_at timestamptz, failing_since timestamptz)
        where i.id = f.id and f.verdict = 'restore' and i.state = 'discarded' and m.member_number = i.member_number
        returning i.id, i.member_number, i.lane, i.stage, i.state, i.cleared,
                  case when w.errand_at is not null then w.errand_at
                       when w.state = 'dead' and w.failing_since is not null
                            and not coalesce(m.told_id = i.id and m.told_at >= w.finished_at, false)
                            and not exists (select from errand e where e.id = m.errand_id and e.instance_id = i.id
                                                                       and e.kind = 'report')
                       then now() end as report_at
    ), shown as (
        update member m set shown = m.shown & ~b.cleared
        from back b where b.cleared is not null and m.member_number = b.member_number and m.newest_id = b.id
    ), {schedule_reports("back")}, noted as (
        insert into activity (instance_id, stage, state, what) select id, stage, state, cast(:line as text) from back
    ), items as (
        update job_item t
        set verdict = f.verdict, reason = f.reason, newer_id = f.newer_id,
            state = case f.verdict when 'restore' then 'closed' else 'refused' end
        from fate f
        where t.job_id = :job and t.instance_id = f.id
          and (f.verdict = 'refused' or f.id = any(array(select id from back)))
    )
    select id, state from back
""")
"""Judge discarded instances of locked members again, and let them be what they were; note it in their job."""
DISCARDED = text("""
    select instance_id from job_item t join job o on o.id = t.job_id
    where t.job_id = :job and o.kind = 'discard' and t.state = 'closed' and t.verdict = 'discard'
    order by instance_id desc
""")
"""Find what a job discarded."""
_FOR_GOOD_S = 10 * 365 * 86_400.0
"""Who asked in time is not refused because it took its time, for an approval perhaps."""


def plan(tx: Connection, ids: Sequence[int], *, undo_s: float) -> Plan:
    """Return what would become of discarded *ids*; changes nothing.  Units: *undo_s* how long ago they may be."""
    return plan_of(Kind.UNDO, tx.execute(_PLAN, {"ids": sorted(set(ids)), "undo_s": undo_s}))


def restore(tx: Connection, job: int, ids: Sequence[int], *, line: str) -> None:
    """Let instances of locked members be what they were before they were discarded, in an undo."""
    parameters = {"job": job, "ids": list(ids), "line": line, "undo_s": _FOR_GOOD_S}
    back = tx.execute(RESTORE, parameters).all()
    if refused := [row.id for row in back if row.state == State.REJECTED]:
        cases.opened(tx, refused)
    wake(tx)


def discarded(tx: Connection, job: int) -> list[int]:
    """Return what a job discarded, the newest first."""
    return list(tx.execute(DISCARDED, {"job": job}).scalars())
