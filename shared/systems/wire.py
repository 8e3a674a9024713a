"""The `httpx` transport under every call: pyreqwest, with errors that say truthfully whether anything was sent.

The adapters to be had report "could not connect" of requests that were sent and got no answer; through them a lost
create would be repeated blindly (deploy/decisions/0002-http-transport.md).  This one reads the chain of causes.
"""

from collections.abc import Mapping
from datetime import timedelta

import httpx
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import BuilderError, DetailedPyreqwestError, PyreqwestError
from pyreqwest.proxy import ProxyBuilder

from shared.systems.permits import calling

IDLE_S = 4.0
"""A connection is kept this long: less than servers keep it (Apache: 5 s), so that none is being closed as we send.
One that was closed while idle is noticed, one caught before the sending is replaced, both by the client."""
ANSWER_MAX_BYTES = 2 * 1024 * 1024
IS_CUT = "is_cut"
"""The extension of a response whose body is longer than is read, and was given up."""
_AHEAD_BYTES = 64 * 1024
_CONNECTING = "client error (Connect)"
_TIMED_OUT = "operation timed out"


class Wire(httpx.AsyncBaseTransport):
    """One pool of connections.  For one process and one event loop: it opens with its first request, after the fork.

    Units: *connect_s* seconds for a connection, of the *total_s* seconds that a request may take at most; a request's
    extension `total_s` shortens that.  *most_bytes* of an answer's body are read, counted after unpacking: neither a
    small body that unpacks to a large one nor one that never ends takes more memory.  *headers* are sent with each
    request, all of them through *proxy* where there is one.
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

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request*, whose body is in memory, and read the whole answer, or give it up as too long.

        Raises:
            httpx.UnsupportedProtocol: the address or a header cannot be used; nothing was sent.
            httpx.PoolTimeout: the lease was over; nothing was sent.
            httpx.ConnectError: no connection; nothing was sent.
            httpx.ReadTimeout: it may have been sent, and time ran out.
            httpx.ReadError: it was sent, and no whole answer came.
        """
        error: httpx.TransportError
        try:
            return await self._send(request)
        except PyreqwestError as cause:
            error = _translated(cause, request)
        except ValueError:
            error = httpx.UnsupportedProtocol("the address or a header cannot be used", request=request)
        raise error  # outside the except clauses: the cause shows the address, and so an api_key

    async def aclose(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.close()

    async def _send(self, request: httpx.Request) -> httpx.Response:
        if self._pool is None:
            self._pool = self._opened()
        total_s = float(request.extensions.get("total_s", self._total_s))
        call = self._pool.request(request.method, str(request.url)).timeout(timedelta(seconds=total_s))
        for name, value in request.headers.multi_items():
            if name not in _OF_THE_POOL:
                call = call.header(name, value, is_sensitive=name == "authorization")
        if request.content:
            call = call.body_bytes(request.content)
        built = call.streamed_read_buffer_limit(_AHEAD_BYTES).build_streamed()
        if calling.get().left_s <= 0:  # asked last of all: a process may be frozen on any line
            raise httpx.PoolTimeout("the lease is over", request=request)
        async with built as response:
            body, is_cut = bytearray(), False
            while not is_cut and (chunk := await response.body_reader.read_chunk()) is not None:
                body += chunk
                is_cut = len(body) > self._most_bytes
            # What could not be unpacked stays as it is: the client's response would try, and without a limit.
            headers = [(name, value) for name, value in response.headers.items() if name != "content-encoding"]
            status, extensions = response.status, {IS_CUT: is_cut}
        content = None if is_cut else bytes(body)
        return httpx.Response(status, headers=headers, content=content, request=request, extensions=extensions)

    def _opened(self) -> Client:
        builder = ClientBuilder().default_headers(self._headers).follow_redirects(enable=False)
        builder = builder.connect_timeout(timedelta(seconds=self._connect_s)).timeout(timedelta(seconds=self._total_s))
        # Which proxy is said once, in shared/addresses/web.py: left to itself, the client has one for loopback too.
        builder = builder.no_proxy() if self._proxy is None else builder.proxy(ProxyBuilder.all(self._proxy))
        # Gzip and deflate unpack piece by piece in little memory; a window of zstd alone may be 128 MiB.
        builder = builder.brotli(enable=False).zstd(enable=False)
        return builder.pool_idle_timeout(timedelta(seconds=IDLE_S)).build()


_OF_THE_POOL = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}


def _translated(error: PyreqwestError, request: httpx.Request) -> httpx.TransportError:
    """Return the error that says whether anything can have been sent.

    The client's classes do not (a reset after the sending is a ConnectError too), the chain of causes does.  What is
    not surely before the sending counts as sent: at worst a create is probed for in vain.
    """
    if isinstance(error, BuilderError):
        return httpx.UnsupportedProtocol("the address or a header cannot be used", request=request)
    causes = (error.details.get("causes") or []) if isinstance(error, DetailedPyreqwestError) else []
    said = [str(cause["message"]) for cause in causes]
    if _CONNECTING in said:
        return httpx.ConnectError(said[-1], request=request)
    if _TIMED_OUT in said:
        return httpx.ReadTimeout("no answer in time", request=request)
    return httpx.ReadError("no whole answer", request=request)
