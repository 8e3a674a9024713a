"""How it goes now and how it went minute by minute, for people; alive, ready and the numbers, for machines.

`/healthz` and `/readyz` say nothing about anybody and are open; `/metrics` wants a token that may read, as soon as
there are tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import exposition

from producers.api import examples as example
from producers.api.description import answered
from producers.api.reads import Reader, json_answer
from producers.http.auth import Right, needs
from producers.http.problems import described, problem
from producers.http.request import INSTANT, invalid_parameter, ledger_of, settings_of
from producers.operations.filtering import instant_of
from producers.operations.verdict import Standing, standing
from shared.ledger import readiness, tallies
from shared.ledger.engine import engine, transaction
from shared.ledger.tallies import MinuteCount, Outage

router = APIRouter()

_LONGEST = timedelta(days=7)
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


@dataclass(frozen=True, slots=True)
class Throughput:
    """What came of instances minute by minute, and when connections were down or paused; *next* is always None."""

    items: list[MinuteCount]
    outages: list[Outage]
    next: str | None = None


@router.get(
    "/v1/status",
    tags=["watching"],
    summary="How it goes",
    responses={
        **answered(
            "The verdict in one sentence, and what it rests on; rates of the last minute and the last hour",
            Standing,
            example.STATUS,
        ),
        **described(401, 403, 503),
    },
)
def show_status(request: Request, _: Reader) -> Response:
    """Show the verdict, connections, backlog with the age of its oldest, dead letters by code, rates, processes."""
    settings = settings_of(request)
    with transaction(engine(settings.ledger_url)) as tx:
        return json_answer(standing(tx, settings))


@router.get(
    "/v1/throughput",
    tags=["watching"],
    summary="How it went, minute by minute",
    responses={
        **answered("Oldest first; minutes in which nothing happened are left out", Throughput, example.THROUGHPUT),
        **described(400, 401, 403, 503),
    },
)
def show_throughput(
    request: Request,
    _: Reader,
    since: Annotated[
        str,
        Query(description="RFC 3339, a date, or an age: 15m, 2h; at most 7 days are given", json_schema_extra=INSTANT),
    ] = "1h",
) -> Response:
    """Show what each stage came to in each minute, a second or two behind, and the outages that were not over then."""
    now = datetime.now(UTC)
    try:
        start = max(instant_of("since", since, now) or now - _LONGEST, now - _LONGEST)
    except ValueError as error:
        raise invalid_parameter(error) from None
    with transaction(ledger_of(request)) as tx:
        items = tallies.minutes(tx, since=start, until=now)
        return json_answer(Throughput(items, tallies.outages(tx, since=start)))


def _said(what: str, status: str) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"schema": _ALIVE, "example": {"status": status}}}
    return {200: {"description": what, "content": content}}


@router.get("/healthz", tags=["probes"], summary="Whether the process lives", responses=_said("It does", "ok"))
async def healthz() -> JSONResponse:
    """Answer; depends on nothing, so that a ledger that is away does not get the process killed."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/readyz",
    tags=["probes"],
    summary="Whether it can take events",
    responses={**_said("It can", "ready"), **described("not_ready")},
)
async def readyz(request: Request) -> Response:
    """Return whether the ledger answers, has the schema of this version and takes a write; if not, what is missing."""
    missing = ["the ledger does not answer"]
    with anyio.move_on_after(_HANGS_S):
        missing = await _apart(request, readiness.missing, ledger_of(request))
    if missing:
        return problem(503, "not_ready", "; ".join(missing), missing=missing)
    return JSONResponse({"status": "ready"})


@router.get(
    "/metrics",
    tags=["probes"],
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
    """Return the metrics in the format that the scraper asks for."""
    encode, media_type = exposition.choose_encoder(request.headers.get("accept", ""))
    encoded = await _apart(request, encode, request.app.state.metrics)
    return Response(encoded, headers={"Content-Type": media_type})


async def _apart(request: Request, ask: Callable[[S], T], subject: S) -> T:
    """Ask in a thread that is kept for probes: machines must not wait behind people."""
    limiter = request.app.state.probe_threads
    return await anyio.to_thread.run_sync(ask, subject, limiter=limiter, abandon_on_cancel=True)
