"""What the client of every outside system has: a connection, and the calls that one attempt makes over it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from time import perf_counter
from urllib.parse import quote

import orjson

from shared.errors import DataError, StageError
from shared.instances import Call, Done, Failed
from shared.masking import has_words, mask
from shared.personal import marked_in
from shared.settings import Connection
from shared.systems.permits import Permits, calling
from shared.systems.transport import Answer, Door, Request, Tokens, verdict

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
            StageError: as the table of `shared.systems.transport` says.
        """
        self.answer = None
        request = Request(method, path, query, None if document is None else orjson.dumps(document))
        shown = mask(document) if shown is None else shown
        tokens = self._door.tokens
        if tokens is None:
            answer = await self._once(request, shown)
        else:
            token = await tokens.token(self._left_s())
            answer = await self._once(request._replace(token=token), shown)
            if answer.status == HTTPStatus.UNAUTHORIZED:
                token = await tokens.token(self._left_s(), refused=token)
                answer = await self._once(request._replace(token=token), shown)
        if (error := verdict(self._door.system, answer, handed_over)) is not None:
            raise error
        return answer

    def _left_s(self) -> float:
        return self._began + self._door.timeout_s - perf_counter()

    async def _once(self, request: Request, shown: object) -> Answer:
        began = perf_counter()
        answer = None
        try:
            self.answer = answer = await self._door.send(request, self._left_s())
        finally:
            took_ms = (perf_counter() - began) * 1000
            status, said = (None, None) if answer is None else (answer.status, self.shown(answer.document))
            self.calls.append(Call(request.method, request.url, status, took_ms, shown, said))
        return answer

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
    call is made on an `Exchange`, which has the deadline and keeps the record, and raises StageError as the table of
    `shared.systems.transport` says.
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
