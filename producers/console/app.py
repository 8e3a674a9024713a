"""The console put into the api's app: its pages and files, the login, and errors as pages.

Errors of requests for the console become pages; others get their problem as ever.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlsplit

import anyio.to_thread
from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from producers.console import (
    approvals,
    cases,
    cause_notes,
    dead_letters,
    guards,
    history,
    incidents,
    instances,
    jobs,
    maintenance,
    members,
    overview,
    picking,
    privacy,
    reconciliations,
    resends,
)
from producers.console.live import Streams
from producers.console.overview import Overviews
from producers.console.rendering import STATIC, environment, local, page, redirect
from producers.console.session import (
    SESSION_S,
    Cookies,
    LoginNeededError,
    Posted,
    SentForms,
    Sessions,
    login_address,
    whoever_looks,
)
from producers.http.auth import Authenticator, Right
from producers.http.request import REFUSED_BY_LEDGER, TOO_SLOW, ProblemError, client_of, settings_of
from producers.operations.job_control import AskError
from shared.errors import LedgerError, LedgerRefusedError, LedgerSlowError
from shared.logs import logger

log = logger(__name__)
router = APIRouter(include_in_schema=False)

_TRY_AGAIN_S = 60
_KEPT_S = 365 * 24 * 3600
_NO_PAGES = ("/v1/", "/metrics", "/healthz", "/readyz", "/openapi.json")
_TRIES_AGAIN_S = 5

Handler = Callable[[Request, Exception], Response | Awaitable[Response]]


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


def install(app: FastAPI) -> None:
    """Put the console into *app*, beside the api's routes."""
    environment()
    app.state.sessions = Sessions(app.state.authenticator, app.state.settings.require_ledger())
    app.state.overviews = Overviews(app.state.settings, app.state.broker_look)
    app.state.streams = Streams()
    app.state.sent_forms = SentForms()
    looking = (
        overview,
        instances,
        history,
        privacy,
        members,
        cases,
        dead_letters,
        guards,
        jobs,
        reconciliations,
        resends,
    )
    for part in (router, *(one.router for one in (*looking, approvals, cause_notes, incidents, maintenance, picking))):
        app.routes.extend(part.routes)
    app.mount("/static", _Files(directory=STATIC), name="static")
    _install_error_pages(app)


class _Files(StaticFiles):
    """Files whose address changes with their content, so that browsers may keep them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return one file."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = f"public, max-age={_KEPT_S}, immutable"
        return response


def _install_error_pages(app: FastAPI) -> None:
    """Let the errors of pages be pages; comes after the api's own handlers, which it keeps for the rest."""
    for kind in (ProblemError, AskError, LedgerError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _page_or(app.exception_handlers[kind]))
    app.add_exception_handler(LoginNeededError, _to_login)


def _page_or(otherwise: Handler) -> Handler:
    async def answer(request: Request, error: Exception) -> Response:
        if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(_NO_PAGES):
            return await anyio.to_thread.run_sync(_error_page, request, error)
        found = otherwise(request, error)
        return found if isinstance(found, Response) else await found

    return answer


def _error_page(request: Request, error: Exception) -> Response:
    status, what, tries_again = 500, "", False
    match error:
        case ProblemError():
            status, what = error.status, error.detail
        case AskError():
            status, what = 400, str(error)
        case LedgerSlowError():
            status, what = 503, f"{TOO_SLOW[0].upper()}{TOO_SLOW[1:]}."
        case LedgerRefusedError():
            status, what = 400, f"{REFUSED_BY_LEDGER[0].upper()}{REFUSED_BY_LEDGER[1:]}."
        case LedgerError():
            tries_again = request.method == "GET"
            next_step = "This page tries again." if tries_again else "Go back, and do it again in a moment."
            status, what = 503, f"The ledger cannot be reached just now; nothing is lost. {next_step}"
        case RequestValidationError():
            first = error.errors()[0]
            status, what = 400, f"{first['loc'][-1]}: {first['msg']}"
        case HTTPException():
            status, what = (
                error.status_code,
                "There is no such page." if error.status_code == HTTPStatus.NOT_FOUND else "",
            )
    if not hasattr(request.state, "principal"):
        with suppress(ProblemError, LedgerError):
            request.state.principal = whoever_looks(request)
    title, came_from = HTTPStatus(status).phrase, _came_from(request)
    answer = page(request, "error.html", status=status, title=title, what=what, came_from=came_from)
    answer.headers.update(getattr(error, "headers", None) or {})
    if tries_again:
        answer.headers["Refresh"] = str(_TRIES_AGAIN_S)
    return answer


def _came_from(request: Request) -> str:
    """Return the page of ours whose form was sent, or nothing."""
    authenticator: Authenticator = request.app.state.authenticator
    referer = urlsplit(request.headers.get("referer", ""))
    origin = f"{referer.scheme}://{referer.netloc}"
    if request.method != "POST" or not authenticator.is_ours(origin, request.headers.get("host", "")):
        return ""
    prefix = settings_of(request).api.prefix
    path = referer.path.removeprefix(prefix) if f"{referer.path}/".startswith(f"{prefix}/") else referer.path
    return local(referer._replace(scheme="", netloc="", path=path or "/", fragment="").geturl(), "")


def _to_login(request: Request, _: Exception) -> Response:
    if request.headers.get("sec-fetch-site") == "cross-site" and request.method == "GET":
        # A link in a mail: the browser keeps a strict cookie back until the page is asked for by a page of ours.
        return HTMLResponse('<!doctype html><meta http-equiv="refresh" content="0"><title>membersync</title>')
    return RedirectResponse(login_address(request), 303)
