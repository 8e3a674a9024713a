"""Requeues, discards, undos and resends: the plan that confirms one, what was asked, how far it is, how to stop it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse

from producers.console import dead_letters
from producers.console.live import stream_parts
from producers.console.rendering import local, page, redirect
from producers.console.selection import Piece, TypedSelection, Words, ask_of, cursor_of, kind_of, pieces
from producers.console.session import Posted, Visitor, asked_in, new_idempotency_key, once
from producers.http.operating import permit
from producers.http.request import ProblemError, ledger_of, settings_of
from producers.operations import advice, connection_control, job_control, reads
from producers.operations.job_control import Ask, AskError, Operator, Selection
from producers.operations.reads import id_of
from shared.ledger.engine import Ledger, transaction
from shared.ledger.jobs import ItemState, Job, JobState, Kind, Plan, Verdict
from shared.lifecycle import rollout
from shared.pipeline import State
from shared.settings import Settings

router = APIRouter(include_in_schema=False)

ROWS = 50

_PARTS = {"job": "jobs/job.html"}
_LIST = {"jobs": "jobs/rows.html"}
_MEANING = {
    ItemState.PLANNED: "not sent yet",
    ItemState.SENT: "on the way",
    ItemState.SUCCEEDED: "succeeded",
    ItemState.FAILED: "failed again; some may still be tried",
    ItemState.PUT_BACK: "as they were before, because the job stopped",
    ItemState.CLOSED: "superseded, discarded, or as before the discard",
    ItemState.REFUSED: "nothing was done to them",
    ItemState.GONE: "CrowdTwist has them no longer: nothing was changed there",
}
_NOT_ENDED = (ItemState.PLANNED, ItemState.SENT, ItemState.PUT_BACK)
_CAME_TO = {
    kind: (
        (ItemState.SUCCEEDED, "succeeded"),
        (ItemState.FAILED, "failed again"),
        (ItemState.CLOSED, closed),
        (ItemState.REFUSED, "refused"),
        (ItemState.GONE, "gone in CrowdTwist"),
        (ItemState.PUT_BACK, "put back as before"),
    )
    for kind, closed in (
        (Kind.REQUEUE, "closed, as overtaken"),
        (Kind.DISCARD, "discarded"),
        (Kind.UNDO, "as they were before"),
        (Kind.RESEND, "closed, as overtaken"),
        (Kind.REPAIR, "overtaken or moving"),
    )
}
_STEPS = (f"first {rollout.SIZES[1]}", f"then {rollout.SIZES[2]}", "then the rest")
_SHOWN = 10
"""Rows of each verdict."""
_BECOMES = {
    Verdict.SEND: "will be sent",
    Verdict.SUPERSEDED: "closed as superseded: a newer success overtook it",
    Verdict.MERGED: "merged into a newer pending event, which carries it",
    Verdict.DISCARD: "will be discarded, for good",
    Verdict.RESTORE: "will be what they were before they were discarded",
    Verdict.REFUSED: "refused: nothing happens to it",
    Verdict.OVERTAKEN: "overtaken since it was seen",
    Verdict.MOVING: "moving: an event of the member is on its way",
}
_AT_A_FIELD = ("reason", "rate")
_CARRIED = ("kind", "reason", "rate", "from_start", "force", "back")
"""What a form of the plan says beside the selection."""
_ADDRESS_MAX = 4_000


@dataclass(frozen=True, slots=True)
class Progress:
    """A job, and how far it is.  Units: *elapsed_s* s; None: not begun.  Shape: *ended* of *job.total* instances."""

    job: Job
    ended: int
    elapsed_s: float | None
    pieces: list[Piece]

    @property
    def outcome(self) -> str:
        """Return what a job that is over came to; nothing of one that goes on."""
        return outcome(self.job) if self.job.over else ""

    @classmethod
    def of(cls, job: Job, now: datetime) -> "Progress":
        """Return how far *job* is."""
        ended = job.total - sum(job.counts[state] for state in _NOT_ENDED)
        elapsed_s = ((job.ended_at or now) - job.started_at).total_seconds() if job.started_at else None
        return cls(job, ended, elapsed_s, pieces(job.asked))


def outcome(job: Job) -> str:
    """Return in one sentence what a job came to; the numbers add up to all of its instances.  Pure."""
    parts = [
        f"{job.counts[state]} {word}"
        for state, word in _CAME_TO[Kind(job.kind)]
        if job.counts[state] and job.counts[state] != job.total
    ]
    whole = next((word for state, word in _CAME_TO[Kind(job.kind)] if job.counts[state] == job.total), "")
    how = "Stopped" if job.state == JobState.STOPPED else "Finished"
    if whole and job.total:
        return f"{how}: {'it' if job.total == 1 else f'all {job.total}'} {whole}."
    return f"{how}: of {job.total}, {', '.join(parts)}." if parts else f"{how}."


@router.get("/jobs")
def list_jobs(request: Request, _: Visitor) -> Response:
    """List them, newest first."""
    return page(request, "jobs/page.html", **_listed(request, cursor_of(request.query_params)))


@router.get("/live/jobs")
async def follow_jobs(request: Request, _: Visitor) -> StreamingResponse:
    """Stream the list of the newest."""
    return stream_parts(request, _LIST, lambda: _listed(request, None))


@router.get("/jobs/{job_id}")
def show_job(request: Request, _: Visitor, job_id: str) -> Response:
    """Show one, live while it goes on."""
    return page(request, "jobs/one.html", **_content(request, job_id))


@router.get("/live/jobs/{job_id}")
def follow_job(request: Request, _: Visitor, job_id: str) -> StreamingResponse:
    """Stream its progress."""
    _job(ledger_of(request), job_id)
    return stream_parts(request, _PARTS, lambda: _content(request, job_id))


@router.post("/jobs/{job_id}/stop")
def stop_job(request: Request, who: Visitor, _: Posted, job_id: str) -> Response:
    """Stop it; what has not begun is put back."""
    ledger = ledger_of(request)
    found = _found(ledger, job_id)
    operator = permit(request, who, f"stop {found.kind}" if found else "stop job")
    job = _there(found)
    if job_control.stop(ledger, operator, Kind(job.kind), int(job.job_id)):
        return redirect(request, f"/jobs/{job.job_id}", "Stopped: what had not begun is as it was before.")
    return redirect(request, f"/jobs/{job.job_id}", "It was over already.", good=False)


def _listed(request: Request, before: int | None) -> dict[str, Any]:
    found = job_control.jobs(ledger_of(request), None, limit=ROWS, before=before)
    now = datetime.now(UTC)
    return {"rows": [Progress.of(job, now) for job in found.items], "next": found.next, "before": before}


def _content(request: Request, job_id: str) -> dict[str, Any]:
    ledger = ledger_of(request)
    job = job_control.foreseen(ledger, _job(ledger, job_id), settings_of(request))
    progress = Progress.of(job, datetime.now(UTC))
    is_sending = progress.job.kind not in {Kind.DISCARD, Kind.UNDO} and not progress.job.over
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
        "can_undo": _can_undo(progress.job, settings_of(request)),
        "rest": local(request.query_params.get("rest", ""), ""),
    }


def _can_undo(job: Job, settings: Settings) -> bool:
    """Say whether what a discard did may still be undone."""
    if job.kind != Kind.DISCARD or job.ended_at is None or not job.counts[ItemState.CLOSED]:
        return False
    return (datetime.now(UTC) - job.ended_at).total_seconds() < settings.operations.undo_discard_s


def _found(ledger: Ledger, words: str) -> Job | None:
    number = id_of(words)
    return None if number is None else job_control.progress(ledger, None, number)


def _there(job: Job | None) -> Job:
    if job is None:
        raise ProblemError(404, "no_such_job", "there is no such job")
    return job


def _job(ledger: Ledger, words: str) -> Job:
    return _there(_found(ledger, words))


def _poster(request: Request, who: Visitor, form: Posted) -> Operator:
    return permit(request, who, kind_of(form), asked_in(form))


@router.get("/dead-letters/plan")
def show_plan(request: Request, who: Visitor) -> Response:
    """Show the plan of what the address asks for."""
    words = request.query_params
    permit(request, who, kind_of(words), asked_in(words))
    return _planned(request, words)


@router.post("/dead-letters/plan", dependencies=[Depends(_poster)])
def plan_selected(request: Request, form: Posted) -> Response:
    """Lead to the plan of what was ticked, or of the same form again; show the plan itself, if that is too long."""
    asked = TypedSelection.of(form)
    if not asked.fields:
        return redirect(
            request, local(form.get("back", ""), dead_letters.PATH), "Tick at least one instance.", good=False
        )
    address = asked.address("/dead-letters/plan", **{name: form[name] for name in _CARRIED if form.get(name)})
    return redirect(request, address) if len(address) <= _ADDRESS_MAX else _planned(request, form)


@router.post("/jobs")
@once
def start_job(request: Request, form: Posted, operator: Annotated[Operator, Depends(_poster)]) -> Response:
    """Start what was planned, unless the plan is another by now."""
    ledger, settings = ledger_of(request), settings_of(request)
    try:
        ask = ask_of(form)
        plan = job_control.plan(ledger, ask, settings)
        if summed_up(plan) != form.get("planned"):
            return _shown(request, form, plan, changed=True)
        plan, job = job_control.start(ledger, operator, ask, settings)
    except AskError as mistake:
        if mistake.field not in _AT_A_FIELD:
            raise
        return _planned(request, form, mistake)
    if job is None:
        return _shown(request, form, plan, changed=True)
    return redirect(request, f"/jobs/{job.job_id}", f"The {ask.kind} was started. It goes on if you leave this page.")


@router.post("/dead-letters/canary")
@once
def send_one(request: Request, form: Posted, operator: Annotated[Operator, Depends(_poster)]) -> Response:
    """Requeue one instance of a cause; its page shows what comes of it, and then offers the rest."""
    ledger, settings = ledger_of(request), settings_of(request)
    asked = TypedSelection.of(form)
    plan = job_control.plan(ledger, Ask(Kind.REQUEUE, asked.selection()), settings)
    first = next((item for item in plan.items if item.verdict == Verdict.SEND), None)
    back = local(form.get("back", ""), dead_letters.PATH)
    if first is None:
        return redirect(request, back, "None of them would be sent: see the plan of the requeue.", good=False)
    ask = Ask(Kind.REQUEUE, Selection(ids=(int(first.instance_id),)), f"canary of {plan.matched} alike")
    _, job = job_control.start(ledger, operator, ask, settings)
    if job is None:
        return redirect(request, back, "Meanwhile somebody else has it.", good=False)
    rest = asked.address("/dead-letters/plan", kind=Kind.REQUEUE)
    return redirect(request, f"/jobs/{job.job_id}?{urlencode({'rest': rest})}", "One was sent; the others wait for it.")


def _planned(request: Request, words: Words, mistake: AskError | None = None) -> Response:
    ask = Ask(kind_of(words), TypedSelection.of(words).selection(), force="force" in words)
    plan = job_control.plan(ledger_of(request), ask, settings_of(request))
    return _shown(request, words, plan, mistake=mistake)


def _shown(
    request: Request, words: Words, plan: Plan, *, mistake: AskError | None = None, changed: bool = False
) -> Response:
    asked = TypedSelection.of(words)
    rows = [item for verdict in plan.counts for item in [one for one in plan.items if one.verdict == verdict][:_SHOWN]]
    return page(
        request,
        "dead_letters/plan.html",
        status=409 if changed else 400 if mistake else 200,
        plan=plan,
        planned=summed_up(plan),
        idempotency_key=new_idempotency_key(),
        rows=rows,
        meaning=_BECOMES,
        asked=asked,
        pieces=pieces(asked.selection().asked, most=_SHOWN),
        typed=words,
        back=dead_letters.back_of(asked, words),
        mistake=mistake,
        changed=changed,
        reason_needed=plan.touched > 1 or plan.kind != Kind.REQUEUE,
        data_errors=_are_data_errors(ledger_of(request), asked, plan),
    )


def summed_up(plan: Plan) -> str:
    """Return what a form remembers of a plan, to be compared: how many, and which as far as the plan lists them."""
    counts = " ".join(f"{verdict}:{count}" for verdict, count in plan.counts.items())
    listed = " ".join(sorted(f"{item.instance_id}:{item.verdict}" for item in plan.items))
    return f"{counts} {sha256(listed.encode()).hexdigest()[:16]}"


def _are_data_errors(ledger: Ledger, asked: TypedSelection, plan: Plan) -> bool:
    if asked.one("state"):
        return State.REJECTED in asked.every("state")
    if not plan.items:
        return False
    with transaction(ledger) as tx:
        first = reads.instance(tx, int(plan.items[0].instance_id))
    return first is not None and first.state == State.REJECTED
