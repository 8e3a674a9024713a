"""The calls that one attempt makes of one system: the stage orders them, deadline and record are kept here."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from time import perf_counter
from typing import Any
from urllib.parse import quote

import orjson

from shared.errors import DataError, StageError
from shared.instances import Call, Done, Failed
from shared.masking import has_words, mask
from shared.personal import marked_in
from shared.systems.company import in_calls
from shared.systems.transport import Answer, Door, Request, verdict

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

    @property
    def left_s(self) -> float:
        """Seconds until the deadline."""
        return self._began + self._door.timeout_s - perf_counter()

    @property
    def took_ms(self) -> float:
        """Milliseconds since it began."""
        return (perf_counter() - self._began) * 1000

    def done(self, what: str, **facts: Any) -> Done:  # noqa: ANN401 - facts are JSON
        """Report success, with the calls made."""
        return Done(what, facts, tuple(self.calls), self.took_ms)

    def failed(self, error: StageError, **facts: Any) -> Failed:  # noqa: ANN401 - facts are JSON
        """Report failure, with the calls made."""
        return Failed(error, facts, tuple(self.calls), self.took_ms)

    async def ask(  # noqa: PLR0913 - the parts of a call, most of them named
        self,
        method: str,
        path: str,
        query: str = "",
        *,
        document: Any = None,  # noqa: ANN401 - JSON
        shown: Any = None,  # noqa: ANN401 - JSON
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
            token = await tokens.token(self.left_s)
            answer = await self._once(request._replace(token=token), shown)
            if answer.status == HTTPStatus.UNAUTHORIZED:
                token = await tokens.token(self.left_s, refused=token)
                answer = await self._once(request._replace(token=token), shown)
        if (error := verdict(self._door.system, answer, handed_over)) is not None:
            raise error
        return answer

    async def _once(self, request: Request, shown: Any) -> Answer:  # noqa: ANN401 - JSON
        began = perf_counter()
        answer = None
        try:
            self.answer = answer = await self._door.send(request, self.left_s)
        finally:
            took_ms = (perf_counter() - began) * 1000
            status, said = (None, None) if answer is None else (answer.status, self.shown(answer.document))
            self.calls.append(Call(request.method, request.url, status, took_ms, shown, said))
        return answer

    def shown(self, document: Any) -> Any:  # noqa: ANN401 - JSON
        """Give *document*, of an answer, as it may be kept: masked, and short."""
        if document is None:
            return None
        if isinstance(document, dict) and "third_party_id" in document:
            shown = mask({name: document.get(name) for name in _USER_SHOWN})
        else:
            shown = mask(self._marked(document) if has_words(document) else document)
        return shown if len(orjson.dumps(shown)) <= _KEPT_BYTES else "(too long to keep)"

    def _marked(self, document: Any) -> Any:  # noqa: ANN401 - JSON
        return marked_in(document, (*self.personal(), *in_calls.get().values_in(orjson.dumps(document).decode())))


def segment(system: str, label: str, value: str) -> str:
    """Give *value* as one segment of a path, percent-encoded.

    Raises:
        DataError: it is `.` or `..`, which even encoded means another place in the tree (WHATWG URL, 4.4).
    """
    if value in {".", ".."}:
        raise DataError(system, f"{label} cannot be sent: it is made of dots only")
    return quote(value, safe="")
