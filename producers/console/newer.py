"""What has become of a list since its page was drawn: how many are new, and whether those shown have changed.

The page says in the address of its stream what it shows: the newest id and a digest of its rows.  Rows are not drawn
anew under somebody's hands; a line above them says what there is, and leads to it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated

from fastapi import Depends, Query, Request
from fastapi.responses import StreamingResponse

from producers.console.pages import fragments
from shared.ledger.records import InstanceRecord

COUNTED_MAX = 100
"""New rows are counted up to here."""

_PARTS = {"newer": "newer.html"}


@dataclass(frozen=True, slots=True)
class Drawn:
    """The rows that a page shows.  Shape: *after* the id of the newest; 0: none; *seen* a digest of them all."""

    after: int
    seen: str

    @classmethod
    def of(cls, rows: Sequence[tuple[int, Iterable[object]]]) -> "Drawn":
        """Sum up rows, newest first: the id of each, and what it shows."""
        digest = blake2b(repr([(number, *map(str, values)) for number, values in rows]).encode(), digest_size=12)
        return cls(rows[0][0] if rows else 0, digest.hexdigest())


def drawn_in(
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0, seen: Annotated[str, Query(max_length=64)] = ""
) -> Drawn:
    """Read from an address what its page shows."""
    return Drawn(after, seen)


AsDrawn = Annotated[Drawn, Depends(drawn_in)]


def instances_drawn(records: Iterable[InstanceRecord]) -> Drawn:
    """Sum up a list of instances."""
    return Drawn.of([(int(one.instance_id), (one.state, one.stage, one.attempt, one.status)) for one in records])


def follow(request: Request, drawn: Drawn, look: Callable[[], tuple[int, Drawn]], address: str) -> StreamingResponse:
    """Stream what is newer than *drawn*.

    Shape: *look* gives how many rows came after it, and how its rows would be drawn now; *address* is the list's.
    """

    def news() -> dict[str, str]:
        count, now = look()
        return fragments(
            request, _PARTS, new=count, counted_max=COUNTED_MAX, changed=now.seen != drawn.seen, address=address
        )

    answer: StreamingResponse = request.app.state.streams.respond(request, news)
    return answer
