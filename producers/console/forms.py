"""Forms that pages send: CSRF protection, who may do what they ask for, and one start for a form that is sent twice."""

import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Annotated, Any
from urllib.parse import parse_qsl

import anyio.to_thread
from fastapi import Depends, Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import ImmutableMultiDict

from producers.console.selection_form import Asked
from producers.console.session import Cookies, Visitor, form_key
from producers.http.auth import Doorkeeper, Principal
from producers.http.bodies import read_limited
from producers.http.operating import permit
from producers.http.problems import ProblemError
from producers.operations.job_control import AskError, Operator

Form = ImmutableMultiDict[str, str]

_FORM_MAX_BYTES = 256 * 1024
_FIELDS_MAX = 2_000


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


_TICKET_BYTES = 16
_KEPT_MAX = 1_000


def new_ticket() -> str:
    """Give what tells one form from all others."""
    return secrets.token_urlsafe(_TICKET_BYTES)


@dataclass(slots=True)
class _Form:
    """One form; whoever sends it again waits until the first has been answered."""

    answering: Lock = field(default_factory=Lock)
    led_to: str = ""


class Starts:
    """Where each form has led to, by its ticket: one sent twice, by a double click or by going back, starts one job.

    It is kept in this process, for its newest forms; between processes, and beside it, the ledger judges every instance
    again before it is sent, so that a second job sends nothing twice.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._forms: dict[str, _Form] = {}

    def once(self, ticket: str, start: Callable[[], Response]) -> Response:
        """Give the answer of *start*; for a form that has led somewhere already, the way there again."""
        form = self._form(ticket) if ticket else _Form()
        with form.answering:
            if form.led_to:
                return RedirectResponse(form.led_to, 303)
            answer = start()
            form.led_to = answer.headers.get("location", "")
            return answer

    def _form(self, ticket: str) -> _Form:
        with self._lock:
            form = self._forms.setdefault(ticket, _Form())
            if len(self._forms) > _KEPT_MAX:
                self._forms.pop(next(iter(self._forms)))
            return form
