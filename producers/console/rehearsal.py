"""A rehearsal: what would be sent now beside what was sent when it failed.  Nothing is sent."""

from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from producers.console.pages import local, page, redirect
from producers.console.plan import LETTERS
from producers.console.selection_form import Asked
from producers.console.selection_view import pieces
from producers.console.visitors import Posted, operates
from producers.http.dependencies import settings_of
from producers.operations import job_control
from producers.operations.job_control import Operator
from producers.operations.rehearsal import REHEARSED_MAX, RehearsalError
from shared.ledger.engine import engine

router = APIRouter()

SHOWN = 100
"""Instances that the page shows field by field."""


@router.post("/dead-letters/rehearse")
def rehearse(request: Request, operator: Annotated[Operator, Depends(operates("rehearse"))], form: Posted) -> Response:
    """Map the selection with today's settings and show what differs."""
    asked = Asked.of(form)
    back = local(form.get("back", ""), asked.narrowed(ids=None, message=None).address(LETTERS))
    if not asked.fields:
        return redirect(request, back, "Tick at least one instance.", good=False)
    settings = settings_of(request)
    selection = asked.selection()
    try:
        found = job_control.rehearse(engine(settings.ledger_url), operator, selection, settings)
    except RehearsalError as error:
        return redirect(request, back, f"It cannot be rehearsed: {error}.", good=False)
    different = [one for one in found if one.outcome != "same"]
    return page(
        request,
        "letters/rehearsal.html",
        asked=asked,
        pieces=pieces(selection.asked, most=SHOWN // 10),
        total=len(found),
        most=REHEARSED_MAX,
        counts=Counter(one.outcome for one in found),
        shown=different[:SHOWN],
        hidden=len(different[SHOWN:]),
        back=back,
    )
