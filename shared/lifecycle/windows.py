"""What the calls of a time showed: latencies and losses by operation.  Pure.

Windows of different processes, and of one after the other, add up: the limit of calls in flight is decided by what all
of them showed together (`shared.lifecycle.concurrency`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import exp, inf, log

_STEP = log(1.08)
_SHORTEST_S = 1e-4

Histogram = Mapping[int, float]
"""How often which latency came: by `bucket`, 8 % apart, so that those of many processes add up to that of all."""


def bucket(latency_s: float) -> int:
    """Return where in a `Histogram` *latency_s* counts."""
    return max(0, round(log(latency_s / _SHORTEST_S) / _STEP)) if latency_s > _SHORTEST_S else 0


def quantile_s(of: Histogram, share: float) -> float:
    """Return the latency that *share* of a histogram with something in it does not exceed.  Units: seconds."""
    left = sum(of.values()) * share
    for place in sorted(of):
        left -= of[place]
        if left <= 0:
            return _SHORTEST_S * exp(place * _STEP)
    return _SHORTEST_S * exp(max(of) * _STEP)


def added(histograms: Iterable[Histogram]) -> Histogram:
    """Return all of *histograms* as one, in whole answers."""
    parts = (Counter({place: int(count) for place, count in one.items()}) for one in histograms)
    return sum(parts, Counter())


@dataclass(frozen=True, slots=True)
class Answers:
    """What came of the calls of one operation: good answers by latency, and how many were lost in which way."""

    good: Histogram = field(default_factory=dict)
    timed_out: int = 0
    unserved: int = 0
    unconnected: int = 0

    @property
    def lost(self) -> int:
        """Calls that show overload by not being answered."""
        return self.timed_out + self.unserved + self.unconnected

    @property
    def count(self) -> int:
        """Good answers."""
        return int(sum(self.good.values()))


@dataclass(frozen=True, slots=True)
class Window:
    """What all calls to one system showed in a time.

    Shape: *in_flight* the most at once; *reached*: somebody had to wait for the limit; *is_current* all of them obeyed
    the limit in force.  Units: *lasted_s* seconds, *busy_s* those of all calls in flight together.
    """

    lasted_s: float
    operations: Mapping[str, Answers]
    in_flight: int
    reached: bool
    is_current: bool = True
    busy_s: float = inf

    def beside(self, other: "Window") -> "Window":
        """Return what both showed, of the same time and of different processes."""
        return self._joined(other, max(self.lasted_s, other.lasted_s), self.in_flight + other.in_flight)

    def then(self, other: "Window") -> "Window":
        """Return what both showed, one after the other."""
        return self._joined(other, self.lasted_s + other.lasted_s, max(self.in_flight, other.in_flight))

    def _joined(self, other: "Window", lasted_s: float, in_flight: int) -> "Window":
        names = {**self.operations, **other.operations}
        nothing = Answers()
        joined = {name: _sum(self.operations.get(name, nothing), other.operations.get(name, nothing)) for name in names}
        is_current, busy_s = self.is_current and other.is_current, self.busy_s + other.busy_s
        return Window(lasted_s, joined, in_flight, self.reached or other.reached, is_current, busy_s)


def _sum(one: Answers, other: Answers) -> Answers:
    return Answers(
        Counter(one.good) + Counter(other.good),
        one.timed_out + other.timed_out,
        one.unserved + other.unserved,
        one.unconnected + other.unconnected,
    )
