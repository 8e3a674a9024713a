"""Reconciliations: the trend of what differs over runs, one run with its classes, and its differences side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse

from producers.console.charts import Estimated, Svg, drift_chart, share
from producers.console.jobs import summed_up
from producers.console.live import stream_parts
from producers.console.rendering import page, redirect
from producers.console.selection import Words, cursor_of
from producers.console.session import Posted, Visitor, new_idempotency_key, once, operates, values_of
from producers.http.operating import permit
from producers.http.request import ProblemError, ledger_of, settings_of
from producers.operations import job_control
from producers.operations.connection_control import REASON_MAX
from producers.operations.job_control import Ask, AskError, Operator
from producers.operations.job_selections import RESENT_MAX, Differences
from producers.operations.reads import id_of, instant_of
from producers.operations.reconcile import reads, runs
from shared.ledger import reconciliations
from shared.ledger.engine import transaction
from shared.ledger.filters import Filter
from shared.ledger.jobs import Kind, Verdict
from shared.ledger.reconciliations import Run
from shared.reconciling import DriftClass, RunMode, RunState

router = APIRouter(include_in_schema=False)

PATH = "/reconciliations"
ROWS = 50
PLOTTED = 30
"""Runs of the trend, the newest."""
MEANING: Mapping[str, str] = {
    DriftClass.NEVER_SENT: "in Siebel, and no event of them ever came",
    DriftClass.MISSED_EVENT: "changed in Siebel since, and no event of that came",
    DriftClass.CHANGED_AT_DESTINATION: "changed in CrowdTwist after it took our last change",
    DriftClass.ROLLED_BACK: "older in CrowdTwist than what it acknowledged: it was restored",
    DriftClass.GONE_AT_DESTINATION: "acknowledged by CrowdTwist, and there no more; it may be a lawful erasure",
    DriftClass.ORPHAN: "active in CrowdTwist, and not a member of the programme in Siebel",
    DriftClass.STATUS_LIES: "Siebel shows another status than the newest event came to",
    DriftClass.LEDGER_BEHIND: "Siebel and CrowdTwist agree, and our record says something else",
}
"""What a member of a class is, after "members that are"."""
_BECOMES: Mapping[str, str] = {
    Verdict.SEND: "will be repaired: an event of Siebel's row of that moment, or the status told again",
    Verdict.OVERTAKEN: "nothing to do: something newer of the member went out since",
    Verdict.MOVING: "left alone: something of the member is on its way",
    Verdict.REFUSED: "refused: a person decides",
}
_SHOWN = 10
"""Rows of each verdict of a plan."""
_ASKED = ("how", "sample", "since", "share")
_PARTS = {"figures": "reconciliations/figures.html"}
_LIST = {"runs": "reconciliations/rows.html"}


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class of a run.  Shape: *found* None: the run has not looked; *part* of all members, with its bounds."""

    name: str
    meaning: str
    found: int | None
    part: Mapping[str, float | None]


@router.get(PATH)
def list_runs(request: Request, _: Visitor) -> Response:
    """List runs, newest first, with the trend of what they estimate."""
    return page(request, "reconciliations/page.html", **_listed(request, cursor_of(request.query_params)))


@router.get(f"/live{PATH}")
async def follow_runs(request: Request, _: Visitor) -> StreamingResponse:
    """Stream the list of the newest."""
    return stream_parts(request, _LIST, lambda: _listed(request, None))


@router.get(f"{PATH}/plan")
def show_run_plan(request: Request, who: Visitor) -> Response:
    """Show what may be asked for; once that is said, what it would take."""
    permit(request, who, "reconcile")
    words = request.query_params
    try:
        return _start(request, words, _run_asked(words) if words.get("how") else None)
    except AskError as mistake:
        return _start(request, words, None, mistake)


@router.post(PATH)
@once
def start_run(
    request: Request, form: Posted, operator: Annotated[Operator, Depends(operates("reconcile"))]
) -> Response:
    """Start a run; it goes on by itself."""
    try:
        run = runs.start(ledger_of(request), operator, _run_asked(form), settings_of(request))
    except AskError as mistake:
        return _start(request, form, None, mistake)
    return redirect(request, f"{PATH}/{run.id}", "The reconciliation was started. It goes on if you leave this page.")


@router.post(f"{PATH}/{{run_id}}/stop")
def stop_run(
    request: Request, operator: Annotated[Operator, Depends(operates("stop reconcile"))], run_id: str
) -> Response:
    """Stop it where it is; what it found stays."""
    run = _run(request, run_id)
    if runs.stop(ledger_of(request), operator, int(run.id)):
        return redirect(request, f"{PATH}/{run.id}", "Stopped: what it found so far stays.")
    return redirect(request, f"{PATH}/{run.id}", "It was over already.", good=False)


@router.get(f"{PATH}/{{run_id}}")
def show_run(request: Request, _: Visitor, run_id: str) -> Response:
    """Show one run, live while it goes on, and its differences."""
    run, words = _run(request, run_id), request.query_params
    classes, members = _chosen(words)
    after = id_of(words.get("cursor", ""))
    with transaction(ledger_of(request)) as tx:
        found = reads.differences(tx, int(run.id), classes=classes, members=members, limit=ROWS, after=after)
    return page(
        request,
        "reconciliations/run.html",
        differences=found.items,
        next=found.next,
        before=after,
        chosen=classes,
        typed={"class": classes, "member": members},
        **_content(run),
    )


@router.get(f"/live{PATH}/{{run_id}}")
def follow_run(request: Request, _: Visitor, run_id: str) -> StreamingResponse:
    """Stream its figures."""
    _run(request, run_id)
    return stream_parts(request, _PARTS, lambda: _content(_run(request, run_id)))


@router.get(f"{PATH}/{{run_id}}/repair")
def show_repair(request: Request, who: Visitor, run_id: str) -> Response:
    """Show the plan of a repair: who is sent, overtaken, moving or refused, and why."""
    run = _run(request, run_id)
    permit(request, who, Kind.REPAIR)
    return _planned(request, run, request.query_params)


@router.post(f"{PATH}/{{run_id}}/repair")
@once
def start_repair(
    request: Request, form: Posted, operator: Annotated[Operator, Depends(operates(Kind.REPAIR))], run_id: str
) -> Response:
    """Start what was planned, unless the plan is another by now."""
    run = _run(request, run_id)
    ledger, settings = ledger_of(request), settings_of(request)
    if not form.get("reason", "").strip():
        return _planned(request, run, form, mistake="say why")
    ask = _ask(run, form)
    if summed_up(job_control.plan(ledger, ask, settings)) != form.get("planned"):
        return _planned(request, run, form, changed=True)
    _, job = job_control.start(ledger, operator, ask, settings)
    if job is None:
        return _planned(request, run, form, changed=True)
    return redirect(request, f"/jobs/{job.job_id}", "The repair was started. It goes on if you leave this page.")


def _run_asked(words: Words) -> runs.Ask:
    """Read which run is meant.

    Raises:
        AskError: with the name of the field.
    """
    how = words.get("how", "")
    if how not in set(RunMode):
        raise AskError("how", f"must be {' or '.join(RunMode)}")
    try:
        since = instant_of("since", words.get("since", ""), datetime.now(UTC))
    except ValueError as error:
        raise AskError.of(error) from None
    is_full = how == RunMode.FULL
    sample, share_ = _number("sample", words), _number("share", words)
    if sample is not None and sample != int(sample):
        raise AskError("sample", "must be a whole number")
    return runs.Ask(is_full, None if is_full or sample is None else int(sample), since, share=share_)


def _number(name: str, words: Words) -> float | None:
    typed = words.get(name, "").strip()
    try:
        number = float(typed) if typed else None
    except ValueError:
        raise AskError(name, "must be a number") from None
    if number is not None and not isfinite(number):
        raise AskError(name, "must be a number")
    return number


def _start(request: Request, words: Words, ask: runs.Ask | None, mistake: AskError | None = None) -> Response:
    of = settings_of(request)
    typed = {name: words.get(name, "") for name in _ASKED}
    if ask is not None and ask.since is not None:
        typed["since"] = f"{ask.since:%Y-%m-%dT%H:%M:%SZ}"
    return page(
        request,
        "reconciliations/start.html",
        status=400 if mistake else 200,
        typed=typed,
        usual=of.reconcile,
        ask=ask,
        foreseen=None if ask is None else runs.foresee(ledger_of(request), ask, of),
        budget=of.crowdtwist.budget_per_minute,
        share=share,
        mistake=mistake,
        idempotency_key=new_idempotency_key(),
    )


def _ask(run: Run, words: Words) -> Ask:
    classes, members = _chosen(words)
    where = Filter(members=members)
    chosen = Differences(where=where, limit=RESENT_MAX, run_id=int(run.id), classes=tuple(map(DriftClass, classes)))
    return Ask(Kind.REPAIR, chosen, words.get("reason", "")[:REASON_MAX], force="force" in words)


def _planned(request: Request, run: Run, words: Words, *, mistake: str = "", changed: bool = False) -> Response:
    plan = job_control.plan(ledger_of(request), _ask(run, words), settings_of(request))
    classes, members = _chosen(words)
    return page(
        request,
        "reconciliations/repair.html",
        status=409 if changed else 400 if mistake else 200,
        run=run,
        plan=plan,
        planned=summed_up(plan),
        becomes=_BECOMES,
        rows=[one for verdict in plan.counts for one in [of for of in plan.items if of.verdict == verdict][:_SHOWN]],
        chosen=classes,
        of_members=members,
        fields=[
            *(("class", one) for one in classes),
            *(("member", one) for one in members),
            *([("force", "yes")] if "force" in words else []),
        ],
        forced="force" in words,
        typed=words,
        mistake=mistake,
        changed=changed,
        idempotency_key=new_idempotency_key(),
    )


def trend(runs: Sequence[Run]) -> Svg:
    """Draw what *runs*, newest first, estimate; those that say nothing of all members are left out.  Pure."""
    estimated = [
        Estimated(f"{run.ended_at:%d %b %H:%M}", run.drift["estimate"], run.drift["low"], run.drift["high"])
        for run in reversed(runs)
        if is_of_all(run) and run.ended_at and None not in (run.drift["estimate"], run.drift["low"], run.drift["high"])
    ]
    return drift_chart(estimated)


def is_of_all(run: Run) -> bool:
    """Return whether a run that is done says something of all members, not of a few that somebody named.  Pure."""
    return run.state == RunState.DONE and not run.asked.keys() & {"members", "since", "partial"}


def class_rows(run: Run) -> list[ClassRow]:
    """Return every class of *run*, those with differences first.  Pure."""
    rows = [ClassRow(name, MEANING[name], run.differences.get(name), run.classes.get(name, {})) for name in DriftClass]
    return sorted(rows, key=lambda one: -(one.found or 0))


def _listed(request: Request, before: int | None) -> dict[str, Any]:
    with transaction(ledger_of(request)) as tx:
        found = reconciliations.list_runs(tx, limit=ROWS, before=before)
        newest = found.items if before is None else reconciliations.list_runs(tx, limit=PLOTTED).items
    return {"runs": found.items, "next": found.next, "before": before, "plot": trend(newest[:PLOTTED]), "share": share}


def _content(run: Run) -> dict[str, Any]:
    return {"run": run, "classes": class_rows(run), "meaning": MEANING, "share": share}


def _chosen(words: Words) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the classes and members that an address narrows the differences to.

    Raises:
        AskError: there is no such class.
    """
    classes = values_of(words, "class")
    if unknown := set(classes) - set(DriftClass):
        raise AskError("class", f"there is no {min(unknown)}; there are {', '.join(DriftClass)}")
    return classes, values_of(words, "member")


def _run(request: Request, words: str) -> Run:
    number = id_of(words)
    with transaction(ledger_of(request)) as tx:
        run = None if number is None else reconciliations.read_run(tx, number)
    if run is None:
        raise ProblemError(404, "no_such_reconciliation", "there is no such reconciliation")
    return run
