"""Dead letters and Data Errors: by cause, with what to do about each, and one by one."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from producers.api.given import ledger_of
from producers.console import advice
from producers.console.asking import Asked, cursor_of, failures
from producers.console.pages import page
from producers.console.visitors import Visitor
from producers.ops import AskError
from producers.shown import masked_page
from shared.ledger import causes, lookups, views
from shared.ledger.engine import transaction
from shared.ledger.filters import Filter
from shared.pipeline import STAGES, Lane, State

router = APIRouter()

GROUPS_MAX = 50
"""Causes that the page shows, the commonest."""
ROWS = 50


@router.get("/dead-letters")
def show_letters(request: Request, _: Visitor) -> Response:
    """Show what failed and stays so until somebody acts, or the member changes."""
    asked = Asked.of(request.query_params)
    asked = asked if asked.one("state") else asked.narrowed(state=State.DEAD)
    content: dict[str, Any] = {
        "asked": asked,
        "dead": asked.every("state") == [State.DEAD],
        "stages": STAGES,
        "lanes": list(Lane),
        "advice": advice,
        "mistake": None,
    }
    try:
        where, message, before = failures(asked.where()), asked.message(), cursor_of(request.query_params)
    except AskError as mistake:
        nothing = {"groups": None, "rows": None, "next": None, "before": None}
        return page(request, "letters/page.html", status=400, **content | nothing | {"mistake": mistake})
    return page(request, "letters/page.html", **content, **_found(request, where, message, before))


def _found(request: Request, where: Filter, message: str, before: int | None) -> dict[str, Any]:
    """Read the rows, and on the first page the causes; of one cause, where its *message* is given."""
    with transaction(ledger_of(request)) as connection:
        groups = None
        if before is None:
            found = causes.causes(connection, where, limit=causes.LOOKED_AT if message else GROUPS_MAX)
            groups = [one for one in found if message in {"", one.message}]
        if message:
            ids = causes.instances_of(connection, where, message)
            listed = views.listed(connection, ids, limit=ROWS, before=before)
        else:
            listed = views.instances(connection, where, limit=ROWS, before=before)
        ids = [int(one.instance_id) for one in listed.items]
        fixed, jobs = lookups.overtaken(connection, ids), lookups.jobs_of(connection, ids)
    rows = masked_page(listed)
    return {"groups": groups, "rows": rows.items, "next": rows.next, "before": before, "fixed": fixed, "jobs": jobs}
