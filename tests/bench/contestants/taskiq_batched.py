"""taskiq over a Redis stream with 50 events per message: the fair peer of a design that works in batches.

All calls of a message are made at once; what fails in one fails the message.  Two messages at once and four held in
advance in each process cost as little per event as one at once, and less than two with none in advance or than four.
Otherwise as `taskiq`, whose own `batch=True` would gather single messages in the worker and save none.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis
from taskiq.serializers import ORJSONSerializer
from taskiq_redis import RedisStreamBroker

from tests.bench.contestants import work_async

TITLE = "taskiq, 50 events per message"
DISTRIBUTION = "taskiq"
PER_MESSAGE = 50
PROCESSES, TASKS_AT_ONCE, READ_AT_ONCE = 2, 2, 4
_URL = os.environ["BENCH_REDIS_URL"]
broker = RedisStreamBroker(_URL, consumer_id="0", xread_count=READ_AT_ONCE).with_serializer(ORJSONSerializer())


@broker.task
async def deliver(events: list[dict[str, Any]]) -> None:
    """Do all three stages of each."""
    await asyncio.gather(*map(work_async.deliver, events))


def prepare() -> None:
    """Make an empty queue."""
    with Redis.from_url(_URL) as redis:
        redis.delete(broker.queue_name)


def enqueue(events: Sequence[Mapping[str, Any]]) -> None:
    """Send a message per 50 events."""
    work_async.run(_enqueue(events))


async def _enqueue(events: Sequence[Mapping[str, Any]]) -> None:
    for start in range(0, len(events), PER_MESSAGE):
        await deliver.kiq(list(events[start : start + PER_MESSAGE]))


def workers() -> list[list[str]]:
    """Return the command that starts both processes."""
    size = ["--workers", str(PROCESSES), "--max-async-tasks", str(TASKS_AT_ONCE), "--max-prefetch", str(READ_AT_ONCE)]
    return [["-m", "taskiq", "worker", f"{__name__}:broker", *size, "--no-parse", "--log-level", "WARNING"]]
