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
from shared.ledger import causes, views
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
        where, before = failures(asked.where()), cursor_of(request.query_params)
    except AskError as mistake:
        nothing = {"groups": None, "rows": None, "next": None, "before": None}
        return page(request, "letters/page.html", status=400, **content | nothing | {"mistake": mistake})
    return page(request, "letters/page.html", **content, **_found(request, where, before))


def _found(request: Request, where: Filter, before: int | None) -> dict[str, Any]:
    """Read the rows, and on the first page the causes."""
    with transaction(ledger_of(request)) as connection:
        groups = causes.causes(connection, where, limit=GROUPS_MAX) if before is None else None
        rows = masked_page(views.instances(connection, where, limit=ROWS, before=before))
    return {"groups": groups, "rows": rows.items, "next": rows.next, "before": before}
