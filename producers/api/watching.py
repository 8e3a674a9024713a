"""How it goes and went, and the connections, for people; alive, ready and the numbers, for machines.

`/healthz` and `/readyz` say nothing about anybody and are open; `/metrics` wants a token that may read, as soon as
there are tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, TypeVar

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import exposition
from pydantic import BaseModel, ConfigDict, Field

from producers.api import examples as example
from producers.api.description import answered
from producers.api.reads import Reader, json_answer
from producers.http.auth import Right, needs
from producers.http.operating import SAID, Reason, body_of, described_body, operates
from producers.http.request import (
    INSTANT,
    ConnectionName,
    described,
    invalid_parameter,
    ledger_of,
    problem,
    settings_of,
)
from producers.operations import connection_control
from producers.operations.broker_look import BrokerLook
from producers.operations.connection_control import ConnectionPage, Switched, Tested
from producers.operations.job_control import Operator
from producers.operations.reads import INSTANT_SAID, instant_of
from producers.operations.verdict import Standing, standing
from shared.ledger import checkup, latencies, tallies
from shared.ledger.engine import engine, transaction
from shared.ledger.latencies import IncidentThen, Latency, MarkThen
from shared.ledger.tallies import MinuteCount, Outage

router = APIRouter()

_TESTS = anyio.CapacityLimiter(2)
"""A test takes as long as its connection's time-out: it must not take the threads of those who read."""


class ReasonBody(BaseModel):
    """Why, if somebody says so."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = ""


class PauseBody(ReasonBody):
    """Why."""

    reason: Annotated[Reason, Field(description="required", json_schema_extra={"allOf": [SAID]})]


_ERRORS = described("invalid_parameter", 401, 403, "no_such_connection", "body_too_large", 503)


@router.get(
    "/v1/connections",
    tags=["connections"],
    summary="How the connections stand",
    responses={
        **answered("In the order of the pipeline", ConnectionPage, {"items": [example.CONNECTION], "next": None}),
        **described(401, 403, 503),
    },
)
def list_connections(request: Request, _: Reader) -> Response:
    """Show switch, breaker, budget and who is held, of each connection."""
    return json_answer(ConnectionPage(connection_control.states(ledger_of(request), settings_of(request))))


@router.post(
    "/v1/connections/{name}/pause",
    tags=["connections"],
    summary="Pause a connection",
    responses={**answered("Paused; `changed` false: it was so already", Switched, example.PAUSED), **_ERRORS},
    openapi_extra=described_body(PauseBody, pause={"reason": "CrowdTwist's maintenance window"}),
)
def pause_connection(
    request: Request,
    operator: Annotated[Operator, Depends(operates("pause"))],
    stage: ConnectionName,
    body: Annotated[PauseBody, Depends(body_of(PauseBody))],
) -> Response:
    """Hold what is due there; nothing is lost, no attempt is spent, Siebel is told nothing."""
    return json_answer(connection_control.pause(ledger_of(request), operator, stage, body.reason, settings_of(request)))


@router.post(
    "/v1/connections/{name}/resume",
    tags=["connections"],
    summary="Resume a connection",
    responses={**answered("Resumed; `changed` false: it was not paused", Switched, example.RESUMED), **_ERRORS},
    openapi_extra=described_body(ReasonBody, required=False, resume={"reason": "the window is over"}),
)
def resume_connection(
    request: Request,
    operator: Annotated[Operator, Depends(operates("resume"))],
    stage: ConnectionName,
    body: Annotated[ReasonBody, Depends(body_of(ReasonBody))],
) -> Response:
    """Let what was held go out, newest state of each member only, live lane first, little by little."""
    return json_answer(
        connection_control.resume(ledger_of(request), operator, stage, body.reason, settings_of(request))
    )


@router.post(
    "/v1/connections/{name}/test",
    tags=["connections"],
    summary="Test a connection",
    responses={**answered("What the test came to; `ok` false: it failed", Tested, example.TESTED), **_ERRORS},
    openapi_extra=described_body(ReasonBody, required=False, test={"reason": "they say that they are back"}),
)
async def test_connection(
    request: Request,
    operator: Annotated[Operator, Depends(operates("test"))],
    stage: ConnectionName,
    body: Annotated[ReasonBody, Depends(body_of(ReasonBody))],
) -> Response:
    """Do what OIC's connection test does; a connection that was down and passes it counts as up at once."""
    test = partial(connection_control.test, ledger_of(request), operator, stage, body.reason, settings_of(request))
    return json_answer(await anyio.to_thread.run_sync(test, limiter=_TESTS))


_LONGEST = timedelta(days=7)
_LATENCIES_LONGEST, _FINE_LONGEST = timedelta(days=90), timedelta(hours=6)
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
        found = standing(tx, settings)
    look: BrokerLook = request.app.state.broker_look
    return json_answer(look.beside(found))


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


@dataclass(frozen=True, slots=True)
class Latencies:
    """What attempts took, and the incidents and new versions of the same time.  Units: *step_s* seconds."""

    step_s: int
    items: list[Latency]
    incidents: list[IncidentThen]
    marks: list[MarkThen]
    next: str | None = None


@router.get(
    "/v1/latencies",
    tags=["watching"],
    summary="What attempts take, by stage over time",
    responses={
        **answered("Oldest first; steps without an attempt are left out", Latencies, example.LATENCIES),
        **described("invalid_parameter", 401, 403, 503),
    },
)
def show_latencies(
    request: Request,
    _: Reader,
    since: Annotated[str, Query(description=f"{INSTANT_SAID}; at most 90 days ago", json_schema_extra=INSTANT)] = "1h",
    until: Annotated[str, Query(description=f"{INSTANT_SAID}; none: now", json_schema_extra=INSTANT)] = "",
) -> Response:
    """Show p50, p95 and p99 of each stage, by minute for up to 6 h of the last week, else by hour."""
    now = datetime.now(UTC)
    try:
        start, end = instant_of("since", since, now), instant_of("until", until, now)
    except ValueError as error:
        raise invalid_parameter(error) from None
    end = min(end or now, now)
    start = min(max(start or now, now - _LATENCIES_LONGEST), end)
    is_fine = end - start <= _FINE_LONGEST and start > now - _LONGEST
    step = timedelta(minutes=1) if is_fine else timedelta(hours=1)
    start = start.replace(second=0, microsecond=0) if is_fine else start.replace(minute=0, second=0, microsecond=0)
    with transaction(ledger_of(request)) as tx:
        found = latencies.latencies(tx, since=start, until=end, step=step)
        then = latencies.incidents_then(tx, since=start, until=end)
        marks = latencies.marks_then(tx, since=start, until=end)
    return json_answer(Latencies(int(step.total_seconds()), found.steps, then, marks))


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
    missing = await missing_of(request.app)
    if missing:
        return problem(503, "not_ready", "; ".join(missing), missing=missing)
    return JSONResponse({"status": "ready"})


async def missing_of(app: FastAPI) -> list[str]:
    """Return what keeps the api from taking events, in words; nothing: it can."""
    with anyio.move_on_after(_HANGS_S):
        return await _apart(app, checkup.missing, engine(app.state.settings.ledger_url))
    return ["the ledger does not answer"]


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
    encoded = await _apart(request.app, encode, request.app.state.metrics)
    return Response(encoded, headers={"Content-Type": media_type})


async def _apart(app: FastAPI, ask: Callable[[S], T], subject: S) -> T:
    """Ask in a thread that is kept for probes: machines must not wait behind people."""
    limiter = app.state.probe_threads
    return await anyio.to_thread.run_sync(ask, subject, limiter=limiter, abandon_on_cancel=True)
