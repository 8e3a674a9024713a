"""The first page: connections, lanes, the last hour, what failed and what to do; read once for all who look at once.

And the connections' own: how each stands, when it was away, and test, pause, resume.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse

from producers.console.charts import SERIES, Svg, outcomes_chart
from producers.console.history import RANGES, Range
from producers.console.live import stream, stream_parts
from producers.console.rendering import fragments, local, page, redirect
from producers.console.session import Form, Posted, Visitor, operates
from producers.http.request import ConnectionName, ledger_of, settings_of
from producers.operations import advice, connection_control
from producers.operations.advice import when_down
from producers.operations.broker_look import BrokerLook
from producers.operations.connection_control import REASON_MAX
from producers.operations.job_control import AskError, Operator
from producers.operations.single_flight import SharedLook
from producers.operations.verdict import Standing, standing
from shared.ledger import causes, maintenance, tallies
from shared.ledger.causes import Cause
from shared.ledger.engine import engine, transaction
from shared.ledger.filters import Filter, has_control
from shared.ledger.jobs import Job, list_jobs
from shared.ledger.records import Backlog, ConnectionState
from shared.ledger.tallies import Outage, Percentiles, minutes, outages
from shared.lifecycle.breaker import Position
from shared.pipeline import Lane, Stage, State, spoken
from shared.settings import Settings

router = APIRouter(include_in_schema=False)

PLOTTED = timedelta(hours=1)

_CAUSES_MAX = 8
_LOOKED_AT = 10_000
_REFUSED_WITHIN = timedelta(days=7)
_JOBS_MAX = 5
_FRESH_S = 1.5
_PATIENCE = 5
"""A look is shown again for at least this many times as long as it took."""
_PARTS = {
    "connections": "overview/connections.html",
    "lanes": "overview/lanes.html",
    "outcomes": "overview/outcomes.html",
    "causes": "overview/causes.html",
}


@dataclass(frozen=True, slots=True)
class Overview:
    """One look at the ledger.

    Shape: *dead* and *refused* are the commonest causes among the newest 10,000, *more_causes*: not all; *plot*
    shows the last hour, *percentiles* its waits from acceptance to Siebel.
    """

    standing: Standing
    dead: list[Cause]
    refused: list[Cause]
    more_causes: bool
    jobs: list[Job]
    outages: list[Outage]
    plot: Svg
    percentiles: Percentiles | None

    @property
    def at(self) -> datetime:
        """When, by the ledger's clock."""
        return self.standing.at


class Overviews:
    """Reads the ledger once for all who look at the same time; what it returns is at most a little old."""

    def __init__(self, settings: Settings, broker: BrokerLook) -> None:
        self._settings = settings
        self._broker = broker
        self._overview = SharedLook(self._read, fresh_s=_FRESH_S, patience=_PATIENCE)
        self._standing = SharedLook(self._judge, fresh_s=_FRESH_S, patience=_PATIENCE)
        self._plot: tuple[object, Svg] | None = None

    def newest(self) -> Overview:
        """Return what the overview shows.

        Raises:
            LedgerError: the ledger is away.
        """
        return self._overview.get()

    def standing(self) -> Standing:
        """Return how it goes and the verdict, which every page begins with.

        Raises:
            LedgerError: the ledger is away.
        """
        return self._standing.get()

    def _judge(self) -> Standing:
        with transaction(engine(self._settings.ledger_url)) as tx:
            found = standing(tx, self._settings)
        return self._broker.beside(found)

    def _read(self) -> Overview:
        now = self.standing()
        with transaction(engine(self._settings.ledger_url)) as tx:
            since = now.at - PLOTTED
            recent = Filter(states=(State.REJECTED,), since=now.at - _REFUSED_WITHIN)
            dead = Filter(states=(State.DEAD,))
            jobs = list_jobs(tx, None, limit=_JOBS_MAX).items
            away = outages(tx, since=since)
            counted = minutes(tx, since=since, until=now.at)
            waited = tallies.waits(tx, since=since, until=now.at, step=PLOTTED)
            found = [causes.causes(tx, where, limit=_CAUSES_MAX + 1, looked_at=_LOOKED_AT) for where in (dead, recent)]
        shows = (counted, away, now.at.replace(second=0, microsecond=0))
        if self._plot is None or self._plot[0] != shows:  # more has changed than the seconds
            hour = Range("1h", now.at, is_now=True)
            self._plot = shows, outcomes_chart(counted, away, hour.steps, hour.lead)
        return Overview(
            standing=now,
            dead=found[0][:_CAUSES_MAX],
            refused=found[1][:_CAUSES_MAX],
            more_causes=any(len(some) > _CAUSES_MAX for some in found),
            jobs=[job for job in jobs if not job.over],
            outages=away,
            plot=self._plot[1],
            percentiles=tallies.percentiles(waited),
        )


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
    return stream_parts(request, _PARTS, lambda: _content(request))


def _content(request: Request) -> dict[str, Any]:
    overview: Overview = request.app.state.overviews.newest()
    return {
        "overview": overview,
        "lanes": lanes(overview.standing.backlog),
        "ranges": list(RANGES),
        "series": [name for name, _ in SERIES],
        "advice": advice,
        "meanings": meanings(overview.standing.connections, settings_of(request)),
    }


def lanes(backlog: Sequence[Backlog]) -> dict[str, list[LaneState]]:
    """Add up the stages: for every lane what waits in which state, and how old the oldest is.  Pure."""
    found: dict[tuple[str, str], LaneState] = {}
    for row in backlog:
        known = found.get((row.lane, row.state))
        count, oldest_s = (known.count, known.oldest_s) if known else (0, 0.0)
        found[row.lane, row.state] = LaneState(row.lane, row.state, count + row.count, max(oldest_s, row.oldest_s))
    return {lane: [one for (of, _), one in sorted(found.items()) if of == lane] for lane in Lane}


LOOKED_BACK = timedelta(days=7)
OUTAGES_MAX = 50

_TESTS = anyio.CapacityLimiter(2)
"""A test takes as long as its connection's time-out: it must not take the threads of those who read."""


@router.get("/connections")
def show_connections(request: Request, _: Visitor) -> Response:
    """Show how the connections stand."""
    return page(request, "connections/page.html", **_standing(request))


@router.get("/live/connections")
async def follow_connections(request: Request, _: Visitor) -> StreamingResponse:
    """Stream the parts of the page; what one types a reason into is a part of its own, which seldom changes."""

    def parts() -> dict[str, str]:
        content = _standing(request)
        names = {"outages": "connections/outages.html", "windows": "connections/windows.html"}
        found = fragments(request, names, **content)
        for one in content["connections"]:
            names = {f"{one.name}-state": "connections/state.html", f"{one.name}-actions": "connections/actions.html"}
            found |= fragments(request, names, one=one, **content)
        return found

    return stream(request, parts)


@router.post("/connections/{name}/test")
async def test_connection(
    request: Request, operator: Annotated[Operator, Depends(operates("test"))], stage: ConnectionName, form: Posted
) -> Response:
    """Test it; one that was down and passes counts as up at once."""

    def test() -> Response:
        found = connection_control.test(ledger_of(request), operator, stage, _reason(form), settings_of(request))
        return _back(request, form, f"Test of {spoken(stage)}: {found.answer} ({found.took_ms:.0f} ms).", good=found.ok)

    return await anyio.to_thread.run_sync(test, limiter=_TESTS)


@router.post("/connections/{name}/pause")
def pause_connection(
    request: Request, operator: Annotated[Operator, Depends(operates("pause"))], stage: ConnectionName, form: Posted
) -> Response:
    """Hold what is due there; nothing is lost."""
    reason = _reason(form)
    try:
        found = connection_control.pause(ledger_of(request), operator, stage, reason, settings_of(request))
    except AskError:
        return _back(request, form, f"{spoken(stage)} is not paused: say why.", good=False)
    return _back(request, form, f"{spoken(stage)}: {found.answer}.", good=found.changed)


@router.post("/connections/{name}/resume")
def resume_connection(
    request: Request, operator: Annotated[Operator, Depends(operates("resume"))], stage: ConnectionName, form: Posted
) -> Response:
    """Let what was held go out, little by little."""
    found = connection_control.resume(ledger_of(request), operator, stage, _reason(form), settings_of(request))
    return _back(request, form, f"{spoken(stage)}: {found.answer}.", good=found.changed)


def _reason(form: Form) -> str:
    reason = form.get("reason", "")[:REASON_MAX]
    if has_control(reason):
        raise AskError("reason", "contains a control character")
    return reason


def _back(request: Request, form: Form, said: str, *, good: bool) -> Response:
    return redirect(request, local(form.get("next", ""), "/connections"), said, good=good)


def _standing(request: Request) -> dict[str, Any]:
    settings = settings_of(request)
    ledger = ledger_of(request)
    now = datetime.now(UTC)
    states = connection_control.states(ledger, settings)
    with transaction(ledger) as tx:
        outages = tallies.outages(tx, since=now - LOOKED_BACK)
        windows = maintenance.windows(tx, limit=OUTAGES_MAX).items
    return {
        "connections": states,
        "meanings": meanings(states, settings),
        "outages": outages[::-1][:OUTAGES_MAX],
        "windows": windows,
        "timeouts": {stage.value: settings.connection(stage).timeout_s for stage in Stage},
    }


def meanings(states: Sequence[ConnectionState], settings: Settings) -> dict[str, str]:
    """Return of each connection that is down what its mail says."""
    down = [one for one in states if one.breaker != Position.CLOSED]
    return {one.name: when_down(Stage(one.name), settings, one.last_error or "") for one in down}
