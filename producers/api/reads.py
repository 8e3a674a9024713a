"""What people read: instances, members, what intake refused, what operators did, and what to filter by.

People are masked unless the role may see them, and whoever is shown them is recorded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import anyio.to_thread
import orjson
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic.json_schema import SkipJsonSchema

from producers.api import examples as example
from producers.api.description import answered
from producers.http.auth import Principal, Right, needs
from producers.http.operating import COMPARISONS
from producers.http.request import (
    ID_PATTERN,
    INSTANT,
    WORD,
    Cursor,
    Limit,
    Paged,
    ProblemError,
    described,
    filter_parameters,
    invalid_parameter,
    ledger_of,
    settings_of,
)
from producers.operations import reads
from producers.operations.event_changes import EventChanges, NotOfMemberError, changed_pair, changes_between
from producers.operations.job_control import Operator
from producers.operations.reads import INSTANT_SAID, id_of, instant_of, refusals_of
from producers.operations.reconcile.compare import compare
from producers.operations.reconcile.side_by_side import Comparison
from shared.ledger import audit, refusals
from shared.ledger.audit import ActionFilter, ActionPage
from shared.ledger.engine import transaction
from shared.ledger.filters import SUGGESTED, SUGGESTIONS_DEFAULT, Filter, Suggestion, suggested
from shared.ledger.records import InstanceDetail, MemberRecord, Page
from shared.ledger.refusals import RefusalFilter, RefusalPage

router = APIRouter()

LISTED = described("invalid_parameter", 401, 403, 503)
"""How a list answers what cannot be listed."""

Reader = Annotated[Principal, Depends(needs(Right.READ))]
InstanceId = Annotated[str, Path(description="digits", json_schema_extra={"pattern": ID_PATTERN})]
MemberNumber = Annotated[str, Path(description="as Siebel has it", max_length=255)]


@router.get(
    "/v1/instances",
    tags=["reading"],
    summary="List instances, newest first",
    responses={
        **answered("A page of instances", Page, example.PAGE),
        **LISTED,
    },
)
def list_instances(
    request: Request,
    who: Reader,
    where: Annotated[Filter, Depends(filter_parameters)],
    page: Paged,
) -> Response:
    """List the instances that match all of the filter; several values of one parameter mean any of them."""
    with transaction(ledger_of(request)) as tx:
        found = reads.instances(tx, where, limit=page.limit, before=page.before, unmasked_for=unmasked_reader(who))
    return json_answer(found)


@router.get(
    "/v1/instances/{instance_id}",
    tags=["reading"],
    summary="Show one instance",
    responses={
        **answered("The instance with its activity", InstanceDetail, example.DETAIL),
        **described(401, 403, "no_such_instance", 503),
    },
)
def show_instance(request: Request, who: Reader, instance_id: InstanceId) -> Response:
    """Show one instance with its event, the CrowdTwist user made of it, and all that happened to it, calls included."""
    number = id_of(instance_id)
    with transaction(ledger_of(request)) as tx:
        detail = None if number is None else reads.instance(tx, number, unmasked_for=unmasked_reader(who))
    if detail is None:
        raise ProblemError(404, "no_such_instance", "there is no such instance, or it was pruned")
    return json_answer(detail)


@router.get(
    "/v1/members/{member_number:number}",
    tags=["reading"],
    summary="Show one member",
    responses={
        **answered("The member with its newest instances", MemberRecord, example.MEMBER),
        **described("invalid_parameter", 401, 403, "no_such_member", 503),
    },
)
def show_member(
    request: Request, who: Reader, member_number: MemberNumber, before: Cursor, limit: Limit = 20
) -> Response:
    """Show what is known of one member, and its newest instances with all that happened to them."""
    with transaction(ledger_of(request)) as tx:
        member = reads.member(tx, member_number, limit=limit, before=before, unmasked_for=unmasked_reader(who))
        refused = None if member else reads.refusals_of_member(tx, member_number)
    if refused:
        more = {"refusals": refused.items} if refused.items else {}
        raise ProblemError(404, "no_such_member", reads.unknown_member(refused), None, **more)
    return json_answer(member)


@router.get(
    "/v1/members/{member_number:number}/comparison",
    tags=["reading"],
    summary="Compare one member now",
    responses={
        **answered("The member in Siebel, in CrowdTwist and in the ledger", Comparison, example.COMPARISON),
        **described("invalid_parameter", 401, 403, "no_such_member", 503),
    },
)
async def show_comparison(request: Request, who: Reader, member_number: MemberNumber) -> Response:
    """Ask Siebel and CrowdTwist for one member now, and show them beside the ledger, field by field.

    A side that cannot be read says why in its `trouble`.
    """
    compared = partial(
        compare, ledger_of(request), member_number, settings_of(request), unmasked_for=unmasked_reader(who)
    )
    found = await anyio.to_thread.run_sync(compared, limiter=COMPARISONS)
    if found is None:
        said = "no such member in Siebel, in CrowdTwist or in the ledger"
        raise ProblemError(404, "no_such_member", said)
    return json_answer(found.shown())


_OF_PAIR: dict[str, Any] = {"pattern": "^([0-9]{1,18})?$"}


@router.get(
    "/v1/members/{member_number:number}/changes",
    tags=["reading"],
    summary="What changed between two events of a member",
    responses={
        **answered("The fields that differ, before and after", EventChanges, example.CHANGES),
        **described("invalid_parameter", 401, 403, "no_such_member", "no_such_instance", 503),
    },
)
def show_changes(
    request: Request,
    who: Reader,
    member_number: MemberNumber,
    older: Annotated[
        str, Query(alias="from", description="its instance; none: the one before the other", json_schema_extra=_OF_PAIR)
    ] = "",
    newer: Annotated[
        str, Query(alias="to", description="its instance; none: the newest", json_schema_extra=_OF_PAIR)
    ] = "",
) -> Response:
    """Show what the newer of two events changed, field by field; without a choice, the newest two."""
    try:
        pair = changed_pair(older, newer)
        with transaction(ledger_of(request)) as tx:
            found = changes_between(tx, member_number, *pair, unmasked_for=unmasked_reader(who))
    except NotOfMemberError as mistake:
        raise ProblemError(404, "no_such_instance", str(mistake), field=mistake.field) from None
    if found is None:
        raise ProblemError(404, "no_such_member", "no event of this member has arrived")
    return json_answer(found)


def unmasked_reader(who: Principal) -> Operator | None:
    """Return who is shown people as they are; None: *who* is not."""
    return Operator(who.name, who.role) if who.may(Right.UNMASKED) else None


def json_answer(content: object, status: int = 200) -> Response:
    """Return *content*, records included, as JSON."""
    return Response(orjson.dumps(content, option=orjson.OPT_UTC_Z), status, media_type="application/json")


_Words = Sequence[Annotated[str, WORD]]


def refusal_parameters(
    sender: Annotated[_Words, Query(description="name of the token, or user, that sent it")] = (),
    field: Annotated[_Words, Query(description="what was wrong, as the answer named it")] = (),
    member: Annotated[_Words, Query(description="member number")] = (),
    since: Annotated[str, Query(description=f"refused then or later; {INSTANT_SAID}", json_schema_extra=INSTANT)] = "",
    until: Annotated[str, Query(description=f"refused before then; {INSTANT_SAID}", json_schema_extra=INSTANT)] = "",
) -> RefusalFilter:
    """Read the filter from the query.

    Raises:
        ProblemError: 400.
    """
    try:
        return refusals_of(now=datetime.now(UTC), sender=sender, field=field, member=member, since=since, until=until)
    except ValueError as error:
        raise invalid_parameter(error) from None


@router.get(
    "/v1/refusals",
    tags=["reading"],
    summary="List events that were refused, newest first",
    responses={
        **answered("A page of refusals; a `count` above 1 stands for several", RefusalPage, example.REFUSALS),
        **LISTED,
    },
)
def list_refusals(
    request: Request,
    _: Reader,
    where: Annotated[RefusalFilter, Depends(refusal_parameters)],
    page: Paged,
) -> Response:
    """List what intake refused: position, field and reason as they were answered, who sent it, and a masked excerpt."""
    with transaction(ledger_of(request)) as tx:
        return json_answer(refusals.refusals(tx, where, limit=page.limit, before=page.before))


@dataclass(frozen=True, slots=True)
class SuggestionPage:
    """Values that begin as was typed."""

    items: list[Suggestion]
    next: None = None


_SUGGESTED: dict[str, Any] = {"enum": list(SUGGESTED)}
_Beginning = Annotated[
    Annotated[str, WORD], Query(description="what was typed so far; none: the commonest, or the first")
]


def action_parameters(
    who: Annotated[_Words, Query(description="name of whoever acted, or tried to")] = (),
    what: Annotated[_Words, Query(description="requeue, discard, pause, unmask, …")] = (),
    denied: Annotated[
        bool | SkipJsonSchema[None], Query(description="true: only what was not allowed; false: only what was")
    ] = None,
    since: Annotated[str, Query(description=f"done then or later; {INSTANT_SAID}", json_schema_extra=INSTANT)] = "",
    until: Annotated[str, Query(description=f"done before then; {INSTANT_SAID}", json_schema_extra=INSTANT)] = "",
) -> ActionFilter:
    """Read the audit's filter from the query.

    Raises:
        ProblemError: 400.
    """
    now = datetime.now(UTC)
    try:
        bounds = instant_of("since", since, now), instant_of("until", until, now)
    except ValueError as error:
        raise invalid_parameter(error) from None
    return ActionFilter(tuple(who), tuple(what), denied, *bounds)


@router.get(
    "/v1/audit",
    tags=["audit"],
    summary="List what operators did, newest first",
    responses={
        **answered("A page of actions", ActionPage, example.ACTIONS),
        **LISTED,
    },
)
def list_actions(
    request: Request,
    _: Reader,
    where: Annotated[ActionFilter, Depends(action_parameters)],
    page: Paged,
) -> Response:
    """List actions with who, when, why, what they touched and the answer; denied ones too."""
    with transaction(ledger_of(request)) as tx:
        return json_answer(audit.actions(tx, where, limit=page.limit, before=page.before))


@router.get(
    "/v1/suggestions",
    tags=["reading"],
    summary="What a beginning may mean",
    responses={
        **answered(
            "Codes and words of the audit, the commonest first; members in order", SuggestionPage, example.SUGGESTIONS
        ),
        **LISTED,
    },
)
def list_suggestions(
    request: Request,
    _: Reader,
    field: Annotated[
        str,
        Query(description="a condition of the filter, or who or what of the audit", json_schema_extra=_SUGGESTED),
    ],
    beginning: _Beginning = "",
    limit: Annotated[int, Query(ge=1, le=100, description="at most so many")] = SUGGESTIONS_DEFAULT,
) -> Response:
    """Suggest values for a filter, of the newest 20,000 failed instances, or actions, or of all members."""
    try:
        with transaction(ledger_of(request)) as tx:
            return json_answer(SuggestionPage(suggested(tx, field, beginning, limit=limit)))
    except ValueError as error:
        raise invalid_parameter(error) from None
