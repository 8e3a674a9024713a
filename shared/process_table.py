"""Processes by their numbers: in whose table a number counts, and whether its process has ended."""

import os
from functools import cache
from pathlib import Path

from shared.lease_clock import start_of_machine


@cache
def process_table() -> str:
    """Name the table in which this process has its number, the same for all that see each other; "": it has no name.

    A container has one of its own, on whatever machine, and so has a machine after each start.
    """
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
    return f"{start_of_machine()} {namespace}" if start_of_machine() else ""


def has_ended(pid: int) -> bool:
    """Return whether no process of this table has the number; one whose end nobody has asked for yet still has it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
