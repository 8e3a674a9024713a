"""Forms that pages send: CSRF protection, who may do what they ask for, and what is sent twice is done once."""

import hmac
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from threading import Lock
from typing import Annotated, Any
from urllib.parse import parse_qsl

import anyio.to_thread
from fastapi import Depends, Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import ImmutableMultiDict

from producers.console.selection import TypedSelection
from producers.console.session import Cookies, Visitor, form_key
from producers.http.auth import Authenticator, Principal
from producers.http.operating import permit
from producers.http.problems import ProblemError
from producers.http.request import read_limited
from producers.operations.job_control import AskError, Operator

Form = ImmutableMultiDict[str, str]

_FORM_MAX_BYTES = 256 * 1024
_FIELDS_MAX = 2_000
_KEY_BYTES = 16
_KEPT_MAX = 1_000


async def posted(request: Request) -> Form:
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
    origin, key = request.headers.get("origin"), form.get("form_key", "")
    authenticator: Authenticator = request.app.state.authenticator
    if origin is not None and not authenticator.is_ours(origin, request.headers.get("host", "")):
        raise ProblemError(403, "forbidden_origin", "this form was sent by the page of another site")
    if not key or not hmac.compare_digest(key.encode(), expected_key(request).encode()):
        raise ProblemError(403, "stale_form", "this page is out of date: open it again and repeat what you did")
    return form


Posted = Annotated[Form, Depends(posted)]


def typed_into(words: Form, names: Iterable[str]) -> dict[str, str]:
    """Return what was typed into the fields *names* of a page's filter: those that are not blank."""
    typed = {name: words.get(name, "").strip() for name in names}
    return {name: value for name, value in typed.items() if value}


def values_of(words: Form, name: str) -> tuple[str, ...]:
    """Return all values of a field that are not blank."""
    return tuple(value.strip() for value in words.getlist(name) if value.strip())


def expected_key(request: Request) -> str:
    """Return the CSRF token that the forms of this browser, in this login, carry."""
    cookies = Cookies.of(request)
    seed = request.cookies.get(cookies.seed) or getattr(request.state, "seed", "")
    return form_key(seed, request.cookies.get(cookies.session, "")) if seed else ""


def operates(what: str) -> Callable[[Request, Principal, Form], Awaitable[Operator]]:
    """Return a dependency for the action *what*, sent by a form of ours; what it denies is recorded."""

    async def check(request: Request, who: Visitor, form: Posted) -> Operator:
        return await anyio.to_thread.run_sync(permit, request, who, what, asked_in(form))

    return check


def asked_in(words: Form) -> Mapping[str, Any] | None:
    """Return what an address or form asks for, if it names instances and can be read."""
    asked = TypedSelection.of(words)
    try:
        return asked.selection().asked if asked.fields else None
    except AskError:
        return None


def new_idempotency_key() -> str:
    """Return what tells one form from all others."""
    return secrets.token_urlsafe(_KEY_BYTES)


@dataclass(slots=True)
class _Form:
    """One form; whoever sends it again waits until the first has been answered."""

    answering: Lock = field(default_factory=Lock)
    led_to: str = ""


class SentForms:
    """Where each form has led to, by its idempotency key.

    It is kept in this process, for its newest forms; between processes, and beside it, the ledger judges every instance
    again before it is sent, so that a second job sends nothing twice.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._forms: dict[str, _Form] = {}

    def once(self, key: str, answered: Callable[[], Response]) -> Response:
        """Return what *answered* does; for a form that has led somewhere already, the way there again."""
        form = _Form()
        if key:
            with self._lock:
                form = self._forms.setdefault(key, form)
                if len(self._forms) > _KEPT_MAX:
                    self._forms.pop(next(iter(self._forms)))
        with form.answering:
            if form.led_to:
                return RedirectResponse(form.led_to, 303)
            answer = answered()
            form.led_to = answer.headers.get("location", "")
            return answer


def once(handler: Callable[..., Response]) -> Callable[..., Response]:
    """Let *handler* answer a form once, however often it is sent: by a double click, or by going back."""

    @wraps(handler)
    def answer(request: Request, form: Form, **parameters: object) -> Response:
        sent: SentForms = request.app.state.sent_forms
        return sent.once(form.get("idempotency_key", ""), lambda: handler(request, form, **parameters))

    return answer
