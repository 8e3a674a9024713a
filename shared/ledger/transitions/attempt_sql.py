"""The statements of `attempts`, and what bit while they were measured.

- A join of one CTE with another is slow; what one found is handed on by RETURNING.
- Fence by `token` alone (it is 0 unless running): `state = 'running'` makes the planner walk the in-flight index.
- An instance that would queue again while a newer one of its member is queued becomes superseded instead.
"""

from sqlalchemy import TextClause, text

from shared.ledger.addresses import key_sql
from shared.ledger.transitions.fragments import COMES_BACK, IS_QUEUED, LEASE
from shared.pipeline import Stage

_AHEAD = """
    case when (select count(*) from mine) < cardinality(cast(:ids as bigint[]))
         then exists (select from instance a where a.id = any(cast(:ids as bigint[]))
                      and a.token <> 0 and not a.begun and a.stage <> :stage)
         else false end as ahead
"""
"""Whether others of the batch wait to be begun at another stage; asked only where not all of it was begun here."""


def _begin_statement(columns: str, fat: str = "") -> TextClause:
    return text(f"""
        with mine as (
            update instance set begun = true, attempt = attempt + 1, alone = cardinality(cast(:ids as bigint[])) = 1,
                                {LEASE}
            where id = any(cast(:ids as bigint[])) and token <> 0 and stage = :stage and not begun
              and lease_until > now()
            returning id, token, attempt, member_number, operation, errand, lane, status, error, suspect, content_hash
        )
        select mine.*, {_AHEAD}, {columns},
               m.proven_row_id, m.row_id, m.ct_user_id, m.known_in_crowdtwist, m.unknown_outcome,
               case when m.lost_tell_id is null then m.told_status end as told_status,
               case when m.lost_tell_id is null then m.told_error end as told_error
        from mine join member m on m.member_number = mine.member_number {fat}
    """)


# Each stage is told who the member is: what the other side says of it is kept without its names.
BEGIN = {
    Stage.OIC: _begin_statement("f.event, null as user_object", "join payload f on f.instance_id = mine.id"),
    Stage.CROWDTWIST: _begin_statement(
        "p.event, f.user_object",
        "left join mapping f on f.instance_id = mine.id left join payload p on p.instance_id = mine.id",
    ),
    Stage.SIEBEL: _begin_statement(
        "f.event, null as user_object, t.content_hash = mine.content_hash as told_of_this",
        "left join payload f on f.instance_id = mine.id left join instance t on t.id = m.told_id",
    ),
}
BEGIN_UNREAD = _begin_statement("null as event, null as user_object")
EXPIRED = text("""
    select id, token, member_number, stage, attempt, begun, losses, alone, errand, status
    from instance where state = 'running' and lease_until < now() limit :limit
""")
LOCK_MEMBERS = text("""
    select from member where member_number = any(cast(:numbers as text[])) order by member_number for update
""")
ADVANCE = text(f"""
    update instance i
    set state = case when r.state = 'pending'
                      and exists (select from instance q
                                  where q.member_number = i.member_number and q.state in ({IS_QUEUED}))
                     then 'superseded' else r.state end,
        stage = r.stage, due_stage = case when r.state = 'pending' then r.stage else i.due_stage end,
        status = r.status, error = r.error,
        code = case when r.status = 'Data Error' then coalesce(r.code, i.code) end,
        failed_stage = case when r.status = 'Data Error' then coalesce(r.failed_stage, i.failed_stage) end,
        begun = false, attempt = 0, given_back = 0, suspect = false, apart = false, failing_since = null,
        errand_at = null,
        due_at = case when r.state = 'running' then i.due_at else now() end,
        token = case when r.state = 'running' then i.token else 0 end,
        lease_until = case when r.state = 'running' then now() + make_interval(secs => :lease_s) end,
        finished_at = case when r.state = 'running' then null
                           when r.state = 'pending'
                            and not exists (select from instance q
                                            where q.member_number = i.member_number and q.state in ({IS_QUEUED}))
                           then null else now() end
    from json_to_recordset(cast(:rows as json))
         as r (id bigint, token bigint, state text, stage text, status text, error text, code text, failed_stage text)
    where i.id = r.id and i.token = r.token and i.stage = :at and i.errand = 'sync'
    returning i.id, i.state
""")
LEARN_USER = text("""
    insert into mapping (instance_id, user_object, oic_instance_id)
    select id, "user", oic_instance_id
    from json_to_recordset(cast(:rows as json)) as r (id bigint, "user" jsonb, oic_instance_id text)
    on conflict (instance_id)
    do update set user_object = excluded.user_object, oic_instance_id = excluded.oic_instance_id
""")
LEARN_APPLIED = text(f"""
    update member m
    set applied_id = i.id, applied_hash = i.content_hash, ct_user_id = coalesce(r.ct_user_id, m.ct_user_id),
        known_in_crowdtwist = m.known_in_crowdtwist or r.ct_user_id is not null, unknown_outcome = false,
        echoed = coalesce(r.echoed, m.echoed),
        held_email_key = case
            when r.echoed = cast('{{}}' as jsonb) then null
            when i.operation = 'delete' then coalesce({key_sql("r.echoed->>'email_address'")}, m.held_email_key)
            else coalesce({key_sql("r.echoed->>'email_address'")},
                          (select {key_sql("p.user_object->>'email_address'")}
                           from mapping p where p.instance_id = i.id)) end,
        read_back_at = case when m.lost_write_id is not null then now() + make_interval(secs => :settle_s) end
    from json_to_recordset(cast(:rows as json)) as r (id bigint, ct_user_id bigint, echoed jsonb)
    join instance i on i.id = r.id
    where m.member_number = i.member_number
""")
LEARN_TOLD = text("""
    update member m
    set row_id = coalesce(m.row_id, r.row_id), proven_row_id = coalesce(r.row_id, m.proven_row_id),
        told_status = r.told_status, told_error = r.told_error, told_id = i.id, told_at = now(),
        synced = (i.state = 'completed'),
        tell_again_at = case when m.lost_tell_id is not null then now() + make_interval(secs => :settle_s) end
    from json_to_recordset(cast(:rows as json)) as r (id bigint, row_id text, told_status text, told_error text)
    join instance i on i.id = r.id
    where m.member_number = i.member_number
""")
LEARN_TOLD_AGAIN = text("""
    update member m
    set row_id = coalesce(r.row_id, m.row_id), told_status = r.told_status, told_error = r.told_error, told_at = now()
    from json_to_recordset(cast(:rows as json)) as r (id bigint, row_id text, told_status text, told_error text)
    join instance i on i.id = r.id
    where m.member_number = i.member_number
""")
PARK = text(f"""
    update instance i
    set state = w.state, stage = r.stage, due_stage = r.stage, attempt = r.attempt, {COMES_BACK},
        due_at = now() + make_interval(secs => r.delay_s),
        status = coalesce(r.status, i.status), error = case when r.code is null then i.error else r.error end,
        code = coalesce(r.code, i.code), failed_stage = coalesce(r.failed_stage, i.failed_stage),
        failing_since = case when r.report_after_s is null then i.failing_since
                             else coalesce(i.failing_since, now()) end,
        losses = i.losses + case when r.lost then 1 else 0 end, apart = i.apart or r.apart,
        reason = case when w.state = 'superseded' then 'a newer event is due' else i.reason end,
        finished_at = case when w.state in ({IS_QUEUED}) then null else now() end,
        errand_at = case when w.state = 'superseded' or r.report_after_s is null then null
                         when w.state = 'dead' then now()
                         when w.told then null
                         else coalesce(i.failing_since, now()) + make_interval(secs => r.report_after_s) end
    from (
        select r.*,
               case when r.state in ({IS_QUEUED}) and q.id is not null then 'superseded' else r.state end as next_state,
               m.told_status = r.status and m.told_at >= o.failing_since as told
        from json_to_recordset(cast(:rows as json))
             as r (id bigint, token bigint, state text, stage text, attempt int, delay_s float8, status text,
                   error text, code text, failed_stage text, report_after_s float8, lost boolean,
                   apart boolean)
        join instance o on o.id = r.id
        join member m on m.member_number = o.member_number
        left join instance q on q.member_number = o.member_number and q.state in ({IS_QUEUED})
    ) as r, lateral (select r.next_state as state, r.told) as w
    where i.id = r.id and i.token = r.token and i.errand = 'sync'
    returning i.id, i.state
""")
HAND_ON = text(f"""
    update instance n
    set failing_since = o.failing_since, status = o.status, error = o.error, code = o.code,
        failed_stage = o.failed_stage,
        errand_at = case when m.told_status = o.status and m.told_at >= o.failing_since then null
                         else o.failing_since + make_interval(secs => r.report_after_s) end
    from json_to_recordset(cast(:rows as json)) as r (id bigint, report_after_s float8)
    join instance o on o.id = r.id
    join member m on m.member_number = o.member_number
    where n.member_number = o.member_number and n.state in ({IS_QUEUED}) and n.failing_since is null
""")
TROUBLED = text("""
    update member m
    set synced = false,
        unknown_outcome = m.unknown_outcome or (:stage = 'crowdtwist' and r.unsure and not m.known_in_crowdtwist)
    from json_to_recordset(cast(:rows as json)) as r (member_number text, unsure boolean)
    where m.member_number = r.member_number
""")
END_ERRANDS = text(f"""
    update instance i
    set state = case when i.parked_state in ({IS_QUEUED}) and q.id is not null then 'superseded'
                     else i.parked_state end,
        stage = i.parked_stage, attempt = i.parked_attempt, errand = 'sync', {COMES_BACK},
        parked_state = null, parked_stage = null, parked_attempt = null,
        finished_at = case when i.parked_state in ({IS_QUEUED}) and i.finished_at is null and q.id is not null
                           then now() else i.finished_at end,
        errand_at = case when i.parked_state in ({IS_QUEUED}) and q.id is not null then null
                         when i.errand <> 'report' then i.errand_at
                         else now() + make_interval(secs => r.again_in_s) end,
        errand_attempt = case when r.again_in_s is null then 0 else i.attempt end, apart = i.apart or r.apart
    from json_to_recordset(cast(:rows as json)) as r (id bigint, token bigint, again_in_s float8, apart boolean)
    join instance o on o.id = r.id
    left join instance q on q.member_number = o.member_number and q.state in ({IS_QUEUED})
    where i.id = r.id and i.token = r.token and i.errand <> 'sync'
    returning i.id, i.state
""")
# The repetition may land after something newer: that is read back, and at siebel written whatever was told.
SOMETHING_DUE = text(f"""
    select exists (select from instance where member_number = any(cast(:numbers as text[]))
                   and (state in ({IS_QUEUED}) and due_at <= now() or errand_at <= now()))
""")
NOTE = text("""
    insert into activity (instance_id, stage, attempt, state, what, code, took_ms, task_id, calls)
    select id, :stage, attempt, state, what, code, took_ms, :task_id, calls
    from json_to_recordset(cast(:rows as json))
         as r (id bigint, attempt int, state text, what text, code text, took_ms float8, calls jsonb)
""")
