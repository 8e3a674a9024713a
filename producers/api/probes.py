"""For machines that watch: alive, ready, and the numbers.

`/healthz` and `/readyz` say nothing about anybody and are open; `/metrics` wants a token that may read, as soon as
there are tokens.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import exposition

from producers.http.auth import Right, needs
from producers.http.dependencies import ledger_of
from producers.http.problems import described, problem
from shared.ledger import readiness

router = APIRouter(tags=["probes"])
_HANGS_S = 4.0
"""Whoever asks whether we are ready waits for 5 s or more."""
S = TypeVar("S")
T = TypeVar("T")

_METRICS = {"type": "string"}
_SCRAPED = """# HELP membersync_connection_up Whether calls go out: neither paused nor its breaker open
# TYPE membersync_connection_up gauge
membersync_connection_up{name="crowdtwist"} 1.0
"""
_ALIVE: dict[str, Any] = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"type": "string"}},
}


def _said(what: str, status: str) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"schema": _ALIVE, "example": {"status": status}}}
    return {200: {"description": what, "content": content}}


@router.get("/healthz", summary="Whether the process lives", responses=_said("It does", "ok"))
async def healthz() -> JSONResponse:
    """Answer; depends on nothing, so that a ledger that is away does not get the process killed."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/readyz",
    summary="Whether it can take events",
    responses={**_said("It can", "ready"), **described("not_ready")},
)
async def readyz(request: Request) -> Response:
    """Say whether the ledger answers, has the schema of this version and takes a write; if not, what is missing."""
    missing = ["the ledger does not answer"]
    with anyio.move_on_after(_HANGS_S):
        missing = await _apart(request, readiness.missing, ledger_of(request))
    if missing:
        return problem(503, "not_ready", "; ".join(missing), missing=missing)
    return JSONResponse({"status": "ready"})


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    dependencies=[Depends(needs(Right.READ))],
    response_class=Response,
    responses={
        200: {
            "description": "In the format that `Accept` asks for",
            "content": {
                "text/plain": {"schema": _METRICS, "example": _SCRAPED},
                "application/openmetrics-text": {"schema": _METRICS, "example": f"{_SCRAPED}# EOF\n"},
            },
        },
        **described(401, 403),
    },
)
async def metrics(request: Request) -> Response:
    """Give the metrics in the format that the scraper asks for."""
    encode, media_type = exposition.choose_encoder(request.headers.get("accept", ""))
    encoded = await _apart(request, encode, request.app.state.metrics)
    return Response(encoded, headers={"Content-Type": media_type})


async def _apart(request: Request, ask: Callable[[S], T], subject: S) -> T:
    """Ask in a thread that is kept for probes: machines must not wait behind people."""
    limiter = request.app.state.probe_threads
    return await anyio.to_thread.run_sync(ask, subject, limiter=limiter, abandon_on_cancel=True)
