"""Statements of an attempt: begin it for a whole batch, and write what came of it, fenced by token.

A claim gave the instance its token.  Every write here names that token, so whoever lost the lease in the meantime
writes nothing.  Members are locked in key order, in a statement of their own, before anything that depends on their
queue.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy import Connection, text

from shared.instances import Errand, Work
from shared.ledger.endings import Advanced, Ending, ErrandEnded, Line, Parked
from shared.ledger.engine import wake
from shared.pipeline import QUEUED, Stage, State, SyncStatus

_QUEUED = ", ".join(f"'{state}'" for state in QUEUED)


@dataclass(frozen=True, slots=True)
class Terms:
    """What `finish` needs beside the endings.

    Units: *lease_s* seconds that an instance which goes on may wait to be begun; *settle_s* seconds after which a write
    that followed a lost one is read back.
    """

    lease_s: float
    settle_s: float
    task_id: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """An instance whose lease ran out."""

    instance_id: int
    token: int
    member_number: str
    stage: Stage
    attempt: int
    begun: bool
    losses: int
    errand: Errand
    status: SyncStatus | None


def begin(connection: Connection, stage: Stage, ids: Sequence[int], *, lease_s: float) -> list[Work]:
    """Count an attempt for those of *ids* that are at *stage* and that nobody has begun, and read their inputs."""
    rows = connection.execute(_BEGIN[stage], {"ids": list(ids), "stage": stage, "lease_s": lease_s})
    return [
        Work(
            instance_id=row.id,
            token=row.token,
            attempt=row.attempt,
            member_number=row.member_number,
            operation=row.operation,
            event=row.event or {},
            user=row.user_object,
            row_id=row.row_id,
            ct_user_id=row.ct_user_id,
            known_in_crowdtwist=row.known_in_crowdtwist,
            unknown_outcome=row.unknown_outcome,
            errand=Errand(row.errand),
            status=SyncStatus(row.status) if row.status else None,
            error=row.error,
            told_status=row.told_status,
            told_error=row.told_error,
        )
        for row in rows
    ]


def expired(connection: Connection, *, limit: int) -> list[Lost]:
    """Read instances whose lease has run out; nobody can begin them any more, and `finish` checks their tokens."""
    return [
        Lost(
            instance_id=row.id,
            token=row.token,
            member_number=row.member_number,
            stage=Stage(row.stage),
            attempt=row.attempt,
            begun=row.begun,
            losses=row.losses,
            errand=Errand(row.errand),
            status=SyncStatus(row.status) if row.status else None,
        )
        for row in connection.execute(_EXPIRED, {"limit": limit})
    ]


def finish(connection: Connection, stage: Stage, endings: Iterable[Ending], terms: Terms) -> int:
    """Write what came of a batch at *stage*; those whose token has been overtaken are left alone.

    Returns how many endings were written.
    """
    advanced, parked, errands = _sorted(endings)
    members = {one.work.member_number for one in advanced}
    members.update(one.member_number for one in parked)
    members.update(one.member_number for one in errands)
    if (
        parked
        or errands
        or any(one.state is not State.RUNNING or one.stage is not Stage.CROWDTWIST for one in advanced)
    ):
        connection.execute(_LOCK_MEMBERS, {"numbers": sorted(members)})
    written: dict[int, str] = {}
    if advanced:
        written.update(_advance(connection, stage, advanced, terms))
    if parked:
        written.update(_park(connection, parked))
    if errands:
        written.update(_end_errands(connection, errands))
    lines: list[tuple[int, int, Line]] = [(one.work.instance_id, one.work.attempt, one.line) for one in advanced]
    lines += [(one.instance_id, one.attempt, one.line) for one in parked]
    lines += [(one.instance_id, 0, one.line) for one in errands]
    if parked or errands or stage is Stage.SIEBEL or any(one.state is State.PENDING for one in advanced):
        _wake_for_the_next(connection, sorted(members))
    _note(connection, stage, terms.task_id, [line for line in lines if line[0] in written], written)
    return len(written)


def _sorted(endings: Iterable[Ending]) -> tuple[list[Advanced], list[Parked], list[ErrandEnded]]:
    advanced: list[Advanced] = []
    parked: list[Parked] = []
    errands: list[ErrandEnded] = []
    for ending in endings:
        match ending:
            case Advanced():
                advanced.append(ending)
            case Parked():
                parked.append(ending)
            case ErrandEnded():
                errands.append(ending)
    return advanced, parked, errands


def _advance(connection: Connection, stage: Stage, advanced: list[Advanced], terms: Terms) -> dict[int, str]:
    parameters: dict[str, Any] = {
        "ids": [one.work.instance_id for one in advanced],
        "tokens": [one.work.token for one in advanced],
        "at": stage,
        "lease_s": terms.lease_s,
    }
    for name in ("state", "stage", "status", "error", "code", "failed_stage"):
        parameters[name] = [getattr(one, name) for one in advanced]
    written = {row.id: row.state for row in connection.execute(_ADVANCE, parameters)}
    good = [one for one in advanced if one.work.instance_id in written and one.facts]
    if good:
        _LEARN[stage](connection, good)
    if stage is Stage.SIEBEL:
        unsure = connection.execute(_SYNCED, {"ids": list(written)}).scalars().all()
        if any(unsure):
            connection.execute(_READ_BACK, {"ids": [one for one in unsure if one], "settle_s": terms.settle_s})
    return written


def _learn_user(connection: Connection, good: list[Advanced]) -> None:
    facts = [one.facts or {} for one in good]
    parameters = {
        "ids": [one.work.instance_id for one in good],
        "users": [Jsonb(fact.get("user")) for fact in facts],
        "oic_ids": [fact.get("oic_instance_id") for fact in facts],
    }
    connection.execute(_LEARN_USER, parameters)


def _learn_applied(connection: Connection, good: list[Advanced]) -> None:
    parameters = {
        "ids": [one.work.instance_id for one in good],
        "ct_user_ids": [(one.facts or {}).get("ct_user_id") for one in good],
    }
    connection.execute(_LEARN_APPLIED, parameters)


def _learn_told(connection: Connection, good: Sequence[Advanced | ErrandEnded]) -> None:
    facts = [one.facts or {} for one in good]
    parameters: dict[str, Any] = {
        "ids": [one.work.instance_id if isinstance(one, Advanced) else one.instance_id for one in good],
        "row_ids": [fact.get("row_id") for fact in facts],
        "statuses": [fact.get("told_status") for fact in facts],
        "errors": [fact.get("told_error") for fact in facts],
    }
    connection.execute(_LEARN_TOLD, parameters)


_LEARN = {Stage.OIC: _learn_user, Stage.CROWDTWIST: _learn_applied, Stage.SIEBEL: _learn_told}


def _park(connection: Connection, parked: list[Parked]) -> dict[int, str]:
    parameters: dict[str, Any] = {"ids": [one.instance_id for one in parked], "tokens": [one.token for one in parked]}
    names = (
        "state",
        "stage",
        "attempt",
        "delay_s",
        "status",
        "error",
        "code",
        "failed_stage",
        "report_after_s",
        "lost",
    )
    for name in names:
        parameters[name] = [getattr(one, name) for one in parked]
    written = {row.id: row.state for row in connection.execute(_PARK, parameters)}
    troubled = [one for one in parked if one.instance_id in written and (one.code or one.unsure)]
    if troubled:
        parameters = {
            "numbers": [one.member_number for one in troubled],
            "unsure": [one.unsure for one in troubled],
        }
        connection.execute(_TROUBLED, parameters)
    return written


def _end_errands(connection: Connection, errands: list[ErrandEnded]) -> dict[int, str]:
    parameters = {
        "ids": [one.instance_id for one in errands],
        "tokens": [one.token for one in errands],
        "again": [one.again_in_s for one in errands],
    }
    written = {row.id: row.state for row in connection.execute(_END_ERRANDS, parameters)}
    done = [one for one in errands if one.instance_id in written and one.again_in_s is None]
    told = [one for one in done if one.errand is Errand.REPORT and one.facts]
    if told:
        _learn_told(connection, told)
    settled = [one.member_number for one in done if one.errand is Errand.READ_BACK]
    if settled:
        connection.execute(_SETTLED, {"numbers": settled})
    return written


def _wake_for_the_next(connection: Connection, members: Sequence[str]) -> None:
    if connection.execute(_SOMETHING_DUE, {"numbers": list(members)}).scalar():
        wake(connection)


def _note(
    connection: Connection,
    stage: Stage,
    task_id: str,
    lines: Sequence[tuple[int, int, Line]],
    states: Mapping[int, str],
) -> None:
    if not lines:
        return
    parameters = {
        "ids": [instance_id for instance_id, _, _ in lines],
        "attempts": [attempt or None for _, attempt, _ in lines],
        "states": [states[instance_id] for instance_id, _, _ in lines],
        "whats": [line.what for _, _, line in lines],
        "codes": [line.code for _, _, line in lines],
        "tooks": [line.took_ms for _, _, line in lines],
        "calls": [Jsonb([asdict(call) for call in line.calls]) if line.calls else None for _, _, line in lines],
        "stage": stage,
        "task_id": task_id or None,
    }
    connection.execute(_NOTE, parameters)


def _begin_statement(columns: str) -> Any:  # noqa: ANN401  # SQLAlchemy's TextClause
    return text(f"""
        with mine as (
            update instance set begun = true, attempt = attempt + 1,
                                lease_until = now() + make_interval(secs => :lease_s)
            where id = any(cast(:ids as bigint[])) and state = 'running' and stage = :stage and not begun
              and lease_until > now()
            returning id, token, attempt, member_number, operation, errand, status, error
        )
        select mine.*, {columns}, m.row_id, m.ct_user_id, m.known_in_crowdtwist, m.unknown_outcome,
               m.told_status, m.told_error
        from mine join member m on m.member_number = mine.member_number join payload p on p.instance_id = mine.id
    """)  # noqa: S608  # our own columns


_BEGIN = {
    Stage.OIC: _begin_statement("p.event, null as user_object"),
    Stage.CROWDTWIST: _begin_statement("null as event, p.user_object"),
    Stage.SIEBEL: _begin_statement("null as event, null as user_object"),
}
_EXPIRED = text("""
    select id, token, member_number, stage, attempt, begun, losses, errand, status
    from instance where state = 'running' and lease_until < now()
    order by id limit :limit
""")
_LOCK_MEMBERS = text("""
    select from member where member_number = any(cast(:numbers as text[])) order by member_number for update
""")
_ADVANCE = text(f"""
    update instance i
    set state = case when r.state = 'pending'
                      and exists (select from instance q
                                  where q.member_number = i.member_number and q.state in ({_QUEUED}))
                     then 'superseded' else r.state end,
        stage = r.stage, status = r.status, error = r.error,
        code = case when r.status = 'Data Error' then coalesce(r.code, i.code) end,
        failed_stage = case when r.status = 'Data Error' then coalesce(r.failed_stage, i.failed_stage) end,
        begun = false, attempt = 0, failing_since = null, errand_at = null, due_at = now(),
        token = case when r.state = 'running' then i.token else 0 end,
        lease_until = case when r.state = 'running' then now() + make_interval(secs => :lease_s) end,
        finished_at = case when r.state = 'running' then null
                           when r.state = 'pending'
                            and not exists (select from instance q
                                            where q.member_number = i.member_number and q.state in ({_QUEUED}))
                           then null else now() end
    from unnest(cast(:ids as bigint[]), cast(:tokens as bigint[]), cast(:state as text[]), cast(:stage as text[]),
                cast(:status as text[]), cast(:error as text[]), cast(:code as text[]), cast(:failed_stage as text[]))
         as r (id, token, state, stage, status, error, code, failed_stage)
    where i.id = r.id and i.token = r.token and i.stage = :at and i.errand = 'sync'
    returning i.id, i.state
""")  # noqa: S608  # words of our own enum
_LEARN_USER = text("""
    update payload p set user_object = r.user_object, oic_instance_id = r.oic_id
    from unnest(cast(:ids as bigint[]), cast(:users as jsonb[]), cast(:oic_ids as text[]))
         as r (id, user_object, oic_id)
    where p.instance_id = r.id
""")
_LEARN_APPLIED = text("""
    update member m
    set applied_id = i.id, applied_hash = i.content_hash, ct_user_id = coalesce(r.ct_user_id, m.ct_user_id),
        known_in_crowdtwist = m.known_in_crowdtwist or r.ct_user_id is not null, unknown_outcome = false
    from unnest(cast(:ids as bigint[]), cast(:ct_user_ids as bigint[])) as r (id, ct_user_id)
    join instance i on i.id = r.id
    where m.member_number = i.member_number
""")
_LEARN_TOLD = text("""
    update member m
    set row_id = coalesce(r.row_id, m.row_id), told_status = r.status, told_error = r.error, told_id = i.id,
        told_at = now()
    from unnest(cast(:ids as bigint[]), cast(:row_ids as text[]), cast(:statuses as text[]), cast(:errors as text[]))
         as r (id, row_id, status, error)
    join instance i on i.id = r.id
    where m.member_number = i.member_number
""")
_SYNCED = text("""
    update member m set synced = (i.state = 'completed')
    from instance i where i.id = any(cast(:ids as bigint[])) and m.member_number = i.member_number
    returning case when i.state = 'completed' and m.lost_write_at is not null then i.id end
""")
_READ_BACK = text("""
    update instance set errand_at = now() + make_interval(secs => :settle_s) where id = any(cast(:ids as bigint[]))
""")
_PARK = text(f"""
    update instance i
    set state = w.state, stage = r.stage, attempt = r.attempt, begun = false, token = 0, lease_until = null,
        due_at = now() + make_interval(secs => r.delay_s),
        status = coalesce(r.status, i.status), error = case when r.code is null then i.error else r.error end,
        code = coalesce(r.code, i.code), failed_stage = coalesce(r.failed_stage, i.failed_stage),
        failing_since = case when r.report_after_s is null then i.failing_since
                             else coalesce(i.failing_since, now()) end,
        losses = i.losses + case when r.lost then 1 else 0 end,
        reason = case when w.state = 'superseded' then 'a newer event is due' else i.reason end,
        finished_at = case when w.state in ({_QUEUED}) then null else now() end,
        errand_at = case when w.state = 'superseded' or r.report_after_s is null then null
                         when w.state = 'dead' then now()
                         when w.told then null
                         else coalesce(i.failing_since, now()) + make_interval(secs => r.report_after_s) end
    from (
        select r.*,
               case when r.state in ({_QUEUED}) and q.id is not null then 'superseded' else r.state end as next_state,
               m.told_status = r.status and m.told_at >= o.failing_since as told
        from unnest(cast(:ids as bigint[]), cast(:tokens as bigint[]), cast(:state as text[]), cast(:stage as text[]),
                    cast(:attempt as int[]), cast(:delay_s as float8[]), cast(:status as text[]),
                    cast(:error as text[]), cast(:code as text[]), cast(:failed_stage as text[]),
                    cast(:report_after_s as float8[]), cast(:lost as boolean[]))
             as r (id, token, state, stage, attempt, delay_s, status, error, code, failed_stage, report_after_s, lost)
        join instance o on o.id = r.id
        join member m on m.member_number = o.member_number
        left join instance q on q.member_number = o.member_number and q.state in ({_QUEUED})
    ) as r, lateral (select r.next_state as state, r.told) as w
    where i.id = r.id and i.token = r.token and i.errand = 'sync'
    returning i.id, i.state
""")  # noqa: S608  # words of our own enum
_TROUBLED = text("""
    update member m
    set synced = false, unknown_outcome = m.unknown_outcome or (r.unsure and not m.known_in_crowdtwist),
        lost_write_at = case when r.unsure then now() else m.lost_write_at end
    from unnest(cast(:numbers as text[]), cast(:unsure as boolean[])) as r (member_number, unsure)
    where m.member_number = r.member_number
""")
_END_ERRANDS = text(f"""
    update instance i
    set state = case when i.parked_state in ({_QUEUED}) and q.id is not null then 'superseded'
                     else i.parked_state end,
        stage = i.parked_stage, attempt = i.parked_attempt, errand = 'sync', begun = false, token = 0,
        lease_until = null, parked_state = null, parked_stage = null, parked_attempt = null,
        finished_at = case when i.parked_state in ({_QUEUED}) and i.finished_at is null and q.id is not null
                           then now() else i.finished_at end,
        errand_at = case when i.parked_state in ({_QUEUED}) and q.id is not null then null
                         else now() + make_interval(secs => r.again) end,
        errand_attempt = case when r.again is null then 0 else i.attempt end
    from unnest(cast(:ids as bigint[]), cast(:tokens as bigint[]), cast(:again as float8[])) as r (id, token, again)
    join instance o on o.id = r.id
    left join instance q on q.member_number = o.member_number and q.state in ({_QUEUED})
    where i.id = r.id and i.token = r.token and i.errand <> 'sync'
    returning i.id, i.state
""")  # noqa: S608  # words of our own enum
_SETTLED = text("update member set lost_write_at = null where member_number = any(cast(:numbers as text[]))")
_SOMETHING_DUE = text(f"""
    select exists (select from instance where member_number = any(cast(:numbers as text[]))
                   and (state in ({_QUEUED}) and due_at <= now() or errand_at <= now()))
""")  # noqa: S608  # words of our own enum
_NOTE = text("""
    insert into activity (instance_id, stage, attempt, state, what, code, took_ms, task_id, calls)
    select id, :stage, attempt, state, what, code, took_ms, :task_id, calls
    from unnest(cast(:ids as bigint[]), cast(:attempts as int[]), cast(:states as text[]), cast(:whats as text[]),
                cast(:codes as text[]), cast(:tooks as float8[]), cast(:calls as jsonb[]))
         as r (id, attempt, state, what, code, took_ms, calls)
""")
