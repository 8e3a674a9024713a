"""Notes on causes: add one, remove one; they are shown wherever their cause is."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from producers.console.rendering import local, redirect
from producers.console.session import Posted, operates
from producers.http.request import ledger_of
from producers.operations import cause_note_control
from producers.operations.cause_note_control import ADD, REMOVE, WantedNote
from producers.operations.job_control import AskError, Operator
from producers.operations.reads import id_of

router = APIRouter(include_in_schema=False)

_BACK = "/dead-letters"


@router.post("/cause-notes")
def add(request: Request, operator: Annotated[Operator, Depends(operates(ADD))], form: Posted) -> Response:
    """Note on a cause."""
    back = local(form.get("back", ""), _BACK)
    wanted = WantedNote(*(form.get(name, "") for name in ("stage", "code", "message", "reason")))
    try:
        cause_note_control.add(ledger_of(request), operator, wanted)
    except AskError as error:
        return redirect(request, back, f"Nothing is noted: {error.field} {error.reason}.", good=False)
    return redirect(request, back, "It is noted, wherever this cause is shown.")


@router.post("/cause-notes/{note_id}/remove")
def remove(
    request: Request, operator: Annotated[Operator, Depends(operates(REMOVE))], note_id: str, form: Posted
) -> Response:
    """Remove a note."""
    number = id_of(note_id)
    found = None if number is None else cause_note_control.remove(ledger_of(request), operator, number)
    back = local(form.get("back", ""), _BACK)
    if found is None:
        return redirect(request, back, "There is no such note any more.", good=False)
    return redirect(request, back, f"Removed: {found.words}.")
