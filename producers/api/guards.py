"""What guards hold instead of letting it go on: look, release, discard."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from producers.api.description import answered
from producers.api.reads import LISTED, Reader, json_answer
from producers.api.watching import PauseBody
from producers.http.operating import body_of, described_body, operates
from producers.http.request import Paged, ProblemError, described, ledger_of, settings_of
from producers.operations import guard_control
from producers.operations.guard_control import DISCARD, RELEASE, Decided
from producers.operations.job_control import Operator
from shared.ledger.guards import Hold, HoldPage

router = APIRouter(tags=["repairing"])

HoldId = Annotated[int, Path(ge=0, le=2**53 - 1, description="its `id`")]
_ERRORS = described("invalid_parameter", 401, 403, "no_such_guard", "body_too_large", 503)


_HOLD: dict[str, Any] = {
    "id": "3",
    "kind": "flood",
    "state": "holding",
    "stage": "crowdtwist",
    "message": "Country Code is invalid",
    "alike": 61,
    "went_out": 140,
    "told": 48,
    "held": 430,
    "opened_at": "2026-11-23T08:51:00Z",
    "tries": 1,
    "try_at": "2026-11-23T09:21:00Z",
    "job_id": "16",
    "decided_at": "2026-11-23T09:01:00Z",
    "decided_by": "membersync",
    "reason": "tried by itself: is the cause mended?",
    "answer": "job 16: 1 of 1 failed again",
    "ended_at": None,
}
_SAID = {"decided_at": "2026-11-23T10:07:41Z", "decided_by": "oscar", "tries": 1, "try_at": None}
_RELEASED = {
    "changed": True,
    "answer": "released: what it has is sent again, first one, then ten, then the rest",
    "hold": _HOLD | _SAID | {"state": "releasing", "job_id": "17", "reason": "the lookup row is mended"},
    "approval_id": None,
}
_CONDEMNED = {
    "changed": True,
    "answer": "condemned: its members are Data Errors, and Siebel is told",
    "hold": _HOLD | _SAID | {"state": "discarding", "reason": "these members are wrong in Siebel"},
    "approval_id": None,
}


@router.get(
    "/v1/guards",
    summary="What guards hold and held, newest first",
    responses={**answered("A page of holds", HoldPage, {"items": [_HOLD], "next": None}), **LISTED},
)
def list_guards(request: Request, _: Reader, page: Paged) -> Response:
    """List the holds: a flood of one Data Error, whose members are held instead of told; a mass change, not sent."""
    return json_answer(guard_control.holds(ledger_of(request), limit=page.limit, before=page.before))


@router.get(
    "/v1/guards/{hold_id:int}",
    summary="One hold of a guard",
    responses={
        **answered("The hold", Hold, _HOLD),
        **described("invalid_parameter", 401, 403, "no_such_guard", 503),
    },
)
def show_guard(request: Request, _: Reader, hold_id: HoldId) -> Response:
    """Show what it holds, what it was opened on, and what was decided."""
    found = guard_control.hold(ledger_of(request), hold_id)
    if found is None:
        raise _unknown()
    return json_answer(found)


@router.post(
    "/v1/guards/{hold_id:int}/release",
    summary="Send again what a guard holds",
    responses={
        **answered("Released; `changed` false: it was over, or waits for approval", Decided, _RELEASED),
        **_ERRORS,
    },
    openapi_extra=described_body(PauseBody, release={"reason": "the lookup row is mended"}),
)
def release_guard(
    request: Request,
    operator: Annotated[Operator, Depends(operates(RELEASE))],
    hold_id: HoldId,
    body: Annotated[PauseBody, Depends(body_of(PauseBody))],
) -> Response:
    """Send them from the start, first 1, then 10, then the rest; who meets a flood's cause again is held again."""
    above = settings_of(request).operations.approval_above
    return _answer(guard_control.release(ledger_of(request), operator, hold_id, body.reason, approval_above=above))


@router.post(
    "/v1/guards/{hold_id:int}/discard",
    summary="Condemn what a guard holds",
    responses={
        **answered("Condemned; `changed` false: it was over, or waits for approval", Decided, _CONDEMNED),
        **_ERRORS,
    },
    openapi_extra=described_body(PauseBody, discard={"reason": "these members are wrong in Siebel"}),
)
def discard_guard(
    request: Request,
    operator: Annotated[Operator, Depends(operates(DISCARD))],
    hold_id: HoldId,
    body: Annotated[PauseBody, Depends(body_of(PauseBody))],
) -> Response:
    """Let a flood be Data Errors, which Siebel is told, for a day; drop a mass change, and nobody is told."""
    above = settings_of(request).operations.approval_above
    return _answer(guard_control.discard(ledger_of(request), operator, hold_id, body.reason, approval_above=above))


def _answer(found: Decided | None) -> Response:
    if found is None:
        raise _unknown()
    return json_answer(found)


def _unknown() -> ProblemError:
    return ProblemError(404, "no_such_guard", "there is no such hold of a guard")
