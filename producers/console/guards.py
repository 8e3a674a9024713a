"""What guards hold instead of letting it go on: each hold with its cause, and release or discard in one click."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse

from producers.console.live import stream_parts
from producers.console.rendering import page, redirect
from producers.console.selection import cursor_of
from producers.console.session import Form, Posted, Visitor, operates
from producers.http.request import ProblemError, ledger_of, settings_of
from producers.operations import guard_control, hold_advice
from producers.operations.connection_control import REASON_MAX
from producers.operations.guard_control import DISCARD, RELEASE, Decided
from producers.operations.job_control import AskError, Operator
from producers.operations.reads import id_of
from shared.ledger.filters import has_control

router = APIRouter(include_in_schema=False)

PATH = "/guards"
ROWS = 50
_PARTS = {"holds": "guards/rows.html"}


@router.get(PATH)
def show_guards(request: Request, _: Visitor) -> Response:
    """Show what guards hold and held, newest first."""
    return page(request, "guards/page.html", **_content(request, cursor_of(request.query_params)))


@router.get(f"/live{PATH}")
async def follow_guards(request: Request, _: Visitor) -> StreamingResponse:
    """Stream the newest."""
    return stream_parts(request, _PARTS, lambda: _content(request, None))


@router.post(f"{PATH}/{{hold_id}}/release")
def release(
    request: Request, operator: Annotated[Operator, Depends(operates(RELEASE))], hold_id: str, form: Posted
) -> Response:
    """Send again what it holds."""
    return _decided(request, operator, hold_id, form, guard_control.release)


@router.post(f"{PATH}/{{hold_id}}/discard")
def discard(
    request: Request, operator: Annotated[Operator, Depends(operates(DISCARD))], hold_id: str, form: Posted
) -> Response:
    """Condemn what it holds."""
    return _decided(request, operator, hold_id, form, guard_control.discard)


def _decided(
    request: Request,
    operator: Operator,
    hold_id: str,
    form: Form,
    decide: Callable[..., Decided | None],
) -> Response:
    reason, number = form.get("reason", "")[:REASON_MAX], id_of(hold_id)
    if has_control(reason):
        raise AskError("reason", "contains a control character")
    try:
        above = settings_of(request).operations.approval_above
        found = None if number is None else decide(ledger_of(request), operator, number, reason, approval_above=above)
    except AskError:
        return redirect(request, PATH, "Nothing is done: say why.", good=False)
    if found is None:
        raise ProblemError(404, "no_such_guard", "there is no such hold of a guard")
    return redirect(
        request,
        f"{PATH}#guard-{found.hold.id}",
        f"Guard {found.hold.id}: {found.answer}.",
        good=found.changed or found.approval_id is not None,
    )


def _content(request: Request, before: int | None) -> dict[str, Any]:
    found = guard_control.holds(ledger_of(request), limit=ROWS, before=before)
    return {
        "holds": found.items,
        "next": found.next,
        "before": before,
        "advice": hold_advice,
        "guard": settings_of(request).guard,
    }
