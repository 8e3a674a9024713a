"""One port of the sandbox: listening, or refusing connections for real.

While refusing, the port is bound but not listened on: a client gets ECONNREFUSED and nobody else can take the port.
"""

import asyncio
import os
import socket
import struct

from deploy.sandbox.wire import Connection, Handler

_BACKLOG = 1024
_REACHED = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared, not bound
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER, zero seconds: close sends RST instead of FIN


class Listener:
    """Serves one handler on one port.

    Args:
        host: the address to bind; IPv6 with or without brackets.
        port: 0 takes a free one; it stays the same over refusals.
        handler: answers the requests.
    """

    def __init__(self, host: str, port: int, handler: Handler) -> None:
        self._host = host.removeprefix("[").removesuffix("]")
        self._handler = handler
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._bound: socket.socket | None = _bind(self._host, port)
        self.port: int = self._bound.getsockname()[1]

    @property
    def url(self) -> str:
        """Where clients reach it."""
        host = _REACHED.get(self._host, self._host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    async def listen(self) -> None:
        """Take connections; nothing happens when it does already."""
        if self._bound is None:
            return
        loop = asyncio.get_running_loop()
        bound, self._bound = self._bound, None
        self._server = await loop.create_server(
            lambda: Connection(self._handler, self._connections), sock=bound, backlog=_BACKLOG
        )

    def refuse(self) -> None:
        """Refuse connections and reset the open ones; nothing happens when it does already."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for connection in tuple(self._connections):
            _reset(connection)
        self._bound = _bind(self._host, self.port)

    async def close(self) -> None:
        """Give the port back, end the connections and what is at work on them."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._bound is not None:
            self._bound.close()
            self._bound = None
        for connection in tuple(self._connections):
            await connection.stop()


def _bind(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)  # noqa: FBT003 - the standard library's signature
        if port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        # A free port only afterwards: Linux gives one free port to two who allow it and do not listen yet.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError:
        bound.close()
        raise
    return bound


def _reset(connection: Connection) -> None:
    if connection.transport is None:
        return
    with socket.socket(fileno=os.dup(connection.transport.get_extra_info("socket").fileno())) as twin:
        twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.transport.abort()
