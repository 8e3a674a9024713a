"""What intake refused: grouped by field and sender, and one by one."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from producers.console.forms import typed_into, values_of
from producers.console.rendering import page
from producers.console.selection import cursor_of
from producers.console.session import Visitor
from producers.http.request import ledger_of
from producers.intake.refused import where_of
from producers.operations.filtering import refusals_of
from shared.ledger import refusals
from shared.ledger.engine import transaction

router = APIRouter()

_ROWS = 50
_GROUPS = 50
_FIELDS = ("sender", "field", "member", "since", "until")


@router.get("/refusals")
def show_refusals(request: Request, _: Visitor) -> Response:
    """Show the groups of what was refused, and the newest of it."""
    words = request.query_params
    typed = typed_into(words, _FIELDS)
    content: dict[str, Any] = {"typed": typed, "mistake": None, "groups": [], "items": [], "next": None}
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
