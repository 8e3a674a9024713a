"""The only HTTP out: every answer and every silence becomes one of our errors; where it is recorded for the instance.

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

A `Client` is a connection to one system, and what all have alike; an `Exchange` the calls of one attempt over it; a
`Door` makes each: it has the slots, the lease, the permit and the pool.  Who did not answer is an error here, what was
answered is judged by `shared.systems.answers.verdict`.

Calls go to our own `shared.systems.wire.Wire` as method, address and bytes; as an `httpx.Request` each would cost three
times as much (deploy/decisions/0002-http-transport.md).  A Door belongs to one process and one event loop.
"""

from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from time import perf_counter
from typing import NamedTuple, Protocol
from urllib.parse import quote

import httpx
import orjson

from shared.addresses import proxy_for
from shared.errors import (
    BudgetSpentError,
    DataError,
    LeaseLostError,
    OutcomeUnknownError,
    StageError,
    UnreachableError,
)
from shared.instances import GOOD, Call, Done, Failed
from shared.masking import has_words, mask
from shared.personal import marked_in
from shared.settings import Connection
from shared.systems.answers import Answer, came_of, document_of, verdict, who_answered
from shared.systems.permits import Calling, Permits, Slots, calling
from shared.systems.wire import ANSWER_MAX_BYTES, Received, Wire

CONNECT_S = 10.0
LEAST_S = 0.02
"""A call that has less time than this is not begun."""
_MORE_IN_S = 1.0
"""Who found no slot is due again after so long."""
JSON_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}


class Tokens(Protocol):
    """Where a door gets its bearer token."""

    async def token(self, timeout_s: float, *, refused: str | None = None) -> str:
        """Return a token other than *refused*."""

    async def close(self) -> None:
        """Close the connections."""


class Request(NamedTuple):
    """A request.

    Shape: *path* and *query* are percent-encoded; *token* is a bearer token; *rows* in *body*, where it is an array;
    *reads* statuses whose JSON the caller reads though they would be errors.
    """

    method: str
    path: str
    query: str = ""
    body: bytes | None = None
    token: str | None = None
    rows: int = 0
    reads: frozenset[int] = frozenset()

    @property
    def url(self) -> str:
        """The address behind the base URL, as it may be shown."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def operation(self) -> str:
        """What is asked for, as far as it decides how long the answer takes."""
        if not self.rows:
            return self.method
        return f"{self.method} {next(least for least in _ROWS if self.rows >= least)}+"


_ROWS = (50, 10, 2, 1)


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
        self.slots = Slots(calls_in_flight)
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
            BudgetSpentError: the connection's budget is spent, or its limit of calls in flight; nothing was sent.
            OutcomeUnknownError: it was sent, and no whole answer came.
        """
        ends = perf_counter() + timeout_s
        terms = calling.get()
        in_turn = not terms.out_of_turn
        if in_turn and not self.slots.take_free():
            await self._slot(timeout_s)
        try:
            self._check_lease(terms)
            paid_at = 0.0
            if self._permits is not None:
                paid_at = await self._permits.take()
                self._check_lease(terms)
            is_at_once = self._wire.has_idle
            began = perf_counter()
            if ends - began < LEAST_S:
                raise UnreachableError(self.system, "no time was left for the call; nothing was sent")
            answer: Answer | StageError
            try:
                received = await self._wire.send(
                    request.method,
                    self._address(request),
                    body=request.body,
                    authorization=None if request.token is None else f"Bearer {request.token}",
                    within_s=min(ends - began, terms.left_s),
                )
            except httpx.TransportError as error:
                answer = self._error_of(error)
            else:
                answer = self._answer_of(received)
            if (came := came_of(answer, request.reads)) is not None:
                self.slots.note(request.operation, came, perf_counter() - began)
            if self._permits is not None and not (is_at_once or isinstance(answer, UnreachableError | LeaseLostError)):
                self._permits.connected(paid_at)
        finally:
            if in_turn:
                self.slots.give_back()
        if isinstance(answer, StageError):
            try:  # here, outside every except clause: the client's own error shows the address and so the key
                raise answer
            finally:
                del answer  # which holds this frame
        return answer

    def _check_lease(self, terms: Calling) -> None:
        if terms.left_s < LEAST_S:
            raise LeaseLostError(self.system)

    async def _slot(self, timeout_s: float) -> None:
        if not self.slots.is_shared:
            try:
                await self.slots.take(timeout_s)
            except TimeoutError:
                raise UnreachableError(self.system, "no free connection in time; nothing was sent") from None
            return
        try:  # half the time is left for the call: cut short, it would look like one that timed out
            await self.slots.take(timeout_s / 2)
        except TimeoutError:
            raise BudgetSpentError(self.system, _MORE_IN_S, "as many calls as it takes are in flight") from None

    def _address(self, request: Request) -> str:
        query = f"{request.query}&{self._secret_query}".strip("&")
        return f"{self._base_url}{request.path}?{query}" if query else f"{self._base_url}{request.path}"

    def _error_of(self, error: httpx.TransportError) -> StageError:
        match error:
            case httpx.PoolTimeout():
                return LeaseLostError(self.system)
            case httpx.UnsupportedProtocol():
                what = f"the base URL or the credentials are not set, or cannot be used{self._through}"
                return UnreachableError(self.system, what)
            case httpx.ConnectError():
                return UnreachableError(self.system, f"could not connect{self._through}: {error}")
        return OutcomeUnknownError(self.system, f"no answer came after the request was sent{self._through}")

    def _answer_of(self, received: Received) -> Answer:
        status, body = received.status, received.body
        document, is_altered = (None, False) if body is None else document_of(body)
        sender = who_answered(self._base_url, received.header("server"), body or b"") if document is None else ""
        retry_after = date = None
        if status not in GOOD:
            retry_after, date = received.header("retry-after"), received.header("date")
        total = received.header("total-record-count")
        return Answer(status, document, retry_after, body is None, date, self._through, sender, is_altered, total)


_USER_SHOWN = ("id", "third_party_id", "is_active")
_KEPT_BYTES = 2048


class Exchange:
    """The calls of one attempt, under one deadline: the door's time-out, however many calls it takes.

    The lease of an instance is only a little longer than that; a second worker must not begin while we still call.
    Units: *began* on the clock of `perf_counter`, now when not given.  *personal* gives the values of the member that
    are not kept of the words of the other side, nor are those of who is called for beside it; it is asked when there
    are any.
    """

    __slots__ = ("_began", "_door", "answer", "calls", "personal")

    def __init__(self, door: Door, began: float | None = None, personal: Callable[[], Sequence[str]] = tuple) -> None:
        self._door = door
        self.personal = personal
        self._began = perf_counter() if began is None else began
        self.answer: Answer | None = None
        """What came of the last call, error or not; None: nothing."""
        self.calls: list[Call] = []

    def done(self, what: str, **facts: object) -> Done:
        """Report success, with the calls made."""
        return Done(what, facts, tuple(self.calls), self._took_ms())

    def failed(self, error: StageError, **facts: object) -> Failed:
        """Report failure, with the calls made."""
        return Failed(error, facts, tuple(self.calls), self._took_ms())

    def _took_ms(self) -> float:
        return (perf_counter() - self._began) * 1000

    async def ask(  # noqa: PLR0913 - the parts of a call, most of them named
        self,
        method: str,
        path: str,
        query: str = "",
        *,
        document: object = None,
        shown: object = None,
        handed_over: frozenset[int] = frozenset(),
    ) -> Answer:
        """Make a call and record it; where there are tokens, a 401 is answered with one fresh token, once.

        Shape: *shown* is the masked *document* for the record, made here when not given.  *handed_over* are statuses
        whose JSON answers the caller reads though they would be errors.

        Raises:
            StageError: as the table above says.
        """
        rows = len(document) if isinstance(document, list) else 0
        body = None if document is None else orjson.dumps(document)
        shown = mask(document) if shown is None else shown
        tokens = self._door.tokens
        token = refused = None
        while True:
            self.answer = answer = None
            if tokens is not None:
                token = await tokens.token(self._left_s(), refused=refused)
            request = Request(method, path, query, body, token, rows, handed_over)
            began = perf_counter()
            try:
                self.answer = answer = await self._door.send(request, self._left_s())
            finally:
                took_ms = (perf_counter() - began) * 1000
                status, said = (None, None) if answer is None else (answer.status, self.shown(answer.document))
                self.calls.append(Call(method, request.url, status, took_ms, shown, said))
            if tokens is None or refused is not None or answer.status != HTTPStatus.UNAUTHORIZED:
                break
            refused = token
        error = verdict(self._door.system, answer, handed_over)
        if error is None:
            return answer
        try:
            raise error
        finally:
            del error  # which holds this frame

    def _left_s(self) -> float:
        return self._began + self._door.timeout_s - perf_counter()

    def shown(self, document: object) -> object:
        """Return *document*, of an answer, as it may be kept: without people, and short."""
        if document is None:
            return None
        if isinstance(document, dict) and "third_party_id" in document:
            document = {name: document.get(name) for name in _USER_SHOWN}
        elif has_words(document):
            others = calling.get().company.values_in(orjson.dumps(document).decode())
            document = marked_in(document, (*self.personal(), *others))
        shown = mask(document)
        return shown if len(orjson.dumps(shown)) <= _KEPT_BYTES else "(too long to keep)"


class Client(ABC):
    """A connection to one system, opened from its settings.  For one process and one event loop.

    Nothing is open before the first call: a client may be made before a fork, and wherever there is no loop yet.  Every
    call is made on an `Exchange`, which has the deadline and keeps the record, and raises StageError as the table
    above says.
    """

    def __init__(  # noqa: PLR0913 - what a connection is made of, the credentials by name
        self,
        system: str,
        settings: Connection,
        calls_in_flight: int,
        permits: Permits | None,
        *,
        headers: Mapping[str, str] | None = None,
        secret_query: str = "",
        tokens: Tokens | None = None,
    ) -> None:
        self._door = Door(
            system,
            settings.base_url,
            timeout_s=settings.timeout_s,
            answer_max_bytes=settings.answer_max_bytes,
            calls_in_flight=calls_in_flight,
            permits=permits,
            headers=headers,
            secret_query=secret_query,
            tokens=tokens,
        )

    @property
    def slots(self) -> Slots:
        """How many calls it makes at once, and what came of them."""
        return self._door.slots

    def exchange(self, began: float | None = None, personal: Callable[[], Sequence[str]] = tuple) -> Exchange:
        """Begin the calls of one attempt; *began* and *personal* as in `Exchange`."""
        return Exchange(self._door, began, personal)

    @abstractmethod
    async def test(self) -> None:
        """Make the cheapest call that shows whether the system serves us.

        Raises:
            StageError: what is wrong with it.
        """

    async def close(self) -> None:
        """Close the connection."""
        await self._door.close()


def segment(system: str, label: str, value: str) -> str:
    """Return *value* as one segment of a path, percent-encoded.

    Raises:
        DataError: it is `.` or `..`, which even encoded means another place in the tree (WHATWG URL, 4.4).
    """
    if value in {".", ".."}:
        raise DataError(system, f"{label} cannot be sent: it is made of dots only")
    return quote(value, safe="")


def basic(username: str, password: str) -> str:
    """Return the value of a Basic Authorization header."""
    return f"Basic {b64encode(f'{username}:{password}'.encode()).decode()}"
