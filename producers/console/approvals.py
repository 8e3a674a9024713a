"""What waits for a second person: who asked for what, and approve or refuse in one click."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from producers.console.rendering import page, redirect
from producers.console.selection import cursor_of
from producers.console.session import Posted, Visitor, operates
from producers.http.request import ProblemError, ledger_of, settings_of
from producers.operations import approval_control
from producers.operations.approval_control import APPROVE, REFUSE, OwnApprovalError, Settled
from producers.operations.job_control import Operator
from producers.operations.reads import id_of

router = APIRouter(include_in_schema=False)

PATH = "/approvals"
ROWS = 50


@router.get(PATH)
def show_approvals(request: Request, visitor: Visitor) -> Response:
    """Show what waits and did, newest first."""
    before = cursor_of(request.query_params)
    found = approval_control.listed(ledger_of(request), limit=ROWS, before=before)
    return page(
        request,
        "approvals/page.html",
        approvals=found.items,
        next=found.next,
        before=before,
        own_name=visitor.name,
        above=settings_of(request).operations.approval_above,
    )


@router.post(f"{PATH}/{{approval_id}}/approve")
def approve(
    request: Request, operator: Annotated[Operator, Depends(operates(APPROVE))], approval_id: str, _: Posted
) -> Response:
    """Let it be done."""
    number = id_of(approval_id)
    try:
        found = None if number is None else approval_control.approve(ledger_of(request), operator, number)
    except OwnApprovalError as error:
        return redirect(request, PATH, f"Approval {approval_id} {error.reason}.", good=False)
    return _answer(request, found)


@router.post(f"{PATH}/{{approval_id}}/refuse")
def refuse(
    request: Request, operator: Annotated[Operator, Depends(operates(REFUSE))], approval_id: str, _: Posted
) -> Response:
    """Have it not done."""
    number = id_of(approval_id)
    return _answer(request, None if number is None else approval_control.refuse(ledger_of(request), operator, number))


def _answer(request: Request, found: Settled | None) -> Response:
    if found is None:
        raise ProblemError(404, "no_such_approval", "nothing of this id waits for approval, or did")
    return redirect(request, PATH, f"Approval {found.approval.id}: {found.answer}.", good=found.changed)
