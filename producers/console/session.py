"""Who looks at the console, by a cookie that stands for a token, signed with it; and the forms that they send.

The cookie says whose token it is and when it was given, signed by a digest of the token itself: who takes a token out
of the settings ends its sessions.  The ledger keeps which were ended, for every process of the api.  A second cookie is
a random seed; a form carries its HMAC, which nobody else's page can know.  Both are HttpOnly, SameSite=Strict, and off
loopback Secure.

A form is read when its HMAC is right and whoever sends it may do what it asks; what is sent twice is done once.
"""

import asyncio
import hmac
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from hashlib import sha256
from threading import Lock
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote

import anyio.to_thread
from fastapi import Depends, Request
from fastapi.responses import RedirectResponse, Response
from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.datastructures import ImmutableMultiDict

from producers.console.selection import TypedSelection
from producers.http.auth import Authenticator, Guesses, Principal, Right, name_of, source_of
from producers.http.operating import permit
from producers.http.request import ProblemError, ledger_of, read_limited, settings_of
from producers.operations import job_control
from producers.operations.job_control import AskError, Operator
from shared.hosts import is_loopback
from shared.ledger import logins
from shared.ledger.engine import engine, statements, transaction
from shared.ledger.filters import has_control

SESSION_S = 12 * 3600
"""How long a login lasts, s."""
_ATTEMPTS_OF_BROWSER = 10
_ATTEMPTS_OF_ALL = 100
_ALL = "all"
_PAUSE_S = 0.5
_WAITING_MAX = 20
"""Where somebody guesses, whoever comes from that address has a turn each half second, and so many may wait for it."""
_SALT = "membersync console"
_SEED_BYTES = 32
_NONCE_BYTES = 6
"""Tells one login of somebody from another in the same second: ending one must not end both."""


@dataclass(frozen=True, slots=True)
class Cookies:
    """The names of the cookies for one host, whether they need TLS, and the path that they are for.

    A `__Host-` name keeps other hosts of the domain from planting one; browsers take it with TLS only, and for every
    path.  Behind a proxy's path, where others may have theirs on the same host, they are for ours, as `__Secure-`.
    """

    session: str
    seed: str
    flash: str
    secure: bool
    path: str

    @classmethod
    def of(cls, request: Request) -> "Cookies":
        """Return those for the host that *request* names."""
        of = settings_of(request).api
        is_public = (of.public_url or "").startswith("https:") or request.url.scheme == "https"
        secure = is_public or not is_loopback(name_of(request.headers.get("host", "")))
        prefix = ("__Secure-" if of.prefix else "__Host-") if secure else ""
        session, seed, flash = (f"{prefix}membersync_{name}" for name in ("session", "seed", "flash"))
        return cls(session, seed, flash, secure, of.prefix or "/")

    def put(self, response: Response, name: str, value: str, *, max_age_s: int | None = None) -> None:
        """Set one of them on *response*."""
        response.set_cookie(
            name, value, max_age=max_age_s, path=self.path, httponly=True, samesite="strict", secure=self.secure
        )

    def drop(self, response: Response, name: str) -> None:
        """Take one of them away."""
        response.delete_cookie(name, path=self.path, httponly=True, samesite="strict", secure=self.secure)


class Sessions:
    """The logins: cookies for tokens, principals for cookies, and a brake on who guesses.

    Args:
        authenticator: Knows the tokens.
        ledger_url: Of the ledger, which keeps the logins that were ended.
    """

    def __init__(self, authenticator: Authenticator, ledger_url: str) -> None:
        self._ledger_url = ledger_url
        self._keys = {sha256(digest).hexdigest()[:16]: (digest, who) for digest, who in authenticator.known}
        self._by_address = authenticator.guesses
        self._by_browser = Guesses(_ATTEMPTS_OF_BROWSER)
        self._by_all = Guesses(_ATTEMPTS_OF_ALL)
        self._waiting: Counter[str] = Counter()

    @property
    def wanted(self) -> bool:
        """Whether anybody must log in; without tokens there is nothing to log in with."""
        return bool(self._keys)

    def opened(self, who: Principal, digest: bytes) -> str:
        """Return the cookie of a login."""
        key = sha256(digest).hexdigest()[:16]
        return f"{key}.{_signer(digest).dumps([who.name, secrets.token_urlsafe(_NONCE_BYTES)])}"

    def who(self, cookie: str) -> Principal | None:
        """Return whose login this is; None: nobody's, too old, or ended.

        Raises:
            LedgerError: it cannot be known whether it was ended.
        """
        who = self._signed(cookie)
        if who is None:
            return None
        with statements(engine(self._ledger_url)) as tx:
            return None if logins.is_ended(tx, _digest(cookie)) else who

    def _signed(self, cookie: str) -> Principal | None:
        key, _, signed = cookie.partition(".")
        if key not in self._keys:
            return None
        digest, who = self._keys[key]
        try:
            _signer(digest).loads(signed, max_age=SESSION_S)
        except BadData:
            return None
        return who

    def end(self, cookie: str) -> None:
        """End a login, in every process: nobody has it any more, whoever kept a copy included.

        Raises:
            LedgerError: it goes on.
        """
        if self._signed(cookie) is not None:
            with transaction(engine(self._ledger_url)) as tx:
                logins.end(tx, _digest(cookie), lasts_s=SESSION_S)

    async def may_try(self, client: str, browser: str, *, is_right: bool = False) -> bool:
        """Return whether this *browser*, by its seed, at the address *client* may try a token, after a pause if needed.

        A browser that guessed may not.  Others at its address, a proxy's perhaps, wait and may; who has a right token
        waits one turn, however many guess.
        """
        if self._by_browser.wait_s(f"{client} {browser}"):
            return False
        if not self._by_address.wait_s(source_of(client)) and not self._by_all.wait_s(_ALL):
            return True
        if is_right:
            await asyncio.sleep(_PAUSE_S)
            return True
        if self._waiting[client] >= _WAITING_MAX:
            return False
        self._waiting[client] += 1
        try:
            await asyncio.sleep(self._waiting[client] * _PAUSE_S)
        finally:
            self._waiting[client] -= 1
            self._waiting += Counter()  # forgets who does not wait
        return True

    def failed(self, client: str, browser: str) -> None:
        """Count a token that was not known."""
        self._by_browser.count(f"{client} {browser}")
        self._by_address.count(source_of(client))
        self._by_all.count(_ALL)


def new_seed() -> str:
    """Return a seed for the forms of one browser."""
    return secrets.token_urlsafe(_SEED_BYTES)


def form_key(seed: str, session: str) -> str:
    """Return what a form must carry to be from a page that this browser got from us, in this login."""
    return hmac.new(seed.encode(), b"form:" + session.encode(), sha256).hexdigest()


def _digest(cookie: str) -> bytes:
    return sha256(cookie.encode()).digest()


def _signer(key: bytes) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(key, salt=_SALT, signer_kwargs={"digest_method": sha256})


class LoginNeededError(Exception):
    """Nobody is logged in; the answer is the way to the login."""


def visitor(request: Request) -> Principal:
    """Return who looks, and bind it to the request's line in the log.

    Raises:
        LoginNeededError: nobody is logged in.
        ProblemError: 403, they may not read; or the page of another site sent them.
        LedgerError: as `whoever_looks`.
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
    """Return whose browser this is; None: nobody is logged in.

    Raises:
        ProblemError: 403, the page of another site sent them.
        LedgerError: it cannot be known whether their login was ended.
    """
    sessions: Sessions = request.app.state.sessions
    if sessions.wanted:
        return sessions.who(request.cookies.get(Cookies.of(request).session, ""))
    authenticator: Authenticator = request.app.state.authenticator
    return authenticator.authenticate(None, request.headers.get("host", ""), request.headers.get("origin"))


Visitor = Annotated[Principal, Depends(visitor)]


def login_address(request: Request) -> str:
    """Return the way to the login and back to this page."""
    if request.method != "GET":
        return "/login"
    query = f"?{request.url.query}" if request.url.query else ""
    return f"/login?next={quote(request.url.path + query, safe='')}"


def unmasker(request: Request, who: Principal, asked: Mapping[str, Any]) -> Operator:
    """Return who asks to see *asked* as it is.

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


def operates(what: str, right: Right = Right.OPERATE) -> Callable[[Request, Principal, Form], Awaitable[Operator]]:
    """Return a dependency for the action *what*, which takes *right*, sent by a form of ours; denials are recorded.

    Whoever may is refused where a field holds what no text that we keep does; an end of a line is none.
    """

    async def check(request: Request, who: Visitor, form: Posted) -> Operator:
        operator = await anyio.to_thread.run_sync(permit, request, who, what, asked_in(form), right)
        for name, said in form.multi_items():
            if has_control(said.replace("\r\n", " ").replace("\n", " ")):
                raise AskError(name, "contains a control character")
        return operator

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
