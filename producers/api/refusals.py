"""What intake refused, as those who look read it: masked, newest first."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from producers.api.description import answered
from producers.api.reads import Reader, json_answer
from producers.http.dependencies import ledger_of
from producers.http.parameters import INSTANT, WORD, Before, Limit
from producers.http.problems import ProblemError, described
from producers.operations.filtering import LIMIT_DEFAULT, refusals_of
from shared.ledger import refusals
from shared.ledger.engine import transaction
from shared.ledger.refusals import RefusalFilter, RefusalPage

router = APIRouter(tags=["reading"])

_Words = Sequence[Annotated[str, WORD]]
_When = "RFC 3339, a date, or an age: 15m, 2h, 7d"
_PAGE: dict[str, Any] = {
    "items": [
        {
            "refusal_id": "31",
            "at": "2026-11-23T08:51:00Z",
            "sender": "siebel",
            "source": "request 5f0c1f7e",
            "outcome": "refused",
            "position": 1,
            "line": None,
            "field": "member.date_of_birth",
            "reason": "is a date that does not exist",
            "member_number": "296-180296399",
            "excerpt": '{"operation": "update", "member": {"member_number": "296-180296399", "date_of_birth": "***"}}',
            "count": 1,
        }
    ],
    "next": "31",
}


def refusal_parameters(
    sender: Annotated[_Words, Query(description="name of the token, or user, that sent it")] = (),
    field: Annotated[_Words, Query(description="what was wrong, as the answer named it")] = (),
    member: Annotated[_Words, Query(description="member number")] = (),
    since: Annotated[str, Query(description=f"refused then or later; {_When}", json_schema_extra=INSTANT)] = "",
    until: Annotated[str, Query(description=f"refused before then; {_When}", json_schema_extra=INSTANT)] = "",
) -> RefusalFilter:
    """Read the filter from the query.

    Raises:
        ProblemError: 400.
    """
    try:
        return refusals_of(now=datetime.now(UTC), sender=sender, field=field, member=member, since=since, until=until)
    except ValueError as error:
        what = str(error)
        raise ProblemError(400, "invalid_parameter", what, field=what.partition(":")[0]) from None


@router.get(
    "/v1/refusals",
    summary="List events that were refused, newest first",
    responses={
        **answered("A page of refusals; a `count` above 1 stands for several", RefusalPage, _PAGE),
        **described("invalid_parameter", 401, 403, 503),
    },
)
def list_refusals(
    request: Request,
    _: Reader,
    where: Annotated[RefusalFilter, Depends(refusal_parameters)],
    before: Before,
    limit: Limit = LIMIT_DEFAULT,
) -> Response:
    """List what intake refused: position, field and reason as they were answered, who sent it, and a masked excerpt."""
    with transaction(ledger_of(request)) as tx:
        return json_answer(refusals.refusals(tx, where, limit=limit, before=before))
