"""The connections: how they stand, and what operators do to them: test, pause, resume."""

from functools import partial
from typing import Annotated

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from producers.api import examples as example
from producers.api.description import answered
from producers.api.reads import Reader, json_answer
from producers.http.operating import SAID, Reason, body_of, described_body, operates
from producers.http.problems import described
from producers.http.request import ConnectionName, ledger_of, settings_of
from producers.operations import connection_control
from producers.operations.connection_control import ConnectionPage, Switched, Tested
from producers.operations.job_control import Operator

router = APIRouter(tags=["connections"])

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
