"""One member: what we know, what CrowdTwist holds and Siebel shows, whether they agree, and all its events."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import quote

import anyio.to_thread
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from producers.console import instances
from producers.console.live import stream_parts
from producers.console.rendering import page, redirect
from producers.console.session import Posted, Visitor, new_idempotency_key, once, operates, unmasker
from producers.http.operating import COMPARISONS, filed
from producers.http.request import ProblemError, invalid_parameter, ledger_of, settings_of
from producers.intake.accept import Outcome
from producers.operations import reads
from producers.operations.event_changes import NotOfMemberError, changed_pair, changes_between
from producers.operations.job_control import SEND_AGAIN, AskError, Operator, send_again
from producers.operations.reads import id_of
from producers.operations.reconcile.compare import compare
from shared.ledger import views
from shared.ledger.engine import transaction
from shared.ledger.records import InstanceRecord, MemberRecord
from shared.pipeline import SYSTEMS, Stage, State, SyncStatus, is_a, spoken

router = APIRouter(include_in_schema=False)

_UNCHANGED = "the newest event changed nothing that is synced"
_PARTS = {
    "facts": "members/facts.html",
    "events": "members/events.html",
}
_EVENTS = 20
Number = Annotated[str, Path()]
Cursor = Annotated[str, Query()]


@dataclass(frozen=True, slots=True)
class Side:
    """One system.  Shape: *why* one sentence without a full stop."""

    agrees: Literal["Yes", "Not yet", "No"]
    why: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """Both systems beside the newest event."""

    siebel: Side
    crowdtwist: Side


def agreement(member: MemberRecord, newest: InstanceRecord | None, success: str) -> Agreement:
    """Compare; *newest* None: no event was to be sent, or it was pruned; *success* is Siebel's word for it."""
    if newest is None:
        nothing = Side("Not yet", "no event of this member was to be sent, or it was pruned")
        return Agreement(nothing, nothing)
    return Agreement(_siebel(member, newest, success), _crowdtwist(member, newest))


def _siebel(member: MemberRecord, newest: InstanceRecord, success: str) -> Side:
    if newest.state == State.UNCHANGED:
        return Side("Yes" if member.synced else "No", _UNCHANGED)
    outcome = success if newest.status == SyncStatus.SUCCESS else newest.status
    is_told = outcome is not None and (member.told_instance_id, member.told_status) == (newest.instance_id, outcome)
    if newest.finished_at is None:
        at = _standing_at(newest)
        return Side("Yes", f"it shows the failure so far; {at}") if is_told else Side("Not yet", at)
    if is_told:
        return Side("Yes", "it shows the outcome of the newest event")
    if newest.state == State.DEAD and newest.failed_stage != Stage.SIEBEL:
        return Side("Not yet", "the newest event is a dead letter, and Siebel is still to be told")
    if newest.state == State.DEAD:
        return Side("No", "it could not be told of the newest event; requeue the dead letter")
    return Side("No", f"it was told of another event; the newest is {is_a(newest.state)}")


def _standing_at(newest: InstanceRecord) -> str:
    if newest.held_by_guard:
        return f"guard {newest.held_by_guard} holds the newest event, with others of whom the same is so"
    return f"the newest event is {newest.state} at {spoken(newest.stage)}"


def _crowdtwist(member: MemberRecord, newest: InstanceRecord) -> Side:
    if newest.state == State.UNCHANGED:
        return Side("Yes" if member.synced else "No", _UNCHANGED)
    if member.applied_instance_id == newest.instance_id:
        return Side("Yes", "it accepted the newest event")
    if newest.finished_at is None:
        return Side("Not yet", _standing_at(newest))
    if newest.state == State.REJECTED:
        return Side("No", "the newest event is a Data Error; correct the member in Siebel")
    return Side("No", f"the newest event is {is_a(newest.state)}")


@router.get("/members/{number:path}/unmask")
def show_masked(_: Visitor, number: Number) -> Response:
    """Lead whoever opens the address of the unmasked page again to the masked one."""
    return RedirectResponse(address_of(number), 303)


@router.get("/members/{number:path}/comparison")
async def compare_member(request: Request, _: Visitor, number: Number) -> Response:
    """Ask Siebel and CrowdTwist for the member now, and show them beside the ledger, people masked.

    Raises:
        ProblemError: 404 nobody knows of such a member.
    """
    return await anyio.to_thread.run_sync(_comparison, request, number, limiter=COMPARISONS)


@router.get("/members/{number:path}/changes")
def show_changes(request: Request, _: Visitor, number: Number) -> Response:
    """Show what changed between two events of the member, people masked."""
    return _changes(request, number, request.query_params)


@router.get("/members/{number:path}")
def show_member(request: Request, _: Visitor, number: Number, cursor: Cursor = "") -> Response:
    """Show one member and a page of its events, people masked."""
    return _page(request, _content(request, number, cursor))


@router.get("/live/members/{number:path}")
async def follow_member(request: Request, _: Visitor, number: Number) -> StreamingResponse:
    """Stream the parts of the page as they change."""
    return stream_parts(request, _PARTS, lambda: _content(request, number))


@router.post("/members/{number:path}/send-again")
@once
def send_member_again(
    request: Request, form: Posted, operator: Annotated[Operator, Depends(operates(SEND_AGAIN))], number: Number
) -> Response:
    """Send the member's newest accepted event again, once for each page that asks for it; it is recorded.

    Raises:
        ProblemError: 403.
    """
    try:
        receipt = send_again(ledger_of(request), operator, number, form.get("reason", ""), settings_of(request))
    except AskError as mistake:
        return redirect(request, address_of(number), f"Nothing was sent: {mistake}.", good=False)
    if receipt.outcome is not Outcome.ACCEPTED:
        said = f"Nothing was sent: {receipt.outcome}, {receipt.reason}."
        return redirect(request, address_of(number), said, good=False)
    return redirect(request, address_of(number), f"It is sent again as instance {receipt.instance_id}.")


@router.post("/members/{number:path}/unmask")
def show_people(request: Request, who: Visitor, _: Posted, number: Number, cursor: Cursor = "") -> Response:
    """Show one member with its people as they are, this once; it is recorded before.

    Raises:
        ProblemError: 403, or 404 there is no such member.
    """
    asked = {"member": filed(number)}
    operator = unmasker(request, who, asked)
    return _page(request, _content(request, number, cursor, unmasked_for=operator))


@router.post("/members/{number:path}/comparison")
async def compare_people(request: Request, who: Visitor, _: Posted, number: Number) -> Response:
    """Compare the member with its people as they are, this once; it is recorded before.

    Raises:
        ProblemError: 403, or 404 nobody knows of such a member.
    """

    def compared() -> Response:
        return _comparison(request, number, unmasker(request, who, {"member": filed(number), "comparison": True}))

    return await anyio.to_thread.run_sync(compared, limiter=COMPARISONS)


@router.post("/members/{number:path}/changes")
def show_changed_people(request: Request, who: Visitor, form: Posted, number: Number) -> Response:
    """Show the same with its people as they are, this once; it is recorded with them.

    Raises:
        ProblemError: 403, or 404 nobody knows of such a member.
    """
    may_see = unmasker(request, who, {"member": filed(number), "changes": []})
    return _changes(request, number, form, unmasked_for=may_see)


def _changes(
    request: Request, number: str, chosen: Mapping[str, str], unmasked_for: Operator | None = None
) -> Response:
    try:
        pair = changed_pair(chosen.get("from", ""), chosen.get("to", ""))
        with transaction(ledger_of(request)) as tx:
            found = changes_between(tx, number, *pair, unmasked_for=unmasked_for)
    except NotOfMemberError as mistake:
        raise ProblemError(404, "no_such_instance", str(mistake), field=mistake.field) from None
    except AskError as mistake:
        raise invalid_parameter(mistake) from None
    if found is None:
        raise ProblemError(404, "no_such_member", "No event of this member has arrived.")
    return page(request, "members/changes.html", found=found, **_placed(number, "changes", unmasked_for))


def _placed(number: str, part: str, unmasked_for: Operator | None) -> dict[str, Any]:
    """Return where a page about *part* of a member stands, and whether it shows people."""
    address = address_of(number)
    return {"address": f"{address}/{part}", "member_address": address, "unmasked": unmasked_for is not None}


def _comparison(request: Request, number: str, unmasked_for: Operator | None = None) -> Response:
    found = compare(ledger_of(request), number, settings_of(request), unmasked_for=unmasked_for)
    if found is None:
        raise ProblemError(404, "no_such_member", "No such member in Siebel, in CrowdTwist or in the ledger.")
    return page(request, "members/comparison.html", compared=found, **_placed(number, "comparison", unmasked_for))


def _page(request: Request, content: dict[str, Any]) -> Response:
    return page(request, "members/page.html", parts=_PARTS, **content)


def _content(
    request: Request, number: str, cursor: str = "", *, unmasked_for: Operator | None = None
) -> dict[str, Any]:
    before = id_of(cursor) if cursor else None
    if cursor and before is None:
        raise ProblemError(400, "invalid_parameter", "cursor: is none of ours", field="cursor")
    with transaction(ledger_of(request)) as tx:
        found = reads.member_and_ends(tx, number, limit=_EVENTS, before=before, unmasked_for=unmasked_for)
        if found is None:
            said = reads.unknown_member(reads.refusals_of_member(tx, number))
            raise ProblemError(404, "no_such_member", f"{said[0].upper()}{said[1:]}.")
        untold = views.unreported(tx, [int(one.instance_id) for one in found.member.instances])
    settings = settings_of(request)
    return {
        "member": found.member,
        "newest": found.newest,
        "applied": found.applied,
        "agreement": agreement(found.member, found.newest, settings.siebel.success_status),
        "address": address_of(number),
        "before": before,
        "unmasked": unmasked_for is not None,
        "systems": SYSTEMS,
        "lines": instances.lines,
        "untold": untold,
        "idempotency_key": new_idempotency_key(),
    }


def address_of(number: str) -> str:
    """Return the address of a member's page."""
    return f"/members/{quote(number, safe='')}"
