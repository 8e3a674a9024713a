"""Incidents: what went wrong for a while; listed, one by one, exported; taken up, noted on, merged, split."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from producers.api import cause_examples as example
from producers.api.description import answered
from producers.api.reads import LISTED, Reader, json_answer
from producers.api.watching import PauseBody
from producers.http.operating import Whole, body_of, described_body, operates
from producers.http.request import INSTANT, Paged, ProblemError, described, invalid_parameter, ledger_of
from producers.operations import incident_control
from producers.operations.incident_control import (
    ACKNOWLEDGE,
    MERGE,
    NOTE,
    NOTE_MAX,
    SPLIT,
    IncidentAnswer,
    Note,
)
from producers.operations.incident_export import Format, exported
from producers.operations.job_control import AskError, Operator
from producers.operations.reads import INSTANT_SAID, instant_of
from shared.ledger.incident_reads import IncidentDetail, IncidentPage

router = APIRouter(tags=["watching"])

_ERRORS = described("invalid_parameter", 401, 403, "no_such_incident", "body_too_large", 503)
IncidentId = Annotated[int, Path(ge=0, le=2**53 - 1, description="its `id`")]

_INCIDENT: dict[str, Any] = {
    "id": "7",
    "state": "closed",
    "kind": "connection",
    "stage": "crowdtwist",
    "fingerprint": "crowdtwist-5f0c1a9e",
    "cause": "CrowdTwist: answered 503 (HTTP 503)",
    "opened_at": "2026-11-23T08:51:02Z",
    "resolved_at": "2026-11-23T09:03:40Z",
    "closed_at": "2026-11-23T09:18:40Z",
    "windows": {
        "connection": {"from_at": "2026-11-23T08:51:00Z", "to_at": "2026-11-23T09:03:40Z"},
        "impact": {"from_at": "2026-11-23T08:50:59Z", "to_at": "2026-11-23T09:04:21Z"},
    },
    "counts": {
        "instances": 4310,
        "waiting": 0,
        "openings": 3,
        "flaps": 2,
        "first_instance_id": "48211",
        "last_instance_id": "52530",
        "filter": "incident=7",
    },
    "cost": {
        "late_events": 4310,
        "member_minutes_stale": 27344.5,
        "worst_age_s": 802.4,
        "wasted_calls": 19,
        "statuses_told": 6120,
        "dead_letters": 0,
        "live_p95_s": 741.2,
        "live_p95_week_before_s": 0.09,
    },
    "counted_at": "2026-11-23T09:18:41Z",
    "acknowledged_at": "2026-11-23T08:55:10Z",
    "acknowledged_by": "oscar",
    "merged_into": None,
    "same_before": ["3"],
    "cause_notes": [example.NOTE],
}
_DETAIL: dict[str, Any] = _INCIDENT | {
    "spans": [
        {"stage": "crowdtwist", "code": None, "from_at": "2026-11-23T08:51:00Z", "to_at": "2026-11-23T09:03:40Z"}
    ],
    "time_line": [
        {
            "at": "2026-11-23T08:51:02Z",
            "kind": "down",
            "what": "went down: CrowdTwist: answered 503 (HTTP 503)",
            "who": None,
            "stage": "crowdtwist",
            "note": None,
        },
        {
            "at": "2026-11-23T08:58:00Z",
            "kind": "note",
            "what": "their status page says maintenance",
            "who": "oscar",
            "stage": None,
            "note": "4",
        },
    ],
}


def _answer_example(answer: str) -> dict[str, Any]:
    return {"changed": True, "answer": answer, "incident": _DETAIL}


_SAID: dict[str, JsonValue] = {"allOf": [{"pattern": r"\S"}, {"pattern": r"^[^\x00-\x09\x0b-\x1f\x7f-\x9f]*$"}]}
_Text = Annotated[str, Field(max_length=NOTE_MAX, json_schema_extra=_SAID)]
_WHY: dict[str, JsonValue] = {"allOf": [{"properties": {"reason": {"pattern": r"^[^\x00-\x1f\x7f-\x9f]*$"}}}]}
_INSTANT = {**INSTANT, "maxLength": 40}
_Instant = Annotated[str, Field(max_length=40), WithJsonSchema(_INSTANT)]
_Stated = Annotated[str, Field(max_length=40), WithJsonSchema({**_INSTANT, "minLength": 1})]


class NewNoteBody(BaseModel):
    """What is noted."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[_Text, Field(description="what; e-mail addresses in it are masked")]
    at: Annotated[_Instant, Field(description=f"of when; empty: of now; {INSTANT_SAID}")] = ""


class ChangedNoteBody(BaseModel):
    """What of a note is changed: its text, its instant, or both."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "anyOf": [
                {"required": ["text"], "properties": {"text": {"type": "string"}}},
                {"required": ["at"], "properties": {"at": {"minLength": 1}}},
            ]
        },
    )

    text: Annotated[_Text | None, Field(description="what it says now; null: as before")] = None
    at: Annotated[_Instant, Field(description=f"of when it is; empty: as before; {INSTANT_SAID}")] = ""


class MergeBody(PauseBody):
    """Into which, and why."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_WHY)

    into: Annotated[int, Field(ge=0, le=2**53 - 1, description="the incident that it becomes a part of"), Whole]


class SplitBody(PauseBody):
    """From when on, and why."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_WHY)

    at: Annotated[_Stated, Field(description=f"what began then or later becomes one of its own; {INSTANT_SAID}")]


@router.get(
    "/v1/incidents",
    summary="Incidents, newest first",
    responses={**answered("A page of incidents", IncidentPage, {"items": [_INCIDENT], "next": None}), **LISTED},
)
def list_incidents(
    request: Request,
    _: Reader,
    page: Paged,
    since: Annotated[str, Query(description=f"went on then or later; {INSTANT_SAID}", json_schema_extra=INSTANT)] = "",
    until: Annotated[str, Query(description=f"began before then; {INSTANT_SAID}", json_schema_extra=INSTANT)] = "",
) -> Response:
    """List what went wrong for a while: a connection that was down, however often, or a cause that many met."""
    try:
        within = incident_control.within(since, until, datetime.now(UTC))
    except ValueError as error:
        raise invalid_parameter(error) from None
    found = incident_control.incidents(ledger_of(request), limit=page.limit, before=page.before, within=within)
    return json_answer(found)


@router.get(
    "/v1/incidents/{incident_id:int}",
    summary="One incident",
    responses={
        **answered("The incident", IncidentDetail, _DETAIL),
        **described("invalid_parameter", 401, 403, "no_such_incident", 503),
    },
)
def show_incident(request: Request, _: Reader, incident_id: IncidentId) -> Response:
    """Show its windows, its cause, whom it affected by predicate and range, and what it cost.

    `instances?incident=ID` lists those whom it affected.
    """
    found = incident_control.incident(ledger_of(request), incident_id)
    if found is None:
        raise _unknown()
    return json_answer(found)


@router.get(
    "/v1/incidents/{incident_id:int}/export",
    summary="One incident as a document",
    response_class=Response,
    responses={
        200: {
            "description": "JSON or Markdown; once nothing of it changes, the same byte for byte",
            "content": {
                "application/json": {"schema": {"type": "object"}, "example": _DETAIL},
                "text/markdown": {"schema": {"type": "string"}, "example": "# Incident 7: CrowdTwist, answered 503\n"},
            },
        },
        **described("invalid_parameter", 401, 403, "no_such_incident", 503),
    },
)
def export_incident(
    request: Request,
    _: Reader,
    incident_id: IncidentId,
    form: Annotated[Format, Query(alias="format", description="md or json")] = Format.JSON,
) -> Response:
    """Export one incident, self-contained and without a member's name, to be filed or sent on."""
    found = incident_control.incident(ledger_of(request), incident_id)
    if found is None:
        raise _unknown()
    kind = "application/json" if form is Format.JSON else "text/markdown; charset=utf-8"
    headers = {"Content-Disposition": f'attachment; filename="incident-{found.id}.{form}"'}
    return Response(exported(found, form), media_type=kind, headers=headers)


@router.post(
    "/v1/incidents/{incident_id:int}/acknowledge",
    summary="Take an incident up",
    responses={
        **answered("`changed` false: somebody has it", IncidentAnswer, _answer_example("acknowledged")),
        **_ERRORS,
    },
)
def acknowledge_incident(
    request: Request, operator: Annotated[Operator, Depends(operates(ACKNOWLEDGE))], incident_id: IncidentId
) -> Response:
    """Note who has taken it up."""
    return _answer(lambda: incident_control.acknowledge(ledger_of(request), operator, incident_id))


@router.post(
    "/v1/incidents/{incident_id:int}/notes",
    summary="Note something on an incident's time line",
    responses={**answered("The incident with the note", IncidentAnswer, _answer_example("noted as 4")), **_ERRORS},
    openapi_extra=described_body(NewNoteBody, note={"text": "their status page says maintenance", "at": "10m"}),
)
def note_on_incident(
    request: Request,
    operator: Annotated[Operator, Depends(operates(NOTE))],
    incident_id: IncidentId,
    body: Annotated[NewNoteBody, Depends(body_of(NewNoteBody))],
) -> Response:
    """Note something, of now or of another instant; also of an incident that is over."""
    return _answer(
        lambda: incident_control.note(ledger_of(request), operator, incident_id, Note(body.text, _at(body.at)))
    )


@router.post(
    "/v1/incidents/{incident_id:int}/notes/{note_id:int}",
    summary="Change a note of an incident",
    responses={
        **answered("`changed` false: there is no such note", IncidentAnswer, _answer_example("note 4 changed")),
        **_ERRORS,
    },
    openapi_extra=described_body(ChangedNoteBody, when={"at": "2026-11-23T08:51:00Z"}),
)
def change_note_on_incident(
    request: Request,
    operator: Annotated[Operator, Depends(operates(NOTE))],
    incident_id: IncidentId,
    note_id: Annotated[int, Path(ge=0, le=2**53 - 1, description="its `note`, in the time line")],
    body: Annotated[ChangedNoteBody, Depends(body_of(ChangedNoteBody))],
) -> Response:
    """Change what a note says, or of when it is."""
    given = Note(body.text, _at(body.at), note_id)
    return _answer(lambda: incident_control.note(ledger_of(request), operator, incident_id, given))


@router.post(
    "/v1/incidents/{incident_id:int}/merge",
    summary="Make an incident a part of another",
    responses={
        **answered("`changed` false: it cannot be", IncidentAnswer, _answer_example("merged into incident 7")),
        **_ERRORS,
    },
    openapi_extra=described_body(MergeBody, merge={"into": 7, "reason": "the same network"}),
)
def merge_incident(
    request: Request,
    operator: Annotated[Operator, Depends(operates(MERGE))],
    incident_id: IncidentId,
    body: Annotated[MergeBody, Depends(body_of(MergeBody))],
) -> Response:
    """Move its spans and notes into another, which is counted anew."""
    return _answer(lambda: incident_control.merge(ledger_of(request), operator, incident_id, body.into, body.reason))


@router.post(
    "/v1/incidents/{incident_id:int}/split",
    summary="Make a part of an incident one of its own",
    responses={
        **answered("`changed` false: it cannot be", IncidentAnswer, _answer_example("split off as incident 8")),
        **_ERRORS,
    },
    openapi_extra=described_body(SplitBody, split={"at": "2026-11-23T09:00:00Z", "reason": "another cause"}),
)
def split_incident(
    request: Request,
    operator: Annotated[Operator, Depends(operates(SPLIT))],
    incident_id: IncidentId,
    body: Annotated[SplitBody, Depends(body_of(SplitBody))],
) -> Response:
    """Move what began at an instant or later into a new incident; both are counted anew."""
    at = _at(body.at)
    if at is None:
        raise invalid_parameter(ValueError("at: say from when on"))
    return _answer(lambda: incident_control.split(ledger_of(request), operator, incident_id, at, body.reason))


def _at(words: str) -> datetime | None:
    try:
        return instant_of("at", words, datetime.now(UTC))
    except ValueError as error:
        raise invalid_parameter(error) from None


def _answer(act: Callable[[], IncidentAnswer | None]) -> Response:
    try:
        found = act()
    except AskError as mistake:
        raise invalid_parameter(mistake) from None
    if found is None:
        raise _unknown()
    return json_answer(found)


def _unknown() -> ProblemError:
    return ProblemError(404, "no_such_incident", "there is no such incident")
