"""What people look up: instances, members, what their words name, and how it goes.

These statements change nothing and wait for nobody; what words name is found by an index each.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.ledger.budget import Budget
from shared.ledger.connections import connections
from shared.ledger.filters import Filter, id_at, matching
from shared.ledger.heartbeats import processes
from shared.ledger.records import (
    ActivityLine,
    Backlog,
    DeadLetters,
    InstanceDetail,
    InstanceRecord,
    InstanceWithActivity,
    MemberRecord,
    Overview,
    Page,
    Rate,
    UnsentMail,
    id_text,
)
from shared.ledger.refusals import refused_since
from shared.ledger.tallies import INTAKE, minutes
from shared.pipeline import QUEUED, Stage, State

_PATIENCE = text("set local statement_timeout = '20s'")
_MINUTE_S = 60
_HOUR_S = 3600
_FINAL = frozenset(State) - {*QUEUED, State.RUNNING}


def instances(tx: Connection, where: Filter, *, limit: int, before: int | None = None) -> Page:
    """List the newest *limit* instances that match, newest first; *before* is the cursor of the page before."""
    tx.execute(_PATIENCE)
    statement, parameters = matching(tx, where, limit=limit + 1, before=before)
    return listed(tx, list(tx.execute(statement, parameters).scalars()), limit=limit)


def listed(tx: Connection, ids: Sequence[int], *, limit: int, before: int | None = None) -> Page:
    """Give a page of these instances, newest first; *before* is the cursor of the page before."""
    chosen = sorted((one for one in ids if before is None or one < before), reverse=True)[: limit + 1]
    rows = tx.execute(_INSTANCES, {"ids": chosen[:limit]}).all()
    return Page(
        [InstanceRecord(**_values(row)) for row in rows], str(chosen[limit - 1]) if len(chosen) > limit else None
    )


def instance(tx: Connection, instance_id: int) -> InstanceDetail | None:
    """Read one instance with its payload and all that happened to it; None: there is none."""
    row = tx.execute(_INSTANCE, {"id": instance_id}).one_or_none()
    if row is None:
        return None
    return InstanceDetail(
        **_values(row),
        activity=_activity(tx, [instance_id]).get(instance_id, []),
        event=row.event,
        user=row.user_object,
        oic_instance_id=row.oic_instance_id,
    )


def carried(tx: Connection, ids: Sequence[int]) -> dict[str, tuple[dict[str, Any], dict[str, Any] | None]]:
    """Give what instances carry, by id: the event as accepted, and the CrowdTwist user made of it."""
    rows = tx.execute(_CARRIED, {"ids": list(ids)})
    return {str(row.id): (row.event, row.user_object) for row in rows}


def member(tx: Connection, member_number: str, *, limit: int, before: int | None = None) -> MemberRecord | None:
    """Read one member with its newest *limit* instances, each with what happened to it; None: never heard of."""
    row = tx.execute(_MEMBER, {"number": member_number}).one_or_none()
    if row is None:
        return None
    page = instances(tx, Filter(members=(member_number,)), limit=limit, before=before)
    lines = _activity(tx, [int(one.instance_id) for one in page.items])
    return MemberRecord(
        member_number=row.member_number,
        row_id=row.row_id,
        ct_user_id=row.ct_user_id,
        known_in_crowdtwist=row.known_in_crowdtwist,
        synced=row.synced,
        newest_instance_id=id_text(row.newest_id),
        newest_modification=row.newest_modification,
        newest_occurred_at=row.newest_occurred_at,
        applied_instance_id=id_text(row.applied_id),
        told_status=row.told_status,
        told_error=row.told_error,
        told_instance_id=id_text(row.told_id),
        told_at=row.told_at,
        instances=[_with(one, lines.get(int(one.instance_id), [])) for one in page.items],
        next=page.next,
    )


def overview(tx: Connection, budgets: Mapping[Stage, Budget]) -> Overview:
    """Say how it goes; *budgets* of the connections that have one."""
    tx.execute(_PATIENCE)
    now: datetime = tx.execute(_NOW).scalar_one()
    return Overview(
        at=now,
        connections=connections(tx, budgets),
        backlog=backlog(tx),
        dead_letters=dead_letters(tx),
        rates=[_last_minute(tx, now), _last_hour(tx, now)],
        processes=processes(tx),
        refused_last_day=refused_since(tx, now - timedelta(days=1)),
        unsent_mail=UnsentMail(*tx.execute(_UNSENT_MAIL).one()),
    )


def backlog(tx: Connection) -> list[Backlog]:
    """Count what is not finished, by lane, stage and state, with the age of the oldest."""
    return [
        Backlog(row.lane, row.stage, row.state, row.total, float(row.oldest_s), row.next_due_at)
        for row in tx.execute(_BACKLOG)
    ]


def dead_letters(tx: Connection) -> list[DeadLetters]:
    """Count the dead letters by cause, the commonest first."""
    return [DeadLetters(row.stage, row.code, row.total, row.first_at) for row in tx.execute(_DEAD_LETTERS)]


def _last_minute(tx: Connection, now: datetime) -> Rate:
    since = now - timedelta(seconds=_MINUTE_S)
    first = id_at(tx, since)
    accepted = tx.execute(_ACCEPTED, {"first": first}).scalar_one()
    finished = {row.state: row.total for row in tx.execute(_FINISHED, {"since": since})}
    return Rate(_MINUTE_S, accepted, finished)


def _last_hour(tx: Connection, now: datetime) -> Rate:
    """Add up the roll-up's minutes: what happened, also where it has been put right since."""
    counted = minutes(tx, since=now - timedelta(seconds=_HOUR_S), until=now)
    finished: dict[str, int] = {}
    for one in counted:
        if one.outcome in _FINAL:
            finished[one.outcome] = finished.get(one.outcome, 0) + one.count
    return Rate(_HOUR_S, sum(one.count for one in counted if one.stage == INTAKE), dict(sorted(finished.items())))


def _activity(tx: Connection, ids: Iterable[int]) -> dict[int, list[ActivityLine]]:
    lines: dict[int, list[ActivityLine]] = {}
    for row in tx.execute(_ACTIVITY, {"ids": list(ids)}):
        line = ActivityLine(
            row.at, row.stage, row.attempt, row.state, row.what, row.code, row.took_ms, row.task_id, row.calls or []
        )
        lines.setdefault(row.instance_id, []).append(line)
    return lines


def _values(row: Row[Any]) -> dict[str, Any]:
    """Give the fields of an `InstanceRecord`."""
    values = {name: getattr(row, name) for name in _FIELDS}
    return values | {"instance_id": str(row.id), "due_at": None if row.finished_at else row.due_at}


def _with(record: InstanceRecord, activity: list[ActivityLine]) -> InstanceWithActivity:
    values = {name: getattr(record, name) for name in InstanceRecord.__dataclass_fields__}
    return InstanceWithActivity(**values, activity=activity)


_FIELDS = [name for name in InstanceRecord.__dataclass_fields__ if name != "instance_id"]
_SHOWN = ", ".join(f"i.{name}" for name in _FIELDS)
_INSTANCES = text(f"select i.id, {_SHOWN} from instance i where i.id = any(cast(:ids as bigint[])) order by i.id desc")
_INSTANCE = text(f"""
    select i.id, {_SHOWN}, p.event, m.user_object, m.oic_instance_id
    from instance i
    left join payload p on p.instance_id = i.id
    left join mapping m on m.instance_id = i.id
    where i.id = :id
""")
_CARRIED = text("""
    select p.instance_id as id, p.event, m.user_object
    from payload p left join mapping m on m.instance_id = p.instance_id
    where p.instance_id = any(cast(:ids as bigint[]))
""")
_ACTIVITY = text("""
    select instance_id, at, stage, attempt, state, what, code, took_ms, task_id, calls
    from activity where instance_id = any(cast(:ids as bigint[])) order by instance_id, id
""")
_MEMBER = text("""
    select member_number, row_id, ct_user_id, known_in_crowdtwist, synced, newest_id, newest_modification,
           newest_occurred_at, applied_id, told_status, told_error, told_id, told_at
    from member where member_number = :number
""")
_NOW = text("select now()")
_BACKLOG = text("""
    select lane, stage, state, count(*) as total, min(due_at) as next_due_at,
           greatest(extract(epoch from now() - min(accepted_at)), 0) as oldest_s
    from instance where state in ('pending', 'waiting', 'held') group by lane, stage, state
    union all
    select lane, stage, state, count(*) as total, null, greatest(extract(epoch from now() - min(accepted_at)), 0)
    from instance where state = 'running' group by lane, stage, state
    order by lane desc, stage, state
""")
_DEAD_LETTERS = text("""
    select failed_stage as stage, code, count(*) as total, min(finished_at) as first_at
    from instance where state = 'dead'
    group by failed_stage, code order by total desc, stage, code
""")
_UNSENT_MAIL = text("select count(*), min(created_at) from mail where sent_at is null")
_ACCEPTED = text("select count(*) as total from instance where id >= :first")
_FINISHED = text(
    "select state, count(*) as total from instance where finished_at >= :since group by state order by state"
)


@dataclass(frozen=True, slots=True)
class Meant:
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


def meant(tx: Connection, words: str, number: int | None) -> Meant:
    """Say what *words* name; *number* is what they are as a number, None: they are none."""
    row = tx.execute(_MEANT, {"words": words, "id": number}).one()
    others: list[str] = row.by_row_id + row.by_user_id
    members = [words] if row.is_member else list(dict.fromkeys(others))
    return Meant(members, id_text(row.by_id or row.by_event))


def member_of(tx: Connection, row_id: str) -> str | None:
    """Say whose a ROW_ID is; None: nobody's that is known, or not one member's alone."""
    found = tx.execute(_MEMBER_OF, {"row_id": row_id}).scalars().all()
    return str(found[0]) if len(found) == 1 else None


def neighbours(tx: Connection, member_number: str, instance_id: int) -> Neighbours:
    """Find the instances beside *instance_id*, of the member's that are kept."""
    row = tx.execute(_NEIGHBOURS, {"number": member_number, "id": instance_id}).one()
    return Neighbours(id_text(row.older), id_text(row.newer))


def overtaken(tx: Connection, ids: Sequence[int]) -> set[str]:
    """Say which of these instances a newer one of the member has overtaken that succeeded."""
    return {str(one) for one in tx.execute(_OVERTAKEN, {"ids": list(ids)}).scalars()}


def jobs_of(tx: Connection, ids: Sequence[int]) -> dict[str, str]:
    """Say which job that is under way has each of these instances, of those that one has."""
    return {str(row.instance_id): str(row.job_id) for row in tx.execute(_JOBS_OF, {"ids": list(ids)})}


def untold(tx: Connection, ids: Sequence[int]) -> set[str]:
    """Say which of these instances have come to a status that nobody has told Siebel, so far.

    Told means: it ended so; or Siebel shows this status, and since it fails; or a newer one has been told since, and
    this one was before.  Who was overtaken untold stays so.
    """
    return {str(one) for one in tx.execute(_UNTOLD, {"ids": list(ids)}).scalars()}


def put_back(tx: Connection, job_id: int) -> list[int]:
    """Give the instances that a job which stopped has put back, and that stand as they did since."""
    return list(tx.execute(_PUT_BACK, {"job_id": job_id}).scalars())


_OVERTAKEN = text("""
    select i.id from instance i join member m using (member_number)
    where i.id = any(cast(:ids as bigint[])) and m.newest_id > i.id and m.synced
""")
_JOBS_OF = text("""
    select t.instance_id, t.job_id from job o join job_item t on t.job_id = o.id
    where o.ended_at is null and t.instance_id = any(cast(:ids as bigint[])) and t.state in ('planned', 'sent')
""")
_MEMBER_OF = text("select member_number from member where row_id = :row_id limit 2")
_MEANT = text("""
    select exists (select from member where member_number = :words) as is_member,
           (select id from instance where id = cast(:id as bigint)) as by_id,
           (select id from instance where event_id = :words) as by_event,
           array(select member_number from member where row_id = :words order by member_number limit 10) as by_row_id,
           array(select member_number from member where ct_user_id = cast(:id as bigint)
                 order by member_number limit 10) as by_user_id
""")
_UNTOLD = text("""
    select i.id from instance i join member m using (member_number)
    where i.id = any(cast(:ids as bigint[])) and i.status is not null
      and coalesce(i.parked_state, i.state) not in ('completed', 'rejected')
      and not coalesce(case
          when m.told_id > i.id then exists (select from activity a where a.instance_id = i.id and a.stage = 'siebel'
                                             and a.took_ms is not null and a.code is null)
          else m.told_status = i.status and (m.told_id = i.id or m.told_at >= i.failing_since)
      end, false)
""")
_PUT_BACK = text("""
    select i.id from job_item t join instance i on i.id = t.instance_id
    where t.job_id = :job_id and t.state = 'put_back' and i.state in ('dead', 'rejected') order by i.id desc
""")
_NEIGHBOURS = text("""
    select (select id from instance where member_number = :number and id < :id order by id desc limit 1) as older,
           (select id from instance where member_number = :number and id > :id order by id limit 1) as newer
""")
