"""Dependencies of the pages: who looks, who may act, and the form they sent."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote

import anyio.to_thread
from fastapi import Depends, Request
from starlette.datastructures import ImmutableMultiDict

from producers.console.selection_form import Asked
from producers.console.session import Cookies, Sessions, form_key
from producers.http.auth import Doorkeeper, Principal, Right
from producers.http.bodies import read_limited
from producers.http.operating import permit
from producers.http.problems import ProblemError
from producers.operations.job_control import AskError, Operator

Form = ImmutableMultiDict[str, str]

_FORM_MAX_BYTES = 256 * 1024
_FIELDS_MAX = 2_000


class LoginNeededError(Exception):
    """Nobody is logged in; the answer is the way to the login."""


def visitor(request: Request) -> Principal:
    """Say who looks, and bind it to the request's line in the log.

    Raises:
        LoginNeededError: nobody is logged in.
        ProblemError: 403, they may not read; or the page of another site sent them.
    """
    who = whoever_looks(request)
    if who is None:
        raise LoginNeededError
    request.state.who = who.name
    request.state.principal = who
    if not who.may(Right.READ):
        raise ProblemError(403, "forbidden", f"the role {who.role} may not look at the console")
    return who


def whoever_looks(request: Request) -> Principal | None:
    """Say whose browser this is; None: nobody is logged in.

    Raises:
        ProblemError: 403, the page of another site sent them.
    """
    sessions: Sessions = request.app.state.sessions
    if sessions.wanted:
        return sessions.who(request.cookies.get(Cookies.of(request).session, ""))
    doorkeeper: Doorkeeper = request.app.state.doorkeeper
    return doorkeeper.admit(None, request.headers.get("host", ""), request.headers.get("origin"))


Visitor = Annotated[Principal, Depends(visitor)]


async def _posted(request: Request) -> Form:
    """Read a form that a page of ours was sent with.

    Raises:
        ProblemError: 403 it comes from elsewhere, 413, or 400.
    """
    body = await read_limited(request, _FORM_MAX_BYTES)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_FIELDS_MAX)
    except ValueError:
        raise ProblemError(400, "invalid_form", "the form cannot be read") from None
    form = Form(pairs)
    check_form(request, form.get("form_key", ""))
    return form


Posted = Annotated[Form, Depends(_posted)]


def check_form(request: Request, given: str) -> None:
    """Let a form pass that a page of ours was sent with.

    Raises:
        ProblemError: 403.
    """
    origin = request.headers.get("origin")
    doorkeeper: Doorkeeper = request.app.state.doorkeeper
    if origin is not None and not doorkeeper.is_ours(origin, request.headers.get("host", "")):
        raise ProblemError(403, "forbidden_origin", "this form was sent by the page of another site")
    if not given or not hmac.compare_digest(given.encode(), expected_key(request).encode()):
        raise ProblemError(403, "stale_form", "this page is out of date: open it again and repeat what you did")


def expected_key(request: Request) -> str:
    """Give what the forms of this browser, in this login, carry."""
    cookies = Cookies.of(request)
    seed = request.cookies.get(cookies.seed) or getattr(request.state, "seed", "")
    return form_key(seed, request.cookies.get(cookies.session, "")) if seed else ""


def operates(what: str) -> Callable[[Request, Principal, Form], Awaitable[Operator]]:
    """Give a dependency for the action *what*, sent by a form of ours; what it denies is recorded."""

    async def check(request: Request, who: Visitor, form: Posted) -> Operator:
        return await anyio.to_thread.run_sync(permit, request, who, what, asked_in(form))

    return check


def asked_in(words: Form) -> Mapping[str, Any] | None:
    """Give what an address or form asks for, if it names instances and can be read."""
    asked = Asked.of(words)
    try:
        return asked.selection().asked if asked.fields else None
    except AskError:
        return None


def login_address(request: Request) -> str:
    """Give the way to the login and back to this page."""
    if request.method != "GET":
        return "/login"
    query = f"?{request.url.query}" if request.url.query else ""
    return f"/login?next={quote(request.url.path + query, safe='')}"
