"""Live pages: server-sent events that carry the parts of a page that have changed.

They are compressed as one, so that a part that came before costs what has changed in it.  The page of a list says in
the address of its stream what it shows: the newest id and a digest of its rows.  Rows are not drawn anew under
somebody's hands; a line above them says how many are new, whether those shown have changed, and leads to the list.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated

import anyio.to_thread
import orjson
from fastapi import Depends, Query, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from producers.console.rendering import fragments, heading
from producers.console.session import whoever_looks
from producers.http.request import ProblemError, ledger_of
from shared.errors import LedgerError
from shared.ledger.engine import Transaction, transaction
from shared.ledger.records import InstanceRecord

_EVERY_S = 2.0
_POLL_S = 0.25
_ALIVE_S = 5.0
"""A page that has heard nothing for three times as long says so."""
_LONGEST_S = 900.0
"""After this a stream ends, and the page opens another, whose login is looked at anew."""
_STREAMS_MAX = 64
_GZIP = 31
"""What zlib calls gzip's form with its largest window."""


class Streams:
    """The streams of this process: not too many, each looking *every_s* seconds, and over when it stops."""

    def __init__(self, every_s: float = _EVERY_S) -> None:
        self.open = 0
        self._every_s = every_s
        self._stopping = False

    def stop(self) -> None:
        """End them all."""
        self._stopping = True

    def respond(self, request: Request, fragments: Callable[[], dict[str, str]]) -> StreamingResponse:
        """Stream what *fragments* gives, by element id, whenever it changes.

        Raises:
            ProblemError: 503, too many look.
        """
        if self.open >= _STREAMS_MAX:
            raise ProblemError(503, "too_many_streams", "too many pages are open", {"Retry-After": "30"})
        events = self._events(request, fragments)
        headers = {"Vary": "Accept-Encoding", "X-Accel-Buffering": "no"}  # nginx would keep it back until it is much
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return StreamingResponse(events, media_type="text/event-stream", headers=headers)
        headers["Content-Encoding"] = "gzip"
        return StreamingResponse(_compressed(events), media_type="text/event-stream", headers=headers)

    async def _events(self, request: Request, fragments: Callable[[], dict[str, str]]) -> AsyncIterator[bytes]:
        def parts() -> dict[str, str]:
            above = heading(request)
            try:
                return above | {"trouble": ""} | fragments()
            except LedgerError:
                return above | {"trouble": "The ledger cannot be reached just now; what you see may be old."}

        loop = asyncio.get_running_loop()
        ends_at = loop.time() + _LONGEST_S
        shown: dict[str, str] = {}  # a trouble that an earlier stream left on the page is taken back too
        said_at = loop.time()
        self.open += 1
        try:
            while loop.time() < ends_at and not self._stopping:
                try:
                    found = await anyio.to_thread.run_sync(parts)
                except ProblemError:  # what it follows is not there, or was pruned
                    yield format_sse_event(data_str="{}", event="over")
                    return
                changed = {name: html for name, html in found.items() if shown.get(name) != html}
                shown |= changed
                if changed:
                    yield format_sse_event(data_str=orjson.dumps(changed).decode(), event="parts")
                    said_at = loop.time()
                elif loop.time() - said_at > _ALIVE_S:
                    yield format_sse_event(data_str="{}", event="alive")
                    said_at = loop.time()
                if await self._is_over_after_a_turn(request):
                    return
        finally:
            self.open -= 1

    async def _is_over_after_a_turn(self, request: Request) -> bool:
        turn_ends_at = asyncio.get_running_loop().time() + self._every_s
        while (left_s := turn_ends_at - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(_POLL_S, left_s))
            if self._stopping or await request.is_disconnected():
                return True
        try:
            return await anyio.to_thread.run_sync(whoever_looks, request) is None
        except LedgerError:  # a page that says so, and shows nothing new
            return False


async def _compressed(events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Compress each event so far that whoever listens can read it at once."""
    stream = zlib.compressobj(wbits=_GZIP)
    async for event in events:
        yield stream.compress(event) + stream.flush(zlib.Z_SYNC_FLUSH)
    yield stream.flush()


def stream(request: Request, fragments: Callable[[], dict[str, str]]) -> StreamingResponse:
    """Stream what *fragments* returns, by element id, whenever it changes."""
    streams: Streams = request.app.state.streams
    return streams.respond(request, fragments)


def stream_parts(
    request: Request, templates: Mapping[str, str], content: Callable[[], Mapping[str, object]]
) -> StreamingResponse:
    """Stream the parts of a page as they change: *templates*, by element id, with what *content* returns."""
    return stream(request, lambda: fragments(request, templates, **content()))


COUNTED_MAX = 100
"""New rows are counted up to here."""

Rows = Sequence[tuple[int, Iterable[object]]]
"""What a list shows, newest first: the id of each row, and its values."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The rows that a page shows.  Shape: *after* the id of the newest; 0: none; *seen* a digest of them all."""

    after: int
    seen: str

    @classmethod
    def of(cls, rows: Rows) -> "Drawn":
        """Sum up rows."""
        digest = blake2b(repr([(number, *map(str, values)) for number, values in rows]).encode(), digest_size=12)
        return cls(rows[0][0] if rows else 0, digest.hexdigest())


def drawn_in(
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0, seen: Annotated[str, Query(max_length=64)] = ""
) -> Drawn:
    """Read from an address what its page shows."""
    return Drawn(after, seen)


AsDrawn = Annotated[Drawn, Depends(drawn_in)]


def instance_rows(records: Iterable[InstanceRecord]) -> Rows:
    """Return the rows of a list of instances."""
    return [(int(one.instance_id), (one.state, one.stage, one.attempt, one.status)) for one in records]


def follow(
    request: Request,
    drawn: Drawn,
    listed: Callable[[Transaction, int, int | None], Rows],
    *,
    shown: int,
    address: str,
) -> StreamingResponse:
    """Stream what has become of a list since it was *drawn*.

    Shape: *listed* returns so many rows at the most, below an id where one is given; the page shows *shown* of them;
    *address* is the list's.
    """

    def newer() -> dict[str, str]:
        with transaction(ledger_of(request)) as tx:
            newest = listed(tx, COUNTED_MAX, None)
            now = Drawn.of(listed(tx, shown, drawn.after + 1))
        return fragments(
            request,
            {"newer": "newer.html"},
            new=sum(number > drawn.after for number, _ in newest),
            counted_max=COUNTED_MAX,
            changed=now.seen != drawn.seen,
            address=address,
        )

    return stream(request, newer)
