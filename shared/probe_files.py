"""What a process writes for probes, and how they read it: whether it goes round, and what it waits for.

A file for each process.  Its first line is the instant until which the process means to have gone round its main loop
again, by the clock that all processes of a machine share and nobody can set; its second is what it waits for, in a
sentence, and empty when it is ready.  A probe runs every few seconds beside each process, so this imports nothing that
Python does not have at hand by the time it has started.
"""

import os
from time import monotonic

PROCESSES = ("api", "dispatcher", "worker", "worker-live", "worker-bulk", "flower")
"""Who has such a file, which has that name."""
_MOST_BYTES = 4096


def folder_of(home: str, folder: str) -> str:
    """Return where the files are: in *folder*, or where that is not set below *home*."""
    return folder or f"{home}/health"


def document(until: float, waits_for: str) -> str:
    """Return what a process writes; *until* is of `time.monotonic`."""
    return f"{until:.3f}\n{waits_for}\n"


def trouble(folder: str, process: str, *, of_readiness: bool) -> str | None:
    """Return why *process* is to be restarted, or with *of_readiness* what it waits for, in a sentence; None: nothing.

    A file of before the machine's last start speaks of a clock that began anew, and counts for nothing.
    """
    try:
        opened = os.open(f"{folder}/{process}", os.O_RDONLY | os.O_NONBLOCK)
        try:
            lines = os.read(opened, _MOST_BYTES).decode().split("\n")
        finally:
            os.close(opened)
        until, waits_for = float(lines[0]), lines[1]
    except OSError as error:
        return f"it has shown nothing in {folder}: {error.strerror}"
    except (IndexError, ValueError):
        return f"what stands in {folder}/{process} is not of its making"
    if not monotonic() <= until:  # also where it is not a number
        return f"it has not gone round its main loop for too long, by {monotonic() - until:.0f} s"
    return (waits_for or None) if of_readiness else None
