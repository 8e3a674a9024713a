"""Who has what of whom: the page with everything that is kept of one member, and forgetting it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from producers.console.members import address_of
from producers.console.rendering import page, redirect
from producers.console.session import Posted, Visitor, operates
from producers.http.auth import Right
from producers.http.request import ProblemError, ledger_of, settings_of
from producers.operations import privacy
from producers.operations.job_control import AskError, Operator
from producers.operations.privacy import FORGET, SEARCHED_WITHIN_S, NotNowError

router = APIRouter(include_in_schema=False)

_WAIT_S = 5.0
Number = Annotated[str, Path()]


@router.get("/members/{number:path}/person")
def show_person(request: Request, _: Visitor, number: Number) -> Response:
    """Show in which tables there is how much of a member, and which rows of others name it.

    Raises:
        ProblemError: 404 nothing is kept.
    """
    found = privacy.person(ledger_of(request), number, within_s=SEARCHED_WITHIN_S)
    if found is None:
        raise ProblemError(404, "no_such_member", "Nothing is kept of such a member.")
    return page(request, "members/person.html", person=found, address=address_of(number))


@router.post("/members/{number:path}/forget")
def forget_member(
    request: Request,
    form: Posted,
    operator: Annotated[Operator, Depends(operates(FORGET, Right.FORGET))],
    number: Number,
) -> Response:
    """Erase everything that is kept of a member; what is not sent yet is erased with it.

    Raises:
        ProblemError: 403.
    """
    here, of = f"{address_of(number)}/person", settings_of(request)
    try:
        found = privacy.forget(
            ledger_of(request),
            operator,
            number,
            form.get("reason", ""),
            of,
            wait_s=_WAIT_S,
            within_s=of.api.forget_within_s,
        )
    except (AskError, NotNowError) as why:
        return redirect(request, here, f"Nothing was erased: {why}.", good=False)
    if found is None:
        return redirect(request, "/", "Nothing is kept of such a member.", good=False)
    return redirect(request, "/", f"The member is forgotten, with {found.deleted.get('instance', 0)} events.")
