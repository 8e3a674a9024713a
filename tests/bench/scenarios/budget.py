"""The budget under a backlog: 3 workers and 2 dispatchers spend 10,000 calls a minute, never more in any 60 s.

Counted where it matters, by the stub, in slots of 10 ms.  *Used* is over whole periods: from the first call to the
first one that is more than what so many minutes allow, so a burst at either end does not flatter.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate

from shared.pipeline import Lane
from tests.bench.drain import fresh_events, say
from tests.bench.scenarios import Options, Start
from tests.bench.waiting import wait_until

TITLE = "budget: 10,000 calls a minute, 3 workers, 2 dispatchers, a backlog"
KEYS: Sequence[str] = ("budget_used_ratio", "budget_overruns")
_PER_MINUTE = 10_000
_MINUTES = 3
_SLOTS_PER_S = 100
_WINDOW = 60 * _SLOTS_PER_S


def run(start: Start, options: Options) -> dict[str, float]:
    """Spend some minutes' budget; at a small scale those of one minute."""
    minutes = options.scaled(_MINUTES)
    settings = {"CROWDTWIST__BUDGET_PER_MINUTE": str(_PER_MINUTE)}
    with start() as on, ExitStack() as stack:
        on.feed(fresh_events(on, _PER_MINUTE * minutes + 2_000), Lane.LIVE)
        on.stub.reset()
        for _ in range(2):
            stack.enter_context(on.ours("dispatcher", settings=settings))
        for _ in range(3):
            stack.enter_context(on.ours("worker", "--concurrency", "2", settings=settings))
        more = _PER_MINUTE * minutes + 1
        wait_until(lambda: on.stub.counts().crowdtwist >= more, 70 * minutes + 60, f"{more} calls")
        slots = on.stub.slots()
    spent = spending(slots, _PER_MINUTE, minutes)
    say(f"{minutes * _PER_MINUTE:,} calls in {spent.took_s:.2f} s; busiest 60 s: {spent.busiest:,} calls")
    return {"budget_used_ratio": minutes * 60 / spent.took_s, "budget_overruns": spent.overruns}


@dataclass(frozen=True, slots=True)
class Spending:
    """How a budget was spent.

    Units: *took_s* seconds from the first call to the first that is beyond what so many minutes allow; *busiest* calls
    in the busiest 60 s; *overruns* windows of 60 s, one begins with every slot, that have more than the budget.
    """

    took_s: float
    busiest: int
    overruns: int


def spending(slots: Sequence[int], per_minute: int, minutes: int) -> Spending:
    """Read the calls in each 10 ms, of which there are more than *minutes* allow.  Pure."""
    first = next(index for index, calls in enumerate(slots) if calls)
    beyond = next(index for index, total in enumerate(accumulate(slots)) if total > per_minute * minutes)
    totals = [0, *accumulate(slots)]
    ends = (min(begin + _WINDOW, len(slots)) for begin in range(first, len(slots)))
    windows = [totals[end] - totals[begin] for begin, end in zip(range(first, len(slots)), ends, strict=True)]
    return Spending((beyond - first) / _SLOTS_PER_S, max(windows), sum(calls > per_minute for calls in windows))
