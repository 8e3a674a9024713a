"""Who may operate: a dependency that lets operators pass, and records whoever else tried."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

import anyio.to_thread
import orjson
from fastapi import Depends, Request

from producers.http.auth import Principal, Right, principal
from producers.http.bodies import read_limited
from producers.http.dependencies import ledger_of
from producers.http.operation_bodies import SelectionBody
from producers.http.problems import ProblemError
from producers.operations import job_control
from producers.operations.job_control import AskError, Operator

_UNFILED = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_FILED_MAX = 100
_BODY_MAX_BYTES = 64 * 1024
"""Of what is denied nobody reads more."""


def operates(what: str) -> Callable[[Request, Principal], Awaitable[Operator]]:
    """Give a dependency for the action *what*; what it denies is recorded."""

    async def check(request: Request, who: Annotated[Principal, Depends(principal)]) -> Operator:
        asked = None if who.may(Right.OPERATE) else await _asked(request)
        return await anyio.to_thread.run_sync(permit, request, who, what, asked)

    return check


async def _asked(request: Request) -> Mapping[str, Any] | None:
    """Give the instances that a body names, if it can be read."""
    try:
        body = orjson.loads(await read_limited(request, _BODY_MAX_BYTES) or b"{}")
        named = {name: body[name] for name in SelectionBody.model_fields if name in body}
        return SelectionBody.model_validate(named).selection().asked
    except (ProblemError, AskError, ValueError, TypeError):
        return None


def permit(request: Request, who: Principal, what: str, asked: Mapping[str, Any] | None = None) -> Operator:
    """Give who operates; *asked*: what it would be done to, where the address does not say it.

    Raises:
        ProblemError: 403, they may not; it is recorded.
    """
    operator = Operator(who.name, who.role)
    if not who.may(Right.OPERATE):
        why = f"the role {who.role} may not do this"
        ledger = ledger_of(request)
        named = {name: filed(str(value)) for name, value in request.path_params.items()}
        job_control.deny(ledger, operator, what, why, asked={**named, **(asked or {})} or None)
        raise ProblemError(403, "forbidden", why)
    return operator


def filed(words: str) -> str:
    """Give what somebody put into an address as the audit keeps it: in short, without control characters."""
    return _UNFILED.sub("\N{REPLACEMENT CHARACTER}", words[:_FILED_MAX])
