"""A member's queue: one instance of it waits at most, and a newer event closes it; parts that statements share.

What waits is `pending`, `waiting` or `held`.  Whatever would queue again while a newer one does is superseded instead.

Who was refused for an address is sent again once that is free: at once when the call of who had it has ended, and else
by the desk (`producers.dispatch.desk`), which looks after those whose member was locked just then.
"""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, TextClause, text

from shared.ledger.engine import wake
from shared.ledger.people import PENDING
from shared.lifecycle.cases import RETRIES_MAX
from shared.pipeline import QUEUED


def words(states: Iterable[str]) -> str:
    """Return *states* as a list of SQL texts."""
    return ", ".join(f"'{state}'" for state in states)


IS_QUEUED = words(QUEUED)
"""The states of the one instance of a member that waits for its turn."""
HAS_QUEUED = f"exists (select from instance q where q.member_number = i.member_number and q.state in ({IS_QUEUED}))"
"""Of an instance `i` that is not queued itself: a newer one is."""
LEASE = "lease_until = now() + make_interval(secs => :lease_s)"
GOES_OUT = f"state = 'running', token = :token, begun = false, {LEASE}"
"""An instance is handed to the broker, under a token of its own."""
COMES_BACK = "begun = false, token = 0, lease_until = null"
"""It is on its way no more."""


RESCHEDULED = "e.due_at > e.lease_until"
"""Of an errand `e` that is out: it was scheduled anew meanwhile."""


def has_nothing_out(row: str) -> str:
    """Return the condition that no call of a member `m` is out, of an instance or an errand; *row*: of that member.

    `offset 0` has it asked member by member: few are running at a time, and the planner, who knows that, would read all
    who are for each, with all the dead among them.
    """
    return f"""m.errand_id is null and not exists (
        select from instance r where r.member_number = {row}.member_number and r.state = 'running' offset 0)"""


def schedule_reports(of: str) -> str:
    """Return the CTE that has Siebel told of instances at their times.

    *of*: names the CTE with their id, member_number, lane and report_at; null: nothing is scheduled.  It is a new
    report, with all its attempts; where the one before is out, it is due after that (`RESCHEDULED`).
    """
    return f"""reports as (
        insert into errand (instance_id, member_number, kind, stage, lane, due_at)
        select id, member_number, 'report', 'siebel', lane, report_at from {of} where report_at is not null
        on conflict (instance_id, kind)
        do update set lane = excluded.lane,
                      due_at = case when errand.token = 0 then excluded.due_at
                                    else greatest(excluded.due_at, errand.lease_until + interval '1 ms') end,
                      attempt = case when errand.token = 0 then 0 else errand.attempt end
    )"""


def drop_reports(of: str) -> str:
    """Return the CTE that drops the reports of the instances that *of*, a query, gives, but for those that are out."""
    return f"""dropped as (
        delete from errand e using ({of}) as o where e.instance_id = o.id and e.kind = 'report' and e.token = 0
    )"""


LOCK_MEMBERS = text("""
    select from member where member_number = any(cast(:numbers as text[])) order by member_number for update
""")
"""Lock members in key order, in a statement of its own, before anything that depends on what is queued or out."""


def supersede(tx: Connection, overtaken: Mapping[int, int]) -> None:
    """Close queued instances: key = the overtaken one, value = the newer one."""
    if overtaken:
        tx.execute(SUPERSEDE, {"ids": list(overtaken), "newer": list(overtaken.values())})


def inherit(tx: Connection, overtaken: Mapping[int, int]) -> None:
    """Hand a failure that lasts on to the newer instance: since when, what, and when Siebel is to be told of it."""
    if overtaken:
        tx.execute(INHERIT, {"ids": list(overtaken), "newer": list(overtaken.values())})


def wake_who_waits(tx: Connection, members: Sequence[str]) -> bool:
    """Make due at once who waits for an address of these members, whose calls have ended.

    Call it before what they ended with is learned: it goes by the addresses that they had.

    Returns whether somebody was refused for such an address: `send_freed`, once it is learned.
    """
    row = tx.execute(WAKE, {"numbers": list(members)}).one()
    if row.woken:
        wake(tx)
    return bool(row.is_wanted)


def send_freed(tx: Connection, holders: Sequence[str]) -> None:
    """Send again who was refused for an address that these members had, and nobody has now."""
    if tx.execute(SEND_FREED, {"numbers": list(holders)}).rowcount:
        wake(tx)


def send_all_freed(tx: Connection, *, limit: int) -> int:
    """Send again at most *limit* of those who were refused for an address that nobody has now; return how many."""
    sent = tx.execute(SEND_ALL_FREED, {"limit": limit}).rowcount
    if sent:
        wake(tx)
    return sent


SUPERSEDE = text("""
    with overtaken as (
        update instance i
        set state = 'superseded', finished_at = now(), reason = 'overtaken by instance ' || r.newer
        from unnest(cast(:ids as bigint[]), cast(:newer as bigint[])) as r (id, newer)
        where i.id = r.id and i.state <> 'running'
        returning i.id, i.stage, i.reason
    )
    insert into activity (instance_id, stage, state, what) select id, stage, 'superseded', reason from overtaken
""")
"""Close queued instances, each overtaken by a newer one of its member."""
INHERIT = text("""
    with heirs as (
        update instance n
        set failing_since = o.failing_since, status = o.status, error = o.error, code = o.code,
            failed_stage = o.failed_stage
        from unnest(cast(:ids as bigint[]), cast(:newer as bigint[])) as r (id, newer)
        join instance o on o.id = r.id
        where n.id = r.newer and n.state = 'pending'
        returning n.id, o.id as overtaken, n.lane
    )
    update errand e set instance_id = h.id, lane = h.lane
    from heirs h where e.instance_id = h.overtaken and e.kind = 'report' and e.token = 0
""")
"""Hand the failure of overtaken instances on to the newer ones, with the report that is due to Siebel."""
_OVERTAKEN = "select id from json_to_recordset(cast(:rows as json)) as g (id bigint)"
HAND_ON = text(f"""
    with heirs as (
        update instance n
        set failing_since = o.failing_since, status = o.status, error = o.error, code = o.code,
            failed_stage = o.failed_stage
        from json_to_recordset(cast(:rows as json)) as r (id bigint, report_after_s float8)
        join instance o on o.id = r.id
        join member m on m.member_number = o.member_number
        where n.member_number = o.member_number and n.state in ({IS_QUEUED}) and n.failing_since is null
          and o.failing_since is not null
        returning n.id, n.member_number, n.lane,
                  case when m.told_status = o.status and m.told_at >= o.failing_since then null
                       else coalesce(o.failing_since + make_interval(secs => r.report_after_s),
                                     (select e.due_at from errand e where e.instance_id = o.id and e.kind = 'report'
                                                                          and e.token = 0)) end as report_at
    ), {schedule_reports("heirs")}, {drop_reports(_OVERTAKEN)}
    select id from heirs
""")
"""Hand the failure of instances that were overtaken in an attempt on to the newer one that is queued.

Shape: *report_after_s* where the attempt itself failed; where it was lost or not made, the report of an earlier failure
is due when it was.
"""
SOMETHING_DUE = text(f"""
    select exists (select from instance where member_number = any(cast(:numbers as text[]))
                                              and state in ({IS_QUEUED}) and due_at <= now())
        or exists (select from errand where member_number = any(cast(:numbers as text[]))
                                            and token = 0 and due_at <= now())
""")
"""Look whether anything of these members is due, so that a dispatcher is to be woken."""
WAKE = text(f"""
    with woken as (
        update instance set due_at = now() where id = any(array(
            select b.id from instance b join member m on m.member_number = b.member_number
            where b.state = 'waiting' and b.code = '{PENDING}' and b.due_at > now()
              and m.email_key in (select held_email_key from member where member_number = any(cast(:numbers as text[])))
            for update of b skip locked))
        returning id
    )
    select (select count(*) from woken) as woken,
           exists (select from data_case where closed_at is null and held_by = any(cast(:numbers as text[])))
               as is_wanted
""")
"""Make due at once who waits for an address that these members have had; look whether anybody was refused for one."""
_IS_KEPT = """exists (
    select from address_cycle y
    where y.ended_at is null and y.deadline_at > now() and c.wants_key = any(y.address_keys)
      and not exists (select from address_cycle_step s
                      where s.cycle_id = y.id and s.member_number = c.member_number))"""
"""Of a case `c`: the address that it wants is for a member of a cycle that is just coming loose."""
_IS_FREE = """c.held_by is not null and not exists (
    select from member h where h.held_email_key = c.wants_key and h.member_number <> c.member_number)"""
"""Of a case `c`: by the ledger nobody has the address any more."""


def _send_again(cases: str) -> TextClause:
    """Return the statement that sends the instances of open *cases* again, of members that have nothing newer.

    Members are locked out of their order, so whoever is locked is passed by.
    """
    return text(f"""
        with free as materialized (
            select c.id as case_id, b.id
            from data_case c
            join instance b on b.id = c.instance_id
            join member m on m.member_number = c.member_number
            where c.closed_at is null and {cases} and not {_IS_KEPT}
              and b.state = 'rejected' and b.failed_stage = 'crowdtwist' and m.newest_id = b.id
              and not exists (select from instance q where q.member_number = m.member_number
                                                       and q.state in ({IS_QUEUED}))
            for update of c, b, m skip locked
        ), noted as (
            insert into activity (instance_id, stage, state, what)
            select id, 'crowdtwist', 'pending', 'sent again: the e-mail address has become free' from free
        ), counted as (
            update data_case c set retries = c.retries + 1 from free f where c.id = f.case_id
        )
        update instance i
        set state = 'pending', stage = 'crowdtwist', due_stage = 'crowdtwist', attempt = 0, losses = 0, given_back = 0,
            suspect = false, due_at = now(), finished_at = null
        from free f where i.id = f.id
    """)


SEND_FREED = _send_again(f"c.held_by = any(cast(:numbers as text[])) and {_IS_FREE}")
"""Send again who was refused for an address that these members had."""
_HAS_MOVED = """c.looked = 'found' and exists (
    select from member t join instance a on a.id = t.applied_id
    where t.member_number = c.holder->>'third_party_id' and t.held_email_key <> c.wants_key
      and a.finished_at > c.looked_up_at)"""
"""Of a case `c`: whom CrowdTwist showed to have the address has got another one since."""
_IS_SHOWN_FREE = f"c.looked <> 'found' and c.retries < {RETRIES_MAX}"
"""Of a case `c`: CrowdTwist shows nobody else who has the address; who is refused all the same is not sent for ever."""
SEND_ALL_FREED = _send_again(f"""c.id = any(array(
    select c.id from data_case c join instance b on b.id = c.instance_id and b.state = 'rejected'
    where c.closed_at is null and ({_IS_FREE} or {_HAS_MOVED} or {_IS_SHOWN_FREE}) limit :limit))""")
"""Send again who was refused for an address that has become free, whoever had it."""
