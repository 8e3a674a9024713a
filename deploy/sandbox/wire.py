"""HTTP/1.1 in: bytes to requests, answers to bytes.

Written for cheapness, because benchmarks of the pipeline must measure the pipeline: httptools parses, an answer that is
ready at once is written without a task, and the heads of answers are made once.

A port listens or refuses connections for real.  While refusing, it is bound but not listened on: a client gets
ECONNREFUSED and nobody else can take the port.
"""

import asyncio
import ipaddress
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple, cast
from urllib.parse import parse_qsl

import httptools
import orjson

log = logging.getLogger(__name__)

JSON = "application/json"
_UNREAD = object()


class Response(NamedTuple):
    """An answer, complete."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    withheld: int = 0
    """Bytes that its head announces and that never come."""


class Request:
    """One request, complete; query and JSON are parsed when somebody asks."""

    __slots__ = ("_document", "_headers", "body", "connection", "method", "path", "query_string")

    def __init__(self, connection: "Connection", method: str, target: str, headers: list[tuple[bytes, bytes]]) -> None:
        self.connection = connection
        self.method = method
        self.path, _, self.query_string = target.partition("?")
        self.body = b""
        self._headers = headers
        self._document: object = _UNREAD

    @property
    def query(self) -> Mapping[str, str]:
        """The query parameters, percent-decoded; the last of a repeated one."""
        return _parse_query(self.query_string)

    def header(self, name: bytes) -> str:
        """Return the header of this lower-case name, or an empty string."""
        for key, value in self._headers:
            if key.lower() == name:
                return value.decode("latin-1")
        return ""

    def document(self) -> object:
        """Return the parsed JSON body; None when it is not JSON."""
        if self._document is _UNREAD:
            try:
                self._document = orjson.loads(self.body)
            except orjson.JSONDecodeError:
                self._document = None
        return self._document


Answer = Response | None
"""None closes the connection without an answer."""
Handler = Callable[[Request], Answer | Coroutine[object, object, Answer]]


def json_response(status: int, document: object, content_type: str = JSON) -> Response:
    """Return *document* as a JSON answer."""
    return Response(status, orjson.dumps(document), content_type)


class Connection(asyncio.Protocol):
    """One client's connection: keep-alive, and pipelined requests answered in their order.

    A client that goes away does not stop the answer to its request: a server applies what it has received.
    """

    def __init__(self, handler: Handler, connections: "set[Connection]") -> None:
        self._handler = handler
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._lost: list[Callable[[], None]] = []
        self.transport: asyncio.Transport | None = None
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one by behaviour only
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits that the client is gone."""
        del exc
        self.transport = None
        self._waiting.clear()
        self._forget()
        for callback in self._lost:
            callback()

    def when_lost(self, callback: Callable[[], None]) -> None:
        """Call *callback* when the client goes, at once if it has gone."""
        if self.transport is None:
            callback()
        else:
            self._lost.append(callback)

    async def until_lost(self) -> None:
        """Wait until the client goes."""
        gone = asyncio.Event()
        self.when_lost(gone.set)
        await gone.wait()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the ``on_...`` methods."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._send(Response(HTTPStatus.BAD_REQUEST, b'{"error":"not HTTP/1.1"}'), keep_alive=False)

    def on_message_begin(self) -> None:
        """Start a request."""
        self._url = b""
        self._headers = []
        self._body = []

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Answer the request now, or after those before it."""
        request = Request(self, self._parser.get_method().decode(), self._url.decode("latin-1"), self._headers)
        request.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        keep_alive = self._parser.should_keep_alive()
        if self._task is None:
            self._serve(request, keep_alive=keep_alive)
        else:
            self._waiting.append((request, keep_alive))

    def _serve(self, request: Request, *, keep_alive: bool) -> None:
        try:
            answer = self._handler(request)
        except Exception:
            log.exception("simulator failed on %s %s", request.method, request.path)
            answer = Response(HTTPStatus.INTERNAL_SERVER_ERROR, b'{"error":"bug in the simulator"}')
        if answer is None or isinstance(answer, Response):
            self._send(answer, keep_alive=keep_alive)
        else:
            self._task = asyncio.get_running_loop().create_task(self._serve_later(answer, keep_alive=keep_alive))

    async def _serve_later(self, coming: Coroutine[object, object, Answer], *, keep_alive: bool) -> None:
        self._lost.clear()
        try:
            answer = await coming
        except Exception:
            log.exception("simulator failed")
            answer = Response(HTTPStatus.INTERNAL_SERVER_ERROR, b'{"error":"bug in the simulator"}')
        finally:
            self._task = None
            self._forget()
        self._send(answer, keep_alive=keep_alive)
        while self._waiting and self._task is None:
            request, keep_alive = self._waiting.popleft()
            self._serve(request, keep_alive=keep_alive)

    def _send(self, answer: Answer, *, keep_alive: bool) -> None:
        if self.transport is None:
            return
        if answer is None:
            self.transport.close()
            return
        head = _head(answer.status, answer.content_type, answer.headers, keep_alive=keep_alive)
        if answer.status == HTTPStatus.NO_CONTENT:
            self.transport.write(head + b"\r\n")
        else:
            self.transport.write(_with_length(head, answer))
        if answer.withheld or not keep_alive:
            self.transport.close()

    async def drip(self, answer: Response, every_s: float) -> None:
        """Write *answer* a byte at a time, every so many seconds, until it is there or the client has gone."""
        head = _head(answer.status, answer.content_type, answer.headers, keep_alive=False)
        for byte in _with_length(head, answer):
            if self.transport is None:
                return
            self.transport.write(bytes((byte,)))
            await asyncio.sleep(every_s)

    def _forget(self) -> None:
        if self.transport is None and self._task is None:
            self._connections.discard(self)

    async def stop(self) -> None:
        """Give up the request at work and the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self.transport is not None:
            self.transport.abort()
            await self.until_lost()


@lru_cache(maxsize=512)
def _head(status: int, content_type: str, headers: tuple[tuple[str, str], ...], *, keep_alive: bool) -> bytes:
    reason = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"
    lines = [f"HTTP/1.1 {status} {reason}"]
    if status != HTTPStatus.NO_CONTENT:
        lines.append(f"Content-Type: {content_type}")
    lines += [f"{name}: {value}" for name, value in headers]
    if not keep_alive:
        lines.append("Connection: close")
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")


def _with_length(head: bytes, answer: Response) -> bytes:
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(answer.body) + answer.withheld, answer.body)


@lru_cache(maxsize=4096)
def _parse_query(text: str) -> Mapping[str, str]:
    return dict(parse_qsl(text, keep_blank_values=True))


_BACKLOG = 1024
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
        address, self.port = self._bound.getsockname()[:2]
        self._is_any_address = ipaddress.ip_address(address).is_unspecified

    @property
    def url(self) -> str:
        """Where clients reach it."""
        host = self._host
        if self._is_any_address:
            host = "::1" if ":" in host else "127.0.0.1"
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
            if connection.transport is not None:
                with socket.socket(fileno=os.dup(connection.transport.get_extra_info("socket").fileno())) as twin:
                    twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                connection.transport.abort()
        self._bound = _bind(self._host, self.port)

    async def close(self) -> None:
        """Release the port, end the connections and what is at work on them."""
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
        bound.settimeout(0)
        if port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        # A free port only afterwards: Linux gives one free port to two who allow it and do not listen yet.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError:
        bound.close()
        raise
    return bound
