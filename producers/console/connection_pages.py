"""The connections: how each stands, when it was away, and test, pause, resume."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse

from producers.console.forms import Form, Posted, operates
from producers.console.live import stream
from producers.console.rendering import fragments, local, page, redirect
from producers.console.session import Visitor
from producers.http.request import ConnectionName, ledger_of, settings_of
from producers.operations import connection_control
from producers.operations.advice import when_down
from producers.operations.connection_control import REASON_MAX
from producers.operations.job_control import AskError, Operator
from shared.ledger import tallies
from shared.ledger.engine import transaction
from shared.ledger.filters import has_control
from shared.ledger.records import ConnectionState
from shared.lifecycle.breaker import Position
from shared.pipeline import Stage, spoken
from shared.settings import Settings

router = APIRouter()

LOOKED_BACK = timedelta(days=7)
OUTAGES_MAX = 50

_TESTS = anyio.CapacityLimiter(2)
"""A test takes as long as its connection's time-out: it must not take the threads of those who read."""


@router.get("/connections")
def show_connections(request: Request, _: Visitor) -> Response:
    """Show how the connections stand."""
    return page(request, "connections/page.html", **_content(request))


@router.get("/live/connections")
async def follow_connections(request: Request, _: Visitor) -> StreamingResponse:
    """Stream the parts of the page; what one types a reason into is a part of its own, which seldom changes."""

    def parts() -> dict[str, str]:
        content = _content(request)
        found = fragments(request, {"outages": "connections/outages.html"}, **content)
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


def _content(request: Request) -> dict[str, Any]:
    settings = settings_of(request)
    ledger = ledger_of(request)
    now = datetime.now(UTC)
    states = connection_control.states(ledger, settings)
    with transaction(ledger) as tx:
        outages = tallies.outages(tx, since=now - LOOKED_BACK)
    return {
        "connections": states,
        "meanings": meanings(states, settings),
        "outages": outages[::-1][:OUTAGES_MAX],
        "timeouts": {stage.value: settings.connection(stage).timeout_s for stage in Stage},
    }


def meanings(states: Sequence[ConnectionState], settings: Settings) -> dict[str, str]:
    """Return of each connection that is down what its mail says."""
    down = [one for one in states if one.breaker != Position.CLOSED]
    return {one.name: when_down(Stage(one.name), settings, one.last_error or "") for one in down}
