"""Dead letters, what operators do about them, and the jobs that come of it: requeue, discard, rehearse, look, stop."""

from dataclasses import dataclass
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response

from producers.api import cause_examples as cause_example
from producers.api import examples as example
from producers.api import job_examples as job_example
from producers.api.description import answered
from producers.api.reads import LISTED, Reader, json_answer, unmasked_reader
from producers.api.undo_body import UndoBody
from producers.http.operating import DiscardBody, RequeueBody, SelectionBody, body_of, described_body, operates
from producers.http.request import Paged, ProblemError, described, failure_parameters, ledger_of, settings_of
from producers.operations import job_control, reads
from producers.operations.job_control import Ask, Operator, Rehearsal, RehearsalError
from shared.ledger import causes
from shared.ledger.causes import Cause
from shared.ledger.engine import Ledger, transaction
from shared.ledger.filters import Filter
from shared.ledger.jobs import Job, JobPage, Kind, Plan
from shared.ledger.records import Page
from shared.settings import Settings

router = APIRouter(tags=["repairing"])

ASKED = {
    **answered("Dry run: what would become of them", Plan, job_example.PLAN),
    **answered("The job, which goes on by itself; `Location` is where to look at it", Job, job_example.JOB, 202),
}


@dataclass(frozen=True, slots=True)
class CausePage:
    """Groups of failures, the commonest first."""

    items: list[Cause]
    next: None = None


@dataclass(frozen=True, slots=True)
class RehearsalPage:
    """What a requeue would send now, one entry per instance."""

    items: list[Rehearsal]
    next: None = None


@router.get(
    "/v1/dead-letters",
    summary="Dead letters by cause, or listed",
    responses={
        **answered(
            "Groups by cause, the commonest first; with `list`, instances, newest first",
            CausePage | Page,
            cause_example.CAUSES,
        ),
        **LISTED,
    },
)
def list_dead_letters(
    request: Request,
    who: Reader,
    where: Annotated[Filter, Depends(failure_parameters)],
    page: Paged,
    *,
    listed: Annotated[bool, Query(alias="list", description="instances instead of groups")] = False,
) -> Response:
    """Group dead letters by stage, code and normalised message; `state=rejected` does so for Data Errors."""
    with transaction(ledger_of(request)) as tx:
        if not listed:
            return json_answer(CausePage(causes.causes(tx, where, limit=page.limit)))
        found = reads.instances(tx, where, limit=page.limit, before=page.before, unmasked_for=unmasked_reader(who))
    return json_answer(found)


@router.post(
    "/v1/requeues",
    status_code=202,
    summary="Requeue dead letters, or Data Errors after a setting was corrected",
    responses={
        **ASKED,
        **described(
            "invalid_parameter", 401, 403, "nothing_matched", "all_refused", "reason_required", "body_too_large", 503
        ),
    },
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
    return asked(request, operator, body.ask(), dry_run=body.dry_run)


@router.post(
    "/v1/requeues/rehearse",
    summary="How what would be sent now differs from what failed",
    responses={
        **answered("One entry per instance", RehearsalPage, example.REHEARSALS),
        **described("invalid_parameter", 401, 403, "cannot_rehearse", "body_too_large", 503),
    },
    openapi_extra=described_body(
        SelectionBody,
        by_filter={"filter": {"state": ["rejected"], "stage": ["oic"]}},
        by_ids={"ids": ["4711"]},
    ),
)
def post_rehearsal(
    request: Request,
    operator: Annotated[Operator, Depends(operates("rehearse"))],
    body: Annotated[SelectionBody, Depends(body_of(SelectionBody))],
) -> Response:
    """Run the newest 1,000 of the selection through today's mapping, send nothing; people are masked."""
    try:
        found = job_control.rehearse(ledger_of(request), operator, body.selection(), settings_of(request))
    except RehearsalError as error:
        raise ProblemError(409, "cannot_rehearse", str(error)) from None
    return json_answer(RehearsalPage(found))


@router.post(
    "/v1/discards",
    status_code=202,
    summary="Discard instances for good",
    responses={
        **ASKED,
        **described("invalid_parameter", 401, 403, "nothing_matched", "all_refused", "body_too_large", 503),
    },
    openapi_extra=described_body(
        DiscardBody,
        by_ids={"ids": ["4711"], "reason": "a test member"},
        dry_run={"ids": ["4711"], "dry_run": True},
    ),
)
def post_discard(
    request: Request,
    operator: Annotated[Operator, Depends(operates("discard"))],
    body: Annotated[DiscardBody, Depends(body_of(DiscardBody))],
) -> Response:
    """Plan, and unless it is a dry run make the job: dead letters, Data Errors and whatever waits, never what runs."""
    return asked(request, operator, body.ask(), dry_run=body.dry_run)


@router.post(
    "/v1/undos",
    status_code=202,
    summary="Undo a discard",
    responses={
        **ASKED,
        **described("invalid_parameter", 401, 403, "nothing_matched", "all_refused", "body_too_large", 503),
    },
    openapi_extra=described_body(
        UndoBody,
        whole={"discard": "12", "reason": "the wrong filter"},
        by_ids={"ids": ["4711"], "reason": "it was no test member"},
        dry_run={"discard": "12", "dry_run": True},
    ),
)
def post_undo(
    request: Request,
    operator: Annotated[Operator, Depends(operates("undo"))],
    body: Annotated[UndoBody, Depends(body_of(UndoBody))],
) -> Response:
    """Plan, and unless it is a dry run make the job; what something newer of its member has overtaken is refused.

    It can be done for `MEMBERSYNC_OPERATIONS__UNDO_DISCARD_S` after the discard.
    """
    return asked(request, operator, body.ask(), dry_run=body.dry_run)


def asked(request: Request, operator: Operator, ask: Ask, *, dry_run: bool) -> Response:
    """Answer with the plan of a dry run, or with the job that is made."""
    ledger, settings = ledger_of(request), settings_of(request)
    if dry_run:
        return json_answer(job_control.plan(ledger, ask, settings))
    plan, job = job_control.start(ledger, operator, ask, settings)
    if job is None:
        code, what = ("all_refused", "all were refused") if plan.matched else ("nothing_matched", "nothing matched")
        raise ProblemError(409, code, f"{what}; nothing is done", plan=orjson.Fragment(orjson.dumps(plan)))
    answer = json_answer(job, 202)
    answer.headers["Location"] = f"/v1/{ask.kind}s/{job.job_id}"
    return answer


JobId = Annotated[int, Path(ge=0, le=2**53 - 1, description="its `job_id`")]


def _job(ledger: Ledger, kind: Kind, job_id: int, settings: Settings | None = None) -> Job:
    """Return one job; with *settings* also when it ends."""
    job = job_control.progress(ledger, kind, job_id)
    if job is None:
        raise ProblemError(404, f"no_such_{kind}", f"there is no such {kind}")
    return job if settings is None else job_control.foreseen(ledger, job, settings)


def _add_job_routes(kind: Kind) -> None:
    """Let the jobs of one kind be listed, looked at and stopped.

    Their ids are digits, so that a path beside them, like that of a rehearsal, is not taken for a job.
    """

    @router.get(
        f"/v1/{kind}s",
        name=f"list_{kind}s",
        summary=f"List {kind}s, newest first",
        description=f"List {kind}s with their progress.",
        responses={
            **answered(f"A page of {kind}s", JobPage, job_example.JOBS),
            **LISTED,
        },
    )
    def list_jobs(request: Request, _: Reader, page: Paged) -> Response:
        return json_answer(job_control.jobs(ledger_of(request), kind, limit=page.limit, before=page.before))

    @router.get(
        f"/v1/{kind}s/{{job_id:int}}",
        name=f"show_{kind}",
        summary=f"How far a {kind} is",
        description=f"Give the progress or result of a {kind}.",
        responses={
            **answered(f"The {kind}", Job, job_example.JOB),
            **described("invalid_parameter", 401, 403, f"no_such_{kind}", 503),
        },
    )
    def show_job(request: Request, _: Reader, job_id: JobId) -> Response:
        return json_answer(_job(ledger_of(request), kind, job_id, settings_of(request)))

    stopped = job_example.JOB | {"state": "stopped", "stopped_why": "stopped by oscar"}

    @router.post(
        f"/v1/{kind}s/{{job_id:int}}/stop",
        name=f"stop_{kind}",
        summary=f"Stop a {kind}",
        description="Put back what was not sent or has not begun; what is on its way goes on, what is done stays done.",
        responses={
            **answered(f"The {kind}, stopped", Job, stopped),
            **described("invalid_parameter", 401, 403, f"no_such_{kind}", "job_is_over", 503),
        },
    )
    def stop_job(
        request: Request, operator: Annotated[Operator, Depends(operates(f"stop {kind}"))], job_id: JobId
    ) -> Response:
        ledger = ledger_of(request)
        _job(ledger, kind, job_id)
        if not job_control.stop(ledger, operator, kind, job_id):
            raise ProblemError(409, "job_is_over", "the job has ended or was stopped already")
        return json_answer(_job(ledger, kind, job_id))


for _kind in Kind:
    _add_job_routes(_kind)
