"""Incidents: what went wrong for a while; one with its windows, cost and time line, and what people do to it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse

from producers.console.live import stream_parts
from producers.console.picking import Picker
from producers.console.rendering import page, redirect
from producers.console.selection import cursor_of
from producers.console.session import Form, Posted, Visitor, operates, typed_into
from producers.http.request import ProblemError, ledger_of
from producers.operations import incident_control
from producers.operations.incident_control import ACKNOWLEDGE, MERGE, NOTE, SPLIT, IncidentAnswer, Note
from producers.operations.incident_export import Format, exported
from producers.operations.job_control import AskError, Operator
from producers.operations.reads import id_of, instant_of
from shared.ledger.incident_reads import IncidentDetail

router = APIRouter(include_in_schema=False)

PATH = "/incidents"
ROWS = 50
_LIST = {"incidents": "incidents/rows.html"}
_ONE = {"figures": "incidents/figures.html", "line": "incidents/line.html"}


@router.get(PATH)
def show_incidents(request: Request, who: Visitor) -> Response:
    """Show what went wrong for a while, newest first."""
    picker = Picker.of(request, who, PATH)
    try:
        content = _listed(request, cursor_of(request.query_params))
    except AskError as mistake:
        nothing: dict[str, Any] = {"incidents": [], "next": None, "before": None, "typed": {}}
        return page(request, "incidents/page.html", status=400, picker=picker, mistake=mistake, **nothing)
    return page(request, "incidents/page.html", picker=picker, mistake=None, **content)


@router.get(f"/live{PATH}")
async def follow_incidents(request: Request, _: Visitor) -> StreamingResponse:
    """Stream the newest."""
    return stream_parts(request, _LIST, lambda: _listed(request, None))


@router.get(f"{PATH}/{{incident_id}}")
def show_incident(request: Request, _: Visitor, incident_id: str) -> Response:
    """Show one."""
    return page(request, "incidents/one.html", one=_found(request, incident_id))


@router.get(f"/live{PATH}/{{incident_id}}")
async def follow_incident(request: Request, _: Visitor, incident_id: str) -> StreamingResponse:
    """Stream its figures and its time line; what one types into is no part of them."""
    return stream_parts(request, _ONE, lambda: {"one": _found(request, incident_id)})


@router.get(f"{PATH}/{{incident_id}}/export/{{form}}")
def export(request: Request, _: Visitor, incident_id: str, form: Format) -> Response:
    """Give one as a document of its own."""
    found = _found(request, incident_id)
    kind = "application/json" if form is Format.JSON else "text/markdown; charset=utf-8"
    headers = {"Content-Disposition": f'attachment; filename="incident-{found.id}.{form}"'}
    return Response(exported(found, form), media_type=kind, headers=headers)


@router.post(f"{PATH}/{{incident_id}}/acknowledge")
def acknowledge(
    request: Request, operator: Annotated[Operator, Depends(operates(ACKNOWLEDGE))], incident_id: str, _: Posted
) -> Response:
    """Take it up."""
    return _done(
        request, incident_id, lambda number: incident_control.acknowledge(ledger_of(request), operator, number)
    )


@router.post(f"{PATH}/{{incident_id}}/notes")
def note(
    request: Request, operator: Annotated[Operator, Depends(operates(NOTE))], incident_id: str, form: Posted
) -> Response:
    """Note something, or change what was noted, or of when."""

    def act(number: int) -> IncidentAnswer | None:
        changed = form.get("note", "")
        given = Note(form.get("reason") or None, _at(form), id_of(changed) if changed else None)
        return incident_control.note(ledger_of(request), operator, number, given)

    return _done(request, incident_id, act)


@router.post(f"{PATH}/{{incident_id}}/merge")
def merge(
    request: Request, operator: Annotated[Operator, Depends(operates(MERGE))], incident_id: str, form: Posted
) -> Response:
    """Make it a part of another."""

    def act(number: int) -> IncidentAnswer | None:
        into = id_of(form.get("into", "").strip())
        if into is None:
            raise AskError("into", "is no incident")
        return incident_control.merge(ledger_of(request), operator, number, into, form.get("reason", ""))

    return _done(request, incident_id, act)


@router.post(f"{PATH}/{{incident_id}}/split")
def split(
    request: Request, operator: Annotated[Operator, Depends(operates(SPLIT))], incident_id: str, form: Posted
) -> Response:
    """Make what began then or later one of its own."""

    def act(number: int) -> IncidentAnswer | None:
        at = _at(form)
        if at is None:
            raise AskError("at", "say from when on")
        return incident_control.split(ledger_of(request), operator, number, at, form.get("reason", ""))

    return _done(request, incident_id, act)


def _at(form: Form) -> datetime | None:
    try:
        return instant_of("at", form.get("at", ""), datetime.now(UTC))
    except ValueError as error:
        raise AskError.of(error) from None


def _done(request: Request, incident_id: str, act: Callable[[int], IncidentAnswer | None]) -> Response:
    number = id_of(incident_id)
    try:
        came = None if number is None else act(number)
    except AskError as error:
        return redirect(request, f"{PATH}/{incident_id}", f"Nothing is done: {error}.", good=False)
    if came is None:
        raise _unknown()
    return redirect(request, f"{PATH}/{came.incident.id}", f"Incident {number}: {came.answer}.", good=came.changed)


def _found(request: Request, incident_id: str) -> IncidentDetail:
    number = id_of(incident_id)
    found = None if number is None else incident_control.incident(ledger_of(request), number)
    if found is None:
        raise _unknown()
    return found


def _unknown() -> ProblemError:
    return ProblemError(404, "no_such_incident", "there is no such incident")


def _listed(request: Request, before: int | None) -> dict[str, Any]:
    typed = typed_into(request.query_params, ("since", "until"))
    try:
        within = incident_control.within(typed.get("since", ""), typed.get("until", ""), datetime.now(UTC))
    except ValueError as error:
        raise AskError.of(error) from None
    found = incident_control.incidents(ledger_of(request), limit=ROWS, before=before, within=within)
    return {"incidents": found.items, "next": found.next, "before": before, "typed": typed}
