"""Requests that are sent on before the answers are out: all are answered, and few are kept."""

import asyncio

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from producers.http.protocol import PatientProtocol, protocol_of
from shared.settings import ApiSettings
from tests.rig import eventually

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde"
READ_AT_ONCE = 256 * 1024
"""Bytes that asyncio hands on at a time."""


async def answered(request: bytes, count: int, *, receives: bool) -> tuple[int, int]:
    """Send *count* requests at once; give how many were answered, and how many waited at most."""
    longest = 0

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        nonlocal longest
        longest = max(longest, *(len(one.pipeline) for one in state.connections if isinstance(one, PatientProtocol)))
        if receives:
            await receive()

        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    state, protocol = ServerState(), protocol_of(ApiSettings())
    config = uvicorn.Config(app, http=protocol, lifespan="off", log_config=None, access_log=False)
    config.load()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(request * count)
    found = 0
    while found < count:
        found += (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
    writer.close()
    await writer.wait_closed()
    await asyncio.to_thread(eventually, lambda: not state.connections, "the other end closed too")
    server.close()
    await server.wait_closed()
    return found, longest


@pytest.mark.parametrize("receives", [True, False], ids=["reads", "reads no body"])
@pytest.mark.parametrize("request_", [GET, POST], ids=["GET", "POST"])
def test_no_more_is_read_than_is_answered(request_: bytes, *, receives: bool) -> None:
    count = 2 * READ_AT_ONCE // len(request_)
    found, longest = asyncio.run(answered(request_, count, receives=receives))
    assert found == count
    assert longest <= READ_AT_ONCE // len(request_) + 1
