"""The audit: what operators did, and what they were not allowed to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from producers.console.forms import typed_into, values_of
from producers.console.live import AsDrawn, Drawn, Rows, follow
from producers.console.rendering import page
from producers.console.selection import Piece, Words, cursor_of, job_of, pieces
from producers.console.session import Visitor
from producers.http.request import ledger_of
from producers.operations.filtering import instant_of
from producers.operations.job_control import AskError
from shared.ledger import operators
from shared.ledger.engine import Transaction, transaction
from shared.ledger.filters import has_control
from shared.ledger.operators import ActionFilter, ActionRecord

router = APIRouter()

ROWS = 50

_PIECES_MAX = 5
_FIELDS = ("who", "what", "denied", "since", "until")
_DENIED = {"": None, "true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Line:
    """One action, what it was done to, and the address of the job that came of it, if any."""

    action: ActionRecord
    pieces: list[Piece]
    job: str


@router.get("/audit")
def show_audit(request: Request, _: Visitor) -> Response:
    """Show what operators did, newest first."""
    words = request.query_params
    typed = typed_into(words, _FIELDS)
    content: dict[str, Any] = {"typed": typed, "mistake": None, "lines": [], "next": None, "before": None, "follow": ""}
    try:
        where, before = _where(words), cursor_of(words)
    except AskError as mistake:
        return page(request, "audit/page.html", status=400, **content | {"mistake": mistake})
    with transaction(ledger_of(request)) as tx:
        found = operators.actions(tx, where, limit=ROWS, before=before)
    lines = [Line(one, pieces(one.asked, most=_PIECES_MAX), job_of(one.answer)) for one in found.items]
    if before is None:
        drawn = Drawn.of(_rows(found.items))
        content["follow"] = f"/live/audit?{urlencode({**typed, 'after': drawn.after, 'seen': drawn.seen})}"
    return page(request, "audit/page.html", **content | {"lines": lines, "next": found.next, "before": before})


@router.get("/live/audit")
async def follow_audit(request: Request, _: Visitor, drawn: AsDrawn) -> StreamingResponse:
    """Stream what is newer than the list that a page shows.

    Raises:
        AskError: the filter cannot be understood.
    """
    words = request.query_params
    where = _where(words)
    typed = typed_into(words, _FIELDS)

    def listed(tx: Transaction, limit: int, before: int | None) -> Rows:
        return _rows(operators.actions(tx, where, limit=limit, before=before).items)

    return follow(request, drawn, listed, shown=ROWS, address=f"/audit?{urlencode(typed)}" if typed else "/audit")


def _rows(actions: Sequence[ActionRecord]) -> Rows:
    return [(int(one.action_id), (one.answer,)) for one in actions]


def _where(words: Words) -> ActionFilter:
    now = datetime.now(UTC)
    try:
        since, until = (instant_of(name, words.get(name), now) for name in ("since", "until"))
    except ValueError as error:
        raise AskError.of(error) from None
    who, what, denied = values_of(words, "who"), values_of(words, "what"), words.get("denied", "")
    for name, values in (("who", who), ("what", what)):
        if any(map(has_control, values)):
            raise AskError(name, "contains a control character")
    if denied not in _DENIED:
        raise AskError("denied", "must be true or false")
    return ActionFilter(who, what, _DENIED[denied], since, until)
