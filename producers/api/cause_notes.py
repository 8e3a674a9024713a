"""Notes on causes: what is known of one, shown wherever that cause is shown."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from producers.api import cause_examples as example
from producers.api.description import answered
from producers.api.reads import LISTED, Reader, json_answer
from producers.http.operating import SAID, body_of, described_body, operates
from producers.http.request import ProblemError, described, ledger_of
from producers.operations import cause_note_control
from producers.operations.cause_note_control import (
    ADD,
    CODE_MAX,
    MESSAGE_MAX,
    REMOVE,
    WORDS_MAX,
    CauseNotes,
    WantedNote,
)
from producers.operations.job_control import Operator
from shared.ledger.cause_notes import CauseNote
from shared.pipeline import Stage

router = APIRouter(tags=["repairing"])

_PLAIN: JsonValue = r"^[^\x00-\x1f\x7f-\x9f]*$"
_SOMETHING: list[JsonValue] = [
    {"required": [name], "properties": {name: {"pattern": r"\S"}}} for name in ("code", "message")
]


class NoteBody(BaseModel):
    """On which cause, and what is known of it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"anyOf": _SOMETHING})

    stage: Stage = Field(description="where it failed")
    code: Annotated[str, Field(max_length=CODE_MAX, json_schema_extra={"pattern": _PLAIN})] = Field(
        "", description="its code; without a message the note is on every message of it"
    )
    message: Annotated[str, Field(max_length=MESSAGE_MAX, json_schema_extra={"pattern": _PLAIN})] = Field(
        "", description="the message, as dead letters by cause or an incident have it"
    )
    text: Annotated[str, Field(max_length=WORDS_MAX, json_schema_extra={"allOf": [SAID, {"pattern": _PLAIN}]})] = Field(
        description="what is known; e-mail addresses in it are masked"
    )


NoteId = Annotated[int, Path(ge=0, le=2**53 - 1, description="its `id`")]


@router.get(
    "/v1/cause-notes",
    summary="Notes on causes, newest first",
    responses={**answered("All of them", CauseNotes, {"items": [example.NOTE], "next": None}), **LISTED},
)
def list_cause_notes(request: Request, _: Reader) -> Response:
    """List what people noted on causes; a note is shown with each cause, incident and mail of its fingerprint."""
    return json_answer(cause_note_control.notes(ledger_of(request)))


@router.post(
    "/v1/cause-notes",
    status_code=201,
    summary="Note on a cause",
    responses={
        **answered("The note", CauseNote, example.NOTE, 201),
        **described("invalid_parameter", 401, 403, "body_too_large", 503),
    },
    openapi_extra=described_body(
        NoteBody,
        message={
            "stage": "crowdtwist",
            "code": "unavailable",
            "message": "CrowdTwist: answered 503",
            "text": "known, ticket 4711",
        },
        every_message={"stage": "siebel", "code": "unauthorised", "text": "the password ran out, ticket 12"},
    ),
)
def add_cause_note(
    request: Request,
    operator: Annotated[Operator, Depends(operates(ADD))],
    body: Annotated[NoteBody, Depends(body_of(NoteBody))],
) -> Response:
    """Note what is known of a cause, so that nobody looks into it twice."""
    wanted = WantedNote(body.stage, body.code, body.message, body.text)
    return json_answer(cause_note_control.add(ledger_of(request), operator, wanted), 201)


@router.delete(
    "/v1/cause-notes/{note_id:int}",
    summary="Remove a note on a cause",
    responses={
        **answered("The note, which is gone", CauseNote, example.NOTE),
        **described("invalid_parameter", 401, 403, "no_such_note", 503),
    },
)
def remove_cause_note(
    request: Request, operator: Annotated[Operator, Depends(operates(REMOVE))], note_id: NoteId
) -> Response:
    """Remove it; the audit keeps what it said."""
    found = cause_note_control.remove(ledger_of(request), operator, note_id)
    if found is None:
        raise ProblemError(404, "no_such_note", "there is no such note")
    return json_answer(found)
