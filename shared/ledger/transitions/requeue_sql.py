"""The statements of `requeues`, and those that all jobs share.

`_JUDGED` is the heart: for each picked instance one word, `why`, that says what is to become of it.  The same text
plans a selection and judges again at the moment of sending, when the members are locked.  Ids of a member ascend with
its events' versions, because intake closes whatever arrives older than the newest; so newer is `id >`.
"""

from collections.abc import Mapping

from sqlalchemy import TextClause, text

from shared.ledger.jobs import DISCARDED_FROM, REQUEUED_FROM, Kind, Verdict
from shared.ledger.transitions.member_queue import IS_QUEUED, drop_reports, schedule_reports, words
from shared.pipeline import State, is_a

GONE = (Verdict.REFUSED, "there is no such instance, or it was pruned")
STOPPED = "the job stopped"
_IS: dict[str, tuple[Verdict, str]] = {f"is_{state}": (Verdict.REFUSED, f"it is {is_a(state)}") for state in State}
REQUEUE_WHY: dict[str, tuple[Verdict, str]] = {
    "send": (Verdict.SEND, ""),
    "newer_done": (Verdict.SUPERSEDED, "a newer event of the member succeeded"),
    "newer_going": (Verdict.MERGED, "a newer event of the member is on its way"),
    "newer_ours": (Verdict.MERGED, "a newer event of the member is requeued with it"),
    "newer_failed": (Verdict.REFUSED, "a newer event of the member failed too; requeue the newer one"),
    "older_going": (Verdict.REFUSED, "an older event of the member is on its way"),
    "worn_out": (Verdict.REFUSED, "it was requeued as often as MEMBERSYNC_REQUEUE_MAX allows"),
    "taken": (Verdict.REFUSED, "a requeue that is under way has it"),
    "gone": GONE,
    **_IS,
}
DISCARD_WHY: dict[str, tuple[Verdict, str]] = {"discard": (Verdict.DISCARD, ""), "gone": GONE, **_IS}
CHANGED = "it would be sent now, which the plan did not say; plan again"


def _case(whys: Mapping[str, tuple[Verdict, str]], part: int) -> str:
    return "case why " + " ".join(f"when '{why}' then '{words[part]}'" for why, words in whys.items()) + " end"


def answered(judged: str, whys: Mapping[str, tuple[Verdict, str]]) -> str:
    """Turn `why` into a verdict, its reason, and the other instance that decided."""
    return f"""
        select f.*, {_case(whys, 0)} as verdict, {_case(whys, 1)} as reason,
               case why when 'newer_done' then coalesce(done, applied_id) when 'newer_going' then going
                        when 'newer_ours' then failed when 'newer_failed' then failed when 'older_going' then older
               end as newer_id
        from ({judged}) as f
    """


_WAS = """jsonb_build_object(
    'state', i.state, 'stage', i.stage, 'attempt', i.attempt, 'losses', i.losses, 'resubmits', i.resubmits,
    'lane', i.lane, 'status', i.status, 'error', i.error, 'code', i.code, 'failed_stage', i.failed_stage,
    'failing_since', i.failing_since, 'reason', i.reason, 'finished_at', i.finished_at, 'hold_id', i.hold_id,
    'errand_at', (select e.due_at from errand e where e.instance_id = i.id and e.kind = 'report' and e.token = 0))"""
GUARDED = "(:guarded and i.state = 'held' and i.hold_id is not null)"
"""Of an instance `i`, in a job that releases a guard's hold: it is held by one."""
_JUDGED = f"""
    select p.id, i.member_number, i.state, {_WAS} as was, n.done, n.going, n.failed, q.id as older, m.applied_id,
           case when i.id is null then 'gone'
                when i.state not in ({words(REQUEUED_FROM)}) and not {GUARDED} then 'is_' || i.state
                when n.done is not null or m.applied_id > i.id then 'newer_done'
                when n.going is not null then 'newer_going'
                when n.failed is not null then 'newer_failed'
                when q.id is not null then 'older_going'
                when i.resubmits >= :resubmits_max and not :forced then 'worn_out'
                else 'send' end as why
    from unnest(cast(:ids as bigint[])) as p (id)
    left join instance i on i.id = p.id
    left join member m on m.member_number = i.member_number
    left join lateral (
        select max(id) filter (where state in ('completed', 'unchanged')) as done,
               max(id) filter (where state in ('running', {IS_QUEUED})) as going,
               max(id) filter (where state in ({words(REQUEUED_FROM)})) as failed
        from instance o where o.member_number = i.member_number and o.id > i.id
    ) as n on true
    left join lateral (
        select o.id from instance o
        where o.member_number = i.member_number and o.state in ({IS_QUEUED}) and o.id < i.id limit 1
    ) as q on true
"""
ONE_AT_A_TIME = text("select pg_advisory_xact_lock(7264013111)")
"""Two who make jobs at once do not both take the same instances."""
_PLANNED = answered(
    f"""
    select id, member_number, state, was, done, going, failed, older, applied_id,
           case when why = 'newer_failed'
                 and failed = max(id) filter (where why = 'send') over (partition by member_number)
                then 'newer_ours'
                when why = 'send' and exists (
                    select from job o join job_item t on t.job_id = o.id and t.instance_id = j.id
                    where o.ended_at is null and o.kind = 'requeue' and t.state in ('planned', 'sent'))
                then 'taken' else why end as why
    from ({_JUDGED}) as j
    """,
    REQUEUE_WHY,
)
_AGAIN = answered(
    f"""
    select id, member_number, state, was, done, going, failed, older, applied_id,
           case when why = 'newer_failed' and exists (
                    select from job_item o where o.job_id = :job and o.instance_id = failed and o.verdict = 'send')
                then 'newer_ours' else why end as why
    from ({_JUDGED}) as j
    """,
    REQUEUE_WHY,
)
_DISCARDABLE = answered(
    f"""
    select p.id, i.member_number, i.state, cast(null as bigint) as done, cast(null as bigint) as going,
           cast(null as bigint) as failed, cast(null as bigint) as older, cast(null as bigint) as applied_id,
           {_WAS} as was,
           case when i.id is null then 'gone'
                when i.state not in ({words(DISCARDED_FROM)}) then 'is_' || i.state
                else 'discard' end as why
    from unnest(cast(:ids as bigint[])) as p (id)
    left join instance i on i.id = p.id
    """,
    DISCARD_WHY,
)


def planning(judged: str) -> TextClause:
    """Return the statement that says what would become of instances, as *judged*, a query; changes nothing."""
    return text(
        f"select id, coalesce(member_number, '') as member_number, verdict, reason, newer_id from ({judged}) as j"
    )


def taking(judged: str) -> TextClause:
    """Return the statement that takes instances into a job, as *judged*, a query."""
    return text(f"""
        insert into job_item (job_id, instance_id, member_number, verdict, reason, newer_id, state)
        select :job, id, coalesce(member_number, ''), verdict, reason, newer_id,
               case verdict when 'refused' then 'refused' else 'planned' end
        from ({judged}) as j
        returning verdict
    """)


_JUDGE = {Kind.REQUEUE: _PLANNED, Kind.DISCARD: _DISCARDABLE}
PLAN = {kind: planning(judged) for kind, judged in _JUDGE.items()}
INSERT_ITEMS = {kind: taking(judged) for kind, judged in _JUDGE.items()}
INSERT_JOB = text("""
    insert into job (kind, state, requested_by, reason, asked, from_start, forced, rate_per_minute, recreates, size)
    values (:kind, :state, :who, :reason, cast(:asked as jsonb), :from_start, :forced, :rate, :recreates, 0)
    returning id
""")
"""Make a job."""
DELETE_JOB = text("delete from job where id = :job")
"""Delete a job of which nothing would be done."""
SET_SIZE = text("update job set size = :size where id = :job")
"""Note how many instances a job is to send."""
_JOB = """
    select id, kind, state, requested_by, reason, asked, from_start, forced, recreates, rate_per_minute, size, step,
           stopped_why, paid_until, asked->'guard' is not null as guarded, now() as now
    from job
"""
NEXT_JOB = text(f"""
    {_JOB} where ended_at is null and state <> 'awaiting_approval' and next_at <= now()
    order by next_at limit 1 for update skip locked
""")
"""Lock the job whose turn it is, unless another process has it."""
LOCK_JOB = text(f"{_JOB} where id = :job and kind = :kind for update")
"""Lock one job."""
MOVE_JOB = text("""
    update job set state = :state, step = :step, started_at = coalesce(started_at, now()), stopped_why = :stopped_why,
                   ended_at = case when :over then now() end, paid_until = :paid_until,
                   next_at = now() + make_interval(secs => :nap_s)
    where id = :job
""")
"""Write how far a job has come, and when its next turn is."""
TALLIES = text("select state, verdict, step, count(*) as total from job_item where job_id = :job group by 1, 2, 3")
"""Count the instances of a job by what became of them."""


def _pick(condition: str) -> TextClause:
    return text(f"""
        select instance_id, member_number from job_item
        where job_id = :job and state = 'planned' and {condition} order by instance_id limit :limit
    """)


PICK_CLOSINGS = _pick("verdict in ('superseded', 'merged')")
"""Find what of a job is to be closed, since something newer makes it pointless."""
PICK = _pick("verdict in ('send', 'discard', 'restore')")
"""Find what of a job is to be sent, discarded or restored; after the closings nothing else is left."""

SEND = text(f"""
    with fate as materialized (
        select j.id, j.was, j.newer_id,
               case when :closing and j.verdict = 'send' then 'refused' else j.verdict end as verdict,
               case when :closing and j.verdict = 'send' then '{CHANGED}' else j.reason end as reason
        from ({_AGAIN}) as j
    ), sent as (
        update instance i
        set state = 'pending', stage = case when :from_start then 'oic' else i.failed_stage end,
            due_stage = case when :from_start then 'oic' else i.failed_stage end,
            lane = case when :bulk then 'bulk' else i.lane end,
            attempt = 0, losses = 0, suspect = false, resubmits = i.resubmits + 1, due_at = now(), finished_at = null,
            reason = null, failing_since = null, hold_id = null
        from fate f
        where i.id = f.id and f.verdict = 'send' and (i.state in ({words(REQUEUED_FROM)}) or {GUARDED})
        returning i.id, i.stage
    ), closed as (
        update instance i
        set state = 'superseded', finished_at = now(),
            reason = f.reason || coalesce(' (instance ' || f.newer_id || ')', '')
        from fate f where i.id = f.id and f.verdict in ('superseded', 'merged') and i.state in ({words(REQUEUED_FROM)})
        returning i.id, i.stage, i.reason
    ), {drop_reports("select id from sent union all select id from closed")}, noted as (
        insert into activity (instance_id, stage, state, what)
        select id, stage, 'pending', cast(:line as text) from sent
        union all select id, stage, 'superseded', cast(:line as text) || ', closed: ' || reason from closed
    ), items as (
        update job_item t
        set verdict = f.verdict, reason = f.reason, newer_id = f.newer_id, was = f.was,
            step = case when f.verdict = 'send' then cast(:step as smallint) end,
            state = case f.verdict when 'send' then 'sent' when 'refused' then 'refused' else 'closed' end
        from fate f
        where t.job_id = :job and t.instance_id = f.id
          and (f.verdict = 'refused' or f.id = any(array(select id from sent union all select id from closed)))
    )
    select verdict, count(*) as total from fate group by verdict
""")
"""Judge instances of locked members again: send them on their way, close or refuse them, and note it in their job."""
DISCARD = text(f"""
    with fate as materialized (
        select id, reason, verdict, was from ({_DISCARDABLE}) as j
    ), gone as (
        update instance i set state = 'discarded', finished_at = now(), reason = :why
        from fate f where i.id = f.id and f.verdict = 'discard' and i.state in ({words(DISCARDED_FROM)})
        returning i.id, i.stage, i.member_number, i.cleared
    ), shown as (
        update member m set shown = m.shown | g.cleared
        from gone g where g.cleared is not null and m.member_number = g.member_number and m.newest_id = g.id
    ), {drop_reports("select id from gone")}, noted as (
        insert into activity (instance_id, stage, state, what)
        select id, stage, 'discarded', cast(:line as text) from gone
    ), items as (
        update job_item t
        set verdict = f.verdict, reason = f.reason, was = f.was,
            state = case f.verdict when 'discard' then 'closed' else 'refused' end
        from fate f
        where t.job_id = :job and t.instance_id = f.id
          and (f.verdict = 'refused' or f.id = any(array(select id from gone)))
    )
    select verdict, count(*) as total from fate group by verdict
""")
"""Discard instances of locked members, and note it in their job; their members keep what they would have cleared."""
FAILED_AGAIN = """
    case when i.id is null then 'closed'
         when i.state = 'completed' then 'succeeded'
         when i.state in ('dead', 'rejected') then 'failed'
         when i.state in ('superseded', 'unchanged', 'skipped', 'discarded') then 'closed'
         when i.state = 'held' then case when i.hold_id is not null then 'failed' end
         when i.attempt > case when i.begun then 1 else 0 end then 'failed' end
"""
"""What came of an instance that was sent; null: nothing yet.  More attempts than the one under way: it failed again."""
SETTLE = text(f"""
    update job_item t set state = o.outcome, reason = coalesce(o.said, t.reason)
    from (
        select t.instance_id, {FAILED_AGAIN} as outcome,
               case i.state when 'superseded' then i.reason when 'discarded' then 'it was discarded'
                             else i.code end as said
        from job_item t left join instance i on i.id = t.instance_id
        where t.job_id = :job and t.state = any(cast(:states as text[]))
    ) as o
    where t.job_id = :job and t.instance_id = o.instance_id and o.outcome is not null and t.state <> o.outcome
""")
"""Note in a job what came of the instances that it sent."""
SENT_MEMBERS = text("select member_number from job_item where job_id = :job and state = 'sent'")
"""Find the members of the instances that a job has sent."""
PUT_BACK = text(f"""
    with back as (
        update instance i
        set state = w.state, stage = w.stage, due_stage = w.stage, attempt = w.attempt, losses = w.losses,
            resubmits = w.resubmits, lane = w.lane, status = w.status, error = w.error, code = w.code,
            failed_stage = w.failed_stage, failing_since = w.failing_since, reason = w.reason,
            finished_at = w.finished_at, hold_id = w.hold_id
        from job_item t, member m,
             jsonb_to_record(t.was) as w (state text, stage text, attempt smallint, losses smallint, resubmits smallint,
                                          lane text, status text, error text, code text, failed_stage text,
                                          failing_since timestamptz, reason text, errand_at timestamptz,
                                          finished_at timestamptz, hold_id bigint)
        where t.job_id = :job and t.state = 'sent' and i.id = t.instance_id and i.state in ('pending', 'held')
          and m.member_number = i.member_number
          and i.attempt = 0 and i.losses = 0
          and i.stage = case when :from_start then 'oic' else w.failed_stage end
        returning i.id, i.member_number, i.lane, i.stage, i.state,
                  case when w.errand_at is not null then w.errand_at
                       when w.state = 'dead' and w.failing_since is not null
                            and not coalesce(m.told_id = i.id and m.told_at >= w.finished_at, false)
                            and not exists (select from errand e where e.id = m.errand_id and e.instance_id = i.id
                                                                       and e.kind = 'report')
                       then now() end as report_at
    ), {schedule_reports("back")}, noted as (
        insert into activity (instance_id, stage, state, what) select id, stage, state, cast(:line as text) from back
    ), unsent as (
        update job_item set state = 'put_back', reason = :why where job_id = :job and state = 'planned'
    )
    update job_item set state = 'put_back', reason = :why
    where job_id = :job and instance_id = any(array(select id from back))
""")
"""Put the instances of a stopped job back that nobody has begun, and leave the rest of it unsent.

A dead letter of which Siebel was not told, nor is being told, is to be reported again: its report was dropped, or out.
"""
