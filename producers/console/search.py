"""The search field of every page, and what fields suggest while somebody types."""

from dataclasses import replace
from typing import Annotated
from urllib.parse import quote, urlencode

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from producers.console.visitors import Visitor
from producers.http.auth import Right
from producers.http.dependencies import ledger_of
from producers.http.problems import ProblemError
from producers.operations import job_control
from producers.operations.filtering import id_of
from producers.operations.job_control import Operator
from shared.ledger import addresses, lookups
from shared.ledger.engine import transaction
from shared.ledger.suggestions import Suggesting, suggested

router = APIRouter()

_LONGEST = 200


@router.get("/search")
def search(request: Request, who: Visitor, q: str = "") -> Response:
    """Lead to the member, by any of its ids, the instance, or that of the event; else to the instances that say so.

    Who may see people finds them by an exact e-mail address too; that it was done is recorded, the address is not.
    """
    words = "".join(filter(str.isprintable, q)).strip()[:_LONGEST]
    if not words:
        return RedirectResponse("/instances", 303)
    with transaction(ledger_of(request)) as tx:
        meant = lookups.meant(tx, words, id_of(words))
        holders = addresses.members_of(tx, words) if "@" in words and who.may(Right.UNMASKED) else []
    if holders:
        operator = Operator(who.name, who.role)
        job_control.record_unmasking(
            ledger_of(request), operator, asked={"search": "e-mail address"}, count=len(holders)
        )
        meant = replace(meant, members=meant.members or holders)
    if words in meant.members or (len(meant.members) == 1 and not meant.instance_id):
        address = f"/members/{quote(meant.members[0], safe='')}"
    elif meant.instance_id:
        address = f"/instances/{meant.instance_id}"
    elif meant.members:
        address = f"/instances?{urlencode([('member', number) for number in meant.members])}"
    else:
        address = f"/instances?{urlencode({'text': words})}"
    return RedirectResponse(address, 303)


@router.get("/suggestions")
def suggest(
    request: Request, _: Visitor, field: str, beginning: Annotated[str, Query(max_length=_LONGEST)] = ""
) -> Response:
    """Give as JSON what may be meant.

    Raises:
        ProblemError: 400, nothing is suggested for this field.
    """
    if field not in set(Suggesting):
        raise ProblemError(400, "invalid_parameter", f"field: must be one of {', '.join(Suggesting)}", field="field")
    words = "".join(filter(str.isprintable, beginning))
    with transaction(ledger_of(request)) as tx:
        items = suggested(tx, field, words)
    return Response(orjson.dumps({"items": items}), media_type="application/json")
