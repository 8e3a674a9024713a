"""taskiq over a Redis stream: one task does all three stages, on an event loop.

Ten tasks at once in each process: 20 and its default of 100 cost more per event.  By its guides: arguments as they come
(`--no-parse`), orjson, uvloop, and as many messages held in advance as the broker reads at once; together a third less
CPU than without.  Messages are sent 20 at a time, which is quicker than one after the other; it has no bulk form.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis
from taskiq.serializers import ORJSONSerializer
from taskiq_redis import RedisStreamBroker

from tests.bench.contestants import work_async

TITLE = "taskiq"
DISTRIBUTION = "taskiq"
PROCESSES, TASKS_AT_ONCE, READ_AT_ONCE, SENT_AT_ONCE = 2, 10, 100, 20
_URL = os.environ["BENCH_REDIS_URL"]
broker = RedisStreamBroker(_URL, consumer_id="0", xread_count=READ_AT_ONCE).with_serializer(ORJSONSerializer())


@broker.task
async def deliver(event: dict[str, Any]) -> None:
    """Do all three stages."""
    await work_async.deliver(event)


def prepare() -> None:
    """Make an empty queue."""
    with Redis.from_url(_URL) as redis:
        redis.delete(broker.queue_name)


def enqueue(events: Sequence[Mapping[str, Any]]) -> None:
    """Send a message per event."""
    work_async.run(_enqueue(events))


async def _enqueue(events: Sequence[Mapping[str, Any]]) -> None:
    for start in range(0, len(events), SENT_AT_ONCE):
        await asyncio.gather(*(deliver.kiq(event) for event in events[start : start + SENT_AT_ONCE]))


def workers() -> list[list[str]]:
    """Return the command that starts both processes."""
    size = ["--workers", str(PROCESSES), "--max-async-tasks", str(TASKS_AT_ONCE), "--max-prefetch", str(READ_AT_ONCE)]
    return [["-m", "taskiq", "worker", f"{__name__}:broker", *size, "--no-parse", "--log-level", "WARNING"]]
