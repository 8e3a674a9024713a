"""The lease in the transport: nothing goes out after it, wherever the time went, and no call outlives it."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from shared.errors import LeaseLostError, OutcomeUnknownError
from shared.lease_clock import lease_clock
from shared.systems.permits import Calling, Permits, calling
from shared.systems.transport import Door, Request
from shared.systems.wire import Wire

PUT = Request("PUT", "/v2/users/1", body=b'{"first_name":"Andy"}')


@asynccontextmanager
async def silent_server(heard: list[bytes]) -> AsyncIterator[str]:
    async def hears(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hears, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def send(url: str, permits: Permits | None = None) -> None:
    door = Door("CrowdTwist", url, timeout_s=5, calls_in_flight=1, permits=permits)
    try:
        await door.send(PUT, door.timeout_s)
    finally:
        await door.close()


@pytest.mark.parametrize("over", ["before the door", "in the door"])
def test_nothing_is_sent_after_the_lease_wherever_the_time_went(over: str) -> None:
    heard: list[bytes] = []
    permits = Permits("CrowdTwist", lambda _lane, count: (threading.Event().wait(0.2) or count, 0.0, lease_clock()))

    async def run() -> None:
        async with silent_server(heard) as url:
            calling.set(Calling(lease_ends=lease_clock() + (0.1 if over == "in the door" else 0.0)))
            with pytest.raises(LeaseLostError):
                await send(url, permits)

    asyncio.run(run())
    assert heard == []


def test_the_last_to_ask_is_the_wire() -> None:
    heard: list[bytes] = []

    async def run() -> None:
        async with silent_server(heard) as url:
            calling.set(Calling(lease_ends=lease_clock()))
            wire = Wire({}, connect_s=1, total_s=1)
            with pytest.raises(httpx.PoolTimeout):
                await wire.send("PUT", url, body=b"x", authorization=None, within_s=1)

    asyncio.run(run())
    assert heard == []


def test_a_call_ends_with_the_lease_and_is_unknown() -> None:
    async def run() -> float:
        async with silent_server([]) as url:
            began = lease_clock()
            calling.set(Calling(lease_ends=began + 0.2))
            with pytest.raises(OutcomeUnknownError):
                await send(url)
            return lease_clock() - began

    assert asyncio.run(run()) < 2
