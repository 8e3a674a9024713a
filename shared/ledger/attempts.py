"""Statements of an attempt: begin it for a whole batch, and write what came of it, fenced by token.

A claim gave the instance its token.  Every write here names that token, so whoever lost the lease in the meantime
writes nothing.  Members are locked in key order, in a statement of their own, before anything that depends on their
queue.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy import Connection

from shared.instances import Errand, Work
from shared.ledger import attempt_sql as sql
from shared.ledger.endings import Advanced, Ending, ErrandEnded, Line, Parked
from shared.ledger.engine import wake
from shared.pipeline import Stage, State, SyncStatus


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
    rows = connection.execute(sql.BEGIN[stage], {"ids": list(ids), "stage": stage, "lease_s": lease_s})
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
        for row in connection.execute(sql.EXPIRED, {"limit": limit})
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
        connection.execute(sql.LOCK_MEMBERS, {"numbers": sorted(members)})
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
    written = {row.id: row.state for row in connection.execute(sql.ADVANCE, parameters)}
    good = [one for one in advanced if one.work.instance_id in written and one.facts]
    if good:
        _LEARN[stage](connection, good)
    if stage is Stage.SIEBEL:
        unsure = connection.execute(sql.SYNCED, {"ids": list(written)}).scalars().all()
        if any(unsure):
            connection.execute(sql.READ_BACK, {"ids": [one for one in unsure if one], "settle_s": terms.settle_s})
    return written


def _learn_user(connection: Connection, good: list[Advanced]) -> None:
    facts = [one.facts or {} for one in good]
    parameters = {
        "ids": [one.work.instance_id for one in good],
        "users": [Jsonb(fact.get("user")) for fact in facts],
        "oic_ids": [fact.get("oic_instance_id") for fact in facts],
    }
    connection.execute(sql.LEARN_USER, parameters)


def _learn_applied(connection: Connection, good: list[Advanced]) -> None:
    parameters = {
        "ids": [one.work.instance_id for one in good],
        "ct_user_ids": [(one.facts or {}).get("ct_user_id") for one in good],
    }
    connection.execute(sql.LEARN_APPLIED, parameters)


def _learn_told(connection: Connection, good: Sequence[Advanced | ErrandEnded]) -> None:
    facts = [one.facts or {} for one in good]
    parameters: dict[str, Any] = {
        "ids": [one.work.instance_id if isinstance(one, Advanced) else one.instance_id for one in good],
        "row_ids": [fact.get("row_id") for fact in facts],
        "statuses": [fact.get("told_status") for fact in facts],
        "errors": [fact.get("told_error") for fact in facts],
    }
    connection.execute(sql.LEARN_TOLD, parameters)


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
    written = {row.id: row.state for row in connection.execute(sql.PARK, parameters)}
    troubled = [one for one in parked if one.instance_id in written and (one.code or one.unsure)]
    if troubled:
        parameters = {
            "numbers": [one.member_number for one in troubled],
            "unsure": [one.unsure for one in troubled],
        }
        connection.execute(sql.TROUBLED, parameters)
    return written


def _end_errands(connection: Connection, errands: list[ErrandEnded]) -> dict[int, str]:
    parameters = {
        "ids": [one.instance_id for one in errands],
        "tokens": [one.token for one in errands],
        "again": [one.again_in_s for one in errands],
    }
    written = {row.id: row.state for row in connection.execute(sql.END_ERRANDS, parameters)}
    done = [one for one in errands if one.instance_id in written and one.again_in_s is None]
    told = [one for one in done if one.errand is Errand.REPORT and one.facts]
    if told:
        _learn_told(connection, told)
    settled = [one.member_number for one in done if one.errand is Errand.READ_BACK]
    if settled:
        connection.execute(sql.SETTLED, {"numbers": settled})
    return written


def _wake_for_the_next(connection: Connection, members: Sequence[str]) -> None:
    if connection.execute(sql.SOMETHING_DUE, {"numbers": list(members)}).scalar():
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
    connection.execute(sql.NOTE, parameters)
