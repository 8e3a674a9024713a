"""An attempt: begin it for a whole batch, and write what came of it, fenced by token.

A claim gave the instance, or its errand, a token.  Every write here names that token, so whoever lost the lease in the
meantime writes nothing.  Members are locked in key order, in a statement of their own, before anything that depends on
their queue.  What bit while the statements were measured:

- A join of one CTE with another is slow; what one found is handed on by RETURNING.
- Fence by `token` alone (it is 0 unless running): `state = 'running'` makes the planner walk the in-flight index.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, Row, TextClause, text

from shared.instances import Errand, Work
from shared.ledger import cases, learned, packed_events
from shared.ledger.connections import IS_WELL
from shared.ledger.engine import json_lines, json_rows, wake
from shared.ledger.learned import DOCUMENTS, FACTS, TROUBLED, learn_sql
from shared.ledger.packed_events import Unread
from shared.ledger.people import reads, resent_sql, user_sql
from shared.ledger.transitions import errands
from shared.ledger.transitions.activity_lines import NOTE, kept_calls, line_of, named
from shared.ledger.transitions.member_queue import (
    COMES_BACK,
    HAND_ON,
    HAS_QUEUED,
    IS_QUEUED,
    LEASE,
    LOCK_MEMBERS,
    SOMETHING_DUE,
    drop_reports,
    schedule_reports,
    send_freed,
    wake_who_waits,
)
from shared.lifecycle.verdicts import Advanced, Ending, ErrandEnded, Parked
from shared.pipeline import Lane, Stage, State, SyncStatus


@dataclass(frozen=True, slots=True)
class Terms:
    """What `finish` needs beside the endings.

    Units: *lease_s* seconds that an instance which goes on may wait to be begun; *settle_s* and *tell_settle_s* seconds
    after which a write to CrowdTwist, or a status in Siebel, that followed a lost one is checked.
    """

    lease_s: float
    settle_s: float
    tell_settle_s: float
    task_id: str = ""

    def settle_s_at(self, stage: Stage) -> float:
        """After which a write at *stage* that followed a lost one is checked."""
        return self.tell_settle_s if stage is Stage.SIEBEL else self.settle_s


@dataclass(frozen=True, slots=True)
class Begun:
    """Who of a batch was begun at a stage, and whose inputs cannot be read; *ahead*: others may be at a later one."""

    works: list[Work]
    ahead: bool
    unreadable: list[tuple[Work, ValueError]]


def begin(  # noqa: PLR0913
    tx: Connection, stage: Stage, ids: Sequence[int], *, lease_s: float, unread: bool = False, if_well: bool = False
) -> Begun:
    """Count an attempt for those of *ids* that are at *stage* and that nobody has begun, and read their inputs.

    An id below zero is an errand's.  *unread*: leave out what they carry, which the ledger cannot read.  *if_well*:
    begin nobody where anything has been wrong with the connection of late.
    """
    found: list[Row[Any]] = []
    for statements, some in ((BEGIN, [one for one in ids if one > 0]), (BEGIN_ERRAND, [one for one in ids if one < 0])):
        if some:
            parameters = {"ids": some, "asked": len(some), "alone": len(ids) == 1, "stage": stage, "lease_s": lease_s}
            statement = statements[None if unread else stage]
            found += tx.execute(statement, parameters | {"if_well": if_well}).all()
    begun = Begun([], not found or found[0].ahead, [])
    for row in found:
        try:
            begun.works.append(_work(row, stage))
        except ValueError as error:
            bare = (*row[:_CARRIED], None, None, *row[_CARRIED + 2 :])
            begun.unreadable.append((_work(bare, stage), error))
    return begun


_LANES = {lane.value: lane for lane in Lane}
_CARRIED = 13
"""Where the event stands in a row of a begin, and the user, a text, behind it."""


def _work(row: Sequence[Any], stage: Stage) -> Work:
    """Return whom a *row* of a begin is about; taken apart by place: by name, each column costs a search."""
    instance_id, errand_id, errand, token, attempt, number, operation, lane, status, error, suspect = row[:11]
    event, user, told_of_this, traceparent, row_id, claimed_row_id, *read = row[_CARRIED:]
    ct_user_id, is_known, unknown_outcome, told_status, told_error = read
    is_used = stage is Stage.OIC  # only there each event is
    return Work(
        instance_id=instance_id,
        errand_id=errand_id,
        token=token,
        attempt=attempt,
        member_number=number,
        operation=operation,
        event={} if event is None else packed_events.read(event) if is_used else Unread(event),
        user=None if user is None else orjson.loads(user),
        row_id=row_id,
        claimed_row_id=claimed_row_id,
        ct_user_id=ct_user_id,
        known_in_crowdtwist=is_known,
        unknown_outcome=unknown_outcome,
        errand=Errand(errand) if errand else None,
        lane=_LANES[lane],
        suspect=suspect,
        status=SyncStatus(status) if status else None,
        error=error,
        told_status=told_status,
        told_error=told_error,
        told_of_this=bool(told_of_this),
        traceparent=traceparent or "",
    )


def are_mapped(endings: Iterable[Ending]) -> bool:
    """Return whether all go on from oic to crowdtwist: `finish` writes that by one statement, which locks no member."""
    return all(
        isinstance(one, Advanced) and one.state is State.RUNNING and one.stage is Stage.CROWDTWIST for one in endings
    )


def finish(tx: Connection, stage: Stage, endings: Iterable[Ending], terms: Terms) -> int:
    """Write what came of a batch at *stage*; those whose token has been overtaken are left alone.

    Their calls may have landed after a newer one all the same, so their members are checked.

    Returns how many endings were written.
    """
    endings = list(endings)
    members = sorted({one.member_number for one in endings})
    advanced = [one for one in endings if isinstance(one, Advanced)]
    parked = [one for one in endings if isinstance(one, Parked)]
    ended = [one for one in endings if isinstance(one, ErrandEnded)]
    if not are_mapped(endings):
        tx.execute(LOCK_MEMBERS, {"numbers": members})
    over = [one.member_number for one in advanced] + [one.member_number for one in parked if one.state is State.DEAD]
    is_wanted = stage is Stage.CROWDTWIST and bool(over) and wake_who_waits(tx, over)
    states = _advance(tx, stage, advanced, terms) if advanced else {}
    if is_wanted:
        send_freed(tx, over)
    settle_s = terms.settle_s_at(stage)
    if parked:
        states |= _park(tx, stage, parked)
    if ended:
        states |= errands.finish(tx, stage, ended, settle_s=settle_s)
    may_be_next = parked or ended or stage is Stage.SIEBEL or any(one.state is State.PENDING for one in advanced)
    if may_be_next and tx.execute(SOMETHING_DUE, {"numbers": members}).scalar():
        wake(tx)
    if len(states) < len(endings):
        lines = [line_of(ending) for ending in endings]
        late = [one.instance_id for one in lines if one.id not in states and one.may_have_written]
        learned.landed_late(tx, stage, late, settle_s=settle_s)
    lines = [line_of(ending) for ending in endings if not isinstance(ending, Advanced)]
    if noted := [one.noted(states[one.id]) for one in lines if one.id in states]:
        tx.execute(NOTE, {"rows": json_rows(noted), "stage": stage, **named(terms.task_id)})
    return len(states)


def _advance(tx: Connection, stage: Stage, advanced: Sequence[Advanced], terms: Terms) -> dict[int, str]:
    facts = [one.facts or {} for one in advanced]
    records = [
        {
            "id": one.work.instance_id,
            "token": one.work.token,
            "attempt": one.work.attempt or None,
            "state": one.state,
            "stage": one.stage,
            "status": one.status,
            "error": one.error,
            "code": one.code,
            "failed_stage": one.failed_stage,
            "what": one.line.what,
            "line_code": one.line.code,
            "took_ms": one.line.took_ms,
            "learns": one.facts is not None,
            **{name: known.get(name) for name in FACTS[stage]},
        }
        for one, known in zip(advanced, facts, strict=True)
    ]
    calls = [kept_calls(one) for one in advanced]
    parameters = {"at": stage, "lease_s": terms.lease_s, **named(terms.task_id)} | {
        "rows": json_rows({name: value for name, value in one.items() if value is not None} for one in records),
        "calls": json_lines(kept for kept, _ in calls),
        "packed": "\n".join(packed.hex() for _, packed in calls),
        **{name: json_lines(known.get(name) for known in facts) for name in DOCUMENTS[stage]},
    }
    if stage is not Stage.OIC:
        parameters["settle_s"] = terms.settle_s_at(stage)
    written: dict[int, str] = {row.id: row.state for row in tx.execute(ADVANCE[stage], parameters)}
    refused = [one.work.instance_id for one in advanced if one.failed_stage and one.work.instance_id in written]
    if refused:
        cases.opened(tx, refused)
    if refused and stage is Stage.CROWDTWIST:
        learned.refused(tx, refused, settle_s=terms.settle_s)
    return written


def _park(tx: Connection, stage: Stage, parked: list[Parked]) -> dict[int, str]:
    names = [name for name in Parked.__dataclass_fields__ if name not in {"instance_id", "line"}]
    records = [{"id": one.instance_id} | {name: getattr(one, name) for name in names} for one in parked]
    written: dict[int, str] = {row.id: row.state for row in tx.execute(PARK, {"rows": json_rows(records)})}
    parked = [one for one in parked if one.instance_id in written]
    overtaken = [
        {"id": one.instance_id, "report_after_s": one.report_after_s}
        for one in parked
        if written[one.instance_id] == State.SUPERSEDED
    ]
    if overtaken:  # the newer event inherits since when it fails, so that Siebel is told in time
        tx.execute(HAND_ON, {"rows": json_rows(overtaken)})
    troubled = [{"member_number": one.member_number, "unsure": one.unsure} for one in parked if one.code or one.unsure]
    if troubled:
        tx.execute(TROUBLED, {"rows": json_rows(troubled), "stage": stage})
    learned.lost(tx, stage, [one.instance_id for one in parked if one.unsure])
    return written


_BEGINS = f"begun = true, attempt = b.attempt + 1, alone = :alone, {LEASE}"
_CAN_BEGIN = f"""b.id = any(cast(:ids as bigint[])) and b.token <> 0 and b.stage = :stage and not b.begun
                  and b.lease_until > now() and (not cast(:if_well as boolean) or {IS_WELL})"""
_BEGIN_INSTANCES = f"""
            update instance b set {_BEGINS} where {_CAN_BEGIN}
            returning id, 0 as errand_id, null as errand, token, attempt,
                      member_number, operation, lane, status, error, suspect, content_hash
"""
_BEGIN_ERRANDS = f"""
            update errand b set {_BEGINS} from instance i where {_CAN_BEGIN} and i.id = b.instance_id
            returning i.id, b.id as errand_id, b.kind as errand, b.token, b.attempt,
                      i.member_number, i.operation, b.lane, i.status, i.error, i.suspect, i.content_hash
"""
_AHEAD = """
    case when (select count(*) from mine) < :asked
         then exists (select from instance a where a.id = any(cast(:ids as bigint[]))
                      and a.token <> 0 and not a.begun and a.stage <> :stage)
         else false end as ahead
"""
"""Whether others of the batch wait to be begun at another stage; asked only where not all of it was begun here."""


def _begin(update: str, reads: tuple[str, str]) -> TextClause:
    columns, fat = reads
    return text(f"""
        with mine as ({update})
        select mine.*, {_AHEAD}, {columns},
               m.proven_row_id, m.row_id, m.ct_user_id, m.known_in_crowdtwist, m.unknown_outcome,
               case when m.lost_tell_id is null then m.told_status end as told_status,
               case when m.lost_tell_id is null then m.told_error end as told_error
        from mine join member m on m.member_number = mine.member_number {fat}
    """)


BEGIN, BEGIN_ERRAND = (
    {stage: _begin(update, read) for stage, read in reads(user).items()}
    for update, user in ((_BEGIN_INSTANCES, user_sql("f")), (_BEGIN_ERRANDS, resent_sql("mine", "f")))
)
"""Count the attempt of instances, or of errands, that a stage has been handed, and read their inputs.

Shape: the columns of all of them are in the order of `_work`.
"""


_ROW = """id bigint, token bigint, attempt int, state text, stage text, status text, error text, code text,
    failed_stage text, what text, line_code text, took_ms float8, learns boolean"""
"""What `ADVANCE` is told of each beside the facts."""


def _advance_sql(stage: Stage) -> TextClause:
    # Documents apart, a line each, and nulls left out: in a row they are read three times more (200 rows of 16 columns:
    # 8.4 us each, 3.0 like this).  Not by string_to_table: it is taken for a thousand rows, and all instances are read.
    # Nor is the stage compared bare: where statistics know nobody in it, all rows are compared with all of the batch.
    documents = {"calls": "json", "packed": "text"} | DOCUMENTS[stage]
    rows = dict(column.split() for column in _ROW.split(",")) | FACTS[stage]
    facts = [f'r."{name}"' for name in FACTS[stage]]
    facts += [f"""cast(nullif(r."{name}", '') as {kind}) as "{name}\"""" for name, kind in documents.items()]
    return text(f"""
        with advanced as (
            update instance i
            set state = case when r.state = 'pending' and {HAS_QUEUED} then 'superseded' else r.state end,
                stage = r.stage, due_stage = case when r.state = 'pending' then r.stage else i.due_stage end,
                status = r.status, error = r.error,
                code = case when r.status = 'Data Error' then coalesce(r.code, i.code) end,
                failed_stage = case when r.status = 'Data Error' then coalesce(r.failed_stage, i.failed_stage) end,
                begun = false, attempt = 0, given_back = 0, suspect = false, apart = false, failing_since = null,
                due_at = case when r.state = 'running' then i.due_at else now() end,
                token = case when r.state = 'running' then i.token else 0 end,
                lease_until = case when r.state = 'running' then now() + make_interval(secs => :lease_s) end,
                finished_at = case when r.state = 'running' or r.state = 'pending' and not {HAS_QUEUED} then null
                                   else now() end
            from rows from (
                json_to_recordset(cast(:rows as json)) as ({", ".join(map(" ".join, rows.items()))}),
                {", ".join(f"unnest(string_to_array(:{name}, chr(10)))" for name in documents)}
            ) as r ({", ".join(f'"{name}"' for name in (*rows, *documents))})
            where i.id = r.id and i.token = r.token and coalesce(i.stage = :at, false)
            returning i.id, i.member_number, i.operation, i.content_hash, i.state, r.attempt as tried,
                      r.what, r.line_code, r.took_ms, r.learns, {", ".join(facts)}
        ), learned as ({learn_sql(stage, "advanced")}), noted as (
            insert into activity (instance_id, stage, attempt, state, what, code, took_ms, task_id, task_uuid,
                                  calls_json, calls_packed)
            select id, :at, tried, state, what, line_code, took_ms, :task_id, cast(:task_uuid as uuid), calls,
                   decode(packed, 'hex')
            from advanced
        )
        select id, state from advanced
    """)


ADVANCE = {stage: _advance_sql(stage) for stage in Stage}
"""Take instances past their stage, on to the next or to their end; keep what it learned, and add a line to each."""
PARK = text(f"""
    with parked as (
        update instance i
        set state = r.next_state, stage = r.stage, due_stage = r.stage, attempt = r.attempt, {COMES_BACK},
            due_at = now() + make_interval(secs => r.delay_s),
            status = case when r.hold_id is null then coalesce(r.status, i.status) end,
            error = case when r.code is null then i.error else r.error end,
            code = coalesce(r.code, i.code), failed_stage = coalesce(r.failed_stage, i.failed_stage),
            failing_since = case when r.hold_id is not null then null when r.report_after_s is null then i.failing_since
                                 else least(i.failing_since, now()) end, hold_id = r.hold_id,
            losses = i.losses + case when r.lost then 1 else 0 end, apart = i.apart or r.apart,
            reason = case when r.next_state = 'superseded' then 'a newer event is due' else i.reason end,
            finished_at = case when r.next_state in ({IS_QUEUED}) then null else now() end
        from (
            select r.*,
                   case when r.state in ({IS_QUEUED}) and q.id is not null then 'superseded'
                        else r.state end as next_state,
                   m.told_status = r.status and m.told_at >= o.failing_since as told
            from json_to_recordset(cast(:rows as json))
                 as r (id bigint, token bigint, state text, stage text, attempt int, delay_s float8, status text,
                       error text, code text, failed_stage text, report_after_s float8, lost boolean,
                       apart boolean, hold_id bigint)
            join instance o on o.id = r.id
            join member m on m.member_number = o.member_number
            left join instance q on q.member_number = o.member_number and q.state in ({IS_QUEUED})
        ) as r
        where i.id = r.id and i.token = r.token
        returning i.id, i.member_number, i.lane, i.state,
                  case when i.state = 'superseded' or r.report_after_s is null then null
                       when i.state = 'dead' then now()
                       when r.told then null
                       else i.failing_since + make_interval(secs => r.report_after_s) end as report_at,
                  r.report_after_s is null and i.failing_since is not null as fails_on
    ), {schedule_reports("parked")}, {drop_reports("select id from parked where report_at is null and not fails_on")}
    select id, state from parked
""")
"""Send instances back whose attempt did not succeed: due again, held, dead or superseded; and have Siebel told."""
