"""What failed: dead letters and Data Errors by cause, with what to do, and rehearsed; what intake refused."""

from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse

from producers.console.live import AsDrawn, Drawn, Rows, follow, instance_rows
from producers.console.picking import Picker
from producers.console.rendering import local, page, redirect
from producers.console.selection import TypedSelection, Words, cursor_of, failures, pieces
from producers.console.session import Posted, Visitor, operates, typed_into, values_of
from producers.http.request import ledger_of, settings_of
from producers.intake.refused import where_of
from producers.operations import advice, job_control, reads
from producers.operations.job_control import REHEARSED_MAX, AskError, Operator, RehearsalError
from producers.operations.reads import refusals_of
from shared.ledger import causes, refusals, views
from shared.ledger.engine import Transaction, engine, transaction
from shared.ledger.filters import CONDITIONS, Filter
from shared.ledger.jobs import jobs_of
from shared.pipeline import State

router = APIRouter(include_in_schema=False)

PATH = "/dead-letters"

GROUPS_MAX = 50
"""Causes that the page shows, the commonest."""
ROWS = 50


@router.get(PATH)
def show_dead_letters(request: Request, who: Visitor) -> Response:
    """Show what failed and stays so until somebody acts, or the member changes."""
    asked = TypedSelection.of(request.query_params)
    asked = asked if asked.one("state") else asked.narrowed(state=State.DEAD)
    content: dict[str, Any] = {
        "asked": asked,
        "dead": asked.every("state") == [State.DEAD],
        "conditions": [row for row in CONDITIONS if row.name != "state"],
        "advice": advice,
        "mistake": None,
        "picker": Picker.of(request, who, PATH),
    }
    try:
        where, message, before = failures(asked.where()), asked.message(), cursor_of(request.query_params)
    except AskError as mistake:
        nothing = {"groups": None, "rows": None, "next": None, "before": None, "follow": ""}
        return page(request, "dead_letters/page.html", status=400, **content | nothing | {"mistake": mistake})
    return page(request, "dead_letters/page.html", **content, **_found(request, asked, where, message, before))


@router.get(f"/live{PATH}")
async def follow_dead_letters(request: Request, _: Visitor, drawn: AsDrawn) -> StreamingResponse:
    """Stream what is newer than the list that a page shows.

    Raises:
        AskError: the filter cannot be understood.
    """
    asked = TypedSelection.of(request.query_params)
    where, message = failures(asked.where()), asked.message()

    def rows(tx: Transaction, limit: int, before: int | None) -> Rows:
        return instance_rows(reads.failures(tx, where, message, limit=limit, before=before).items)

    return follow(request, drawn, rows, shown=ROWS, address=asked.address(PATH))


def _found(request: Request, asked: TypedSelection, where: Filter, message: str, before: int | None) -> dict[str, Any]:
    """Read the rows, and on the first page the causes; of one cause, where its *message* is given."""
    with transaction(ledger_of(request)) as tx:
        groups = None
        if before is None:
            every = causes.causes(tx, where, limit=causes.LOOKED_AT if message else GROUPS_MAX)
            groups = [one for one in every if message in {"", one.message}]
        rows = reads.failures(tx, where, message, limit=ROWS, before=before)
        ids = [int(one.instance_id) for one in rows.items]
        fixed, jobs = views.overtaken(tx, ids), jobs_of(tx, ids)
    follow = ""
    if before is None:
        drawn = Drawn.of(instance_rows(rows.items))
        follow = asked.address(f"/live{PATH}", after=str(drawn.after), seen=drawn.seen)
    shown = {"groups": groups, "rows": rows.items, "next": rows.next, "before": before, "fixed": fixed, "jobs": jobs}
    return shown | {"follow": follow}


SHOWN = 100
"""Instances that the page shows field by field."""


@router.post("/dead-letters/rehearse")
def rehearse(request: Request, operator: Annotated[Operator, Depends(operates("rehearse"))], form: Posted) -> Response:
    """Map the selection with today's settings and show what differs."""
    asked = TypedSelection.of(form)
    back = back_of(asked, form)
    if not asked.fields:
        return redirect(request, back, "Tick at least one instance.", good=False)
    settings = settings_of(request)
    selection = asked.selection()
    try:
        found = job_control.rehearse(engine(settings.ledger_url), operator, selection, settings)
    except RehearsalError as error:
        return redirect(request, back, f"It cannot be rehearsed: {error}.", good=False)
    different = [one for one in found if one.outcome != "same"]
    return page(
        request,
        "dead_letters/rehearsal.html",
        asked=asked,
        pieces=pieces(selection.asked, most=SHOWN // 10),
        total=len(found),
        most=REHEARSED_MAX,
        counts=Counter(one.outcome for one in found),
        shown=different[:SHOWN],
        hidden=len(different[SHOWN:]),
        back=back,
    )


def back_of(asked: TypedSelection, words: Words) -> str:
    """Return the list that a form was sent from: its own word for it, else that of what is *asked* for."""
    return local(words.get("back", ""), asked.narrowed(ids=None, message=None, discard=None).address(PATH))


_ROWS = 50
_GROUPS = 50
_FIELDS = ("sender", "field", "member", "since", "until")


@router.get("/refusals")
def show_refusals(request: Request, who: Visitor) -> Response:
    """Show the groups of what was refused, and the newest of it."""
    words = request.query_params
    typed = typed_into(words, _FIELDS)
    content: dict[str, Any] = {"typed": typed, "mistake": None, "groups": [], "items": [], "next": None}
    content["picker"] = Picker.of(request, who, "/refusals")
    several = {name: values_of(words, name) for name in ("sender", "field", "member")}
    try:
        before = cursor_of(words)
        where = refusals_of(now=datetime.now(UTC), since=words.get("since"), until=words.get("until"), **several)
    except ValueError as error:
        return page(request, "refusals/page.html", status=400, before=None, **content | {"mistake": error})
    with transaction(ledger_of(request)) as tx:
        groups = [] if before else refusals.groups(tx, where, limit=_GROUPS)
        found = refusals.refusals(tx, where, limit=_ROWS, before=before)
    content |= {"groups": groups, "items": found.items, "next": found.next, "where_of": where_of}
    return page(request, "refusals/page.html", before=before, **content)
