"""What went wrong, as a page: for requests of the console; the others get their problem as ever."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from producers.console.rendering import local, page
from producers.console.session import LoginNeededError, login_address, whoever_looks
from producers.http.auth import Authenticator
from producers.http.problems import TOO_SLOW, ProblemError
from producers.http.request import settings_of
from producers.operations.job_control import AskError
from shared.errors import LedgerError, LedgerSlowError

Handler = Callable[[Request, Exception], Response | Awaitable[Response]]

_NO_PAGES = ("/v1/", "/metrics", "/healthz", "/readyz", "/openapi.json")
_TRY_AGAIN_S = 5


def install(app: FastAPI) -> None:
    """Let the errors of pages be pages; comes after the api's own handlers, which it keeps for the rest."""
    for kind in (ProblemError, AskError, LedgerError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _page_or(app.exception_handlers[kind]))
    app.add_exception_handler(LoginNeededError, _to_login)


def _page_or(otherwise: Handler) -> Handler:
    async def answer(request: Request, error: Exception) -> Response:
        if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(_NO_PAGES):
            return _error_page(request, error)
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
        with suppress(ProblemError):
            request.state.principal = whoever_looks(request)
    title, came_from = HTTPStatus(status).phrase, _came_from(request)
    answer = page(request, "error.html", status=status, title=title, what=what, came_from=came_from)
    answer.headers.update(getattr(error, "headers", None) or {})
    if tries_again:
        answer.headers["Refresh"] = str(_TRY_AGAIN_S)
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
