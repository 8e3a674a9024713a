"""Jobs: planned in one statement, carried on turn by turn by whichever dispatcher is alive; requeue, discard, undo.

`job_turns` has what the turns of all kinds share, `undos` what undoes a discard, `resends` those of a resend.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection

from shared.ledger.engine import wake
from shared.ledger.filters import Filter, matching
from shared.ledger.jobs import ItemState, JobState, Kind, Plan, Verdict, plan_of
from shared.ledger.transitions import repairs, resends, undos
from shared.ledger.transitions import requeue_sql as sql
from shared.ledger.transitions.job_turns import CHUNK, Caps, Turn

SELECTION_MAX = 100_000
"""Instances of one job."""


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator asks for.

    Shape: *asked* is the selection in their words, to be shown; *awaits_approval*: it does not begin before a second
    person has said that it may.
    """

    kind: Kind
    who: str
    reason: str
    asked: Mapping[str, Any]
    from_start: bool = False
    forced: bool = False
    rate_per_minute: int | None = None
    recreates: bool = False
    awaits_approval: bool = False


def select(tx: Connection, where: Filter, *, limit: int = SELECTION_MAX) -> list[int]:
    """Return the ids that a filter means, newest first; without a state in it, those of dead letters."""
    statement, parameters = matching(tx, where.of_dead_letters(), limit=min(limit, SELECTION_MAX))
    return list(tx.execute(statement, parameters).scalars())


def plan(tx: Connection, kind: Kind, ids: Sequence[int], *, resubmits_max: int, forced: bool = False) -> Plan:
    """Return what would become of *ids*; changes nothing."""
    parameters = {"ids": sorted(set(ids)), "resubmits_max": resubmits_max, "forced": forced, "guarded": False}
    return plan_of(kind, tx.execute(_PLAN[kind], parameters))


def create(
    tx: Connection, order: Order, ids: Sequence[int], *, resubmits_max: int, caps: Caps | None = None
) -> int | None:
    """Make a job of *ids*; return its id, or None where nothing of it would be done, and there is no job then."""
    tx.execute(sql.ONE_AT_A_TIME)
    job: int = tx.execute(
        sql.INSERT_JOB,
        {
            "kind": order.kind,
            "state": JobState.AWAITING if order.awaits_approval else JobState.PLANNED,
            "who": order.who,
            "reason": order.reason,
            "asked": orjson.dumps(order.asked).decode(),
            "from_start": order.from_start,
            "forced": order.forced,
            "rate": order.rate_per_minute,
            "recreates": order.recreates,
        },
    ).scalar_one()
    parameters = {
        "job": job,
        "ids": sorted(set(ids)),
        "resubmits_max": resubmits_max,
        "forced": order.forced,
        "guarded": "guard" in order.asked,
        **(caps or Caps()).parameters(),
    }
    verdicts = Counter(tx.execute(_INSERT_ITEMS[order.kind], parameters).scalars())
    if not verdicts.keys() - {Verdict.REFUSED} or (order.kind is Kind.REPAIR and not verdicts[Verdict.SEND]):
        tx.execute(sql.DELETE_JOB, {"job": job})
        return None
    tx.execute(sql.SET_SIZE, {"job": job, "size": verdicts[Verdict.SEND]})
    wake(tx)
    return job


def advance(tx: Connection, *, resubmits_max: int, caps: Caps | None = None) -> bool:
    """Take one job that nobody else has a little further; return whether it can go on at once.

    One look by an index when there is no job.
    """
    row = tx.execute(sql.NEXT_JOB).one_or_none()
    if row is None:
        return False
    turn = _TURNS[Kind(row.kind)](tx, row, resubmits_max, caps or Caps())
    return turn.see_out() if row.state == JobState.STOPPED else turn.take()


def stop(tx: Connection, kind: Kind, job: int, why: str) -> bool:
    """Stop a job and put back what has not begun; False: there is none, or it is over."""
    row = tx.execute(sql.LOCK_JOB, {"job": job, "kind": kind}).one_or_none()
    if row is None or row.state in {JobState.STOPPED, JobState.DONE}:
        return False
    _TURNS[kind](tx, row).stop(why)
    wake(tx)
    return True


class _Requeue(Turn):
    """A turn of a requeue."""

    def take(self) -> bool:
        """Note outcomes, close what is overtaken, and send as the steps allow."""
        self._settle(ItemState.SENT)
        closings = self._pick(sql.PICK_CLOSINGS, CHUNK)
        if closings:
            self._lock(closings.values())
            self._send(closings, closing=True)
            return self._go_on(at_once=True)
        return self._by_steps()

    def _put_back(self) -> None:
        parameters = {
            "job": self._job,
            "from_start": self._row.from_start,
            "line": f"put back: job {self._job} stopped",
            "why": sql.STOPPED,
        }
        self._tx.execute(sql.PUT_BACK, parameters)

    def _send(self, some: dict[int, str], *, closing: bool) -> int:
        parameters = {
            "job": self._job,
            "ids": list(some),
            "closing": closing,
            "from_start": self._row.from_start,
            "forced": self._row.forced,
            "guarded": self._row.guarded,
            "bulk": self._row.size > 1,
            "step": self._step,
            "line": self._line,
            "resubmits_max": self._resubmits_max,
        }
        verdicts: dict[str, int] = {row.verdict: row.total for row in self._tx.execute(sql.SEND, parameters)}
        return verdicts.get(Verdict.SEND, 0)

    def _settle(self, *states: ItemState) -> None:
        self._tx.execute(sql.SETTLE, {"job": self._job, "states": list(states)})


class _Discard(_Requeue):
    """A turn of a discard."""

    def take(self) -> bool:
        """Discard the next chunk."""
        some = self._pick(sql.PICK, CHUNK)
        if not some:
            return self._done()
        parameters = {"job": self._job, "ids": list(some), "line": self._line, "why": self._line}
        self._lock(some.values())
        self._tx.execute(sql.DISCARD, parameters)
        return self._go_on(at_once=True)


class _Undo(_Requeue):
    """A turn of an undo."""

    def take(self) -> bool:
        """Let the next chunk be what it was."""
        some = self._pick(sql.PICK, CHUNK)
        if not some:
            return self._done()
        self._lock(some.values())
        undos.restore(self._tx, self._job, list(some), line=self._line)
        return self._go_on(at_once=True)


_TURNS: Mapping[Kind, type[Turn]] = {
    Kind.REQUEUE: _Requeue,
    Kind.DISCARD: _Discard,
    Kind.UNDO: _Undo,
    Kind.RESEND: resends.Resend,
    Kind.REPAIR: repairs.Repair,
}
_PLAN = sql.PLAN | {Kind.RESEND: resends.PLAN}
_INSERT_ITEMS = sql.INSERT_ITEMS | {
    Kind.UNDO: undos.INSERT_ITEMS,
    Kind.RESEND: resends.INSERT_ITEMS,
    Kind.REPAIR: repairs.INSERT_ITEMS,
}
