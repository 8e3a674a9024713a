"""The first page: connections, lanes, the last hour, what failed and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from producers.console.connection_pages import meanings
from producers.console.history import RANGES
from producers.console.overview_reads import Look
from producers.console.pages import fragments, page
from producers.console.plot import SERIES
from producers.console.visitors import Visitor
from producers.operations import advice
from shared.ledger.records import Backlog
from shared.pipeline import Lane

router = APIRouter()

_PARTS = {
    "connections": "overview/connections.html",
    "lanes": "overview/lanes.html",
    "outcomes": "overview/outcomes.html",
    "causes": "overview/causes.html",
    "trouble": "overview/no_trouble.html",
}


@dataclass(frozen=True, slots=True)
class LaneState:
    """What of a lane is in one state.  Units: *oldest_s* s since acceptance."""

    lane: str
    state: str
    count: int
    oldest_s: float


@router.get("/")
def show_overview(request: Request, _: Visitor) -> Response:
    """Show how it goes."""
    return page(request, "overview/page.html", parts=_PARTS, **_content(request))


@router.get("/live/overview")
async def follow_overview(request: Request, _: Visitor) -> StreamingResponse:
    """Stream the parts of the page as they change."""
    streams = request.app.state.streams
    answer: StreamingResponse = streams.respond(request, lambda: fragments(request, _PARTS, **_content(request)))
    return answer


def _content(request: Request) -> dict[str, Any]:
    look: Look = request.app.state.glance.look()
    return {
        "look": look,
        "overview": look.overview,
        "lanes": lanes(look.overview.backlog),
        "ranges": list(RANGES),
        "series": [name for name, _ in SERIES],
        "advice": advice,
        "meanings": meanings(look.overview.connections, request.app.state.settings),
    }


def lanes(backlog: Sequence[Backlog]) -> dict[str, list[LaneState]]:
    """Add up the stages: for every lane what waits in which state, and how old the oldest is.  Pure."""
    found: dict[tuple[str, str], LaneState] = {}
    for row in backlog:
        known = found.get((row.lane, row.state))
        count, oldest_s = (known.count, known.oldest_s) if known else (0, 0.0)
        found[row.lane, row.state] = LaneState(row.lane, row.state, count + row.count, max(oldest_s, row.oldest_s))
    return {lane: [one for (of, _), one in sorted(found.items()) if of == lane] for lane in Lane}
