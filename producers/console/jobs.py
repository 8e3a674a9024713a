"""Requeues and discards: what was asked, how far each is, and how to stop one."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from producers.console.pages import fragments, local, page, redirect
from producers.console.selection_form import cursor_of
from producers.console.selection_view import Piece, pieces
from producers.console.visitors import Posted, Visitor
from producers.http.dependencies import ledger_of, settings_of
from producers.http.operating import permit
from producers.http.problems import ProblemError
from producers.operations import advice, connection_control, job_control
from producers.operations.filtering import id_of
from shared.jobs import ItemState, Job, JobState, Kind
from shared.ledger.engine import Ledger
from shared.lifecycle import rollout

router = APIRouter()

ROWS = 50

_PARTS = {"job": "jobs/job.html"}
_LIST = {"jobs": "jobs/rows.html"}
_MEANING = {
    ItemState.PLANNED: "not sent yet",
    ItemState.SENT: "on the way",
    ItemState.SUCCEEDED: "succeeded",
    ItemState.FAILED: "failed again; some may still be tried",
    ItemState.PUT_BACK: "as they were before, because the job stopped",
    ItemState.CLOSED: "superseded or discarded",
    ItemState.REFUSED: "nothing was done to them",
}
_NOT_ENDED = (ItemState.PLANNED, ItemState.SENT, ItemState.PUT_BACK)
_CAME_TO = {
    kind: (
        (ItemState.SUCCEEDED, "succeeded"),
        (ItemState.FAILED, "failed again"),
        (ItemState.CLOSED, closed),
        (ItemState.REFUSED, "refused"),
        (ItemState.PUT_BACK, "put back as before"),
    )
    for kind, closed in ((Kind.REQUEUE, "closed, as overtaken"), (Kind.DISCARD, "discarded"))
}
_STEPS = (f"first {rollout.SIZES[1]}", f"then {rollout.SIZES[2]}", "then the rest")


@dataclass(frozen=True, slots=True)
class Progress:
    """A job, and how far it is.  Units: *elapsed_s* s; None: not begun.  Shape: *ended* of *job.total* instances."""

    job: Job
    ended: int
    elapsed_s: float | None
    pieces: list[Piece]

    @property
    def outcome(self) -> str:
        """Say what a job that is over came to; nothing of one that goes on."""
        return outcome(self.job) if self.job.over else ""

    @classmethod
    def of(cls, job: Job, now: datetime) -> "Progress":
        """Say how far *job* is."""
        ended = job.total - sum(job.counts[state] for state in _NOT_ENDED)
        elapsed_s = ((job.ended_at or now) - job.started_at).total_seconds() if job.started_at else None
        return cls(job, ended, elapsed_s, pieces(job.asked))


def outcome(job: Job) -> str:
    """Say in one sentence what a job came to; the numbers add up to all of its instances.  Pure."""
    told = [
        f"{job.counts[state]} {word}"
        for state, word in _CAME_TO[Kind(job.kind)]
        if job.counts[state] and job.counts[state] != job.total
    ]
    whole = next((word for state, word in _CAME_TO[Kind(job.kind)] if job.counts[state] == job.total), "")
    how = "Stopped" if job.state == JobState.STOPPED else "Finished"
    if whole and job.total:
        return f"{how}: {'it' if job.total == 1 else f'all {job.total}'} {whole}."
    return f"{how}: of {job.total}, {', '.join(told)}." if told else f"{how}."


@router.get("/jobs")
def list_jobs(request: Request, _: Visitor) -> Response:
    """List requeues and discards, newest first."""
    return page(request, "jobs/page.html", **_listed(request, cursor_of(request.query_params)))


@router.get("/live/jobs")
async def follow_jobs(request: Request, _: Visitor) -> StreamingResponse:
    """Stream the list of the newest."""
    answer: StreamingResponse = request.app.state.streams.respond(
        request, lambda: fragments(request, _LIST, **_listed(request, None))
    )
    return answer


@router.get("/jobs/{job_id}")
def show_job(request: Request, _: Visitor, job_id: str) -> Response:
    """Show one, live while it goes on."""
    return page(request, "jobs/one.html", **_content(request, job_id))


@router.get("/live/jobs/{job_id}")
def follow_job(request: Request, _: Visitor, job_id: str) -> StreamingResponse:
    """Stream its progress."""
    _job(ledger_of(request), job_id)
    answer: StreamingResponse = request.app.state.streams.respond(
        request, lambda: fragments(request, _PARTS, **_content(request, job_id))
    )
    return answer


@router.post("/jobs/{job_id}/stop")
def stop_job(request: Request, who: Visitor, form: Posted, job_id: str) -> Response:  # noqa: ARG001  # it was checked
    """Stop it; what has not begun is put back."""
    ledger = ledger_of(request)
    job = _job(ledger, job_id)
    operator = permit(request, who, f"stop {job.kind}")
    if job_control.stop(ledger, operator, Kind(job.kind), int(job.job_id)):
        return redirect(request, f"/jobs/{job.job_id}", "Stopped: what had not begun is as it was before.")
    return redirect(request, f"/jobs/{job.job_id}", "It was over already.", good=False)


def _listed(request: Request, before: int | None) -> dict[str, Any]:
    found = job_control.jobs(ledger_of(request), None, limit=ROWS, before=before)
    now = datetime.now(UTC)
    return {"rows": [Progress.of(job, now) for job in found.items], "next": found.next, "before": before}


def _content(request: Request, job_id: str) -> dict[str, Any]:
    ledger = ledger_of(request)
    progress = Progress.of(_job(ledger, job_id), datetime.now(UTC))
    is_sending = progress.job.kind == Kind.REQUEUE and not progress.job.over
    down = (
        [one for one in connection_control.states(ledger, settings_of(request)) if one.state != "up"]
        if is_sending
        else []
    )
    return {
        "progress": progress,
        "job": progress.job,
        "meaning": _MEANING,
        "steps": _STEPS,
        "down": down,
        "advised": advice.by_todo(job_control.failed_again(ledger, progress.job)),
        "rest": local(request.query_params.get("rest", ""), ""),
    }


def _job(ledger: Ledger, words: str) -> Job:
    number = id_of(words)
    job = None if number is None else job_control.progress(ledger, None, number)
    if job is None:
        raise ProblemError(404, "no_such_job", "there is no such requeue or discard")
    return job
