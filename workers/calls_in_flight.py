"""The calls in flight of a worker process: once a second it says what they showed, and takes its share of the limit.

A ledger that is away changes nothing: the last share stays.
"""

import asyncio
from collections.abc import Mapping
from itertools import count
from time import monotonic

from shared.errors import LedgerError
from shared.ledger import call_limits
from shared.ledger.call_limits import EVERY_S, Shown
from shared.ledger.engine import engine, statements
from shared.lifecycle.concurrency import START
from shared.logs import logger
from shared.pipeline import Stage
from shared.settings import Settings
from shared.systems.permits import Slots
from workers.stages import Runner

log = logger(__name__)


def adaptive(stages: Mapping[Stage, Runner], of: Settings) -> dict[Stage, Slots]:
    """Return the slots of the connections whose limit follows how they answer, with a share to begin with."""
    found = {
        stage: runner.client.slots
        for stage, runner in stages.items()
        if runner.client is not None and of.connection(stage).adaptive
    }
    for stage, slots in found.items():
        known = max(of.connection(stage).adaptive_min, min(of.connection(stage).adaptive_max, START))
        slots.share(max(1, known // of.worker.concurrency))
    return found


async def follow_for_ever(process: str, slots: Mapping[Stage, Slots]) -> None:
    """Tell what the calls of this *process* showed and obey its shares, out of the loop that this runs on."""
    before = monotonic()
    is_logged = False
    for turn in count():
        await asyncio.sleep(EVERY_S)
        now = monotonic()
        shown = {stage: Shown(*one.window(now - before)) for stage, one in slots.items()}
        before = now
        try:
            shares = await asyncio.to_thread(_told, process, turn, shown)
        except LedgerError as error:
            if not is_logged:
                log.warning("the last share of the calls in flight stays", cause=str(error))
            is_logged = True
            continue
        is_logged = False
        for stage in slots.keys() & shares.keys():
            slots[stage].share(shares[stage])


def _told(process: str, turn: int, shown: Mapping[Stage, Shown]) -> dict[Stage, int]:
    with statements(engine()) as tx:
        return call_limits.tell(tx, process, turn, shown)


def leave(process: str) -> None:
    """Give the shares back."""
    try:
        with statements(engine()) as tx:
            call_limits.leave(tx, process)
    except LedgerError as error:
        log.info("left without a word", cause=str(error))
