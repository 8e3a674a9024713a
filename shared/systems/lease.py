"""Until when a process may call for the members that it has begun.

Who is silent for longer than `lease_s` is taken for lost, and another worker may then send something newer.  So the
time is measured from before the begin, leaves a margin for the writing of the outcome, and is asked again right before
each call goes out: a process that was frozen, or a machine that slept, wakes up without it and sends nothing.
"""

import time
from contextvars import ContextVar
from math import inf

MARGIN_S = 4.0
"""What an attempt leaves of its lease for writing its outcome.  Units: seconds."""
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""It goes on while the machine sleeps, where there is such a clock."""

ends_of_calls: ContextVar[float] = ContextVar("ends_of_calls", default=inf)
"""When the lease of those who are being called for is over; `workers.loop` sets it for each group."""


def now() -> float:
    """Give the time on the clock that leases are measured on.  Units: seconds since some moment."""
    return time.clock_gettime(_CLOCK)


def left_s() -> float:
    """Give the seconds in which calls may still be made; less than none: the lease is over."""
    return ends_of_calls.get() - now()
