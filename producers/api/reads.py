"""What operators read: instances, one instance, one member.  People are masked unless the role may see them."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from producers.api import example_records as example
from producers.api.description import answered
from producers.http.auth import Principal, Right, needs
from producers.http.dependencies import ledger_of
from producers.http.parameters import ID_PATTERN, Before, Limit, filter_parameters
from producers.http.problems import ProblemError, described
from producers.operations.filtering import LIMIT_DEFAULT, id_of
from producers.operations.job_control import Operator
from producers.operations.refused_member import refusals_of_member, words_of
from producers.operations.unmasked import instance_for, member_for, page_for
from shared.ledger import views
from shared.ledger.engine import transaction
from shared.ledger.filters import Filter, has_control
from shared.ledger.records import InstanceDetail, MemberRecord, Page
from shared.ledger.refusals import RefusalPage

router = APIRouter(tags=["reading"])

Reader = Annotated[Principal, Depends(needs(Right.READ))]
InstanceId = Annotated[str, Path(description="digits", json_schema_extra={"pattern": ID_PATTERN})]
MemberNumber = Annotated[str, Path(description="as Siebel has it", max_length=255)]


@router.get(
    "/v1/instances",
    summary="List instances, newest first",
    responses={
        **answered("A page of instances", Page, example.PAGE),
        **described("invalid_parameter", 401, 403, 503),
    },
)
def list_instances(
    request: Request,
    who: Reader,
    where: Annotated[Filter, Depends(filter_parameters)],
    before: Before,
    limit: Limit = LIMIT_DEFAULT,
) -> Response:
    """List the instances that match all of the filter; several values of one parameter mean any of them."""
    ledger = ledger_of(request)
    with transaction(ledger) as tx:
        page = views.instances(tx, where, limit=limit, before=before)
    return json_answer(page_for(unmasked_reader(who), ledger, page))


@router.get(
    "/v1/instances/{instance_id}",
    summary="Show one instance",
    responses={
        **answered("The instance with its activity", InstanceDetail, example.DETAIL),
        **described(401, 403, "no_such_instance", 503),
    },
)
def show_instance(request: Request, who: Reader, instance_id: InstanceId) -> Response:
    """Show one instance with its event, the CrowdTwist user made of it, and all that happened to it, calls included."""
    ledger = ledger_of(request)
    number = id_of(instance_id)
    with transaction(ledger) as tx:
        detail = None if number is None else views.instance(tx, number)
    if detail is None:
        raise ProblemError(404, "no_such_instance", "there is no such instance, or it was pruned")
    return json_answer(instance_for(unmasked_reader(who), ledger, detail))


@router.get(
    "/v1/members/{member_number}",
    summary="Show one member",
    responses={
        **answered("The member with its newest instances", MemberRecord, example.MEMBER),
        **described("invalid_parameter", 401, 403, "no_such_member", 503),
    },
)
def show_member(
    request: Request, who: Reader, member_number: MemberNumber, before: Before, limit: Limit = 20
) -> Response:
    """Show what is known of one member, and its newest instances with all that happened to them."""
    ledger = ledger_of(request)
    member, refused = None, RefusalPage([], None)
    if not has_control(member_number):
        with transaction(ledger) as tx:
            member = views.member(tx, member_number, limit=limit, before=before)
            refused = refusals_of_member(tx, member_number) if member is None else refused
    if member is None:
        more = {"refusals": refused.items} if refused.items else {}
        raise ProblemError(404, "no_such_member", words_of(refused), None, **more)
    return json_answer(member_for(unmasked_reader(who), ledger, member))


def unmasked_reader(who: Principal) -> Operator | None:
    """Say who is shown people as they are; None: *who* is not."""
    return Operator(who.name, who.role) if who.may(Right.UNMASKED) else None


def json_answer(content: object, status: int = 200) -> Response:
    """Give *content*, records included, as JSON."""
    return Response(orjson.dumps(content, option=orjson.OPT_UTC_Z), status, media_type="application/json")
