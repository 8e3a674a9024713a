"""Login with a token, and logout."""

from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from producers.console.forms import Posted
from producers.console.rendering import local, page, redirect
from producers.console.session import SESSION_S, Cookies, Sessions
from producers.http.auth import Authenticator, Right
from producers.http.problems import ProblemError
from producers.http.request import client_of
from shared.logs import logger

log = logger(__name__)
router = APIRouter()

_TRY_AGAIN_S = 60


@router.get("/login")
def ask_for_token(request: Request, following: Annotated[str, Query(alias="next")] = "/") -> Response:
    """Show the form; without tokens there is nothing to log in with."""
    sessions: Sessions = request.app.state.sessions
    if not sessions.wanted:
        return redirect(request, "/")
    return page(request, "login.html", following=local(following, "/"), mistake="")


@router.post("/login")
async def log_in(request: Request, form: Posted) -> Response:
    """Take a token and give a cookie for it."""
    sessions: Sessions = request.app.state.sessions
    authenticator: Authenticator = request.app.state.authenticator
    client = client_of(request)
    following = local(form.get("next", ""), "/")
    browser = request.cookies.get(Cookies.of(request).seed, "")
    found = authenticator.find(form.get("token", ""))
    if not await sessions.may_try(client, browser, is_right=found is not None):
        log.warning("too many logins", client=client)
        raise ProblemError(
            429, "too_many_logins", "too many tokens were tried: wait a minute", {"Retry-After": str(_TRY_AGAIN_S)}
        )
    if found is None:
        sessions.failed(client, browser)
        log.warning("login refused", client=client)
        mistake = "This token is not known."
    elif not found[1].may(Right.READ):
        mistake = f"The role {found[1].role} may not look at the console."
    else:
        digest, who = found
        log.info("login", who=who.name, role=who.role)
        answer = redirect(request, following)
        cookies = Cookies.of(request)
        cookies.put(answer, cookies.session, sessions.opened(who, digest), max_age_s=SESSION_S)
        return answer
    return await anyio.to_thread.run_sync(
        lambda: page(request, "login.html", status=403, following=following, mistake=mistake)
    )


@router.post("/logout")
def log_out(request: Request, _: Posted) -> Response:
    """End the login."""
    sessions: Sessions = request.app.state.sessions
    cookies = Cookies.of(request)
    sessions.end(request.cookies.get(cookies.session, ""))
    answer = redirect(request, "/login")
    cookies.drop(answer, cookies.session)
    return answer
