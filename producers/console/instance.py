"""One instance: what it is, how far it is on its way, all that happened to it, and what it carries."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from producers.console import story
from producers.console.pages import fragments, page
from producers.console.unmasking import unmasker
from producers.console.visitors import Posted, Visitor
from producers.http.dependencies import ledger_of
from producers.http.operating import filed
from producers.http.problems import ProblemError
from producers.operations import advice, job_control
from producers.operations.filtering import id_of
from producers.operations.masked import masked_instance, masked_member
from producers.operations.unmasked import revealed_member
from producers.operations.unmasked_calls import revealed
from shared.jobs import DISCARDED_FROM, REQUEUED_FROM
from shared.ledger import lookups, views
from shared.ledger.engine import transaction
from shared.ledger.records import MemberRecord
from shared.pipeline import SYSTEMS

router = APIRouter()

_PARTS = {
    "facts": "instances/facts.html",
    "way": "instances/way.html",
    "activity": "instances/activity.html",
    "carried": "instances/carried.html",
    "trouble": "overview/no_trouble.html",
}
Id = Annotated[str, Path()]


@router.get("/instances/{instance_id}")
def show_instance(request: Request, _: Visitor, instance_id: Id) -> Response:
    """Show one instance, people masked."""
    return _page(request, _content(request, instance_id))


@router.get("/live/instances/{instance_id}")
async def follow_instance(request: Request, _: Visitor, instance_id: Id) -> StreamingResponse:
    """Stream the parts of the page as they change."""
    streams = request.app.state.streams
    answer: StreamingResponse = streams.respond(
        request, lambda: fragments(request, _PARTS, **_content(request, instance_id))
    )
    return answer


@router.post("/instances/{instance_id}/unmask")
def show_people(request: Request, who: Visitor, _: Posted, instance_id: Id) -> Response:
    """Show one instance with its people as they are, this once; it is recorded before.

    Raises:
        ProblemError: 403, or 404 there is no such instance.
    """
    asked = job_control.instances_asked([filed(instance_id)])
    operator = unmasker(request, who, asked)
    content = _content(request, instance_id, unmasked=True)
    job_control.record_unmasking(ledger_of(request), operator, asked=asked, count=1)
    return _page(request, content)


@router.get("/instances/{instance_id}/unmask")
def show_masked(_: Visitor, instance_id: Id) -> Response:
    """Lead whoever opens the address of the unmasked page again to the masked one."""
    return RedirectResponse(f"/instances/{id_of(instance_id) or 0}", 303)


def _seen(request: Request, member: MemberRecord, *, unmasked: bool) -> MemberRecord:
    return revealed_member(ledger_of(request), member) if unmasked else masked_member(member)


def _page(request: Request, content: dict[str, Any]) -> Response:
    return page(request, "instances/page.html", parts=_PARTS, **content)


def _content(request: Request, instance_id: str, *, unmasked: bool = False) -> dict[str, Any]:
    number = id_of(instance_id)
    with transaction(ledger_of(request)) as tx:
        found = None if number is None else views.instance(tx, number)
        if found is None or number is None:
            raise ProblemError(404, "no_such_instance", "There is no such instance, or it was pruned.")
        member = views.member(tx, found.member_number, limit=1)
        neighbours = lookups.neighbours(tx, found.member_number, number)
        is_fixed = found.state in REQUEUED_FROM and bool(lookups.overtaken(tx, [number]))
        job = lookups.jobs_of(tx, [number]).get(found.instance_id)
        untold = bool(lookups.untold(tx, [number]))
    now = datetime.now(UTC)
    shown = revealed(found, found.event, found.user) if unmasked else masked_instance(found)
    return {
        "one": shown,
        "address": f"/instances/{shown.instance_id}",
        "member": None if member is None else _seen(request, member, unmasked=unmasked),
        "unmasked": unmasked,
        "neighbours": neighbours,
        "fixed_by": member.applied_instance_id if is_fixed and member else None,
        "job": job,
        "untold": untold,
        "stations": story.stations(shown, shown.activity),
        "shares": story.shares(shown, shown.activity, now),
        "systems": SYSTEMS,
        "lines": story.lines(shown.activity),
        "may_requeue": shown.state in REQUEUED_FROM,
        "may_discard": shown.state in DISCARDED_FROM,
        "advice": advice,
    }
