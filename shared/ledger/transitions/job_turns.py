"""What the turns of all jobs share: how one moves on, pays for its rate, is stopped, and is seen out.

A turn is one transaction: it locks the job's row, or passes by if another process has it; notes what came of what was
sent before; and does the next piece, judged again with its members locked.  Who dies in the middle of a turn leaves
nothing half done, and the next process goes on from there.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, TextClause

from shared.ledger.engine import wake
from shared.ledger.jobs import ItemState, JobState, Verdict
from shared.ledger.transitions import requeue_sql as sql
from shared.ledger.transitions.member_queue import LOCK_MEMBERS
from shared.lifecycle.rollout import Finished, Send, Stop, Tally, Wait, next_step

CHUNK = 500
"""Instances of one turn: their members are locked meanwhile, and intake of the same members waits."""
_NAP_S = 0.2
_BURST_S = 2.0
"""How much of its rate a job may catch up on when no dispatcher came by for a while."""


@dataclass(frozen=True, slots=True)
class Caps:
    """How many members repairs may send: in 24 h, and of one run; for how many seconds a discard can be undone."""

    per_day: int = 0
    per_run: int = 0
    undo_s: float = 86_400

    def parameters(self) -> dict[str, float]:
        """Return them for a statement."""
        return {"cap_per_day": self.per_day, "cap_per_run": self.per_run, "undo_s": self.undo_s}


class Turn(ABC):
    """One turn of one locked job."""

    def __init__(self, tx: Connection, row: Row[Any], resubmits_max: int = 0, caps: Caps | None = None) -> None:
        self._tx = tx
        self._row = row
        self._job: int = row.id
        self._resubmits_max = resubmits_max
        self._caps = caps or Caps()
        self._step: int = row.step
        self._paid_until: datetime | None = row.paid_until
        self._line = f"{row.kind} by {row.requested_by}, job {row.id}" + (f": {row.reason}" if row.reason else "")

    @abstractmethod
    def take(self) -> bool:
        """Do the next piece; return whether it can go on at once."""

    @abstractmethod
    def _settle(self, *states: ItemState) -> None:
        """Note what came of the instances in *states*."""

    @abstractmethod
    def _put_back(self) -> None:
        """Leave the rest unsent, and take back what was sent and has not begun."""

    @abstractmethod
    def _send(self, some: dict[int, str], *, closing: bool) -> int:
        """Send or close *some*, ids with their members, as they are judged now; return how many were sent."""

    def _tallies(self) -> tuple[dict[int, Tally], int]:
        """Count by step how those sent stand, and those that are yet to be sent."""
        counts: dict[int, Counter[str]] = {}
        unsent = 0
        for row in self._tx.execute(sql.TALLIES, {"job": self._job}):
            if row.step is not None:
                counts.setdefault(row.step, Counter())[row.state] += row.total
            elif row.state == ItemState.PLANNED and row.verdict == Verdict.SEND:
                unsent += row.total
        tallies = {
            step: Tally(count[ItemState.SENT], count[ItemState.SUCCEEDED], count[ItemState.FAILED])
            for step, count in counts.items()
        }
        return tallies, unsent

    def _by_steps(self) -> bool:
        """Send as the steps allow; return whether it can go on at once."""
        tallies, unsent = self._tallies()
        match next_step(self._step, tallies.get(self._step, Tally()), unsent):
            case Send(step, count):
                self._step = step
                return self._send_some(count)
            case Wait():
                return self._go_on(at_once=False)
            case Stop(why):
                self.stop(why)
                return False
            case Finished():
                self._settle(ItemState.SENT, ItemState.FAILED)
                return self._done()

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
        self._put_back()
        on_its_way = any(tally.sent for tally in self._tallies()[0].values())
        self._move(JobState.STOPPED, why=why, over=not on_its_way)

    def _send_some(self, count: int) -> bool:
        allowed = min(count, CHUNK, self._affordable())
        some = self._pick(sql.PICK, allowed) if allowed else {}
        sent = 0
        if some:
            self._lock(some.values())
            sent = self._send(some, closing=False)
        self._pay(sent)
        if sent:
            wake(self._tx)
        return self._go_on(at_once=bool(some) and self._row.rate_per_minute is None)

    def _affordable(self) -> int:
        """Return how many the rate allows now."""
        rate: int | None = self._row.rate_per_minute
        if rate is None:
            return CHUNK
        one = timedelta(minutes=1) / rate
        now: datetime = self._row.now
        earliest = now - max(timedelta(seconds=_BURST_S), one)
        self._paid_until = max(self._paid_until or now - one, earliest)
        return (now - self._paid_until) // one

    def _pay(self, sent: int) -> None:
        if self._paid_until is not None and self._row.rate_per_minute:
            self._paid_until += sent * timedelta(minutes=1) / self._row.rate_per_minute

    def _pick(self, statement: TextClause, limit: int) -> dict[int, str]:
        rows = self._tx.execute(statement, {"job": self._job, "limit": limit})
        return {row.instance_id: row.member_number for row in rows}

    def _lock(self, members: Iterable[str]) -> None:
        self._tx.execute(LOCK_MEMBERS, {"numbers": sorted(set(members))})

    def _go_on(self, *, at_once: bool) -> bool:
        self._move(JobState.RUNNING, nap_s=0.0 if at_once else _NAP_S)
        return at_once

    def _done(self) -> bool:
        self._move(JobState.DONE, over=True)
        return False

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
