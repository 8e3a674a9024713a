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

from producers.api.description import answered
from producers.api.reads import Reader, json_answer
from producers.http.auth import Right, needs
from producers.http.dependencies import ledger_of, settings_of
from producers.http.parameters import INSTANT
from producers.http.problems import ProblemError, described, problem
from producers.operations.filtering import instant_of
from producers.operations.standing import Standing, standing
from shared.ledger import readiness, tallies
from shared.ledger.engine import engine, transaction
from shared.ledger.tallies import MinuteCount, Outage

router = APIRouter()

_LONGEST = timedelta(days=7)
_WHY = "CrowdTwist: no connection"
_DOWN = "CrowdTwist away since 08:51 UTC; 412 wait safely"
_NOTHING_TODO = "nothing to do; about 20 s to drain after it is back"
_STATUS: dict[str, Any] = {
    "at": "2026-11-23T08:52:00Z",
    "connections": [
        {
            "name": "crowdtwist",
            "state": "open",
            "since": "2026-11-23T08:51:00Z",
            "breaker": "open",
            "failures": 5,
            "last_error": _WHY,
            "opened_at": "2026-11-23T08:51:04Z",
            "probes": 3,
            "probe_at": "2026-11-23T08:52:06Z",
            "next_probe_in_s": 6.5,
            "healed_at": None,
            "paused_by": None,
            "paused_reason": None,
            "paused_at": None,
            "held": 412,
            "suspects": 0,
            "suspects_given_up": 0,
            "wait_until": None,
            "budget": None,
        }
    ],
    "backlog": [
        {
            "lane": "live",
            "stage": "crowdtwist",
            "state": "held",
            "count": 412,
            "oldest_s": 61.3,
            "next_due_at": "2026-11-23T08:50:59Z",
        }
    ],
    "dead_letters": [{"stage": "siebel", "code": "unauthorised", "count": 2, "first_at": "2026-11-23T07:10:12Z"}],
    "rates": [
        {"period_s": 60, "accepted": 412, "finished": {}},
        {"period_s": 3600, "accepted": 24_310, "finished": {"completed": 23_704, "rejected": 194}},
    ],
    "processes": [
        {
            "kind": "worker",
            "name": "live.4711@host/1",
            "lanes": ["live"],
            "started_at": "2026-11-23T06:00:00Z",
            "heard_at": "2026-11-23T08:51:59Z",
            "silent_s": 1.2,
        }
    ],
    "refused_last_day": 3,
    "unsent_mail": {"count": 0, "since": None},
    "verdict": {
        "level": "waits",
        "sentence": f"{_DOWN}; {_NOTHING_TODO}",
        "short": "CrowdTwist away",
        "since": "2026-11-23T08:51:00Z",
        "waiting": 412,
        "needs_person": False,
        "troubles": [
            {
                "level": "waits",
                "what": _DOWN,
                "since": "2026-11-23T08:51:00Z",
                "waiting": 412,
                "todo": _NOTHING_TODO,
                "short": "CrowdTwist away",
            }
        ],
    },
}
_THROUGHPUT: dict[str, Any] = {
    "items": [{"at": "2026-11-23T08:51:00Z", "stage": "siebel", "outcome": "completed", "count": 1187}],
    "outages": [
        {
            "name": "crowdtwist",
            "what": "down",
            "from_at": "2026-11-23T08:51:04Z",
            "to_at": None,
            "why": _WHY,
            "who": None,
        }
    ],
    "next": None,
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
            _STATUS,
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
        **answered("Oldest first; minutes in which nothing happened are left out", Throughput, _THROUGHPUT),
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
    start = _start(since, now)
    with transaction(ledger_of(request)) as tx:
        items = tallies.minutes(tx, since=start, until=now)
        return json_answer(Throughput(items, tallies.outages(tx, since=start)))


def _start(since: str, now: datetime) -> datetime:
    try:
        start = instant_of("since", since, now)
    except ValueError as error:
        raise ProblemError(400, "invalid_parameter", str(error), field="since") from None
    return now - _LONGEST if start is None else max(start, now - _LONGEST)


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
    """Say whether the ledger answers, has the schema of this version and takes a write; if not, what is missing."""
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
    """Give the metrics in the format that the scraper asks for."""
    encode, media_type = exposition.choose_encoder(request.headers.get("accept", ""))
    encoded = await _apart(request, encode, request.app.state.metrics)
    return Response(encoded, headers={"Content-Type": media_type})


async def _apart(request: Request, ask: Callable[[S], T], subject: S) -> T:
    """Ask in a thread that is kept for probes: machines must not wait behind people."""
    limiter = request.app.state.probe_threads
    return await anyio.to_thread.run_sync(ask, subject, limiter=limiter, abandon_on_cancel=True)
