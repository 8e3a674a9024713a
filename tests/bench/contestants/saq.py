"""saq over Redis: one job does all three stages, on an event loop.

Twenty jobs at once in each process: its default of ten costs more per event.  Jobs are sent 20 at a time, as many as
its queue has under way; it has no bulk form.  Its sweep, at a worker's start and once a minute, starts a job again that
another worker has just taken and not yet marked: of 1,300 events one was then delivered twice.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis
from saq import Queue

from tests.bench.contestants import work_async

TITLE = "saq"
DISTRIBUTION = "saq"
JOBS_AT_ONCE, SENT_AT_ONCE = 20, 20
_URL = os.environ["BENCH_REDIS_URL"]
queue = Queue.from_url(_URL)


async def deliver(_context: dict[str, Any], *, event: dict[str, Any]) -> None:
    """Do all three stages."""
    await work_async.deliver(event)


settings = {"queue": queue, "functions": [deliver], "concurrency": JOBS_AT_ONCE}


def prepare() -> None:
    """Make an empty queue."""
    with Redis.from_url(_URL) as redis:
        redis.flushdb()


def enqueue(events: Sequence[Mapping[str, Any]]) -> None:
    """Send a job per event."""
    work_async.run(_enqueue(events))


async def _enqueue(events: Sequence[Mapping[str, Any]]) -> None:
    for start in range(0, len(events), SENT_AT_ONCE):
        await asyncio.gather(*(queue.enqueue("deliver", event=event) for event in events[start : start + SENT_AT_ONCE]))


def workers() -> list[list[str]]:
    """Return two workers."""
    return [["-m", "saq", f"{__name__}.settings", "--quiet"]] * 2
