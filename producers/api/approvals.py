"""What waits for a second person: look, approve, refuse."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response

from producers.api.description import answered
from producers.api.reads import LISTED, Reader, json_answer
from producers.api.watching import ReasonBody
from producers.http.operating import body_of, described_body, operates
from producers.http.request import Paged, ProblemError, described, ledger_of
from producers.operations import approval_control
from producers.operations.approval_control import APPROVE, REFUSE, OwnApprovalError, Settled
from producers.operations.job_control import Operator
from shared.ledger.approvals import ApprovalPage

router = APIRouter(tags=["repairing"])

ApprovalId = Annotated[int, Path(ge=0, le=2**53 - 1, description="its `id`")]
_APPROVAL: dict[str, Any] = {
    "id": "2",
    "state": "waiting",
    "what": "requeue",
    "job_id": "17",
    "guard_id": None,
    "count": 4200,
    "asked_by": "oscar",
    "asked_at": "2026-11-23T10:07:41Z",
    "reason": "CrowdTwist is well again",
    "decided_by": None,
    "decided_at": None,
    "answer": None,
}
_SAID = {"decided_by": "olga", "decided_at": "2026-11-23T10:09:02Z"}
_APPROVED = "approved: requeue 17 begins"
_REFUSED = "refused by olga: nothing of it is done"
_ERRORS = described("invalid_parameter", 401, 403, "no_such_approval", "own_approval", "body_too_large", 503)


@router.get(
    "/v1/approvals",
    summary="What waits for a second person and did, newest first",
    responses={**answered("A page of them", ApprovalPage, {"items": [_APPROVAL], "next": None}), **LISTED},
)
def list_approvals(
    request: Request, _: Reader, page: Paged, *, waiting: Annotated[bool, Query(description="only what does")] = False
) -> Response:
    """List bulk actions above `MEMBERSYNC_OPERATIONS__APPROVAL_ABOVE`."""
    found = approval_control.listed(ledger_of(request), limit=page.limit, before=page.before, waiting=waiting)
    return json_answer(found)


@router.post(
    "/v1/approvals/{approval_id:int}/approve",
    summary="Approve what somebody else asked for",
    responses={
        **answered(
            "Approved; `changed` false: it was over",
            Settled,
            {
                "changed": True,
                "answer": _APPROVED,
                "approval": _APPROVAL | _SAID | {"state": "approved", "answer": _APPROVED},
            },
        ),
        **_ERRORS,
    },
    openapi_extra=described_body(ReasonBody, required=False, approve={"reason": "looked at ten of them"}),
)
def approve(
    request: Request,
    operator: Annotated[Operator, Depends(operates(APPROVE))],
    approval_id: ApprovalId,
    body: Annotated[ReasonBody, Depends(body_of(ReasonBody))],
) -> Response:
    """Let it be done; both names are kept."""
    try:
        return _answer(approval_control.approve(ledger_of(request), operator, approval_id, body.reason))
    except OwnApprovalError as error:
        raise ProblemError(409, "own_approval", error.reason) from None


@router.post(
    "/v1/approvals/{approval_id:int}/refuse",
    summary="Refuse it, or take back what one asked for",
    responses={
        **answered(
            "Refused; `changed` false: it was over",
            Settled,
            {
                "changed": True,
                "answer": _REFUSED,
                "approval": _APPROVAL | _SAID | {"state": "refused", "answer": _REFUSED},
            },
        ),
        **_ERRORS,
    },
    openapi_extra=described_body(ReasonBody, required=False, refuse={"reason": "these are being corrected in Siebel"}),
)
def refuse(
    request: Request,
    operator: Annotated[Operator, Depends(operates(REFUSE))],
    approval_id: ApprovalId,
    body: Annotated[ReasonBody, Depends(body_of(ReasonBody))],
) -> Response:
    """Have it not done: a job is stopped, a hold stays as it is."""
    return _answer(approval_control.refuse(ledger_of(request), operator, approval_id, body.reason))


def _answer(found: Settled | None) -> Response:
    if found is None:
        raise ProblemError(404, "no_such_approval", "nothing of this id waits for approval, or did")
    return json_answer(found)
