"""dramatiq over Redis: one actor does all three stages, in threads.

Two processes of eight threads each is what its command line starts by itself here; with four threads it costs more.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from tests.bench.contestants import work

TITLE = "dramatiq"
DISTRIBUTION = "dramatiq"
PROCESSES, THREADS = 2, 8
broker = RedisBroker(url=os.environ["BENCH_REDIS_URL"])
dramatiq.set_broker(broker)


@dramatiq.actor
def deliver(event: dict[str, Any]) -> None:
    """Do all three stages."""
    work.deliver(event)


def prepare() -> None:
    """Make an empty queue."""
    broker.flush_all()


def enqueue(events: Sequence[Mapping[str, Any]]) -> None:
    """Send a message per event: dramatiq has no bulk form."""
    for event in events:
        deliver.send(event)


def workers() -> list[list[str]]:
    """Return the command that starts both processes."""
    return [["-m", "dramatiq", __name__, "--processes", str(PROCESSES), "--threads", str(THREADS)]]
