"""The heartbeat of a worker process: out of its event loop, and only as young as that of the process that feeds it.

A Celery worker is a parent that takes messages from the broker, and children that run tasks.  Either can be stopped, or
hang, and nothing is synced.  The parent notes in memory that all share when it last went round its loop (`Pulse`), and
shows it to probes; the children say in the ledger when both of them last did, each for itself, and note in that memory
when they were heard.  So the parent, which must not wait for a ledger and forks, needs none.
"""

import asyncio
import os
from ctypes import c_double
from multiprocessing.sharedctypes import RawValue
from time import monotonic
from typing import Any

from billiard.process import current_process
from celery import Celery, bootsteps
from celery.worker.consumer import Consumer

from shared.errors import LedgerError
from shared.ledger import call_limits, heartbeats
from shared.ledger.engine import engine, transaction
from shared.ledger.heartbeats import Kind, Who
from shared.liveness import this_process
from shared.logs import logger
from shared.pipeline import STAGES, Lane

log = logger(__name__)

_NOTE_EVERY_S = 1.0
_went_round = RawValue(c_double, monotonic())
"""When the parent last went round, by the clock that all processes of a machine share."""
_heard = RawValue(c_double, monotonic())
"""When the ledger last heard a child."""
_importer = os.getpid()


class Pulse(bootsteps.StartStopStep):
    """The parent's part: a timer of its main loop, for as long as it is connected to the broker."""

    def __init__(self, consumer: Consumer, **_: object) -> None:
        super().__init__(consumer)
        self._timer: Any = None

    def start(self, consumer: Consumer) -> None:
        """Begin to note."""
        _heard.value = monotonic()
        _note()
        self._timer = consumer.timer.call_repeatedly(_NOTE_EVERY_S, _note)

    def stop(self, consumer: Consumer) -> None:  # noqa: ARG002  # Celery's signature
        """Note no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            this_process.waits_for("the broker: it cannot be reached")


def _note() -> None:
    _went_round.value = monotonic()
    this_process.went_round()
    unheard_s = monotonic() - _heard.value
    this_process.waits_for(
        "the ledger: no process of this worker has reached it of late" if unheard_s > heartbeats.SILENT_S else ""
    )


def who(node: str, app: Celery) -> Who:
    """Name this child: the one that is started in its place has the same name."""
    queues = set(app.amqp.queues.consume_from)
    lanes = tuple(lane for lane in Lane if queues & {stage.queue(lane) for stage in STAGES})
    return Who(Kind.WORKER, f"{node}/{getattr(current_process(), 'index', 0) + 1}", lanes)


async def beat(me: Who) -> None:
    """Beat out of the loop that this runs on."""
    await asyncio.to_thread(_beat, me)


def _beat(me: Who) -> None:
    # A child that was not forked has imported this itself, and cannot see what its parent notes.
    aged_s = 0.0 if os.getpid() == _importer else max(0.0, monotonic() - _went_round.value - _NOTE_EVERY_S)
    with transaction(engine(durable=False)) as tx:
        heartbeats.beat(tx, me, aged_s=aged_s)
    _heard.value = monotonic()


def leave(me: Who) -> None:
    """Note that this process ended as it should, and give back its shares of the calls in flight."""
    try:
        with transaction(engine()) as tx:
            heartbeats.leave(tx, me)
            call_limits.leave(tx, me.name)
    except LedgerError as error:
        log.info("left without a word", cause=str(error))
