"""What people look up: instances, members, what their words name, and how it goes.

These statements change nothing and wait for nobody; what words name is found by an index each.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from shared.ledger import (
    approvals,
    case_facts,
    guards,
    mail,
    packed_calls,
    packed_events,
    reconciliations,
    silence,
    snapshots,
)
from shared.ledger.connections import connections
from shared.ledger.filters import Filter, id_at, matching
from shared.ledger.heartbeats import processes
from shared.ledger.people import event_sql, user_sql
from shared.ledger.reconciliations import Watched
from shared.ledger.records import (
    ActivityLine,
    Backlog,
    DeadLetters,
    HeldSnapshots,
    InstanceDetail,
    InstanceRecord,
    InstanceWithActivity,
    MemberRecord,
    OpenIncident,
    Overview,
    Page,
    Rate,
    Reconciled,
    UnsentMail,
    id_text,
)
from shared.ledger.refusals import refused_since
from shared.ledger.spending import Budget
from shared.ledger.tallies import INTAKE, minutes
from shared.lifecycle.silence import Silence, SilenceRules
from shared.pipeline import QUEUED, Stage, State
from shared.reconciling import RunState

_MINUTE_S = 60
_HOUR_S = 3600
_FINAL = frozenset(State) - {*QUEUED, State.RUNNING}


@dataclass(frozen=True, slots=True)
class Named:
    """What words name: members, and an instance by its own id, or else by that of its event.

    Shape: *members* is the one of that number; else those of that ROW_ID or CrowdTwist id.
    """

    members: list[str]
    instance_id: str | None


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The instances of the same member before and after one."""

    older_id: str | None
    newer_id: str | None


def instances(tx: Connection, where: Filter, *, limit: int, before: int | None = None) -> Page:
    """List the newest *limit* instances that match, newest first; *before* is the cursor of the page before."""
    tx.execute(_PATIENCE)
    statement, parameters = matching(tx, where, limit=limit + 1, before=before)
    return listed(tx, list(tx.execute(statement, parameters).scalars()), limit=limit)


def listed(tx: Connection, ids: Sequence[int], *, limit: int, before: int | None = None) -> Page:
    """Return a page of these instances, newest first; *before* is the cursor of the page before."""
    chosen = sorted((one for one in ids if before is None or one < before), reverse=True)[: limit + 1]
    items = [InstanceRecord(**row._asdict()) for row in tx.execute(_INSTANCES, {"ids": chosen[:limit]})]
    return Page(items, str(chosen[limit - 1]) if len(chosen) > limit else None)


def instance(tx: Connection, instance_id: int) -> InstanceDetail | None:
    """Read one instance with its payload and all that happened to it; None: there is none."""
    row = tx.execute(_INSTANCE, {"id": instance_id}).one_or_none()
    if row is None:
        return None
    said = row._asdict()
    if row.event is not None:
        said["event"] = packed_events.read(row.event)
    return InstanceDetail(**said, activity=activity(tx, [instance_id]).get(instance_id, []))


def member(tx: Connection, member_number: str, *, limit: int, before: int | None = None) -> MemberRecord | None:
    """Read one member with its newest *limit* instances, each with what happened to it; None: never heard of."""
    row = tx.execute(_MEMBER, {"number": member_number}).one_or_none()
    if row is None:
        return None
    page = instances(tx, Filter(members=(member_number,)), limit=limit, before=before)
    lines = activity(tx, [int(one.instance_id) for one in page.items])
    found = [InstanceWithActivity(**asdict(one), activity=lines.get(int(one.instance_id), [])) for one in page.items]
    return MemberRecord(**row._asdict(), instances=found, next=page.next)


def named(tx: Connection, words: str, number: int | None) -> Named:
    """Return what *words* name; *number* is what they are as a number, None: they are none."""
    row = tx.execute(_NAMED, {"words": words, "id": number}).one()
    members = [words] if row.is_member else list(dict.fromkeys(row.by_row_id + row.by_user_id))
    return Named(members, id_text(row.by_id or row.by_event))


def member_of(tx: Connection, row_id: str) -> str | None:
    """Return the number of the member whose ROW_ID it is; None: of nobody that is known, or of several."""
    found = tx.execute(_MEMBER_OF, {"row_id": row_id}).scalars().all()
    return str(found[0]) if len(found) == 1 else None


def neighbours(tx: Connection, member_number: str, instance_id: int) -> Neighbours:
    """Find the instances beside *instance_id*, of the member's that are kept."""
    row = tx.execute(_NEIGHBOURS, {"number": member_number, "id": instance_id}).one()
    return Neighbours(id_text(row.older), id_text(row.newer))


def overtaken(tx: Connection, ids: Sequence[int]) -> set[str]:
    """Return those of these instances that a newer one of the member has overtaken that succeeded."""
    return {str(one) for one in tx.execute(_OVERTAKEN, {"ids": list(ids)}).scalars()}


def unreported(tx: Connection, ids: Sequence[int]) -> set[str]:
    """Return those of these instances that have come to a status which nobody has reported to Siebel, so far.

    Reported means: it ended so; or Siebel shows this status, and since it fails; or a newer one has been reported
    since, and this one was before.  Who was overtaken unreported stays so.
    """
    return {str(one) for one in tx.execute(_UNREPORTED, {"ids": list(ids)}).scalars()}


def overview(
    tx: Connection,
    budgets: Mapping[Stage, Budget],
    *,
    snapshot_max_s: float,
    reconcile_every_h: float = 0,
    silence_rules: SilenceRules | None = None,
) -> Overview:
    """Return how it goes; *budgets* of the connections that have one; *snapshot_max_s* as in the settings.

    Units: *reconcile_every_h* hours from one reconciliation to the next; 0: none is made by itself.

    Shape: the last minute by what stands in the ledger; the last hour by the roll-up, which counts what happened, also
    where it has been put right since.
    """
    tx.execute(_PATIENCE)
    now: datetime = tx.execute(_NOW).scalar_one()
    minute_ago, hour_ago = now - timedelta(seconds=_MINUTE_S), now - timedelta(seconds=_HOUR_S)
    accepted: int = tx.execute(_ACCEPTED, {"first": id_at(tx, minute_ago)}).scalar_one()
    finished = {row.state: row.total for row in tx.execute(_FINISHED, {"since": minute_ago})}
    counted = minutes(tx, since=hour_ago, until=now)
    ended: Counter[str] = Counter()
    for one in counted:
        if one.outcome in _FINAL:
            ended[one.outcome] += one.count
    unsent = mail.unsent(tx)
    return Overview(
        at=now,
        connections=connections(tx, budgets),
        backlog=backlog(tx),
        dead_letters=dead_letters(tx),
        rates=[
            Rate(_MINUTE_S, accepted, finished),
            Rate(_HOUR_S, sum(one.count for one in counted if one.stage == INTAKE), dict(sorted(ended.items()))),
        ],
        processes=processes(tx),
        refused_last_day=refused_since(tx, now - timedelta(days=1)),
        unsent_mail=UnsentMail(unsent.count, unsent.since),
        held_snapshots=HeldSnapshots(snapshot_max_s, snapshots.holders(tx, over_s=snapshot_max_s)),
        guards=guards.open_holds(tx),
        incidents=[OpenIncident(**row._asdict()) for row in tx.execute(_OPEN_INCIDENTS)],
        approvals=approvals.approvals(tx, limit=5, waiting=True).items,
        cases=case_facts.counts(tx),
        parked_late=case_facts.parked(tx).late,
        silence=silence.read(tx, silence_rules) if silence_rules else Silence(),
        reconciled=_reconciled(reconciliations.watched(tx), reconcile_every_h),
    )


def open_incidents(tx: Connection) -> dict[tuple[str, str], int]:
    """Count the incidents that go on, by stage and kind."""
    return dict(Counter((row.stage, row.kind) for row in tx.execute(_OPEN_INCIDENTS)))


def _reconciled(found: Watched, every_h: float) -> Reconciled:
    done, last = found.done, found.last
    failed = last.why if last is not None and last.state == RunState.FAILED else None
    nothing = Reconciled(age_s=found.age_s, failed=failed, overdue=found.is_overdue(every_h))
    return replace(nothing, run=done.id, found=done.found, meaning=done.meaning) if done else nothing


def backlog(tx: Connection) -> list[Backlog]:
    """Count what is not finished, by lane, stage and state, with the age of the oldest."""
    return [Backlog(**row._asdict()) for row in tx.execute(_BACKLOG)]


def dead_letters(tx: Connection) -> list[DeadLetters]:
    """Count the dead letters by cause, the commonest first."""
    return [DeadLetters(*row) for row in tx.execute(_DEAD_LETTERS)]


def activity(tx: Connection, ids: Iterable[int]) -> dict[int, list[ActivityLine]]:
    """Read what happened to these instances, in order."""
    lines: dict[int, list[ActivityLine]] = {}
    for instance_id, *values, calls, packed in tx.execute(_ACTIVITY, {"ids": list(ids)}):
        line = ActivityLine(*(*values, packed_calls.whole(calls, packed)))
        lines.setdefault(instance_id, []).append(line)
    return lines


_PATIENCE = text("set local statement_timeout = '20s'")
_MADE = {"instance_id", "due_at", "held_by_guard"}
_RECORD = ", ".join(
    [
        "i.id::text as instance_id",
        "case when i.finished_at is null then i.due_at end as due_at",
        "case when i.state = 'held' then i.hold_id::text end as held_by_guard",
        *(f"i.{name}" for name in InstanceRecord.__dataclass_fields__ if name not in _MADE),
    ]
)
_INSTANCES = text(f"select {_RECORD} from instance i where i.id = any(cast(:ids as bigint[])) order by i.id desc")
_INSTANCE = text(f"""
    select {_RECORD}, {event_sql("p")} as event, {user_sql("m")} as "user", m.oic_instance_id,
           case when p.traceparent like '%-01' then substr(p.traceparent, 4, 32) end as trace_id
    from instance i
    left join payload p on p.instance_id = i.id
    left join mapping m on m.instance_id = i.id
    where i.id = :id
""")
_ACTIVITY = text("""
    select instance_id, at, stage, attempt, state, what, code, took_ms, coalesce(task_id, cast(task_uuid as text)),
           coalesce(calls_json, cast(calls as json)), calls_packed
    from activity where instance_id = any(cast(:ids as bigint[])) order by instance_id, id
""")
_MEMBER = text("""
    select member_number, row_id, ct_user_id, known_in_crowdtwist, synced, newest_id::text as newest_instance_id,
           newest_modification, newest_occurred_at, applied_id::text as applied_instance_id, told_status, told_error,
           told_id::text as told_instance_id, told_at
    from member where member_number = :number
""")
_NOW = text("select now()")
_BACKLOG = text("""
    select lane, stage, state, count(*) as count, min(due_at) as next_due_at,
           greatest(extract(epoch from now() - min(accepted_at)), 0)::float8 as oldest_s
    from instance where state in ('pending', 'waiting', 'held') group by lane, stage, state
    union all
    select lane, stage, state, count(*), null, greatest(extract(epoch from now() - min(accepted_at)), 0)::float8
    from instance where state = 'running' group by lane, stage, state
    order by lane desc, stage, state
""")
_DEAD_LETTERS = text("""
    select failed_stage as stage, code, count(*) as total, min(finished_at) as first_at
    from instance where state = 'dead'
    group by failed_stage, code order by total desc, stage, code
""")
_ACCEPTED = text("select count(*) from instance where id >= :first")
_FINISHED = text(
    "select state, count(*) as total from instance where finished_at >= :since group by state order by state"
)
_OVERTAKEN = text("""
    select i.id from instance i join member m using (member_number)
    where i.id = any(cast(:ids as bigint[])) and m.newest_id > i.id and m.synced
""")
_MEMBER_OF = text("select member_number from member where row_id = :row_id limit 2")
_NAMED = text("""
    select exists (select from member where member_number = :words) as is_member,
           (select id from instance where id = cast(:id as bigint)) as by_id,
           (select id from instance where event_id = :words) as by_event,
           array(select member_number from member where row_id = :words order by member_number limit 10) as by_row_id,
           array(select member_number from member where ct_user_id = cast(:id as bigint)
                 order by member_number limit 10) as by_user_id
""")
_UNREPORTED = text("""
    select i.id from instance i join member m using (member_number)
    where i.id = any(cast(:ids as bigint[])) and i.status is not null
      and i.state not in ('completed', 'rejected')
      and not coalesce(case
          when m.told_id > i.id then exists (select from activity a where a.instance_id = i.id and a.stage = 'siebel'
                                             and a.took_ms is not null and a.code is null)
          else m.told_status = i.status and (m.told_id = i.id or m.told_at >= i.failing_since)
      end, false)
""")
_NEIGHBOURS = text("""
    select (select id from instance where member_number = :number and id < :id order by id desc limit 1) as older,
           (select id from instance where member_number = :number and id > :id order by id limit 1) as newer
""")
_OPEN_INCIDENTS = text("""
    select id::text, kind, stage, fingerprint, cause, opened_at, acknowledged_by from incident
    where state = 'open' order by id
""")
