"""The clock that leases are measured on: nobody can set it, and all processes of a machine share it."""

import time
from functools import cache
from pathlib import Path

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""It goes on while the machine sleeps, where there is such a clock."""


def lease_clock() -> float:
    """Return the time on it.  Units: seconds since some moment."""
    return time.clock_gettime(_CLOCK)


@cache
def start_of_machine() -> str:
    """Name the start of this machine since which that clock counts, "": it has no name, as elsewhere than on Linux."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
