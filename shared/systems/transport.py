"""The only HTTP out: one door per connection, where every answer and every silence becomes one of our errors.

| what happens                                            | error                 |
|---------------------------------------------------------|-----------------------|
| the lease was over before anything was sent             | `LeaseLostError`      |
| refused, name not found, TLS, connect or pool time-out  | `UnreachableError`    |
| sent, and no whole answer: time-out, reset, closed, cut | `OutcomeUnknownError` |
| 401, 403                                                | `UnauthorisedError`   |
| 429, 503 with Retry-After                               | `ThrottledError`      |
| 408, 5xx, a redirect, anything that is not JSON or too  | `UnavailableError`    |
| long, deep or full to be read                           |                       |
| 2xx, and 4xx that the stage has to read                 | none: an `Answer`     |

Calls go to our own `shared.systems.wire.Wire` directly; through an `httpx.AsyncClient` on it they would cost twice as
much (deploy/decisions/0002-http-transport.md).  A Door belongs to one process and one event loop.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from time import perf_counter, time
from typing import Any, NamedTuple, Protocol

import httpx

from shared.addresses.web import proxy_for
from shared.errors import (
    LeaseLostError,
    OutcomeUnknownError,
    StageError,
    ThrottledError,
    UnauthorisedError,
    UnavailableError,
    UnreachableError,
)
from shared.systems.answers import document_of, who_answered
from shared.systems.permits import Permits, calling
from shared.systems.wire import ANSWER_MAX_BYTES, IS_CUT, Wire

CONNECT_S = 10.0
LEAST_S = 0.02
"""A call that has less time than this is not begun."""
JSON_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
_GOOD = range(200, 300)
_LONGEST_WAIT_S = 30 * 86_400.0
_SECONDS = re.compile(r"\s*[+-]?\d+(\.\d+)?\s*", re.ASCII)


class Tokens(Protocol):
    """Where a door gets its bearer token."""

    async def token(self, timeout_s: float, *, refused: str | None = None) -> str:
        """Return a token other than *refused*."""

    async def close(self) -> None:
        """Close the connections."""


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
    """An answer over HTTP.

    Shape: *document* an object or an array, None when the body is no such JSON or *is_cut*: longer than is read;
    *through* names the proxy on the way, for messages: it may be the one who speaks.
    """

    status: int
    document: Any
    retry_after: str | None = None
    is_cut: bool = False
    date: str | None = None
    """When its sender says it was: a Retry-After that names an instant is of the same clock."""
    through: str = ""
    sender: str = ""
    """Who answered, of an answer that is no JSON."""
    is_altered: bool = False
    """Something in it cannot be stored and was replaced: good to decide by, not to be sent on."""

    @property
    def ok(self) -> bool:
        """Whether it is a 2xx."""
        return self.status in _GOOD

    def text(self, *names: str) -> str:
        """Return the first of these members that is a text with something in it, else an empty one; without NUL."""
        if isinstance(self.document, dict):
            for name in names:
                value = self.document.get(name)
                if isinstance(value, str) and value.strip():
                    return value.strip().replace("\0", "\N{REPLACEMENT CHARACTER}")
        return ""


class Door:
    """One connection: its address, credentials, pool, and how many calls it makes at once.

    Units: *timeout_s* seconds, from asking for a free slot to the last byte of the answer; of that, unpacked, no more
    than *answer_max_bytes* are read.
    *secret_query* is added to each address as it is sent; no record and no error ever has it.
    """

    def __init__(  # noqa: PLR0913 - the sides of a connection, all named
        self,
        system: str,
        base_url: str | None,
        *,
        timeout_s: float,
        calls_in_flight: int,
        answer_max_bytes: int = ANSWER_MAX_BYTES,
        headers: Mapping[str, str] | None = None,
        secret_query: str = "",
        tokens: Tokens | None = None,
        permits: Permits | None = None,
    ) -> None:
        self.system = system
        self.timeout_s = timeout_s
        self.tokens = tokens
        self._permits = permits
        self._base_url = base_url or ""
        self._secret_query = secret_query
        self._slots = asyncio.Semaphore(calls_in_flight)
        connect_s = min(CONNECT_S, timeout_s / 3)  # well before the deadline, so that it shows where time ran out
        proxy = proxy_for(self._base_url)
        self._through = f" (through {proxy})" if proxy else ""
        self._wire = Wire(
            JSON_HEADERS | dict(headers or {}),
            connect_s=connect_s,
            total_s=timeout_s,
            most_bytes=answer_max_bytes,
            proxy=proxy.url if proxy else None,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._wire.aclose()
        if self.tokens is not None:
            await self.tokens.close()

    async def send(self, request: Request, timeout_s: float) -> Answer:
        """Make one call and return its answer, whatever its status.

        Raises:
            LeaseLostError: the lease is over; nothing was sent.
            UnreachableError: nothing was sent.
            BudgetSpentError: the connection's budget is spent; nothing was sent.
            OutcomeUnknownError: it was sent, and no whole answer came.
        """
        ends = perf_counter() + timeout_s
        slots = asyncio.Semaphore() if calling.get().out_of_turn else self._slots
        await self._slot(slots, timeout_s)
        try:
            self._check_lease()
            if self._permits is not None:
                await self._permits.take()
                self._check_lease()
            answer = await self._send(request, ends - perf_counter())
        finally:
            slots.release()
        if isinstance(answer, StageError):
            raise answer  # here, outside every except clause: the client's own error shows the address and so the key
        return answer

    def _check_lease(self) -> None:
        if calling.get().left_s < LEAST_S:
            raise LeaseLostError(self.system)

    async def _slot(self, slots: asyncio.Semaphore, timeout_s: float) -> None:
        if not slots.locked():
            await slots.acquire()
            return
        try:
            async with asyncio.timeout(timeout_s):
                await slots.acquire()
        except TimeoutError:
            raise UnreachableError(self.system, "no free connection in time; nothing was sent") from None

    async def _send(self, request: Request, left_s: float) -> Answer | StageError:
        if left_s < LEAST_S:
            return UnreachableError(self.system, "no time was left for the call; nothing was sent")
        try:
            query = "&".join(part for part in (request.query, self._secret_query) if part)
            url = f"{self._base_url}{request.path}?{query}" if query else f"{self._base_url}{request.path}"
            headers = None if request.token is None else {"Authorization": f"Bearer {request.token}"}
            total = {"total_s": min(left_s, calling.get().left_s)}
            response = await self._wire.handle_async_request(
                httpx.Request(request.method, _parsed(url), headers=headers, content=request.body, extensions=total)
            )
        except httpx.PoolTimeout:
            return LeaseLostError(self.system)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL):
            what = f"the base URL or the credentials are not set, or cannot be used{self._through}"
            return UnreachableError(self.system, what)
        except httpx.ConnectError as error:
            return UnreachableError(self.system, f"could not connect{self._through}: {error}")
        except httpx.TransportError:
            return OutcomeUnknownError(self.system, f"no answer came after the request was sent{self._through}")
        is_cut = bool(response.extensions.get(IS_CUT))
        document, is_altered = (None, False) if is_cut else document_of(response.content)
        stated, sender = response.headers, ""
        if document is None:
            sender = who_answered(self._base_url, stated.get("server"), response.content)
        retry_after, date = stated.get("retry-after"), stated.get("date")
        return Answer(response.status_code, document, retry_after, is_cut, date, self._through, sender, is_altered)


@lru_cache(maxsize=256)
def _parsed(url: str) -> httpx.URL:
    return httpx.URL(url)  # half the cost of a request, and most creates have one and the same address


def verdict(system: str, answer: Answer, handed_over: frozenset[int] = frozenset()) -> StageError | None:
    """Return the error that an answer is, None if it is for the stage to read.

    Shape: *handed_over* are statuses whose JSON answers the stage reads though they would be errors.
    """
    status = answer.status
    if answer.document is not None and (answer.ok or status in handed_over):
        return None
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return UnauthorisedError(system, f"refused our credentials (HTTP {status}){answer.through}", status)
        case HTTPStatus.TOO_MANY_REQUESTS:
            return _throttled(system, answer)
        case HTTPStatus.SERVICE_UNAVAILABLE if answer.retry_after is not None:
            return _throttled(system, answer)
    return _unavailable(system, answer)


def _throttled(system: str, answer: Answer) -> ThrottledError:
    wait_s = retry_after_s(answer.retry_after, _epoch_s(answer.date) or time())
    return ThrottledError(system, f"asked us to wait (HTTP {answer.status}){answer.through}", answer.status, wait_s)


def _unavailable(system: str, answer: Answer) -> UnavailableError | None:
    status, through = answer.status, answer.through
    by_whom = f"{through}: {answer.sender}" if answer.sender else through
    if status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return UnavailableError(system, f"could not serve us (HTTP {status}){through}", status)
    if not answer.ok and status < HTTPStatus.BAD_REQUEST:
        return UnavailableError(system, f"sent us elsewhere (HTTP {status}){by_whom}", status)
    if answer.is_cut:
        return UnavailableError(system, f"answered more than we read (HTTP {status}){through}", status)
    if answer.document is None and status != HTTPStatus.NO_CONTENT:
        return UnavailableError(system, f"answered something that is not JSON (HTTP {status}){by_whom}", status)
    return None


def retry_after_s(said: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After asks for, at most 30 days, None if it cannot be read; 0: it is over.

    Units: *now* epoch seconds.
    """
    if said is None:
        return None
    if _SECONDS.fullmatch(said):
        seconds = float(said)
    elif (at_s := _epoch_s(said)) is not None:
        seconds = at_s - now
    else:
        return None
    return min(max(0.0, seconds), _LONGEST_WAIT_S)


def _epoch_s(date: str | None) -> float | None:
    """Return the instant of an HTTP date, None if it cannot be read."""
    try:
        at = parsedate_to_datetime(date or "")
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
