"""What a call needs right before it goes out: time left of the lease, a slot, and a permit of the connection's budget.

Who is silent for longer than `lease_s` is taken for lost, and another worker may then send something newer.  So the
time is measured from before the begin, leaves a margin for the writing of the outcome, and is asked again right before
each call goes out: a process that was frozen, or a machine that slept, wakes up without it and sends nothing.

The budget is shared by all processes; many calls are paid for in one payment.  So is the limit of calls in flight: how
many slots a process has is its share, told once a second (`workers.calls_in_flight`); a slot itself costs no question.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from shared.errors import BudgetSpentError, LedgerError
from shared.lease_clock import lease_clock
from shared.lifecycle.windows import Answers, Window, bucket
from shared.personal import NOBODY, Company
from shared.pipeline import Lane

MARGIN_S = 4.0
"""What an attempt leaves of its lease for writing its outcome.  Units: seconds."""
_LEDGER_AWAY_S = 1.0
_FRESH_S = 0.3
"""How soon after its payment a call goes out: later it would fall into another minute than it was paid for."""
_ON_ITS_WAY_S = 0.5
"""How long after its payment a call may reach the other side: so long it weighs above its minute."""


@dataclass(frozen=True, slots=True)
class Calling:
    """For whom calls are made, and until when.

    Shape: *out_of_turn* the call is to show that the connection serves: it does not wait behind calls that may all be
    hanging.  *again* they have failed before, all of them: they go behind those who have not, and what they lose may
    be theirs alone.  *lease_ends* on `lease_clock`.  *company* who is called for together: an array is answered with
    one text for all its rows, and a refusal names who is in the way, so what is kept of such words leaves out the
    values of all.
    """

    lane: Lane = Lane.LIVE
    out_of_turn: bool = False
    again: bool = False
    lease_ends: float = inf
    company: Company = NOBODY

    @property
    def left_s(self) -> float:
        """Seconds in which calls may still be made; less than none: the lease is over."""
        return self.lease_ends - lease_clock()


_ANYBODY = Calling()
calling: ContextVar[Calling] = ContextVar("calling", default=_ANYBODY)
"""For whom calls are made in this context; `workers.loop` sets it for each group."""


class Came(StrEnum):
    """What came of a call, as far as it says how busy the other side is."""

    GOOD = "good"
    TIMED_OUT = "timed_out"
    UNSERVED = "unserved"
    UNCONNECTED = "unconnected"


class Slots:
    """How many calls are in flight at once, and what came of them.  For one event loop.

    The limit may change at any time: calls that are in flight above it go on, and their slots are not given again.  Of
    those who wait the live lane is first, each lane in its order.  Who has failed before has half of the slots at most,
    and one at least: a few members whose calls all hang hold up nobody else, and how busy the other side is their
    losses do not say.
    """

    def __init__(self, limit: int) -> None:
        self.is_shared = False
        """Whether the limit is a share of one for all processes, which changes with how the other side answers."""
        self._limit = self._of = limit
        self._in_flight = self._again = 0
        self._waiting: dict[tuple[Lane, bool], deque[asyncio.Future[bool]]] = {
            (lane, again): deque() for lane in Lane for again in (False, True)
        }
        self._came: Counter[tuple[str, int | Came]] = Counter()
        self._peak = self._wanted = 0
        self._busy_s = 0.0
        self._counted_at = time.monotonic()
        self._was_reached = False

    def share(self, limit: int, of: int) -> None:
        """Take *limit* as this process's share of the limit *of* for all, from now on."""
        self.is_shared = True
        self._limit, self._of = limit, of
        self._call_next()

    def take_free(self) -> bool:
        """Take a slot if one is free, so that nobody waits before it; return whether one was."""
        again = calling.get().again
        if not self._has_free(again=again):
            return False
        self._enter(again=again)
        return True

    async def take(self, within_s: float) -> None:
        """Wait for a slot.

        Raises:
            TimeoutError: none was free in time.
        """
        if self.take_free():
            return
        of = calling.get()
        self._was_reached = True
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        waiting = self._waiting[of.lane, of.again]
        waiting.append(turn)
        self._wanted = max(self._wanted, self._wanted_now())
        # Hundreds wait at once: this is half of what `asyncio.timeout` costs, and leaves no error that holds its frame.
        end = loop.call_later(within_s, _give_up, turn, waiting)
        try:
            is_given = await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                if turn.result():
                    self.give_back()  # it was given in the same moment
            elif turn in waiting:  # else it was passed over in the same moment
                waiting.remove(turn)
            raise
        finally:
            end.cancel()
        if not is_given:
            raise TimeoutError

    def give_back(self) -> None:
        """Return a slot, in the context in which it was taken."""
        self._count_busy()
        self._in_flight -= 1
        self._again -= calling.get().again
        self._call_next()

    def note(self, operation: str, came: Came, took_s: float) -> None:
        """Count what came of a call, which took *took_s*."""
        if calling.get().again and came is not Came.GOOD:
            return
        self._came[operation, bucket(took_s) if came is Came.GOOD else came] += 1

    def window(self, lasted_s: float) -> tuple[Window, int, int]:
        """Return what was counted in the last *lasted_s*, and how many slots were wanted at once; begin anew.

        Beside that the limit for all, of which this process had its share; that one changes between two windows.
        """
        operations = {}
        for name in {operation for operation, _ in self._came}:
            mine = {what: count for (operation, what), count in self._came.items() if operation == name}
            lost = {came.value: mine.pop(came) for came in Came if came in mine}
            operations[name] = Answers({int(place): float(count) for place, count in mine.items()}, **lost)
        self._count_busy()
        window = Window(lasted_s, operations, self._peak, self._was_reached, busy_s=self._busy_s)
        self._busy_s = 0.0
        wanted = self._wanted
        self._came = Counter()
        self._peak = self._in_flight
        self._wanted = self._wanted_now()
        self._was_reached = self._wanted > self._in_flight
        return window, wanted, self._of

    def _wanted_now(self) -> int:
        return self._in_flight + sum(map(len, self._waiting.values()))

    def _has_free(self, *, again: bool) -> bool:
        is_in_turn = not again or self._again < max(1, self._limit // 2)
        return self._in_flight < self._limit and is_in_turn

    def _count_busy(self) -> None:
        now = time.monotonic()
        self._busy_s += self._in_flight * (now - self._counted_at)
        self._counted_at = now

    def _enter(self, *, again: bool) -> None:
        self._count_busy()
        self._in_flight += 1
        self._again += again
        self._peak = max(self._peak, self._in_flight)
        self._wanted = max(self._wanted, self._in_flight)

    def _call_next(self) -> None:
        for (_, again), waiting in self._waiting.items():
            while waiting and self._has_free(again=again):
                turn = waiting.popleft()
                if not turn.done():
                    self._enter(again=again)
                    turn.set_result(True)


def _give_up(turn: "asyncio.Future[bool]", waiting: "deque[asyncio.Future[bool]]") -> None:
    if not turn.done():
        waiting.remove(turn)
        turn.set_result(False)


Pay = Callable[[Lane, int], tuple[int, float, float]]
"""Pay for up to so many calls of a lane; return how many are granted, in how many seconds there are more, and when they
were paid for, on `lease_clock`: from then on they have to go out soon, however long the answer was on its way.

Blocking; raises LedgerError.
"""
Charge = Callable[[Lane, int], None]
"""Count so many calls of a lane that were made, from now, whether there is room for them or not.

Blocking; raises LedgerError.
"""


class Permits:
    """Asks for many calls in one payment: those who wait while a payment is under way share the next.

    A call that has to connect first may go out long after its payment (a SYN is sent again after 1, 3, 7 s), and no
    client tells when it did.  It is counted once more when it has been answered (`connected`): so it weighs from its
    payment to a minute after its answer, and whenever it arrived, whoever pays within a minute of that finds it.

    For one event loop.
    """

    def __init__(self, system: str, pay: Pay, charge: Charge | None = None, *, fresh_s: float = _FRESH_S) -> None:
        self._system = system
        self._pay = pay
        self._charge = charge
        self._late: Counter[Lane] = Counter()
        self._fresh_s = fresh_s
        self._waiting: dict[Lane, deque[asyncio.Future[float]]] = {lane: deque() for lane in Lane}
        self._paying: asyncio.Task[None] | None = None

    def connected(self, paid_at: float) -> None:
        """Count a call that had to connect first once more if it was answered late.  Units: *paid_at* from `take`."""
        if lease_clock() - paid_at > _ON_ITS_WAY_S:
            self._late[calling.get().lane] += 1
            self._begin_paying()

    async def take(self) -> float:
        """Wait for the permission to make one call now; one that comes late, after the loop hung, is paid for again.

        Units: it returns when that was paid for, on `lease_clock`.

        Raises:
            BudgetSpentError: the budget is spent; nothing was sent.
        """
        while True:
            permit: asyncio.Future[float] = asyncio.get_running_loop().create_future()
            self._waiting[calling.get().lane].append(permit)
            self._begin_paying()
            paid_at = await permit
            if lease_clock() - paid_at < self._fresh_s:
                return paid_at

    def _begin_paying(self) -> None:
        if self._paying is None:
            self._paying = asyncio.create_task(self._pay_while_any_wait())

    async def _pay_while_any_wait(self) -> None:
        try:
            while lane := next((lane for lane in Lane if self._waiting[lane] or self._late[lane]), None):
                waiting = self._waiting[lane]
                is_counted = await self._count_late(lane)
                count = len(waiting)
                if not count:
                    if is_counted:
                        continue
                    return  # it is counted with the next payment: nobody can pay before the ledger is back
                try:
                    granted, more_in_s, paid_at = await asyncio.to_thread(self._pay, lane, count)
                except LedgerError:
                    granted, more_in_s, paid_at = 0, _LEDGER_AWAY_S, 0.0
                self._answer([waiting.popleft() for _ in range(granted)], paid_at)
                spent = BudgetSpentError(self._system, more_in_s)
                self._answer([waiting.popleft() for _ in range(count - granted)], spent)
        finally:
            self._paying = None  # in the same step in which nobody was found waiting: whoever comes next starts anew

    async def _count_late(self, lane: Lane) -> bool:
        count = self._late.pop(lane, 0)
        try:
            if count and self._charge is not None:
                await asyncio.to_thread(self._charge, lane, count)
        except LedgerError:
            self._late[lane] += count
            return False
        return True

    @staticmethod
    def _answer(permits: "list[asyncio.Future[float]]", answer: float | Exception) -> None:
        for permit in permits:
            if permit.done():
                continue  # who waited has given up
            if isinstance(answer, Exception):
                permit.set_exception(answer)
            else:
                permit.set_result(answer)
