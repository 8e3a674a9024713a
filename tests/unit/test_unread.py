"""Who reads nothing of its answer is let go."""

import asyncio
import socket

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from producers.http.protocol import protocol_of
from shared.settings import ApiSettings

SILENCE_S = 0.5


async def _app(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200})
    for _more in range(200):
        await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
    await send({"type": "http.response.body"})


async def _left_open(*, reads: bool) -> int:
    """Ask for 20 MB; give how many connections are open when twice the silence that is allowed has passed."""
    state, protocol = ServerState(), protocol_of(ApiSettings().model_copy(update={"body_silence_s": SILENCE_S}))
    config = uvicorn.Config(_app, http=protocol, lifespan="off", log_config=None, access_log=False)
    config.load()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        client.settimeout(0)
        await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(20):
            await asyncio.sleep(SILENCE_S / 10)
            if reads:
                await loop.sock_recv(client, 1_000_000)
        left = len(state.connections)
    server.close()
    await asyncio.sleep(0.1)
    return left


@pytest.mark.parametrize("reads", [True, False])
def test_only_who_reads_is_waited_for(*, reads: bool) -> None:
    assert asyncio.run(_left_open(reads=reads)) == reads
