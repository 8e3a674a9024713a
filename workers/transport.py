"""The only HTTP out: one door per connection, where every answer and every silence becomes one of our errors.

| what happens                                            | error                 |
|---------------------------------------------------------|-----------------------|
| refused, name not found, TLS, connect or pool time-out  | `UnreachableError`    |
| sent, and no whole answer: time-out, reset, closed, cut | `OutcomeUnknownError` |
| 401, 403                                                | `UnauthorisedError`   |
| 429, 503 with Retry-After                               | `ThrottledError`      |
| 408, 5xx, a redirect, anything that is not JSON         | `UnavailableError`    |
| 2xx, and 4xx that the stage has to read                 | none: an `Answer`     |

The client is pyreqwest (deploy/decisions/0002-http-transport.md).  A Door belongs to one process and one event loop.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from math import isfinite
from time import perf_counter, time
from typing import Any, NamedTuple, Protocol

import orjson
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import BuilderError, DetailedPyreqwestError, PyreqwestError
from pyreqwest.request import ConsumedRequest

from shared.errors import (
    OutcomeUnknownError,
    StageError,
    ThrottledError,
    UnauthorisedError,
    UnavailableError,
    UnreachableError,
)

IDLE_S = 4.0
"""A connection is kept this long: less than servers keep it (Apache: 5 s), so that none is being closed as we send.
One that was closed while idle is noticed, one caught before the sending is replaced, both by the client."""
CONNECT_S = 10.0
LEAST_S = 0.02
"""A call that has less time than this is not begun."""
JSON_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
_CONNECTING = "client error (Connect)"
_GOOD = range(200, 300)


class Tokens(Protocol):
    """Where a door gets its bearer token."""

    async def token(self, timeout_s: float, *, refused: str | None = None) -> str:
        """Give a token other than *refused*."""

    async def close(self) -> None:
        """Give the connections back."""


class Request(NamedTuple):
    """A request.  Shape: *path* and *query* are percent-encoded; *token* is a bearer token."""

    method: str
    path: str
    query: str = ""
    body: bytes | None = None
    token: str | None = None

    @property
    def url(self) -> str:
        """The address behind the base URL, as it may be shown."""
        return f"{self.path}?{self.query}" if self.query else self.path


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer over HTTP.  Shape: *document* an object or an array, None when the body is no such JSON."""

    status: int
    document: Any
    retry_after: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it is a 2xx."""
        return self.status in _GOOD

    def text(self, *names: str) -> str:
        """Give the first of these members that is a text with something in it, else an empty one."""
        if isinstance(self.document, dict):
            for name in names:
                value = self.document.get(name)
                if isinstance(value, str) and value.strip():
                    return value.strip()
        return ""


class Door:
    """One connection: its address, credentials, pool, and how many calls it makes at once.

    Units: *timeout_s* seconds, from asking for a free slot to the last byte of the answer.
    *secret_query* is added to each address as it is sent; no record and no error ever has it.
    """

    def __init__(  # noqa: PLR0913 - the sides of a connection, all named
        self,
        system: str,
        base_url: str | None,
        *,
        timeout_s: float,
        calls_in_flight: int,
        headers: Mapping[str, str] | None = None,
        secret_query: str = "",
        tokens: Tokens | None = None,
    ) -> None:
        self.system = system
        self.timeout_s = timeout_s
        self.tokens = tokens
        self._base_url = base_url or ""
        self._secret_query = secret_query
        self._headers = JSON_HEADERS | dict(headers or {})
        self._slots = asyncio.Semaphore(calls_in_flight)
        self._client: Client | None = None

    async def close(self) -> None:
        """Give the connections back."""
        if self._client is not None:
            await self._client.close()
        if self.tokens is not None:
            await self.tokens.close()

    async def send(self, request: Request, timeout_s: float) -> Answer:
        """Make one call and give its answer, whatever its status.

        Raises:
            UnreachableError: nothing was sent.
            OutcomeUnknownError: it was sent, and no whole answer came.
        """
        ends = perf_counter() + timeout_s
        await self._slot(timeout_s)
        try:
            answer = await self._send(request, ends - perf_counter())
        finally:
            self._slots.release()
        if isinstance(answer, StageError):
            raise answer  # here, outside every except clause: the client's own error shows the address and so the key
        return answer

    async def _slot(self, timeout_s: float) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._slots.acquire()
        except TimeoutError:
            raise UnreachableError(self.system, "no free connection in time; nothing was sent") from None

    async def _send(self, request: Request, left_s: float) -> Answer | StageError:
        if left_s < LEAST_S:
            return UnreachableError(self.system, "no time was left for the call; nothing was sent")
        try:
            call = self._call(request, left_s)
        except (PyreqwestError, ValueError):
            return UnreachableError(self.system, "the base URL or the credentials are not set, or cannot be used")
        try:
            response = await call.send()
            body = (await response.bytes()).to_bytes()
        except PyreqwestError as error:
            return _silence(self.system, error)
        return Answer(response.status, _document(body), response.headers.get("retry-after"))

    def _call(self, request: Request, left_s: float) -> ConsumedRequest:
        if self._client is None:
            self._client = self._opened()
        query = "&".join(part for part in (request.query, self._secret_query) if part)
        url = f"{self._base_url}{request.path}?{query}" if query else f"{self._base_url}{request.path}"
        call = self._client.request(request.method, url).timeout(timedelta(seconds=left_s))
        if request.token is not None:
            call = call.header("Authorization", f"Bearer {request.token}", is_sensitive=True)
        if request.body is not None:
            call = call.body_bytes(request.body)
        return call.build()

    def _opened(self) -> Client:
        connect_s = min(CONNECT_S, self.timeout_s / 3)  # well before the deadline, so that it shows where time ran out
        builder = ClientBuilder().default_headers(self._headers).follow_redirects(enable=False)
        builder = builder.connect_timeout(timedelta(seconds=connect_s)).timeout(timedelta(seconds=self.timeout_s))
        return builder.pool_idle_timeout(timedelta(seconds=IDLE_S)).build()


def verdict(system: str, answer: Answer, handed_over: frozenset[int] = frozenset()) -> StageError | None:
    """Say which error an answer is, None if it is for the stage to read.

    Shape: *handed_over* are statuses whose JSON answers the stage reads though they would be errors.
    """
    status = answer.status
    if answer.document is not None and (answer.ok or status in handed_over):
        return None
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return UnauthorisedError(system, f"refused our credentials (HTTP {status})", status)
        case HTTPStatus.TOO_MANY_REQUESTS:
            return _throttled(system, answer)
        case HTTPStatus.SERVICE_UNAVAILABLE if answer.retry_after is not None:
            return _throttled(system, answer)
    return _unavailable(system, answer)


def _throttled(system: str, answer: Answer) -> ThrottledError:
    wait_s = retry_after_s(answer.retry_after, time())
    return ThrottledError(system, f"asked us to wait (HTTP {answer.status})", answer.status, wait_s)


def _unavailable(system: str, answer: Answer) -> UnavailableError | None:
    status = answer.status
    if status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return UnavailableError(system, f"could not serve us (HTTP {status})", status)
    if not answer.ok and status < HTTPStatus.BAD_REQUEST:
        return UnavailableError(system, f"sent us elsewhere (HTTP {status})", status)
    if answer.document is None and status != HTTPStatus.NO_CONTENT:
        return UnavailableError(system, f"answered something that is not JSON (HTTP {status})", status)
    return None


def retry_after_s(said: str | None, now: float) -> float | None:
    """Give the seconds that a Retry-After asks for, None if it cannot be read.  Units: *now* epoch seconds."""
    if said is None:
        return None
    try:
        seconds = float(said)
    except ValueError:
        try:
            at = parsedate_to_datetime(said)
            seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if isfinite(seconds) else None


def _document(body: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict | list) else None


def _silence(system: str, error: PyreqwestError) -> StageError:
    """Say whether anything can have been sent.

    The client's classes do not (a reset after the sending is a ConnectError too), the chain of causes does.  What is
    not surely before the sending counts as sent: at worst a create is probed for in vain.
    """
    causes = (error.details.get("causes") or []) if isinstance(error, DetailedPyreqwestError) else []
    if any(cause["message"] == _CONNECTING for cause in causes):
        return UnreachableError(system, f"could not connect: {causes[-1]['message']}")
    if isinstance(error, BuilderError):
        return UnreachableError(system, "the base URL cannot be used")
    return OutcomeUnknownError(system, "no answer came after the request was sent")
