"""Data Errors as cases: listed, exported, shown with both members; acknowledged, and looked up at CrowdTwist."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, NamedTuple

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from producers.api import case_examples as example
from producers.api.description import answered
from producers.api.reads import LISTED, Reader, json_answer, unmasked_reader
from producers.http.auth import Principal, Right
from producers.http.operating import Reason, body_of, described_body, operates
from producers.http.request import (
    WORD,
    Paged,
    ProblemError,
    described,
    invalid_parameter,
    ledger_of,
    settings_of,
)
from producers.operations import cases
from producers.operations.case_records import CaseAnswer, CasePage, CaseRecord
from producers.operations.cases import STATES, Sees
from producers.operations.job_control import AskError, Operator
from shared.ledger.case_facts import CaseFilter
from shared.lifecycle.cases import CaseKind

router = APIRouter()

_LOOK_UPS = anyio.CapacityLimiter(2)
"""A look-up takes as long as the connection's time-out: it must not take the threads of those who read."""
_CSV = "text/csv"
_CSV_CONTENT: dict[str, Any] = {_CSV: {"schema": {"type": "string"}, "example": example.CASES_CSV}}
_ERRORS = described("invalid_parameter", 401, 403, "no_such_case", 503)
_KINDS: dict[str, Any] = {"items": {"type": "string", "enum": list(CaseKind)}}
_Words = Sequence[Annotated[str, WORD]]
CaseId = Annotated[str, Path(description="id of a case, or number of a member that has an open one", max_length=255)]


class NoteBody(BaseModel):
    """A word with it, if there is one."""

    model_config = ConfigDict(extra="forbid")

    note: Annotated[Reason, Field(description="shown with the case")] = ""


class _Asked(NamedTuple):
    where: CaseFilter
    sees: Sees


def case_parameters(
    who: Reader,
    kind: Annotated[_Words, Query(description="of this kind", json_schema_extra=_KINDS)] = (),
    member: Annotated[_Words, Query(description="member number")] = (),
    state: Annotated[str, Query(description="open, closed or all", json_schema_extra={"enum": list(STATES)})] = "open",
) -> _Asked:
    """Read the filter from the query.

    Raises:
        ProblemError: 400.
    """
    try:
        return _Asked(cases.filter_of(tuple(kind), tuple(member), state), sees_of(who))
    except ValueError as error:
        raise invalid_parameter(error) from None


def sees_of(who: Principal) -> Sees:
    """Return what *who* may see of cases."""
    return Sees(holder=who.may(Right.OPERATE), unmasked_for=unmasked_reader(who))


@router.get(
    "/v1/cases",
    tags=["cases"],
    summary="List cases, what unblocks most first",
    responses={
        200: {
            "description": "A page of cases; with `Accept: text/csv` all that match, as CSV",
            "model": CasePage,
            "content": {"application/json": {"example": example.CASES}, **_CSV_CONTENT},
        },
        **LISTED,
    },
)
def list_cases(request: Request, asked: Annotated[_Asked, Depends(case_parameters)], page: Paged) -> Response:
    """List the members whose newest event is a Data Error: of which kind, who is in the way, who must do what."""
    if _CSV in request.headers.get("accept", ""):
        return _export(request, asked)
    ledger = ledger_of(request)
    return json_answer(cases.listed(ledger, asked.where, asked.sees, limit=page.limit, before=page.before))


@router.get(
    "/v1/cases.csv",
    tags=["cases"],
    summary="Export cases as CSV",
    response_class=Response,
    responses={200: {"description": "All that match; no cell is a formula", "content": _CSV_CONTENT}, **LISTED},
)
def export_cases(request: Request, asked: Annotated[_Asked, Depends(case_parameters)]) -> Response:
    """Export the cases that match, what unblocks most first, for those who correct members in Siebel."""
    return _export(request, asked)


def _export(request: Request, asked: _Asked) -> Response:
    pieces = cases.exported(ledger_of(request), asked.where, asked.sees)
    headers = {"Content-Disposition": 'attachment; filename="cases.csv"'}
    return StreamingResponse(pieces, media_type=f"{_CSV}; charset=utf-8", headers=headers)


@router.get(
    "/v1/cases/{case_id:number}",
    tags=["cases"],
    summary="Show one case",
    responses={**answered("The case, both members beside each other", CaseRecord, example.CASE), **_ERRORS},
)
def show_case(request: Request, who: Reader, case_id: CaseId) -> Response:
    """Show one case, and its member beside whoever has the address that it wants."""
    return json_answer(_found(cases.find(ledger_of(request), case_id, sees_of(who))))


@router.post(
    "/v1/cases/{case_id:number}/acknowledge",
    tags=["cases"],
    summary="Take a case up",
    responses={**answered("`done` false: it is closed", CaseAnswer, example.CASE_ANSWER), **_ERRORS},
    openapi_extra=described_body(NoteBody, required=False, note={"note": "ticket 77 with Siebel's data team"}),
)
def acknowledge_case(
    request: Request,
    operator: Annotated[Operator, Depends(operates("acknowledge"))],  # first: whoever may not is recorded
    who: Reader,
    case_id: CaseId,
    body: Annotated[NoteBody, Depends(body_of(NoteBody))],
) -> Response:
    """Note who has taken the case up."""
    return json_answer(_found(cases.acknowledge(ledger_of(request), operator, case_id, body.note, sees_of(who))))


@router.post(
    "/v1/cases/{case_id:number}/look-up",
    tags=["cases"],
    summary="Ask CrowdTwist who has the address",
    responses={
        **answered("`done` false: it was not asked, or did not answer", CaseAnswer, example.CASE_ANSWER),
        **_ERRORS,
    },
)
async def look_up_holder(
    request: Request, operator: Annotated[Operator, Depends(operates("look up"))], who: Reader, case_id: CaseId
) -> Response:
    """Ask now, at most two calls out of CrowdTwist's budget; who finds the address free is sent again."""
    ask = partial(cases.look_up, ledger_of(request), operator, case_id, settings_of(request), sees_of(who))
    try:
        return json_answer(_found(await anyio.to_thread.run_sync(ask, limiter=_LOOK_UPS)))
    except AskError as mistake:
        raise invalid_parameter(mistake) from None


def _found(found: CaseRecord | CaseAnswer | None) -> CaseRecord | CaseAnswer:
    if found is None:
        raise ProblemError(404, "no_such_case", "there is no such case, and no open one of a member of this number")
    return found
