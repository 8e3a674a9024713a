"""What operators read: instances, one instance, one member.  People are masked unless the role may see them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response

from producers.api.auth import Principal, Right, needs
from producers.api.problems import ProblemError, described
from producers.filtering import LIMIT_DEFAULT, LIMIT_MAX, filter_of, id_of
from producers.shown import masked_instance, masked_member, masked_page
from shared.ledger import views
from shared.ledger.engine import engine, transaction
from shared.ledger.filters import Filter
from shared.ledger.records import InstanceDetail, MemberRecord, Page
from shared.pipeline import Lane, Stage, State, SyncStatus

router = APIRouter(tags=["reading"])

Reader = Annotated[Principal, Depends(needs(Right.READ))]
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX)]
Words = Annotated[list[str], Query()]
_INSTANT = "RFC 3339, a date, or an age: 15m, 2h, 7d"


def filter_parameters(  # noqa: PLR0913, PLR0917  # the filter of spec section 5
    state: Annotated[Sequence[State], Query()] = (),
    stage: Annotated[Sequence[Stage], Query(description="where it stands; dead or refused: where it failed")] = (),
    status: Annotated[Sequence[SyncStatus], Query()] = (),
    code: Annotated[Sequence[str], Query()] = (),
    member: Annotated[Sequence[str], Query(description="member number")] = (),
    lane: Annotated[Lane | None, Query()] = None,
    since: Annotated[str | None, Query(description=f"accepted then or later; {_INSTANT}")] = None,
    until: Annotated[str | None, Query(description=f"accepted before then; {_INSTANT}")] = None,
    text: Annotated[str, Query(description="beginning of event id or member number, or part of the error")] = "",
) -> Filter:
    """Read the filter from the query.

    Raises:
        ProblemError: 400.
    """
    try:
        return filter_of(
            now=datetime.now(UTC),
            state=state,
            stage=stage,
            status=status,
            code=code,
            member=member,
            lane=lane,
            since=since,
            until=until,
            text=text,
        )
    except ValueError as error:
        raise ProblemError(400, "invalid_parameter", str(error)) from None


def cursor_parameter(
    cursor: Annotated[str | None, Query(description="`next` of the page before")] = None,
) -> int | None:
    """Read the cursor from the query.

    Raises:
        ProblemError: 400.
    """
    before = id_of(cursor) if cursor else None
    if cursor and before is None:
        raise ProblemError(400, "invalid_parameter", "cursor: is none of ours")
    return before


Before = Annotated[int | None, Depends(cursor_parameter)]


@router.get(
    "/v1/instances",
    summary="List instances, newest first",
    responses={200: {"model": Page}, **described(400, 401, 403, 503)},
)
def list_instances(
    request: Request,
    who: Reader,
    where: Annotated[Filter, Depends(filter_parameters)],
    before: Before,
    limit: Limit = LIMIT_DEFAULT,
) -> Response:
    """List the instances that match all of the filter; several values of one parameter mean any of them."""
    with transaction(engine(request.app.state.settings.ledger_url)) as connection:
        page = views.instances(connection, where, limit=limit, before=before)
    return json_answer(page if who.may(Right.UNMASKED) else masked_page(page))


@router.get(
    "/v1/instances/{instance_id}",
    summary="Show one instance",
    responses={200: {"model": InstanceDetail}, **described(401, 403, 404, 503)},
)
def show_instance(request: Request, who: Reader, instance_id: Annotated[str, Path(description="digits")]) -> Response:
    """Show one instance with its event, the CrowdTwist user made of it, and all that happened to it, calls included."""
    number = id_of(instance_id)
    with transaction(engine(request.app.state.settings.ledger_url)) as connection:
        detail = None if number is None else views.instance(connection, number)
    if detail is None:
        raise ProblemError(404, "no_such_instance", "there is no such instance, or it was pruned")
    return json_answer(detail if who.may(Right.UNMASKED) else masked_instance(detail))


@router.get(
    "/v1/members/{member_number}",
    summary="Show one member",
    responses={200: {"model": MemberRecord}, **described(400, 401, 403, 404, 503)},
)
def show_member(request: Request, who: Reader, member_number: str, before: Before, limit: Limit = 20) -> Response:
    """Show what is known of one member, and its newest instances with all that happened to them."""
    member = None
    if member_number.isprintable():
        with transaction(engine(request.app.state.settings.ledger_url)) as connection:
            member = views.member(connection, member_number, limit=limit, before=before)
    if member is None:
        raise ProblemError(404, "no_such_member", "no event of this member has arrived")
    return json_answer(member if who.may(Right.UNMASKED) else masked_member(member))


def json_answer(content: object) -> Response:
    """Give *content*, records included, as JSON."""
    return Response(orjson.dumps(content, option=orjson.OPT_UTC_Z), media_type="application/json")
