"""The calls in flight of a worker process: once a second it says what they showed, and takes its share of the limit.

A ledger that is away changes nothing: the last share stays.
"""

import asyncio
from collections.abc import Mapping
from itertools import count
from time import monotonic

from shared.ledger import call_limits
from shared.ledger.call_limits import Share, Shown
from shared.ledger.engine import engine, statements
from shared.lifecycle.concurrency import START
from shared.pipeline import Stage
from shared.settings import Settings
from shared.systems.permits import Slots
from workers.stages import Runner


def adaptive(stages: Mapping[Stage, Runner], of: Settings) -> dict[Stage, Slots]:
    """Return the slots of the connections whose limit follows how they answer, with a share to begin with."""
    found = {
        stage: runner.client.slots
        for stage, runner in stages.items()
        if runner.client is not None and of.connection(stage).adaptive
    }
    for stage, slots in found.items():
        known = max(of.connection(stage).adaptive_min, min(of.connection(stage).adaptive_max, START))
        slots.share(max(1, known // of.worker.concurrency), known)
    return found


class Follower:
    """Tells what the calls of a process showed, and has its slots obey its shares."""

    def __init__(self, process: str, slots: Mapping[Stage, Slots]) -> None:
        self._process = process
        self._slots = slots
        self._turns = count()
        self._before: float | None = None

    async def follow(self) -> None:
        """Tell, and take the shares, out of the loop that this runs on; the first time, begin to count."""
        now = monotonic()
        before, self._before = self._before, now
        if before is None:
            return
        shown = {stage: Shown(*one.window(now - before)) for stage, one in self._slots.items()}
        shares = await asyncio.to_thread(self._told, next(self._turns), shown)
        for stage in self._slots.keys() & shares.keys():
            self._slots[stage].share(*shares[stage])

    def _told(self, turn: int, shown: Mapping[Stage, Shown]) -> dict[Stage, Share]:
        with statements(engine()) as tx:
            return call_limits.tell(tx, self._process, turn, shown)
