"""Who may operate: a dependency that lets operators pass, and records whoever else tried."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request

from producers import ops
from producers.api.auth import Principal, Right, principal
from producers.api.problems import ProblemError
from producers.ops import Operator
from shared.ledger.engine import engine


def operates(what: str) -> Callable[[Request, Principal], Operator]:
    """Give a dependency for the action *what*; what it denies is recorded."""

    def check(request: Request, who: Annotated[Principal, Depends(principal)]) -> Operator:
        return permit(request, who, what)

    return check


def permit(request: Request, who: Principal, what: str) -> Operator:
    """Give who operates.

    Raises:
        ProblemError: 403, they may not; it is recorded.
    """
    operator = Operator(who.name, who.role)
    if not who.may(Right.OPERATE):
        why = f"the role {who.role} may not do this"
        ledger = engine(request.app.state.settings.ledger_url)
        ops.deny(ledger, operator, what, why, asked=request.path_params or None)
        raise ProblemError(403, "forbidden", why)
    return operator
