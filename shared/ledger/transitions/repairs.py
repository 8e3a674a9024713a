"""Repairs: differences that a reconciliation found are sent on as ordinary events, made of Siebel's row of that moment.

The items of the job are differences.  A turn sends some, as the steps allow, judged again: one of `status_lies` by
having the outcome of the newest event told once more, any other by handing it to whoever reads Siebel (`wanted`).  What
that finds there comes in by intake, with the origin `reconcile`, so that order, duplicates and newer events are the
matter of intake as ever; `taken_in` notes it, and from then on the item is what its instance comes to.

| class                                      | what a repair does                                             |
|--------------------------------------------|----------------------------------------------------------------|
| never_sent, missed_event, ledger_behind    | an event of Siebel's row; CrowdTwist gets what Siebel has      |
| changed_at_destination, rolled_back        | the same, though the content is what CrowdTwist took before    |
| status_lies                                | the outcome of the newest event is told to Siebel once more    |
| gone_at_destination, orphan                | nothing: a person decides, for it may be a lawful erasure      |

What was repaired twice and differs a third time has two masters: it is refused, and shown, unless an operator forces
it, who knows which of the two is to win.  A difference is counted as
repaired when it is sent, so that the caps hold whatever dies; one that comes to nothing is given back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from shared.ledger.engine import json_rows
from shared.ledger.filters import Filter, matching
from shared.ledger.jobs import ItemState, Kind, Plan, Verdict, plan_of
from shared.ledger.transitions.job_turns import Caps, Turn
from shared.ledger.transitions.member_queue import IS_QUEUED
from shared.ledger.transitions.requeue_sql import FAILED_AGAIN, GONE, STOPPED, answered, planning
from shared.ledger.transitions.resends import HAS_NEWER
from shared.reconciling import DriftClass

FIGHT = 2
"""Repairs of one class of one member, after which the next difference shows two masters."""
SELECTION_MAX = 100_000
"""Differences of one repair."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A difference whose member is to be read in Siebel.  *tries* counts from 1; *newest_id* its newest event's."""

    job_id: int
    difference_id: int
    member_number: str
    row_id: str | None
    newest_id: int | None
    tries: int


@dataclass(frozen=True, slots=True)
class Read:
    """What reading a member came to.

    Shape: *state* `sent` with the instance that was made of the row; `closed` or `refused` with the *reason*, one
    sentence.
    """

    job_id: int
    difference_id: int
    state: ItemState
    reason: str = ""
    instance_id: int | None = None


def select(tx: Connection, run_id: int, classes: Sequence[DriftClass], where: Filter) -> list[int]:
    """Return the differences of a run, of some *classes* where given.

    Shape: those of the members that *where* names, and whose newest instance is what it says beside that.
    """
    conditions = ["run_id = :run", "class = any(cast(:classes as text[]))"]
    parameters: dict[str, object] = {"run": run_id, "classes": [str(one) for one in classes or DriftClass]}
    if where.members:
        conditions.append("member_number = any(cast(:members as text[]))")
        parameters["members"] = list(where.members)
    if Filter(members=where.members) != where:
        statement, more = matching(tx, where, limit=SELECTION_MAX, among=_NEWEST_OF_RUN)
        ids = list(tx.execute(statement, more | {"run": run_id}).scalars())
        conditions.append(
            "member_number in (select member_number from instance where id = any(cast(:ids as bigint[])))"
        )
        parameters["ids"] = ids
    found = text(f"select id from difference where {' and '.join(conditions)} order by id limit {SELECTION_MAX}")
    return list(tx.execute(found, parameters).scalars())


def plan(tx: Connection, ids: Sequence[int], caps: Caps, *, forced: bool = False) -> Plan:
    """Return what would become of differences; changes nothing.  *forced*: also of what two masters fight about."""
    parameters = {"ids": sorted(set(ids)), "forced": forced, **caps.parameters()}
    return plan_of(Kind.REPAIR, tx.execute(PLAN, parameters))


def wanted(tx: Connection, *, limit: int, lease_s: float) -> list[Wanted]:
    """Take up differences whose members are to be read; nobody else does for *lease_s*."""
    rows = tx.execute(TAKE_UP, {"limit": limit, "lease_s": lease_s})
    return [
        Wanted(row.job_id, row.instance_id, row.member_number, row.row_id, row.newest_id, row.tries) for row in rows
    ]


def taken_in(tx: Connection, read: Sequence[Read]) -> None:
    """Note what became of those that were read."""
    records = [
        {
            "job": one.job_id,
            "id": one.difference_id,
            "state": one.state,
            "reason": one.reason,
            "instance": one.instance_id,
        }
        for one in read
    ]
    tx.execute(TAKEN_IN, {"rows": json_rows(records)})


def to_repair_by_itself(tx: Connection) -> int | None:
    """Return the newest scheduled run of the last day that is done and nobody repairs; None: there is none."""
    found: int | None = tx.execute(_UNREPAIRED).scalar()
    return found


class Repair(Turn):
    """A turn of a repair."""

    def take(self) -> bool:
        """Note outcomes and send as the steps allow."""
        self._settle(ItemState.SENT)
        return self._by_steps()

    def _put_back(self) -> None:
        self._tx.execute(PUT_BACK, {"job": self._job, "why": STOPPED})

    def _send(self, some: dict[int, str], *, closing: bool) -> int:  # noqa: ARG002
        parameters = {"job": self._job, "ids": list(some), "step": self._step, "forced": self._row.forced}
        parameters |= self._caps.parameters()
        verdicts: dict[str, int] = {row.verdict: row.total for row in self._tx.execute(SEND, parameters)}
        return verdicts.get(Verdict.SEND, 0)

    def _settle(self, *states: ItemState) -> None:
        self._tx.execute(SETTLE, {"job": self._job, "states": list(states)})


_NEWEST_OF_RUN = """id in (
    select m.newest_id from difference d join member m using (member_number) where d.run_id = :run)"""
_WHY: dict[str, tuple[Verdict, str]] = {
    "send": (Verdict.SEND, ""),
    "newer_done": (Verdict.OVERTAKEN, "an event of the member came since it was seen, or Siebel was told"),
    "newer_going": (Verdict.MOVING, "an event of the member is on its way"),
    "taken": (Verdict.REFUSED, "a repair that is under way has it"),
    "repaired": (Verdict.REFUSED, "a repair has taken it up already; reconcile again"),
    "fight": (
        Verdict.REFUSED,
        "two masters fight: it was repaired twice and differs again; see who changes it, or force it",
    ),
    "orphan": (Verdict.REFUSED, "no member in Siebel to make an event of: a person decides"),
    "erased": (Verdict.REFUSED, "CrowdTwist has it no more, which may be a lawful erasure: a person decides"),
    "untold": (Verdict.REFUSED, "the newest event has no outcome that Siebel could be told: see its dead letter"),
    "capped_today": (Verdict.REFUSED, "MEMBERSYNC_RECONCILE__REPAIR_CAP_PER_DAY allows no more today"),
    "capped": (Verdict.REFUSED, "MEMBERSYNC_RECONCILE__REPAIR_CAP_PER_RUN allows no more of this run"),
    "gone": GONE,
}
_SINGLY = f"""
    select p.id, d.member_number, d.class as drift_class, d.run_id, m.told_id, m.newest_id as applied_id, n.going,
           cast(null as bigint) as done, cast(null as bigint) as failed, cast(null as bigint) as older,
           case when d.id is null then 'gone'
                when d.class = 'orphan' then 'orphan'
                when d.class = 'gone_at_destination' then 'erased'
                when d.repairs > 0 then 'repaired'
                when not :forced and (select coalesce(sum(o.repairs), 0) from difference o
                      where o.member_number = d.member_number and o.class = d.class) >= {FIGHT} then 'fight'
                when n.going is not null then 'newer_going'
                when d.class = 'status_lies' and m.told_at > d.seen_at
                     or d.class <> 'status_lies' and exists (
                        select from instance i where i.id = m.newest_id and i.accepted_at > d.seen_at) then 'newer_done'
                when d.class = 'status_lies' and not exists (
                        select from instance i where i.id = m.told_id and i.state in ('completed', 'rejected', 'dead')
                                                     and not {HAS_NEWER}) then 'untold'
                else 'send' end as why
    from unnest(cast(:ids as bigint[])) as p (id)
    left join difference d on d.id = p.id
    left join member m on m.member_number = d.member_number
    left join lateral (
        select max(o.id) as going from instance o
        where o.member_number = d.member_number and o.state in ('running', {IS_QUEUED})
    ) as n on true
"""
_JUDGED = f"""
    select id, member_number, drift_class, told_id, applied_id, going, done, failed, older,
           case when why <> 'send' then why
                when row_number() over by_why > :cap_per_day - (
                    select count(*) from difference where repaired_at >= now() - interval '24 h') then 'capped_today'
                when row_number() over by_why > :cap_per_run - (
                    select count(*) from difference o where o.run_id = j.run_id and o.repairs > 0) then 'capped'
                else why end as why
    from ({_SINGLY}) as j
    window by_why as (partition by why, run_id order by id)
"""
_PLANNED = answered(
    f"""
    select id, member_number, drift_class, told_id, applied_id, going, done, failed, older,
           case when why = 'send' and exists (
                    select from job o join job_item t on t.job_id = o.id and t.instance_id = j.id
                    where o.ended_at is null and o.kind = 'repair' and t.state in ('planned', 'sent'))
                then 'taken' else why end as why
    from ({_JUDGED}) as j
    """,
    _WHY,
)
PLAN = planning(_PLANNED)
"""Say what would become of differences; changes nothing."""
INSERT_ITEMS = text(f"""
    insert into job_item (job_id, instance_id, member_number, verdict, reason, state)
    select :job, id, coalesce(member_number, ''), verdict, reason,
           case verdict when 'send' then 'planned' when 'refused' then 'refused' else 'closed' end
    from ({_PLANNED}) as j
    returning verdict
""")
"""Take differences into a job, judged."""
SEND = text(f"""
    with fate as materialized (
        select id, member_number, drift_class, told_id, verdict, reason from ({answered(_JUDGED, _WHY)}) as j
    ), told as (
        update member m set told_status = null, told_error = null, tell_again_at = now()
        from fate f where f.verdict = 'send' and f.drift_class = 'status_lies' and m.member_number = f.member_number
    ), counted as (
        update difference d set repairs = d.repairs + 1, repaired_at = now()
        from fate f where f.verdict = 'send' and d.id = f.id
    ), items as (
        update job_item t
        set verdict = f.verdict, reason = f.reason,
            step = case when f.verdict = 'send' then cast(:step as smallint) end,
            was = case when f.drift_class = 'status_lies' then jsonb_build_object('told', f.told_id)
                       else jsonb_build_object('tries', 0) end,
            state = case f.verdict when 'send' then 'sent' when 'refused' then 'refused' else 'closed' end
        from fate f
        where t.job_id = :job and t.instance_id = f.id
    )
    select verdict, count(*) as total from fate group by verdict
""")
"""Judge differences of locked members again: have them told or read, or leave them, and note it in their job."""
TAKE_UP = text("""
    update job_item t
    set was = jsonb_build_object('tries', cast(t.was ->> 'tries' as int) + 1,
                                 'until', now() + make_interval(secs => :lease_s))
    from (
        select w.job_id, w.instance_id, m.row_id, m.newest_id
        from job_item w join job o on o.id = w.job_id left join member m on m.member_number = w.member_number
        where o.kind = 'repair' and o.ended_at is null and w.state = 'sent' and w.newer_id is null and w.was ? 'tries'
          and coalesce(cast(w.was ->> 'until' as timestamptz) < now(), true)
        order by w.job_id, w.instance_id limit :limit for update of w skip locked
    ) as r
    where t.job_id = r.job_id and t.instance_id = r.instance_id
    returning t.job_id, t.instance_id, t.member_number, r.row_id, r.newest_id,
              cast(t.was ->> 'tries' as int) as tries
""")
"""Take up differences whose members are to be read in Siebel."""
_GIVEN_BACK = "repairs = greatest(d.repairs - 1, 0), repaired_at = case when d.repairs > 1 then d.repaired_at end"
TAKEN_IN = text(f"""
    with read as (
        select * from json_to_recordset(cast(:rows as json))
                 as r (job bigint, id bigint, state text, reason text, instance bigint)
    ), given_back as (
        update difference d set {_GIVEN_BACK} from read r where d.id = r.id and r.instance is null
    )
    update job_item t set state = r.state, reason = r.reason, newer_id = r.instance
    from read r where t.job_id = r.job and t.instance_id = r.id and t.state in ('sent', 'put_back')
""")
"""Note in repairs what became of the differences whose members were read."""
SETTLE = text(f"""
    update job_item t set state = o.outcome, reason = coalesce(o.said, t.reason)
    from (
        select t.instance_id,
               case when t.newer_id is not null then {FAILED_AGAIN}
                    when not t.was ? 'told' then null
                    when m.told_id is distinct from cast(t.was ->> 'told' as bigint) then 'closed'
                    when m.tell_again_at is null and m.told_status is not null then 'succeeded' end as outcome,
               case i.state when 'superseded' then i.reason when 'discarded' then 'it was discarded'
                             else i.code end as said
        from job_item t left join instance i on i.id = t.newer_id
        left join member m on m.member_number = t.member_number
        where t.job_id = :job and t.state = any(cast(:states as text[]))
    ) as o
    where t.job_id = :job and t.instance_id = o.instance_id and o.outcome is not null and t.state <> o.outcome
""")
"""Note in a repair what came of the events that it made, and of what it had told."""
PUT_BACK = text(f"""
    with back as (
        update job_item set state = 'put_back', reason = :why
        where job_id = :job and (state = 'planned' or state = 'sent' and newer_id is null and was ? 'tries')
        returning instance_id, was
    )
    update difference d set {_GIVEN_BACK} from back b where d.id = b.instance_id and b.was is not null
""")
"""Leave the rest of a repair unsent, and unread what was to be read."""
_UNREPAIRED = text("""
    select r.id from reconciliation r
    where r.scheduled and r.state = 'done' and r.ended_at > now() - interval '1 day'
      and not exists (select from job o where o.kind = 'repair' and o.asked ->> 'run' = cast(r.id as text))
      and r.id = (select max(id) from reconciliation where scheduled and state = 'done')
""")
