"""Reconciliations: the trend of what differs over runs, one run with its classes, and its differences side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from producers.console.charts import Estimated, Svg, drift_chart, share
from producers.console.live import stream_parts
from producers.console.rendering import page
from producers.console.selection import Words, cursor_of
from producers.console.session import Visitor, values_of
from producers.http.request import ProblemError, ledger_of
from producers.operations.job_control import AskError
from producers.operations.reads import id_of
from producers.operations.reconcile import reads
from shared.ledger import reconciliations
from shared.ledger.engine import transaction
from shared.ledger.reconciliations import Run
from shared.reconciling import DriftClass, RunState

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
