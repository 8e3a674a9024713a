"""Requeue and discard as jobs: planned in one statement, carried on turn by turn by whichever dispatcher is alive.

A turn (`advance`) is one transaction: it locks the job's row, or passes by if another process has it; notes what came
of the instances sent before; and sends the next, judged again with their members locked.  Who dies in the middle of a
turn leaves nothing half done, and the next process goes on from there.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Connection, Row, TextClause

from shared.ledger.engine import wake
from shared.ledger.filters import Filter, matching
from shared.ledger.jobs import ItemState, JobState, Kind, Plan, Verdict, plan_of
from shared.ledger.transitions import requeue_sql as sql
from shared.ledger.transitions.member_queue import LOCK_MEMBERS
from shared.lifecycle import rollout

SELECTION_MAX = 100_000
"""Instances of one job."""

_CHUNK = 500
"""Instances of one turn: their members are locked meanwhile, and intake of the same members waits."""
_NAP_S = 0.2
_BURST_S = 2.0
"""How much of its rate a job may catch up on when no dispatcher came by for a while."""


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator asks for.  *asked* is the selection in their words, to be shown."""

    kind: Kind
    who: str
    reason: str
    asked: Mapping[str, Any]
    from_start: bool = False
    forced: bool = False
    rate_per_minute: int | None = None


def select(tx: Connection, where: Filter, *, limit: int = SELECTION_MAX) -> list[int]:
    """Return the ids that a filter means, newest first; without a state in it, those of dead letters."""
    statement, parameters = matching(tx, where.of_dead_letters(), limit=min(limit, SELECTION_MAX))
    return list(tx.execute(statement, parameters).scalars())


def plan(tx: Connection, kind: Kind, ids: Sequence[int], *, resubmits_max: int, forced: bool = False) -> Plan:
    """Return what would become of *ids*; changes nothing."""
    parameters = {"ids": sorted(set(ids)), "resubmits_max": resubmits_max, "forced": forced, "guarded": False}
    return plan_of(kind, tx.execute(sql.PLAN[kind], parameters))


def create(tx: Connection, order: Order, ids: Sequence[int], *, resubmits_max: int) -> int | None:
    """Make a job of *ids*; return its id, or None where nothing of it would be done, and there is no job then."""
    tx.execute(sql.ONE_AT_A_TIME)
    job: int = tx.execute(
        sql.INSERT_JOB,
        {
            "kind": order.kind,
            "who": order.who,
            "reason": order.reason,
            "asked": orjson.dumps(order.asked).decode(),
            "from_start": order.from_start,
            "forced": order.forced,
            "rate": order.rate_per_minute,
        },
    ).scalar_one()
    parameters = {
        "job": job,
        "ids": sorted(set(ids)),
        "resubmits_max": resubmits_max,
        "forced": order.forced,
        "guarded": "guard" in order.asked,
    }
    verdicts = Counter(tx.execute(sql.INSERT_ITEMS[order.kind], parameters).scalars())
    if not verdicts.keys() - {Verdict.REFUSED}:
        tx.execute(sql.DELETE_JOB, {"job": job})
        return None
    tx.execute(sql.SET_SIZE, {"job": job, "size": verdicts[Verdict.SEND]})
    wake(tx)
    return job


def advance(tx: Connection, *, resubmits_max: int) -> bool:
    """Take one job that nobody else has a little further; return whether it can go on at once.

    One look by an index when there is no job.
    """
    row = tx.execute(sql.NEXT_JOB).one_or_none()
    if row is None:
        return False
    turn = _Turn(tx, row, resubmits_max)
    if row.state == JobState.STOPPED:
        return turn.see_out()
    return turn.discard() if row.kind == Kind.DISCARD else turn.requeue()


def stop(tx: Connection, kind: Kind, job: int, why: str) -> bool:
    """Stop a job and put back what has not begun; False: there is none, or it is over."""
    row = tx.execute(sql.LOCK_JOB, {"job": job, "kind": kind}).one_or_none()
    if row is None or row.state in {JobState.STOPPED, JobState.DONE}:
        return False
    _Turn(tx, row, 0).stop(why)
    wake(tx)
    return True


class _Turn:
    """One turn of one locked job."""

    def __init__(self, tx: Connection, row: Row[Any], resubmits_max: int) -> None:
        self._tx = tx
        self._row = row
        self._job: int = row.id
        self._resubmits_max = resubmits_max
        self._step: int = row.step
        self._paid_until: datetime | None = row.paid_until
        self._line = f"{row.kind} by {row.requested_by}, job {row.id}" + (f": {row.reason}" if row.reason else "")

    def requeue(self) -> bool:
        """Note outcomes, close what is overtaken, and send as the steps allow."""
        self._settle(ItemState.SENT)
        closings = self._pick(sql.PICK_CLOSINGS, _CHUNK)
        if closings:
            self._send(closings, closing=True)
            return self._go_on(at_once=True)
        tallies, unsent = self._tallies()
        match rollout.next_step(self._step, tallies.get(self._step, rollout.Tally()), unsent):
            case rollout.Send(step, count):
                self._step = step
                return self._send_some(count)
            case rollout.Wait():
                return self._go_on(at_once=False)
            case rollout.Stop(why):
                self.stop(why)
                return False
            case rollout.Finished():
                self._settle(ItemState.SENT, ItemState.FAILED)
                self._move(JobState.DONE, over=True)
                return False

    def discard(self) -> bool:
        """Discard the next chunk."""
        some = self._pick(sql.PICK, _CHUNK)
        if not some:
            self._move(JobState.DONE, over=True)
            return False
        parameters = {"job": self._job, "ids": list(some), "line": self._line, "why": self._line}
        self._lock(some.values())
        self._tx.execute(sql.DISCARD, parameters)
        return self._go_on(at_once=True)

    def see_out(self) -> bool:
        """Note the outcomes of a stopped job until nothing of it is on its way."""
        self._settle(ItemState.SENT)
        on_its_way = any(tally.sent for tally in self._tallies()[0].values())
        if not on_its_way:
            self._settle(ItemState.FAILED)
        self._move(JobState.STOPPED, why=self._row.stopped_why, over=not on_its_way)
        return False

    def stop(self, why: str) -> None:
        """Put back what was not sent, or sent and not begun."""
        self._lock(self._tx.execute(sql.SENT_MEMBERS, {"job": self._job}).scalars())
        parameters = {
            "job": self._job,
            "from_start": self._row.from_start,
            "line": f"put back: job {self._job} stopped",
            "why": "the job stopped",
        }
        self._tx.execute(sql.PUT_BACK, parameters)
        on_its_way = any(tally.sent for tally in self._tallies()[0].values())
        self._move(JobState.STOPPED, why=why, over=not on_its_way)

    def _send_some(self, count: int) -> bool:
        allowed = min(count, _CHUNK, self._affordable())
        some = self._pick(sql.PICK, allowed) if allowed else {}
        sent = self._send(some, closing=False) if some else 0
        self._pay(sent)
        if sent:
            wake(self._tx)
        return self._go_on(at_once=bool(some) and self._row.rate_per_minute is None)

    def _send(self, some: Mapping[int, str], *, closing: bool) -> int:
        """Send or close *some* as they are judged now; return how many were sent."""
        self._lock(some.values())
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

    def _affordable(self) -> int:
        """Return how many the rate allows now."""
        rate: int | None = self._row.rate_per_minute
        if rate is None:
            return _CHUNK
        one = timedelta(minutes=1) / rate
        now: datetime = self._row.now
        earliest = now - max(timedelta(seconds=_BURST_S), one)
        self._paid_until = max(self._paid_until or now - one, earliest)
        return (now - self._paid_until) // one

    def _pay(self, sent: int) -> None:
        if self._paid_until is not None and self._row.rate_per_minute:
            self._paid_until += sent * timedelta(minutes=1) / self._row.rate_per_minute

    def _settle(self, *states: ItemState) -> None:
        self._tx.execute(sql.SETTLE, {"job": self._job, "states": list(states)})

    def _tallies(self) -> tuple[dict[int, rollout.Tally], int]:
        """Count by step how those sent stand, and those that are yet to be sent."""
        counts: dict[int, Counter[str]] = {}
        unsent = 0
        for row in self._tx.execute(sql.TALLIES, {"job": self._job}):
            if row.step is not None:
                counts.setdefault(row.step, Counter())[row.state] += row.total
            elif row.state == ItemState.PLANNED and row.verdict == Verdict.SEND:
                unsent += row.total
        tallies = {
            step: rollout.Tally(count[ItemState.SENT], count[ItemState.SUCCEEDED], count[ItemState.FAILED])
            for step, count in counts.items()
        }
        return tallies, unsent

    def _pick(self, statement: TextClause, limit: int) -> dict[int, str]:
        rows = self._tx.execute(statement, {"job": self._job, "limit": limit})
        return {row.instance_id: row.member_number for row in rows}

    def _lock(self, members: Iterable[str]) -> None:
        self._tx.execute(LOCK_MEMBERS, {"numbers": sorted(set(members))})

    def _go_on(self, *, at_once: bool) -> bool:
        self._move(JobState.RUNNING, nap_s=0.0 if at_once else _NAP_S)
        return at_once

    def _move(self, state: JobState, *, why: str | None = None, over: bool = False, nap_s: float = _NAP_S) -> None:
        parameters = {
            "job": self._job,
            "state": state,
            "step": self._step,
            "stopped_why": why,
            "over": over,
            "paid_until": self._paid_until,
            "nap_s": nap_s,
        }
        self._tx.execute(sql.MOVE_JOB, parameters)
