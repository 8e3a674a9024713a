"""Exports of outcomes, attempts and cases, people masked."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response, StreamingResponse

from producers.api.reads import LISTED, Reader
from producers.http.auth import Right
from producers.http.request import filter_parameters, ledger_of
from producers.operations.export import MEDIA_TYPES, Format, Wanted, What, exported
from shared.ledger.filters import Filter

router = APIRouter(tags=["reading"])

_ROW = (
    '{"instance_id":"4711","event_id":"E-1","member_number":"296-70012345","operation":"update","state":"completed"}\n'
)
_CONTENT: dict[str, Any] = {
    "application/x-ndjson": {"schema": {"type": "string"}, "example": _ROW},
    "text/csv": {
        "schema": {"type": "string"},
        "example": "instance_id,event_id,member_number\r\n4711,E-1,296-70012345\r\n",
    },
}


def wanted(
    who: Reader,
    what: Annotated[What, Path(description="what is exported")],
    where: Annotated[Filter, Depends(filter_parameters)],
    form: Annotated[Format, Query(alias="format", description="a JSON object a line, or CSV")] = Format.NDJSON,
    limit: Annotated[int | None, Query(ge=1, description="at most so many rows; none: all")] = None,
) -> Wanted:
    """Read what is to be exported."""
    return Wanted(what, where, form, limit, sees_holders=who.may(Right.OPERATE))


@router.get(
    "/v1/export/{what}",
    summary="Export outcomes, attempts or cases",
    response_class=Response,
    responses={
        200: {"description": "All that match, newest first; no cell is a formula", "content": _CONTENT},
        **LISTED,
    },
)
def export(request: Request, asked: Annotated[Wanted, Depends(wanted)]) -> Response:
    """Stream what matches the filter, people masked; read in short transactions, so that it holds nothing up.

    `outcomes`: one row for each instance that has ended, or is in the states that are asked for.  `attempts`: one for
    each try of a stage.  `cases`: one for each Data Error as a case, open or closed.  Columns keep their place.
    """
    headers = {"Content-Disposition": f'attachment; filename="{asked.what}.{asked.form}"'}
    pieces = exported(ledger_of(request), asked)
    return StreamingResponse(pieces, media_type=MEDIA_TYPES[asked.form], headers=headers)
