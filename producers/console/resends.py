"""Sending CrowdTwist once more what it may have lost: what is asked, its plan, and the job that comes of it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from producers.console.rendering import page, redirect
from producers.console.selection import Words, read_words
from producers.console.session import Posted, Visitor, new_idempotency_key, once, operates
from producers.http.operating import ResendBody, permit
from producers.http.request import ledger_of, settings_of
from producers.operations import job_control
from producers.operations.job_control import Ask, AskError, Operator
from producers.operations.job_selections import Acknowledged
from shared.ledger.jobs import Kind, Plan, Verdict

router = APIRouter(include_in_schema=False)

PATH = "/resends"
_BECOMES = {
    Verdict.SEND: "will be sent: one call with what CrowdTwist acknowledged last",
    Verdict.SUPERSEDED: "nothing to do: a newer event of the member succeeded",
    Verdict.MERGED: "wait for a newer event that is on its way; sent only if that is refused",
    Verdict.REFUSED: "refused: nothing happens to it",
}
_SHOWN = 10
"""Rows of each verdict of a plan."""
_TYPED = ("acknowledged_since", "acknowledged_until", "rate", "recreate", "reason")


@router.get(f"{PATH}/plan")
def show_resend(request: Request, who: Visitor) -> Response:
    """Show what may be asked for; once that is said, its plan."""
    permit(request, who, Kind.RESEND)
    words = request.query_params
    try:
        return _shown(request, words, _ask(words) if words.get("acknowledged_since") else None)
    except AskError as mistake:
        return _shown(request, words, None, mistake=mistake)


@router.post(PATH)
@once
def start_resend(
    request: Request, form: Posted, operator: Annotated[Operator, Depends(operates(Kind.RESEND))]
) -> Response:
    """Start what was planned, unless it is about more by now: it may be less, since what is newer goes before it."""
    ledger, settings = ledger_of(request), settings_of(request)
    try:
        ask = _ask(form)
        plan = job_control.plan(ledger, ask, settings)
        if not form.get("reason", "").strip():
            return _shown(request, form, ask, plan=plan, mistake=AskError("reason", "say why"))
        if not form.get("planned", "").isdecimal() or plan.counts[Verdict.SEND] > int(form["planned"]):
            return _shown(request, form, ask, plan=plan, changed=True)
        plan, job = job_control.start(ledger, operator, ask, settings)
    except AskError as mistake:
        return _shown(request, form, None, mistake=mistake)
    if job is None:
        return _shown(request, form, ask, plan=plan, changed=True)
    return redirect(request, f"/jobs/{job.job_id}", "The resend was started. It goes on if you leave this page.")


def _ask(words: Words) -> Ask:
    """Read which resend is meant; what is acknowledged from now on is certain, unless another end is said.

    Raises:
        AskError: with the name of the field.
    """
    said = {name: words.get(name, "").strip() or None for name in ("acknowledged_since", "acknowledged_until", "rate")}
    more = {"recreate": "recreate" in words, "reason": words.get("reason", ""), "dry_run": True}
    body = read_words(ResendBody, said | {"acknowledged_until": said["acknowledged_until"] or "0s"} | more)
    return body.ask()


def _shown(  # noqa: PLR0913  # what a page of a form shows
    request: Request,
    words: Words,
    ask: Ask | None,
    *,
    plan: Plan | None = None,
    mistake: AskError | None = None,
    changed: bool = False,
) -> Response:
    typed = {name: words.get(name, "") for name in _TYPED}
    if ask is not None and isinstance(ask.selection, Acknowledged):
        typed |= {name: f"{value}" for name, value in ask.selection.asked.items() if name in _TYPED}
        plan = plan or job_control.plan(ledger_of(request), ask, settings_of(request))
    items = [] if plan is None else plan.items
    return page(
        request,
        "reconciliations/resend.html",
        status=409 if changed else 400 if mistake else 200,
        ask=ask,
        plan=plan,
        becomes=_BECOMES,
        rows=[one for verdict in _BECOMES for one in [of for of in items if of.verdict == verdict][:_SHOWN]],
        typed=typed,
        fields=[(name, typed[name]) for name in _TYPED if name != "reason" and typed[name]],
        mistake=mistake,
        changed=changed,
        idempotency_key=new_idempotency_key(),
    )
