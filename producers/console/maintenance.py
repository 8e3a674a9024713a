"""Planned windows of a connection: plan one, end one; they are shown on the page of the connections."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from producers.console.rendering import redirect
from producers.console.session import Form, Posted, operates
from producers.http.request import ProblemError, ledger_of
from producers.operations import maintenance_control
from producers.operations.connection_control import REASON_MAX
from producers.operations.job_control import AskError, Operator
from producers.operations.maintenance_control import ADD, REMOVE, Wanted
from producers.operations.reads import id_of
from shared.ledger.filters import has_control
from shared.pipeline import Stage, spoken

router = APIRouter(include_in_schema=False)

_BACK = "/connections#windows"


@router.post("/maintenance")
def add(request: Request, operator: Annotated[Operator, Depends(operates(ADD))], form: Posted) -> Response:
    """Plan a window."""
    try:
        window = maintenance_control.add(ledger_of(request), operator, _wanted(form))
    except AskError as error:
        return redirect(request, _BACK, f"Nothing is planned: {error.field} {error.reason}.", good=False)
    return redirect(request, _BACK, f"Window {window.id} of {spoken(window.name)} is planned.", good=True)


@router.post("/maintenance/{window_id}/remove")
def remove(
    request: Request, operator: Annotated[Operator, Depends(operates(REMOVE))], window_id: str, _: Posted
) -> Response:
    """End a window, or remove it before it begins."""
    number = id_of(window_id)
    found = None if number is None else maintenance_control.remove(ledger_of(request), operator, number)
    if found is None:
        raise ProblemError(404, "no_such_window", "there is no such window")
    return redirect(request, _BACK, f"Window {window_id}: {found.answer}.", good=found.changed)


def _wanted(form: Form) -> Wanted:
    name, reason = form.get("name", ""), form.get("reason", "")[:REASON_MAX]
    if name not in set(Stage):
        raise AskError("name", "is no connection")
    if has_control(reason):
        raise AskError("reason", "contains a control character")
    return Wanted(Stage(name), form.get("from", ""), form.get("until", ""), reason)
