"""Dead letters, and what operators do about them: requeue, discard, rehearse, stop, look how far it is."""

from dataclasses import replace
from http import HTTPStatus
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import TypeAdapter

from producers import ops
from producers.api.asking import DiscardBody, RequeueBody, SelectionBody, body_of, described_body, refused
from producers.api.auth import Right
from producers.api.operating import operates
from producers.api.problems import ProblemError, described
from producers.api.reads import Before, Limit, Reader, filter_parameters, json_answer
from producers.filtering import LIMIT_DEFAULT, id_of
from producers.ops import Ask, Operator
from producers.rehearsal import Rehearsal, RehearsalError
from producers.shown import masked_page
from shared.jobs import Job, JobPage, Kind, Plan
from shared.ledger import causes, views
from shared.ledger.causes import Cause
from shared.ledger.engine import Ledger, engine, transaction
from shared.ledger.filters import Filter
from shared.ledger.records import Page
from shared.pipeline import State

router = APIRouter(tags=["repairing"])

JobId = Annotated[str, Path(description="digits")]
_LIST = {"type": "object", "required": ["items", "next"]}
_PLANNED = {"description": "Dry run: what would become of them", "model": Plan}
_STARTED = {"description": "The job, which goes on by itself", "model": Job}


@router.get(
    "/v1/dead-letters",
    summary="Dead letters by cause, or listed",
    responses={
        200: {
            "description": "Groups by cause, the commonest first; with `list`, instances, newest first",
            "content": {
                "application/json": {
                    "schema": {
                        **_LIST,
                        "properties": {
                            "items": {
                                "type": "array",
                                "items": {"anyOf": [TypeAdapter(Cause).json_schema(), {"type": "object"}]},
                            },
                            "next": {"type": ["string", "null"]},
                        },
                    },
                }
            },
        },
        **described(400, 401, 403, 503),
    },
)
def list_dead_letters(  # noqa: PLR0913, PLR0917  # one query parameter each
    request: Request,
    who: Reader,
    where: Annotated[Filter, Depends(filter_parameters)],
    before: Before,
    listed: Annotated[bool, Query(alias="list", description="instances instead of groups")] = False,  # noqa: FBT002
    limit: Limit = LIMIT_DEFAULT,
) -> Response:
    """Group dead letters by stage, code and normalised message; `state=rejected` does so for Data Errors."""
    if not listed:
        try:
            with transaction(_ledger(request)) as connection:
                found = causes.causes(connection, where, limit=limit)
        except ValueError as error:
            raise refused(error) from None
        return json_answer({"items": found, "next": None})
    chosen = where if where.states else replace(where, states=(State.DEAD,))
    with transaction(_ledger(request)) as connection:
        page: Page = views.instances(connection, chosen, limit=limit, before=before)
    return json_answer(page if who.may(Right.UNMASKED) else masked_page(page))


@router.post(
    "/v1/requeues",
    status_code=202,
    summary="Requeue dead letters, or Data Errors after a setting was corrected",
    responses={200: _PLANNED, 202: _STARTED, **described(400, 401, 403, 413, 422, 503)},
    openapi_extra=described_body(
        RequeueBody,
        dry_run={"filter": {"stage": ["crowdtwist"], "code": ["unavailable"]}, "dry_run": True},
        by_filter={"filter": {"code": ["unavailable"]}, "reason": "CrowdTwist is well again", "rate": 6000},
        by_ids={"ids": ["4711"], "from_start": True},
    ),
)
def post_requeue(
    request: Request,
    operator: Annotated[Operator, Depends(operates("requeue"))],
    body: Annotated[RequeueBody, Depends(body_of(RequeueBody))],
) -> Response:
    """Plan, and unless it is a dry run make the job; dead letters only, where the filter names no state."""
    return _asked(request, operator, body)


@router.post(
    "/v1/requeues/rehearse",
    summary="How what would be sent now differs from what failed",
    responses={
        200: {"description": "One entry per instance", "content": {"application/json": {"schema": _LIST}}},
        **described(400, 401, 403, 409, 413, 503),
    },
    openapi_extra=described_body(SelectionBody, by_filter={"filter": {"state": ["rejected"], "stage": ["oic"]}}),
)
def post_rehearsal(
    request: Request,
    operator: Annotated[Operator, Depends(operates("rehearse"))],
    body: Annotated[SelectionBody, Depends(body_of(SelectionBody))],
) -> Response:
    """Run the newest 1,000 of the selection through today's mapping, send nothing; people are masked."""
    try:
        found: list[Rehearsal] = ops.rehearse(_ledger(request), operator, body.selection(), request.app.state.settings)
    except RehearsalError as error:
        raise ProblemError(409, "cannot_rehearse", str(error)) from None
    except ValueError as error:
        raise refused(error) from None
    return json_answer({"items": found, "next": None})


@router.get(
    "/v1/requeues",
    summary="List requeues, newest first",
    responses={200: {"model": JobPage}, **described(400, 401, 403, 503)},
)
def list_requeues(request: Request, _: Reader, before: Before, limit: Limit = LIMIT_DEFAULT) -> Response:
    """List requeues with their progress."""
    return json_answer(ops.jobs(_ledger(request), Kind.REQUEUE, limit=limit, before=before))


@router.get(
    "/v1/requeues/{job_id}",
    summary="How far a requeue is",
    responses={200: {"model": Job}, **described(401, 403, 404, 503)},
)
def show_requeue(request: Request, _: Reader, job_id: JobId) -> Response:
    """Give a requeue's progress or result."""
    return json_answer(_job(_ledger(request), Kind.REQUEUE, job_id))


@router.post(
    "/v1/requeues/{job_id}/stop",
    summary="Stop a requeue",
    responses={200: {"model": Job}, **described(401, 403, 404, 409, 503)},
)
def stop_requeue(
    request: Request, operator: Annotated[Operator, Depends(operates("stop requeue"))], job_id: JobId
) -> Response:
    """Put back what was not sent or has not begun; what is on its way goes on."""
    ledger = _ledger(request)
    job = _job(ledger, Kind.REQUEUE, job_id)
    if not ops.stop(ledger, operator, Kind.REQUEUE, int(job.job_id)):
        raise ProblemError(409, "job_is_over", "the job has ended or was stopped already")
    return json_answer(_job(ledger, Kind.REQUEUE, job_id))


@router.post(
    "/v1/discards",
    status_code=202,
    summary="Discard instances for good",
    responses={200: _PLANNED, 202: _STARTED, **described(400, 401, 403, 413, 422, 503)},
    openapi_extra=described_body(
        DiscardBody, by_ids={"ids": ["4711"], "reason": "a test member"}, dry_run={"ids": ["4711"], "dry_run": True}
    ),
)
def post_discard(
    request: Request,
    operator: Annotated[Operator, Depends(operates("discard"))],
    body: Annotated[DiscardBody, Depends(body_of(DiscardBody))],
) -> Response:
    """Plan, and unless it is a dry run make the job: dead letters, Data Errors and whatever waits, never what runs."""
    return _asked(request, operator, body)


@router.get(
    "/v1/discards/{job_id}",
    summary="How far a discard is",
    responses={200: {"model": Job}, **described(401, 403, 404, 503)},
)
def show_discard(request: Request, _: Reader, job_id: JobId) -> Response:
    """Give a discard's progress or result."""
    return json_answer(_job(_ledger(request), Kind.DISCARD, job_id))


def _asked(request: Request, operator: Operator, body: RequeueBody | DiscardBody) -> Response:
    ledger, settings = _ledger(request), request.app.state.settings
    try:
        ask: Ask = body.ask()
        if body.dry_run:
            return json_answer(ops.plan(ledger, ask, settings))
        plan, job = ops.start(ledger, operator, ask, settings)
    except ValueError as error:
        raise refused(error) from None
    if job is None:
        code, what = ("all_refused", "all were refused") if plan.matched else ("nothing_matched", "nothing matched")
        raise ProblemError(422, code, f"{what}; nothing is done", plan=orjson.Fragment(orjson.dumps(plan)))
    answer = json_answer(job)
    answer.status_code = HTTPStatus.ACCEPTED
    answer.headers["Location"] = f"/v1/{ask.kind}s/{job.job_id}"
    return answer


def _job(ledger: Ledger, kind: Kind, words: str) -> Job:
    number = id_of(words)
    job = None if number is None else ops.progress(ledger, kind, number)
    if job is None:
        raise ProblemError(404, f"no_such_{kind}", f"there is no such {kind}")
    return job


def _ledger(request: Request) -> Ledger:
    return engine(request.app.state.settings.ledger_url)
