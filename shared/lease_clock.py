"""The clock that leases are measured on: nobody can set it, and all processes of a machine share it."""

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""It goes on while the machine sleeps, where there is such a clock."""


def lease_clock() -> float:
    """Return the time on it.  Units: seconds since some moment."""
    return time.clock_gettime(_CLOCK)
