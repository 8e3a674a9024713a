"""Statements of an attempt: begin it for a whole batch, and write what came of it, fenced by token.

A claim gave the instance its token.  Every write here names that token, so whoever lost the lease in the meantime
writes nothing.  Members are locked in key order, in a statement of their own, before anything that depends on their
queue.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, TextClause

from shared.instances import Errand, Work
from shared.ledger import unanswered
from shared.ledger.engine import rows, wake
from shared.ledger.transitions import attempt_sql as sql
from shared.ledger.transitions.address_waits import wake_who_waits
from shared.lifecycle.verdicts import Advanced, Ending, ErrandEnded, Line, Lost, Parked
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

    def settle(self, stage: Stage) -> float:
        """Give the seconds after which what was lost at *stage* has landed, or never will."""
        return self.tell_settle_s if stage is Stage.SIEBEL else self.settle_s


@dataclass(frozen=True, slots=True)
class Begun:
    """Who of a batch was begun at a stage; *ahead*: others may be at a later one, which its message must reach."""

    works: list[Work]
    ahead: bool


def begin(tx: Connection, stage: Stage, ids: Sequence[int], *, lease_s: float, unread: bool = False) -> Begun:
    """Count an attempt for those of *ids* that are at *stage* and that nobody has begun, and read their inputs.

    *unread*: leave out what they carry, which cannot be read.
    """
    statement = sql.BEGIN_UNREAD if unread else sql.BEGIN[stage]
    rows = tx.execute(statement, {"ids": list(ids), "stage": stage, "lease_s": lease_s}).all()
    works = [
        Work(
            instance_id=row.id,
            token=row.token,
            attempt=row.attempt,
            member_number=row.member_number,
            operation=row.operation,
            event=row.event or {},
            user=row.user_object,
            row_id=row.proven_row_id,
            claimed_row_id=row.row_id,
            ct_user_id=row.ct_user_id,
            known_in_crowdtwist=row.known_in_crowdtwist,
            unknown_outcome=row.unknown_outcome,
            errand=Errand(row.errand),
            lane=Lane(row.lane),
            suspect=row.suspect,
            status=SyncStatus(row.status) if row.status else None,
            error=row.error,
            told_status=row.told_status,
            told_error=row.told_error,
            told_of_this=bool(getattr(row, "told_of_this", False)),
        )
        for row in rows
    ]
    return Begun(works, ahead=not rows or rows[0].ahead)


def expired(tx: Connection, *, limit: int) -> list[Lost]:
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
            alone=row.alone,
            errand=Errand(row.errand),
            status=SyncStatus(row.status) if row.status else None,
        )
        for row in tx.execute(sql.EXPIRED, {"limit": limit})
    ]


def finish(tx: Connection, stage: Stage, endings: Iterable[Ending], terms: Terms) -> int:
    """Write what came of a batch at *stage*; those whose token has been overtaken are left alone.

    Their calls may have landed after a newer one all the same, so their members are checked.

    Returns how many endings were written.
    """
    advanced, parked, errands = _sorted(endings)
    members = {one.work.member_number for one in advanced}
    members.update(one.member_number for one in parked)
    members.update(one.member_number for one in errands)
    mapped_only = all(one.state is State.RUNNING and one.stage is Stage.CROWDTWIST for one in advanced)
    if parked or errands or not mapped_only:
        tx.execute(sql.LOCK_MEMBERS, {"numbers": sorted(members)})
    written: dict[int, str] = {}
    if stage is Stage.CROWDTWIST:
        ended = [one.work.member_number for one in advanced]
        ended += [one.member_number for one in parked if one.state is State.DEAD]
        if ended and wake_who_waits(tx, ended):
            wake(tx)
    if advanced:
        written.update(_advance(tx, stage, advanced, terms))
    if parked:
        written.update(_park(tx, stage, parked))
    if errands:
        written.update(_end_errands(tx, stage, errands, terms))
    lines: list[tuple[int, int, Line]] = [(one.work.instance_id, one.work.attempt, one.line) for one in advanced]
    lines += [(one.instance_id, one.attempt, one.line) for one in parked]
    lines += [(one.instance_id, 0, one.line) for one in errands]
    if parked or errands or stage is Stage.SIEBEL or any(one.state is State.PENDING for one in advanced):
        _wake_for_the_next(tx, sorted(members))
    unsure = {one.instance_id for one in parked if one.unsure} | {one.instance_id for one in errands if one.unsure}
    late = [one for one, _, line in lines if one not in written and (one in unsure or _has_written(line))]
    unanswered.landed_late(tx, stage, late, settle_s=terms.settle(stage))
    _note(tx, stage, terms.task_id, [line for line in lines if line[0] in written], written)
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


def _advance(tx: Connection, stage: Stage, advanced: list[Advanced], terms: Terms) -> dict[int, str]:
    written = _write(
        tx,
        sql.ADVANCE,
        [
            {"id": one.work.instance_id, "token": one.work.token}
            | {name: getattr(one, name) for name in ("state", "stage", "status", "error", "code", "failed_stage")}
            for one in advanced
        ],
        at=stage,
        lease_s=terms.lease_s,
    )
    facts = [
        {"id": one.work.instance_id, **one.facts}
        for one in advanced
        if one.facts is not None and one.work.instance_id in written
    ]
    if facts:
        tx.execute(_LEARN[stage], {"rows": rows(facts), "settle_s": terms.settle(stage)})
    refused = [one.work.instance_id for one in advanced if one.failed_stage and one.work.instance_id in written]
    if refused and stage is Stage.CROWDTWIST:
        unanswered.refused(tx, refused, settle_s=terms.settle(stage))
    return written


def _has_written(line: Line) -> bool:
    return any(call.method != "GET" for call in line.calls)


_LEARN = {Stage.OIC: sql.LEARN_USER, Stage.CROWDTWIST: sql.LEARN_APPLIED, Stage.SIEBEL: sql.LEARN_TOLD}


def _park(tx: Connection, stage: Stage, parked: list[Parked]) -> dict[int, str]:
    names = [name for name in Parked.__dataclass_fields__ if name not in {"instance_id", "line"}]
    written = _write(
        tx,
        sql.PARK,
        [{"id": one.instance_id} | {name: getattr(one, name) for name in names} for one in parked],
    )
    failing = [
        {"id": one.instance_id, "report_after_s": one.report_after_s}
        for one in parked
        if written.get(one.instance_id) == State.SUPERSEDED and one.report_after_s is not None
    ]
    if failing:  # the newer event inherits since when it fails, so that Siebel is told in time
        tx.execute(sql.HAND_ON, {"rows": rows(failing)})
    troubled = [
        {"member_number": one.member_number, "unsure": one.unsure}
        for one in parked
        if one.instance_id in written and (one.code or one.unsure)
    ]
    if troubled:
        tx.execute(sql.TROUBLED, {"rows": rows(troubled), "stage": stage})
    unsure = [one.instance_id for one in parked if one.instance_id in written and one.unsure]
    unanswered.lost(tx, stage, unsure)
    return written


def _end_errands(tx: Connection, stage: Stage, errands: list[ErrandEnded], terms: Terms) -> dict[int, str]:
    written = _write(
        tx,
        sql.END_ERRANDS,
        [
            # Whether there is another probe is for the breaker to say.
            {"id": one.instance_id, "token": one.token, "apart": one.apart}
            | {"again_in_s": None if one.errand is Errand.PROBE else one.again_in_s}
            for one in errands
        ],
    )
    ended = [one for one in errands if one.instance_id in written]
    settle_s = terms.settle(stage)
    for errand, statement in _LEARN_OF.items():
        told = [{"id": one.instance_id, **one.facts} for one in ended if one.errand is errand and one.facts]
        if told:
            tx.execute(statement, {"rows": rows(told), "settle_s": settle_s})
    unanswered.lost(tx, stage, [one.instance_id for one in ended if one.unsure])
    probes = [one.instance_id for one in ended if one.unsure and one.errand is Errand.PROBE]
    unanswered.check(tx, stage, probes, settle_s=settle_s)  # it repeated what is newest: nobody else will
    checks = [one for one in ended if one.errand in {Errand.READ_BACK, Errand.TELL_AGAIN}]
    unanswered.checked(tx, stage, [one.instance_id for one in checks if one.facts is not None])
    # What this check itself lost may land as late as what it was to check.
    again = {one.instance_id: _later(one, settle_s) for one in checks if one.facts is None}
    unanswered.check_again(tx, stage, again)
    return written


def _later(check: ErrandEnded, settle_s: float) -> float | None:
    return max(check.again_in_s, settle_s) if check.unsure and check.again_in_s is not None else check.again_in_s


_LEARN_OF = {Errand.REPORT: sql.LEARN_TOLD, Errand.TELL_AGAIN: sql.LEARN_TOLD_AGAIN}


def _write(
    tx: Connection, statement: TextClause, records: Sequence[Mapping[str, Any]], **parameters: object
) -> dict[int, str]:
    """Run a statement that is fenced by token; give the state of each instance that it wrote."""
    return {row.id: row.state for row in tx.execute(statement, {"rows": rows(records), **parameters})}


def _wake_for_the_next(tx: Connection, members: Sequence[str]) -> None:
    if tx.execute(sql.SOMETHING_DUE, {"numbers": list(members)}).scalar():
        wake(tx)


def _note(
    tx: Connection,
    stage: Stage,
    task_id: str,
    lines: Sequence[tuple[int, int, Line]],
    states: Mapping[int, str],
) -> None:
    if not lines:
        return
    records = [
        {
            "id": instance_id,
            "attempt": attempt or None,
            "state": states[instance_id],
            "what": line.what,
            "code": line.code,
            "took_ms": line.took_ms,
            "calls": line.calls or None,
        }
        for instance_id, attempt, line in lines
    ]
    tx.execute(sql.NOTE, {"rows": rows(records), "stage": stage, "task_id": task_id or None})
