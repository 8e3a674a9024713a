"""A requeue or discard before it happens: what would become of each instance, and the form that confirms it."""

from hashlib import sha256
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from producers.console.idempotency import Starts, new_ticket
from producers.console.pages import local, page, redirect
from producers.console.selection_form import Asked, Words, ask_of, kind_of
from producers.console.selection_view import pieces
from producers.console.visitors import Form, Posted, Visitor, asked_in
from producers.http.dependencies import ledger_of, settings_of
from producers.http.operating import permit
from producers.operations import job_control
from producers.operations.job_control import Ask, AskError, Operator, Selection
from shared.jobs import Kind, Plan, Verdict
from shared.ledger import views
from shared.ledger.engine import Ledger, transaction
from shared.pipeline import State

router = APIRouter()

LETTERS = "/dead-letters"

_SHOWN = 10
"""Rows of each verdict."""
_MEANING = {
    Verdict.SEND: "will be sent",
    Verdict.SUPERSEDED: "closed as superseded: a newer success overtook it",
    Verdict.MERGED: "merged into a newer pending event, which carries it",
    Verdict.DISCARD: "will be discarded, for good",
    Verdict.REFUSED: "refused: nothing happens to it",
}
_AT_A_FIELD = ("reason", "rate")
_CARRIED = ("kind", "reason", "rate", "from_start", "force", "back")
"""What a form of the plan says beside the selection."""
_ADDRESS_MAX = 4_000


def _planner(request: Request, who: Visitor) -> Operator:
    return permit(request, who, kind_of(request.query_params), asked_in(request.query_params))


def _poster(request: Request, who: Visitor, form: Posted) -> Operator:
    return permit(request, who, kind_of(form), asked_in(form))


@router.get("/dead-letters/plan", dependencies=[Depends(_planner)])
def show_plan(request: Request) -> Response:
    """Show the plan of what the address asks for."""
    return _planned(request, request.query_params)


@router.post("/dead-letters/plan", dependencies=[Depends(_poster)])
def plan_selected(request: Request, form: Posted) -> Response:
    """Give the way to the plan of what was ticked, or of the same form again; the plan itself, if that is too long."""
    asked = Asked.of(form)
    if not asked.fields:
        return redirect(request, local(form.get("back", ""), LETTERS), "Tick at least one instance.", good=False)
    address = asked.address("/dead-letters/plan", **{name: form[name] for name in _CARRIED if form.get(name)})
    return redirect(request, address) if len(address) <= _ADDRESS_MAX else _planned(request, form)


@router.post("/jobs")
def start_job(request: Request, operator: Annotated[Operator, Depends(_poster)], form: Posted) -> Response:
    """Start what was planned, once, unless the plan is another by now."""
    starts: Starts = request.app.state.starts
    return starts.once(form.get("ticket", ""), lambda: _started(request, operator, form))


@router.post("/dead-letters/canary")
def send_one(request: Request, operator: Annotated[Operator, Depends(_poster)], form: Posted) -> Response:
    """Requeue one instance of a cause; its page shows what comes of it, and then offers the rest."""
    starts: Starts = request.app.state.starts
    return starts.once(form.get("ticket", ""), lambda: _sent_one(request, operator, form))


def _sent_one(request: Request, operator: Operator, form: Form) -> Response:
    ledger, settings = ledger_of(request), settings_of(request)
    asked = Asked.of(form)
    plan = job_control.plan(ledger, Ask(Kind.REQUEUE, asked.selection()), settings)
    first = next((item for item in plan.items if item.verdict == Verdict.SEND), None)
    back = local(form.get("back", ""), LETTERS)
    if first is None:
        return redirect(request, back, "None of them would be sent: see the plan of the requeue.", good=False)
    ask = Ask(Kind.REQUEUE, Selection(ids=(int(first.instance_id),)), f"canary of {plan.matched} alike")
    _, job = job_control.start(ledger, operator, ask, settings)
    if job is None:
        return redirect(request, back, "Meanwhile somebody else has it.", good=False)
    rest = asked.address("/dead-letters/plan", kind=Kind.REQUEUE)
    return redirect(request, f"/jobs/{job.job_id}?{urlencode({'rest': rest})}", "One was sent; the others wait for it.")


def _started(request: Request, operator: Operator, form: Form) -> Response:
    ledger, settings = ledger_of(request), settings_of(request)
    try:
        ask = ask_of(form)
        plan = job_control.plan(ledger, ask, settings)
        if _summed_up(plan) != form.get("planned"):
            return _shown(request, form, plan, status=409, changed=True)
        plan, job = job_control.start(ledger, operator, ask, settings)
    except AskError as mistake:
        if mistake.field not in _AT_A_FIELD:
            raise
        return _planned(request, form, mistake)
    if job is None:
        return _shown(request, form, plan, status=409, changed=True)
    return redirect(request, f"/jobs/{job.job_id}", f"The {ask.kind} was started. It goes on if you leave this page.")


def _planned(request: Request, words: Words, mistake: AskError | None = None) -> Response:
    ask = Ask(kind_of(words), Asked.of(words).selection(), force="force" in words)
    plan = job_control.plan(ledger_of(request), ask, settings_of(request))
    return _shown(request, words, plan, mistake=mistake, status=400 if mistake else 200)


def _shown(  # noqa: PLR0913  # what the page says beside the plan
    request: Request,
    words: Words,
    plan: Plan,
    *,
    status: int,
    mistake: AskError | None = None,
    changed: bool = False,
) -> Response:
    asked = Asked.of(words)
    rows = [item for verdict in plan.counts for item in [one for one in plan.items if one.verdict == verdict][:_SHOWN]]
    return page(
        request,
        "letters/plan.html",
        status=status,
        plan=plan,
        planned=_summed_up(plan),
        ticket=new_ticket(),
        rows=rows,
        meaning=_MEANING,
        asked=asked,
        pieces=pieces(asked.selection().asked, most=_SHOWN),
        typed=words,
        back=_back(asked, words),
        mistake=mistake,
        changed=changed,
        reason_needed=plan.touched > 1 or plan.kind == Kind.DISCARD,
        data_errors=_are_data_errors(ledger_of(request), asked, plan),
    )


def _back(asked: Asked, words: Words) -> str:
    listed = asked.narrowed(ids=None, message=None)
    return local(words.get("back", ""), listed.address(LETTERS))


def _summed_up(plan: Plan) -> str:
    """Give what a form remembers of a plan, to be compared: how many, and which as far as the plan lists them."""
    counts = " ".join(f"{verdict}:{count}" for verdict, count in plan.counts.items())
    listed = " ".join(sorted(f"{item.instance_id}:{item.verdict}" for item in plan.items))
    return f"{counts} {sha256(listed.encode()).hexdigest()[:16]}"


def _are_data_errors(ledger: Ledger, asked: Asked, plan: Plan) -> bool:
    if asked.one("state"):
        return State.REJECTED in asked.every("state")
    if not plan.items:
        return False
    with transaction(ledger) as tx:
        first = views.instance(tx, int(plan.items[0].instance_id))
    return first is not None and first.state == State.REJECTED
