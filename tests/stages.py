"""A stage with its connection, or the connection alone, for as long as a test needs it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from shared.instances import Result, Work
from shared.pipeline import Stage
from shared.settings import Settings
from shared.systems.connect import open_client
from workers.stages import Runner, build_one


@asynccontextmanager
async def opened(stage: Stage, settings: Settings) -> AsyncIterator[Runner]:
    runner = build_one(stage, settings)
    try:
        yield runner
    finally:
        if runner.client is not None:
            await runner.client.close()


def attempted(stage: Stage, settings: Settings, works: Sequence[Work]) -> list[Result]:
    async def run() -> list[Result]:
        async with opened(stage, settings) as runner:
            return list(await runner.run(works))

    return asyncio.run(run())


def try_connection(stage: Stage, settings: Settings) -> None:
    """Open the client where no loop runs yet, and make the connection's own test."""
    client = open_client(stage, settings, 1)

    async def run() -> None:
        if client is None:
            return
        try:
            await client.test()
        finally:
            await client.close()

    asyncio.run(run())
