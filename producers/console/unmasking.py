"""Who may be shown people as they are, in the console: once, on purpose, and recorded."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from producers.http.auth import Principal, Right
from producers.http.problems import ProblemError
from producers.http.request import ledger_of
from producers.operations import job_control
from producers.operations.job_control import Operator


def unmasker(request: Request, who: Principal, asked: Mapping[str, Any]) -> Operator:
    """Give who asks to see *asked* as it is.

    Raises:
        ProblemError: 403, they may not; it is recorded.
    """
    operator = Operator(who.name, who.role)
    if not who.may(Right.UNMASKED):
        why = (
            f"the role {who.role} may not see people"
            if request.app.state.sessions.wanted
            else "without tokens nobody may"
        )
        job_control.deny(ledger_of(request), operator, "unmask", why, asked=asked)
        raise ProblemError(403, "forbidden", why)
    return operator
