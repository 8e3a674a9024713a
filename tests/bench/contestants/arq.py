"""arq over Redis: one job does all three stages, on an event loop; results are neither kept nor logged.

Ten jobs at once, its default: with 20, and with uvloop, it costs as much or more.  It looks for jobs twice a second, so
that what it reads at once, by default 100, is a limit of 400/s for two workers: it reads 1,000, which costs less, too.
Jobs are sent 20 at a time, which is quicker than one after the other; it has no bulk form.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from arq import create_pool
from arq.connections import RedisSettings
from redis import Redis

from tests.bench.contestants import work_async

TITLE = "arq"
DISTRIBUTION = "arq"
SENT_AT_ONCE = 20
LOGGING = {"version": 1, "disable_existing_loggers": False}
"""Warnings alone, instead of two lines per job."""
_URL = os.environ["BENCH_REDIS_URL"]


async def deliver(_context: dict[str, Any], event: dict[str, Any]) -> None:
    """Do all three stages."""
    await work_async.deliver(event)


class WorkerSettings:
    """What the command line of arq runs."""

    functions: ClassVar = [deliver]
    redis_settings = RedisSettings.from_dsn(_URL)
    max_jobs = 10
    queue_read_limit = 1000
    keep_result = 0
    log_results = False


def prepare() -> None:
    """Make an empty queue."""
    with Redis.from_url(_URL) as redis:
        redis.flushdb()


def enqueue(events: Sequence[Mapping[str, Any]]) -> None:
    """Send a job per event."""
    work_async.run(_enqueue(events))


async def _enqueue(events: Sequence[Mapping[str, Any]]) -> None:
    pool = await create_pool(WorkerSettings.redis_settings)
    for start in range(0, len(events), SENT_AT_ONCE):
        await asyncio.gather(*(pool.enqueue_job("deliver", event) for event in events[start : start + SENT_AT_ONCE]))
    await pool.aclose()


def workers() -> list[list[str]]:
    """Return two workers."""
    return [["-m", "arq", f"{__name__}.WorkerSettings", "--custom-log-dict", f"{__name__}.LOGGING"]] * 2
