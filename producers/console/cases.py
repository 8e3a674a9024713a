"""Data Errors as cases: what unblocks most first; one, with both members beside each other, and what can be done."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from producers.console.rendering import page, redirect
from producers.console.selection import cursor_of
from producers.console.session import Posted, Visitor, operates, typed_into, unmasker, values_of
from producers.http.auth import Principal, Right
from producers.http.operating import filed
from producers.http.request import ProblemError, ledger_of, settings_of
from producers.operations import cases
from producers.operations.case_records import CaseAnswer, CaseRecord
from producers.operations.cases import STATES, Sees
from producers.operations.job_control import AskError, Operator
from shared.lifecycle.cases import CaseKind
from shared.pipeline import SYSTEMS

router = APIRouter(include_in_schema=False)

PATH = "/cases"
_ROWS = 50
_NO_CASE = "There is no such case, and no open one of a member of this number."
CaseId = Annotated[str, Path()]


@router.get(PATH)
def list_cases(request: Request, who: Visitor) -> Response:
    """Show the open cases, what unblocks most first, and how many there are of each kind."""
    words = request.query_params
    typed = typed_into(words, ("kind", "member", "state"))
    content: dict[str, Any] = {"typed": typed, "kinds": list(CaseKind), "states": STATES, "counts": {}}
    nothing: dict[str, Any] = {"items": [], "next": None, "before": None}
    try:
        before = cursor_of(words)
        where = cases.filter_of(values_of(words, "kind"), values_of(words, "member"), typed.get("state", "open"))
    except ValueError as mistake:
        return page(request, "cases/page.html", status=400, mistake=mistake, **content | nothing)
    found = cases.listed(ledger_of(request), where, _sees(who), limit=_ROWS, before=before)
    content |= {"items": found.items, "next": found.next, "before": before, "counts": cases.counts(ledger_of(request))}
    return page(request, "cases/page.html", mistake=None, **content)


@router.get(f"{PATH}.csv")
def export_cases(request: Request, who: Visitor) -> Response:
    """Export the cases that the page would list, all of them.

    Raises:
        AskError: the filter cannot be understood.
    """
    words = request.query_params
    try:
        where = cases.filter_of(values_of(words, "kind"), values_of(words, "member"), words.get("state") or "open")
    except ValueError as mistake:
        raise AskError.of(mistake) from None
    headers = {"Content-Disposition": 'attachment; filename="cases.csv"'}
    pieces = cases.exported(ledger_of(request), where, _sees(who))
    return StreamingResponse(pieces, media_type="text/csv; charset=utf-8", headers=headers)


@router.get(PATH + "/{case:path}/unmask")
def show_masked(_: Visitor, case: CaseId) -> Response:
    """Lead whoever opens the address of the unmasked page again to the masked one."""
    return RedirectResponse(_address(case), 303)


@router.get(PATH + "/{case:path}")
def show_case(request: Request, who: Visitor, case: CaseId) -> Response:
    """Show one case, by its id or its member, people masked; it asks nothing of CrowdTwist."""
    return _page(request, case, _sees(who))


@router.post(PATH + "/{case:path}/unmask")
def show_people(request: Request, who: Visitor, _: Posted, case: CaseId) -> Response:
    """Show one case with its people as they are, this once; it is recorded before.

    Raises:
        ProblemError: 403, or 404 there is no such case.
    """
    operator = unmasker(request, who, {"case": filed(case)})
    return _page(request, case, Sees(holder=True, unmasked_for=operator))


@router.post(PATH + "/{case:path}/acknowledge")
def acknowledge_case(
    request: Request, form: Posted, operator: Annotated[Operator, Depends(operates("acknowledge"))], case: CaseId
) -> Response:
    """Note who has taken the case up."""
    answer = cases.acknowledge(ledger_of(request), operator, case, form.get("reason", ""), Sees(holder=True))
    return _back(request, answer)


@router.post(PATH + "/{case:path}/look-up")
def look_up_holder(
    request: Request, _: Posted, operator: Annotated[Operator, Depends(operates("look up"))], case: CaseId
) -> Response:
    """Ask CrowdTwist now who has the address."""
    try:
        answer = cases.look_up(ledger_of(request), operator, case, settings_of(request), Sees(holder=True))
    except AskError as mistake:
        return redirect(request, _address(case), f"Nothing was asked: {mistake.reason}.", good=False)
    return _back(request, answer)


def _back(request: Request, answer: CaseAnswer | None) -> Response:
    if answer is None:
        raise ProblemError(404, "no_such_case", _NO_CASE)
    return redirect(request, _address(answer.case_id), f"Case {answer.case_id}: {answer.answer}.", good=answer.done)


def _page(request: Request, case: str, sees: Sees) -> Response:
    found: CaseRecord | None = cases.find(ledger_of(request), case, sees)
    if found is None:
        raise ProblemError(404, "no_such_case", _NO_CASE)
    content: dict[str, Any] = {
        "one": found,
        "other": cases.other_of(ledger_of(request), case, found),
        "asked": case,
        "address": _address(found.case_id),
        "unmasked": sees.unmasked_for is not None,
        "systems": SYSTEMS,
    }
    return page(request, "cases/one.html", **content)


def _sees(who: Principal) -> Sees:
    return Sees(holder=who.may(Right.OPERATE))


def _address(case: str) -> str:
    return f"{PATH}/{quote(case, safe='')}"
