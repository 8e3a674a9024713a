"""What a call needs right before it goes out: time left of the lease, and a permit of the connection's budget.

Who is silent for longer than `lease_s` is taken for lost, and another worker may then send something newer.  So the
time is measured from before the begin, leaves a margin for the writing of the outcome, and is asked again right before
each call goes out: a process that was frozen, or a machine that slept, wakes up without it and sends nothing.

The budget is shared by all processes; many calls are paid for in one payment.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf

from shared.errors import BudgetSpentError, LedgerError
from shared.personal import NOBODY, Company
from shared.pipeline import Lane

MARGIN_S = 4.0
"""What an attempt leaves of its lease for writing its outcome.  Units: seconds."""
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""It goes on while the machine sleeps, where there is such a clock."""
_LEDGER_AWAY_S = 1.0
_FRESH_S = 0.3
"""How soon after its payment a call goes out: later it would fall into another minute than it was paid for."""


def lease_clock() -> float:
    """Return the time on the clock that leases are measured on.  Units: seconds since some moment."""
    return time.clock_gettime(_CLOCK)


@dataclass(frozen=True, slots=True)
class Calling:
    """For whom calls are made, and until when.

    Shape: *out_of_turn* the call is to show that the connection serves: it does not wait behind calls that may all be
    hanging.  *lease_ends* on `lease_clock`.  *company* who is called for together: an array is answered with one text
    for all its rows, and a refusal names who is in the way, so what is kept of such words leaves out the values of all.
    """

    lane: Lane = Lane.LIVE
    out_of_turn: bool = False
    lease_ends: float = inf
    company: Company = NOBODY

    @property
    def left_s(self) -> float:
        """Seconds in which calls may still be made; less than none: the lease is over."""
        return self.lease_ends - lease_clock()


_ANYBODY = Calling()
calling: ContextVar[Calling] = ContextVar("calling", default=_ANYBODY)
"""For whom calls are made in this context; `workers.loop` sets it for each group."""

Pay = Callable[[Lane, int], tuple[int, float]]
"""Pay for up to so many calls of a lane; return how many are granted, and in how many seconds there are more.

Blocking; raises LedgerError.
"""


class Permits:
    """Asks for many calls in one payment: those who wait while a payment is under way share the next.

    For one event loop.
    """

    def __init__(self, system: str, pay: Pay, *, fresh_s: float = _FRESH_S) -> None:
        self._system = system
        self._pay = pay
        self._fresh_s = fresh_s
        self._waiting: dict[Lane, deque[asyncio.Future[float]]] = {lane: deque() for lane in Lane}
        self._paying: asyncio.Task[None] | None = None

    async def take(self) -> None:
        """Wait for the permission to make one call now; one that comes late, after the loop hung, is paid for again.

        Raises:
            BudgetSpentError: the budget is spent; nothing was sent.
        """
        while True:
            permit: asyncio.Future[float] = asyncio.get_running_loop().create_future()
            self._waiting[calling.get().lane].append(permit)
            if self._paying is None:
                self._paying = asyncio.create_task(self._pay_while_any_wait())
            paid_at = await permit
            if lease_clock() - paid_at < self._fresh_s:
                return

    async def _pay_while_any_wait(self) -> None:
        try:
            while lane := next((lane for lane in Lane if self._waiting[lane]), None):
                waiting = self._waiting[lane]
                count = len(waiting)
                try:
                    granted, more_in_s, paid_at = await asyncio.to_thread(self._paid, lane, count)
                except LedgerError:
                    granted, more_in_s, paid_at = 0, _LEDGER_AWAY_S, 0.0
                self._answer([waiting.popleft() for _ in range(granted)], paid_at)
                spent = BudgetSpentError(self._system, more_in_s)
                self._answer([waiting.popleft() for _ in range(count - granted)], spent)
        finally:
            self._paying = None  # in the same step in which nobody was found waiting: whoever comes next starts anew

    def _paid(self, lane: Lane, count: int) -> tuple[int, float, float]:
        """Pay, and tell too when that was, on `lease_clock`."""
        granted, more_in_s = self._pay(lane, count)
        return granted, more_in_s, lease_clock()

    @staticmethod
    def _answer(permits: "list[asyncio.Future[float]]", answer: float | Exception) -> None:
        for permit in permits:
            if permit.done():
                continue  # who waited has given up
            if isinstance(answer, Exception):
                permit.set_exception(answer)
            else:
                permit.set_result(answer)
