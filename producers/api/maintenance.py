"""Planned windows of a connection: look, add, remove."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from producers.api.description import answered
from producers.api.reads import LISTED, Reader, json_answer
from producers.http.operating import SAID, Reason, body_of, described_body, operates
from producers.http.request import INSTANT, Paged, ProblemError, described, ledger_of
from producers.operations import maintenance_control
from producers.operations.job_control import Operator
from producers.operations.maintenance_control import ADD, REMOVE, WHEN_SAID, Removed, Wanted, WindowError
from shared.ledger.maintenance import WindowPage
from shared.ledger.records import MaintenanceWindow
from shared.pipeline import Stage

router = APIRouter(tags=["connections"])

WindowId = Annotated[int, Path(ge=0, le=2**53 - 1, description="its `id`")]
_WHEN: dict[str, JsonValue] = {
    "type": "string",
    "anyOf": [*INSTANT["anyOf"][:2], {"pattern": r"^\+[0-9]{1,5}[smhdw]$"}],
    "examples": ["2026-11-23T08:51:00Z", "2026-11-23", "+2h"],
}
_WINDOW: dict[str, Any] = {
    "id": "4",
    "name": "crowdtwist",
    "state": "planned",
    "from_at": "2026-11-29T02:00:00Z",
    "until_at": "2026-11-29T06:00:00Z",
    "reason": "CrowdTwist's maintenance, ticket 77",
    "added_by": "oscar",
    "added_at": "2026-11-23T08:51:00Z",
    "began_at": None,
    "ended_at": None,
    "removed_by": None,
}
_REMOVED = {
    "changed": True,
    "answer": "removed",
    "window": _WINDOW | {"state": "removed", "ended_at": "2026-11-24T10:00:00Z", "removed_by": "oscar"},
}


class WindowBody(BaseModel):
    """Which window, and why."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    name: Stage = Field(description="the connection")
    begins: Annotated[str | None, WithJsonSchema({"anyOf": [_WHEN, {"type": "null"}]})] = Field(
        None, alias="from", description=f"when it begins: {WHEN_SAID}; null: now"
    )
    until: Annotated[str, WithJsonSchema(_WHEN)] = Field(description=f"when it ends: {WHEN_SAID}")
    reason: Annotated[Reason, Field(description="required", json_schema_extra={"allOf": [SAID]})]


@router.get(
    "/v1/maintenance",
    summary="Planned windows, newest first",
    responses={**answered("A page of windows", WindowPage, {"items": [_WINDOW], "next": None}), **LISTED},
)
def list_maintenance(request: Request, _: Reader, page: Paged) -> Response:
    """List the windows: while one lasts its connection is paused, and nobody is alarmed."""
    return json_answer(maintenance_control.windows(ledger_of(request), limit=page.limit, before=page.before))


@router.post(
    "/v1/maintenance",
    status_code=201,
    summary="Plan a window",
    responses={
        **answered("The window, which begins and ends by itself", MaintenanceWindow, _WINDOW, 201),
        **described("invalid_parameter", 401, 403, "window_refused", "body_too_large", 503),
    },
    openapi_extra=described_body(
        WindowBody,
        planned={"name": "crowdtwist", "from": "+2h", "until": "+6h", "reason": "their maintenance, ticket 77"},
    ),
)
def add_maintenance(
    request: Request,
    operator: Annotated[Operator, Depends(operates(ADD))],
    body: Annotated[WindowBody, Depends(body_of(WindowBody))],
) -> Response:
    """Hold what is due there for that time; nothing is lost, Siebel is told nothing, and what was held goes out."""
    wanted = Wanted(body.name, body.begins or "", body.until, body.reason)
    try:
        return json_answer(maintenance_control.add(ledger_of(request), operator, wanted), 201)
    except WindowError as error:
        raise ProblemError(409, "window_refused", error.reason, field=error.field) from None


@router.delete(
    "/v1/maintenance/{window_id:int}",
    summary="Remove a window, or end it before its time",
    responses={
        **answered("Removed; `changed` false: it was over", Removed, _REMOVED),
        **described("invalid_parameter", 401, 403, "no_such_window", 503),
    },
)
def remove_maintenance(
    request: Request, operator: Annotated[Operator, Depends(operates(REMOVE))], window_id: WindowId
) -> Response:
    """End it; of one that lasts, what was held goes out."""
    found = maintenance_control.remove(ledger_of(request), operator, window_id)
    if found is None:
        raise ProblemError(404, "no_such_window", "there is no such window")
    return json_answer(found)
