"""pgqueuer over PostgreSQL: one job does all three stages, on an event loop, over asyncpg and uvloop.

asyncpg is the driver that its benchmarks advise; batches of 25 and twice as many jobs at once, the least that it takes,
are its guide's for short jobs: its default of 10 costs a third more, 50 no less.  Its advice for autovacuum is
followed, its default of durable tables kept.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import uvloop
from pgqueuer import Job, PgQueuer, Queries, run
from pgqueuer.db import AsyncpgDriver

from tests.bench.contestants import work, work_async

TITLE = "pgqueuer"
DISTRIBUTION = "pgqueuer"
BATCH, SENT_AT_ONCE = 25, 500


@asynccontextmanager
async def create() -> AsyncIterator[PgQueuer]:
    """Give what its worker runs."""
    async with _connected() as driver:
        queuer = PgQueuer(driver)

        @queuer.entrypoint("deliver")
        async def deliver(job: Job) -> None:
            await work_async.deliver(json.loads(job.payload))

        yield queuer


@asynccontextmanager
async def _connected() -> AsyncIterator[Any]:
    connection = await asyncpg.connect(work.postgres_dsn(), server_settings={"search_path": "pgqueuer"})
    yield AsyncpgDriver(connection)
    await connection.close()


def prepare() -> None:
    """Make its tables, empty, in a schema of their own."""
    work_async.run(_prepare())


async def _prepare() -> None:
    async with _connected() as driver:
        await driver.execute("drop schema if exists pgqueuer cascade")
        await driver.execute("create schema pgqueuer")
        await Queries(driver).install()
        await Queries(driver).optimize_autovacuum()


def enqueue(events: Sequence[Mapping[str, Any]]) -> None:
    """Send a job per event, in bulk."""
    work_async.run(_enqueue(events))


async def _enqueue(events: Sequence[Mapping[str, Any]]) -> None:
    async with _connected() as driver:
        for start in range(0, len(events), SENT_AT_ONCE):
            payloads = [json.dumps(event).encode() for event in events[start : start + SENT_AT_ONCE]]
            await Queries(driver).enqueue(["deliver"] * len(payloads), payloads, [0] * len(payloads))


def workers() -> list[list[str]]:
    """Return two workers."""
    return [["-m", "tests.bench.contestants.pgqueuer"]] * 2


if __name__ == "__main__":  # its command line asks for an older typer
    uvloop.run(run(create, batch_size=BATCH, max_concurrent_tasks=2 * BATCH))
