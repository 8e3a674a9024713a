"""What only some machines can break: the ledger's disk is full (that wants root, to mount one), clocks are stepped
(that wants a C compiler), `up` itself dies or stands still.  A run says what it could not produce.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from random import Random

from tests.chaos.suite.faults import KINDS, Fault, frozen, killed
from tests.chaos.suite.stand import Pace, Stand

_FILLS_EVERY_S = 0.05
_PAGE_BYTES = 4_096


@contextmanager
def ledger_full(at: Stand, _: Pace, __: Random) -> Iterator[None]:
    """Leave no byte free on the ledger's disk."""
    if not at.has_small_disk:
        raise OSError("the ledger has no disk of its own, which root can mount")
    ballast = at.folder / "servers/postgres/ballast"
    stop = threading.Event()

    def fill() -> None:
        with ballast.open("wb") as file:
            while not stop.wait(_FILLS_EVERY_S):  # what is freed meanwhile is taken too
                size = os.statvfs(at.folder / "servers/postgres").f_bfree * _PAGE_BYTES
                while size >= _PAGE_BYTES:
                    try:
                        os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), size)
                    except OSError:
                        size //= 2

    filling = threading.Thread(target=fill, name="fill the disk", daemon=True)
    filling.start()
    try:
        yield
    finally:
        stop.set()
        filling.join()
        ballast.unlink(missing_ok=True)


@contextmanager
def clock_stepped(at: Stand, _: Pace, dice: Random) -> Iterator[None]:
    """Step the wall clock of the product's machine, against that of the ledger, and back again."""
    at.clock.step(dice.choice([-3_600, -90, 90, 3_600]))
    try:
        yield
    finally:
        at.clock.step(0)


@contextmanager
def ledger_clock_stepped(at: Stand, _: Pace, dice: Random) -> Iterator[None]:
    """Step the wall clock of PostgreSQL, and back again."""
    if at.ledger_clock is None:
        raise OSError("the ledger has no clock of its own, which wants a C compiler")
    at.ledger_clock.step(dice.choice([-3_600, -90, 90, 3_600]))
    try:
        yield
    finally:
        at.ledger_clock.step(0)


WITH_UP: Mapping[str, Fault] = {
    **KINDS,
    "up.killed": partial(killed, "up"),
    "up.frozen": partial(frozen, "up"),
    "ledger.full": ledger_full,
    "clock.stepped": clock_stepped,
    "ledger.clock_stepped": ledger_clock_stepped,
}
"""Where the product runs as `membersync up`, and this machine has what else is wanted."""
