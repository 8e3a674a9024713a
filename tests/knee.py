"""A system with a hidden knee, by a fast clock: it serves so many calls at once, the others wait in its queue.

`drive` calls it with the limit that `shared.lifecycle.concurrency` finds, or a fixed one, and returns what every second
showed.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf

from shared.lifecycle.concurrency import Limit, Rules, after, first, tells
from shared.lifecycle.windows import Answers, Window, bucket


def seeded(seed: int) -> random.Random:
    """Return dice for a simulation, the same for the same *seed*."""
    return random.Random(seed)  # noqa: S311 - a simulation


RULES = Rules(least=1, most=500, latency_max_s=10.0)
WINDOW_S = 1.0


@dataclass
class System:
    """Serves *capacity* calls at once in *service_s*, give or take *spread*; sheds what would queue above *sheds*.

    Units: *refused* share of calls answered 4xx at once, *flaky* 5xx; *hangs*: no call is ever answered.  Who calls it
    has *asked_per_s* calls to make, or a backlog that never ends, and waits for *timeout_s*.
    """

    capacity: int
    service_s: float = 0.2
    spread: float = 0.15
    sheds: float = inf
    refused: float = 0.0
    flaky: float = 0.0
    hangs: bool = False
    asked_per_s: float = inf
    timeout_s: float = 30.0
    dice: random.Random = field(default_factory=lambda: seeded(7))

    def service(self) -> float:
        return self.service_s * self.dice.lognormvariate(0.0, self.spread)


@dataclass
class Second:
    """What one second showed: the limit in it, and answers by latency."""

    at_s: float
    limit: Limit
    good: list[float] = field(default_factory=list)
    refused: int = 0
    timed_out: int = 0
    unserved: int = 0
    begun: int = 0
    peak: int = 0
    reached: bool = False
    busy_s: float = 0.0

    @property
    def window(self) -> Window:
        histogram: dict[int, float] = {}
        for latency_s in self.good:
            histogram[bucket(latency_s)] = histogram.get(bucket(latency_s), 0) + 1
        answers = Answers(histogram, timed_out=self.timed_out, unserved=self.unserved)
        return Window(WINDOW_S, {"PUT": answers}, self.peak, self.reached, busy_s=self.busy_s)


def drive(
    system: System,
    seconds: float,
    *,
    known: Limit | None = None,
    fixed: int | None = None,
    change: Callable[[System, float], None] = lambda _system, _at_s: None,
) -> list[Second]:
    """Run for *seconds*, with a *fixed* limit or from what is *known*; *change* is told each second that begins."""
    limit = known or first(RULES)
    run = _Run(system)
    shown: list[Second] = []
    pending: Window | None = None
    now = 0.0
    while now < seconds:
        change(system, now)
        allowed = fixed or limit.limit
        second = Second(now, limit)
        end = now + WINDOW_S
        run.until(end, allowed, second)
        now = end
        shown.append(second)
        pending = second.window if pending is None else pending.then(second.window)
        if fixed is None and tells(pending, limit.limit):
            limit = after(limit, pending, RULES)
            pending = None
    return shown


class _Run:
    def __init__(self, system: System) -> None:
        self._system = system
        self._events: list[tuple[float, int, str, int]] = []
        self._began: dict[int, float] = {}
        self._queue: deque[int] = deque()
        self._busy = 0
        self._ids = 0
        self._taken = 0

    def until(self, end: float, allowed: int, second: Second) -> None:
        now = second.at_s
        self._begin(now, allowed, second)
        while True:
            # The next moment at which anything happens: an event, or an arrival while there is room.
            arrival = max(now, (self._taken + 1) / self._system.asked_per_s) if len(self._began) < allowed else inf
            at = min(arrival, self._events[0][0] if self._events else inf)
            second.busy_s += len(self._began) * (min(at, end) - now)
            if at >= end:
                return
            now = at
            if self._events and self._events[0][0] <= now:
                _, one, what, status = heappop(self._events)
                self._happen(now, one, what, status, second)
            self._begin(now, allowed, second)

    def _begin(self, now: float, allowed: int, second: Second) -> None:
        while (self._taken + 1) / self._system.asked_per_s <= now + 1e-9:
            if len(self._began) >= allowed:
                second.reached = True
                return
            self._taken += 1
            self._ids += 1
            self._began[self._ids] = now
            second.begun += 1
            second.peak = max(second.peak, len(self._began))
            self._arrive(now, self._ids)
        second.peak = max(second.peak, len(self._began))

    def _arrive(self, now: float, one: int) -> None:
        system = self._system
        if system.refused and system.dice.random() < system.refused:
            heappush(self._events, (now + 0.003, one, "answer", 400))
        elif len(self._queue) >= system.sheds or system.dice.random() < system.flaky:
            heappush(self._events, (now + 0.003, one, "answer", 503))
        else:
            self._queue.append(one)
            heappush(self._events, (now + system.timeout_s, one, "timeout", 0))
            self._serve(now)

    def _serve(self, now: float) -> None:
        while self._queue and self._busy < self._system.capacity and not self._system.hangs:
            one = self._queue.popleft()
            if one not in self._began:
                continue
            self._busy += 1
            heappush(self._events, (now + self._system.service(), one, "served", 200))

    def _happen(self, now: float, one: int, what: str, status: int, second: Second) -> None:
        if what == "served":
            self._busy -= 1
            self._serve(now)
        if one not in self._began:
            return
        began = self._began.pop(one)
        if what == "timeout":
            second.timed_out += 1
        elif status == 200:
            second.good.append(now - began)
        elif status == 503:
            second.unserved += 1
        else:
            second.refused += 1


def per_second(shown: Iterable[Second]) -> float:
    """Return good answers per second."""
    seconds = list(shown)
    return sum(len(one.good) for one in seconds) / len(seconds) / WINDOW_S


def p95_s(shown: Iterable[Second]) -> float:
    """Return what the slowest twentieth of good answers takes at least."""
    good = sorted(latency_s for one in shown for latency_s in one.good)
    return good[int(len(good) * 0.95)]
