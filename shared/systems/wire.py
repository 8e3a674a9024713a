"""What is under every call: pyreqwest, with the errors of httpx, which say truthfully whether anything was sent.

The adapters to be had report "could not connect" of requests that were sent and got no answer; through them a lost
create would be repeated blindly (deploy/decisions/0002-http-transport.md).  This one reads the chain of causes.
"""

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

import httpx
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import BuilderError, DetailedPyreqwestError, PyreqwestError
from pyreqwest.proxy import ProxyBuilder
from pyreqwest.request import StreamRequest

from shared.systems.permits import calling

IDLE_S = 4.0
"""A connection is kept this long: less than servers keep it (Apache: 5 s), so that none is being closed as we send.
One that was closed while idle is noticed, one caught before the sending is replaced, both by the client."""
ANSWER_MAX_BYTES = 2 * 1024 * 1024
_SURELY_OPEN_S = IDLE_S / 2
_AHEAD_BYTES = 64 * 1024
_CONNECTING = "client error (Connect)"
_TIMED_OUT = "operation timed out"


class Received(NamedTuple):
    """An answer as it came.  Shape: names in *headers* in any case; *body* unpacked, None: longer than is read."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None

    def header(self, name: str) -> str | None:
        """Return what a header says, None: nothing, or nothing in ASCII.

        Whoever is on the way may write its name, or a date, in its own language; that makes no answer a bug.
        """
        try:
            return self.headers.get(name)
        except ValueError:
            return None


class Wire:
    """One pool of connections.  For one process and one event loop: it opens with its first request, after the fork.

    Units: *connect_s* seconds for a connection, of the *total_s* seconds that a request may take at most.  *most_bytes*
    of an answer's body are read, counted after unpacking: neither a small body that unpacks to a large one nor one that
    never ends takes more memory.  *headers* are sent with each request, all of them through *proxy* where there is one.
    """

    def __init__(
        self,
        headers: Mapping[str, str],
        *,
        connect_s: float,
        total_s: float,
        most_bytes: int = ANSWER_MAX_BYTES,
        proxy: str | None = None,
    ) -> None:
        self._headers = dict(headers)
        self._connect_s = connect_s
        self._total_s = total_s
        self._most_bytes = most_bytes
        self._proxy = proxy
        self._pool: Client | None = None
        self._idle_since: list[float] = []
        """Of each connection that is open and free, as far as we know; the last one is taken first."""

    @property
    def has_idle(self) -> bool:
        """Whether the next request goes over a connection that is open, so that it goes out at once."""
        return bool(self._idle_since) and time.monotonic() - self._idle_since[-1] < _SURELY_OPEN_S

    async def send(
        self, method: str, url: str, *, body: bytes | None, authorization: str | None, within_s: float
    ) -> Received:
        """Send a request, whose parts are encoded, and read the whole answer, or give it up as too long.

        Units: *within_s* seconds that it may take, no more than `total_s`.

        Raises:
            httpx.UnsupportedProtocol: the address or a header cannot be used; nothing was sent.
            httpx.PoolTimeout: the lease was over; nothing was sent.
            httpx.ConnectError: no connection; nothing was sent.
            httpx.ReadTimeout: it may have been sent, and time ran out.
            httpx.ReadError: it was sent, and no whole answer came.
        """
        error: httpx.TransportError
        try:
            request = self._built(method, url, body, authorization, min(within_s, self._total_s))
            if calling.get().left_s <= 0:  # asked last of all: a process may be frozen on any line
                raise httpx.PoolTimeout("the lease is over")
            if self._idle_since:
                self._idle_since.pop()
            async with request as response:
                # Read until there is no more, or so many: whatever comes in pieces is one `read`, of one wait.
                read = await response.body_reader.read(self._most_bytes + 1) or b""
                body = None if len(read) > self._most_bytes else bytes(read)
                received = Received(response.status, response.headers, body)
            if body is not None and "close" not in (received.header("connection") or "").lower():
                self._idle_since.append(time.monotonic())
        except PyreqwestError as cause:
            error = _translated(cause)
        except ValueError:
            error = httpx.UnsupportedProtocol("the address or a header cannot be used")
        else:
            return received
        try:
            raise error  # outside the except clauses: the cause shows the address, and so an api_key
        finally:
            del error  # which holds this frame

    async def aclose(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.close()

    def _built(
        self, method: str, url: str, body: bytes | None, authorization: str | None, within_s: float
    ) -> StreamRequest:
        if self._pool is None:
            self._pool = self._opened()
        call = self._pool.request(method, url).timeout(timedelta(seconds=within_s))
        if authorization is not None:
            call = call.header("authorization", authorization, is_sensitive=True)
        if body:
            call = call.body_bytes(body)
        return call.streamed_read_buffer_limit(_AHEAD_BYTES).build_streamed()

    def _opened(self) -> Client:
        builder = ClientBuilder().default_headers(self._headers).follow_redirects(enable=False)
        builder = builder.connect_timeout(timedelta(seconds=self._connect_s)).timeout(timedelta(seconds=self._total_s))
        # Which proxy is said once, in shared/addresses.py: left to itself, the client has one for loopback too.
        builder = builder.no_proxy() if self._proxy is None else builder.proxy(ProxyBuilder.all(self._proxy))
        # Gzip and deflate unpack piece by piece in little memory; a window of zstd alone may be 128 MiB.
        builder = builder.brotli(enable=False).zstd(enable=False)
        return builder.pool_idle_timeout(timedelta(seconds=IDLE_S)).build()


def _translated(error: PyreqwestError) -> httpx.TransportError:
    """Return the error that says whether anything can have been sent.

    The client's classes do not (a reset after the sending is a ConnectError too), the chain of causes does.  What is
    not surely before the sending counts as sent: at worst a create is probed for in vain.
    """
    if isinstance(error, BuilderError):
        return httpx.UnsupportedProtocol("the address or a header cannot be used")
    causes = (error.details.get("causes") or []) if isinstance(error, DetailedPyreqwestError) else []
    said = [str(cause["message"]) for cause in causes]
    if _CONNECTING in said:
        return httpx.ConnectError(said[-1])
    if _TIMED_OUT in said:
        return httpx.ReadTimeout("no answer in time")
    return httpx.ReadError("no whole answer")
