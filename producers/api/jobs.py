"""The jobs that requeues and discards become: listed, looked at, stopped.  The same for both kinds."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from producers.api import example_records as example
from producers.api.description import answered
from producers.api.reads import Reader, json_answer
from producers.http.dependencies import ledger_of
from producers.http.operating import operates
from producers.http.parameters import Before, Limit
from producers.http.problems import ProblemError, described
from producers.operations import job_control
from producers.operations.filtering import LIMIT_DEFAULT
from producers.operations.job_control import Operator
from shared.jobs import Job, JobPage, Kind
from shared.ledger.engine import Ledger

router = APIRouter(tags=["repairing"])

JobId = Annotated[int, Path(ge=0, le=2**53 - 1, description="its `job_id`")]


def _listing(kind: Kind) -> Callable[..., Response]:
    def list_jobs(request: Request, _: Reader, before: Before, limit: Limit = LIMIT_DEFAULT) -> Response:
        return json_answer(job_control.jobs(ledger_of(request), kind, limit=limit, before=before))

    return list_jobs


def _showing(kind: Kind) -> Callable[..., Response]:
    def show_job(request: Request, _: Reader, job_id: JobId) -> Response:
        return json_answer(_job(ledger_of(request), kind, job_id))

    return show_job


def _stopping(kind: Kind) -> Callable[..., Response]:
    def stop_job(
        request: Request, operator: Annotated[Operator, Depends(operates(f"stop {kind}"))], job_id: JobId
    ) -> Response:
        ledger = ledger_of(request)
        _job(ledger, kind, job_id)
        if not job_control.stop(ledger, operator, kind, job_id):
            raise ProblemError(409, "job_is_over", "the job has ended or was stopped already")
        return json_answer(_job(ledger, kind, job_id))

    return stop_job


def _job(ledger: Ledger, kind: Kind, job_id: int) -> Job:
    job = job_control.progress(ledger, kind, job_id)
    if job is None:
        raise ProblemError(404, f"no_such_{kind}", f"there is no such {kind}")
    return job


# Digits only, so that a path beside it, like that of a rehearsal, is not taken for a job.
for _kind in Kind:
    router.add_api_route(
        f"/v1/{_kind}s",
        _listing(_kind),
        name=f"list_{_kind}s",
        summary=f"List {_kind}s, newest first",
        description=f"List {_kind}s with their progress.",
        responses={
            **answered(f"A page of {_kind}s", JobPage, example.JOBS),
            **described("invalid_parameter", 401, 403, 503),
        },
    )
    router.add_api_route(
        f"/v1/{_kind}s/{{job_id:int}}",
        _showing(_kind),
        name=f"show_{_kind}",
        summary=f"How far a {_kind} is",
        description=f"Give the progress or result of a {_kind}.",
        responses={
            **answered(f"The {_kind}", Job, example.JOB),
            **described("invalid_parameter", 401, 403, f"no_such_{_kind}", 503),
        },
    )
    router.add_api_route(
        f"/v1/{_kind}s/{{job_id:int}}/stop",
        _stopping(_kind),
        methods=["POST"],
        name=f"stop_{_kind}",
        summary=f"Stop a {_kind}",
        description="Put back what was not sent or has not begun; what is on its way goes on, what is done stays done.",
        responses={
            **answered(
                f"The {_kind}, stopped", Job, example.JOB | {"state": "stopped", "stopped_why": "stopped by oscar"}
            ),
            **described("invalid_parameter", 401, 403, f"no_such_{_kind}", "job_is_over", 503),
        },
    )
