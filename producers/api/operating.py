"""Who may operate: a dependency that lets operators pass, and records whoever else tried."""

import re
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request

from producers import ops
from producers.api.auth import Principal, Right, principal
from producers.api.given import ledger_of
from producers.api.problems import ProblemError
from producers.ops import Operator

_UNFILED = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_FILED_MAX = 100


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
        ledger = ledger_of(request)
        asked = {name: filed(str(value)) for name, value in request.path_params.items()}
        ops.deny(ledger, operator, what, why, asked=asked or None)
        raise ProblemError(403, "forbidden", why)
    return operator


def filed(words: str) -> str:
    """Give what somebody put into an address as the audit keeps it: in short, without control characters."""
    return _UNFILED.sub("\N{REPLACEMENT CHARACTER}", words[:_FILED_MAX])
