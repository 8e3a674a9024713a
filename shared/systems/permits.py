"""Permission for each call, right before it is made, out of a budget that all processes share."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar

from shared.errors import BudgetSpentError, LedgerError
from shared.pipeline import Lane

lane_of_calls: ContextVar[Lane] = ContextVar("lane_of_calls", default=Lane.LIVE)
"""The lane whose members are being called for; `workers.loop` sets it for each group."""
out_of_turn: ContextVar[bool] = ContextVar("out_of_turn", default=False)
"""Whether the call is to show that the connection serves: it does not wait behind calls that may all be hanging."""

Pay = Callable[[Lane, int], tuple[int, float]]
"""Pay for up to so many calls of a lane; give how many are granted, and in how many seconds there are more.

Blocking; raises LedgerError.
"""
_LEDGER_AWAY_S = 1.0


class Permits:
    """Asks for many calls in one payment: those who wait while a payment is under way share the next.

    For one event loop.
    """

    def __init__(self, system: str, pay: Pay) -> None:
        self._system = system
        self._pay = pay
        self._waiting: dict[Lane, deque[asyncio.Future[None]]] = {lane: deque() for lane in Lane}
        self._paying: asyncio.Task[None] | None = None

    async def take(self) -> None:
        """Wait for the permission to make one call now.

        Raises:
            BudgetSpentError: the budget is spent; nothing was sent.
        """
        lane = lane_of_calls.get()
        permit: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[lane].append(permit)
        if self._paying is None:
            self._paying = asyncio.create_task(self._pay_all())
        await permit

    async def _pay_all(self) -> None:
        try:
            while lane := next((lane for lane in Lane if self._waiting[lane]), None):
                await self._pay_for(lane, self._waiting[lane])
        finally:
            self._paying = None  # in the same step in which nobody was found waiting: whoever comes next starts anew

    async def _pay_for(self, lane: Lane, waiting: "deque[asyncio.Future[None]]") -> None:
        count = len(waiting)
        try:
            granted, more_in_s = await asyncio.to_thread(self._pay, lane, count)
        except LedgerError:
            granted, more_in_s = 0, _LEDGER_AWAY_S
        self._answer([waiting.popleft() for _ in range(granted)], None)
        if granted < count:
            spent = BudgetSpentError(self._system, more_in_s)
            self._answer([waiting.popleft() for _ in range(count - granted)], spent)

    @staticmethod
    def _answer(permits: "list[asyncio.Future[None]]", error: Exception | None) -> None:
        for permit in permits:
            if permit.done():
                continue  # who waited has given up
            if error is None:
                permit.set_result(None)
            else:
                permit.set_exception(error)
