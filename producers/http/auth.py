"""Who asks, and what they may do.

| role     | post events | read | people unmasked | requeue, discard, pause |
|----------|-------------|------|-----------------|-------------------------|
| producer | yes         |      |                 |                         |
| viewer   |             | yes  |                 |                         |
| operator | with force  | yes  |                 | yes                     |
| admin    | yes         | yes  | yes             | yes                     |

Without any token configured, whoever is on this machine may do everything but see people unmasked; the api then listens
on the loopback address only, and answers only to its names, so that a web page elsewhere cannot talk to it by giving
its own name our address; nor to a page of another origin, which could post without reading the answer.
"""

import hmac
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Flag, auto
from hashlib import sha256
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from producers.http.dependencies import client_of
from producers.http.guesses import Guesses, source_of
from producers.http.problems import ProblemError
from shared.addresses.hosts import is_loopback
from shared.logs import logger
from shared.settings import ApiSettings, Role

log = logger(__name__)


class Right(Flag):
    """What a principal may do."""

    PRODUCE = auto()
    READ = auto()
    OPERATE = auto()
    UNMASKED = auto()


_RIGHTS: dict[Role, Right] = {
    "producer": Right.PRODUCE,
    "viewer": Right.READ,
    "operator": Right.READ | Right.OPERATE,
    "admin": Right.PRODUCE | Right.READ | Right.OPERATE | Right.UNMASKED,
}
_SCHEME = HTTPBearer(
    scheme_name="token",
    description="One of `MEMBERSYNC_API__TOKENS`.  Its role says what may be done: producer, viewer, operator, admin.",
    auto_error=False,  # described for readers of /openapi.json; it is `Doorkeeper` that reads it
)
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="membersync"'}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks."""

    name: str
    role: Role
    rights: Right

    def may(self, right: Right) -> bool:
        """Say whether they have *right*."""
        return right in self.rights


_LOCAL = Principal("local", "admin", Right.PRODUCE | Right.READ | Right.OPERATE)


class Doorkeeper:
    """Knows the tokens by their hashes, and who tries others.

    Attributes:
        guesses: Wrong tokens by the address they come from.

    Raises:
        ValueError: no token is configured, and the address is open to other machines, by itself or by a proxy.
    """

    def __init__(self, settings: ApiSettings) -> None:
        if not settings.tokens and not is_loopback(settings.host):
            raise ValueError(
                f"MEMBERSYNC_API__TOKENS is not set, and MEMBERSYNC_API__HOST {settings.host} is open to others; "
                'set tokens, {"<long random text>": {"name": "siebel", "role": "producer"}}, or listen on 127.0.0.1'
            )
        if not settings.tokens and settings.trusted_proxies:
            raise ValueError(
                "MEMBERSYNC_API__TOKENS is not set, and MEMBERSYNC_API__TRUSTED_PROXIES lets in whom a proxy sends; "
                "set tokens, or trust no proxy"
            )
        self._public_url = settings.public_url
        self._known = [
            (_digest(token), Principal(owner.name, owner.role, _RIGHTS[owner.role]))
            for token, owner in settings.tokens.items()
        ]
        self.guesses = Guesses(settings.wrong_tokens_per_minute)

    @property
    def known(self) -> Sequence[tuple[bytes, Principal]]:
        """The digests of the tokens, and whose they are."""
        return self._known

    def find(self, token: str) -> tuple[bytes, Principal] | None:
        """Say whose token this is, with its digest; None: nobody's."""
        given = _digest(token.strip())
        found = None
        for digest, principal in self._known:  # all of them, so that the time tells nothing
            if hmac.compare_digest(digest, given):
                found = digest, principal
        return found

    def admit(self, authorization: str | None, host: str, origin: str | None = None, *, client: str = "") -> Principal:
        """Say who sends this `Authorization` header to this `Host`, from a web page of *origin* if any.

        Whoever has a token passes, however many wrong ones came from the address *client*.

        Raises:
            ProblemError: 401, 403 or 429.
        """
        if not self._known:
            if not is_loopback(name_of(host)):
                raise ProblemError(403, "forbidden_host", "without tokens this api answers only to its loopback names")
            if origin is not None and not self.is_ours(origin, host):
                raise ProblemError(403, "forbidden_origin", "without tokens this api answers to no other web page")
            return _LOCAL
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise ProblemError(401, "unauthorised", "send Authorization: Bearer <token>", _CHALLENGE)
        found = self.find(token)
        if found is None:
            raise self._refusal(token, client)
        return found[1]

    def _refusal(self, token: str, client: str) -> ProblemError:
        source = source_of(client)
        if wait_s := self.guesses.wait_s(source):
            headers = {"Retry-After": str(math.ceil(wait_s))}
            return ProblemError(429, "too_many_wrong_tokens", "too many wrong tokens came from this address", headers)
        self.guesses.count(source, _digest(token.strip()))
        if self.guesses.wait_s(source):
            log.warning("too many wrong tokens", client=client)  # once, until the window has moved on
        return ProblemError(401, "unauthorised", "this token is not known", _CHALLENGE)

    def is_ours(self, origin: str, host: str) -> bool:
        """Say whether the pages of *origin* are ours, asked as this `Host`: by that name, or where people open us."""
        scheme, _, place = origin.lower().partition("://")
        usual = {"http": ":80", "https": ":443"}.get(scheme, ":")
        public = urlsplit(self._public_url or "")
        is_public = bool(self._public_url) and (scheme, place) == (public.scheme, public.netloc)
        return is_public or (place != "" and place.removesuffix(usual) == host.lower().removesuffix(usual))


async def principal(request: Request, _: Annotated[object, Depends(_SCHEME)] = None) -> Principal:
    """Say who asks, and bind it to the request's line in the log.

    On the loop, as `needs` is: events must not wait for a thread behind those who read.
    """
    doorkeeper: Doorkeeper = request.app.state.doorkeeper
    headers = request.headers
    who = doorkeeper.admit(
        headers.get("authorization"), headers.get("host", ""), headers.get("origin"), client=client_of(request)
    )
    request.state.who = who.name
    return who


def needs(right: Right, *, any_of: bool = False) -> Callable[[Principal], Awaitable[Principal]]:
    """Give a dependency that lets pass who has *right*; *any_of*: one of several is enough."""

    async def check(who: Annotated[Principal, Depends(principal)]) -> Principal:
        if not (who.rights & right if any_of else who.may(right)):
            raise ProblemError(403, "forbidden", f"the role {who.role} may not do this")
        return who

    return check


def name_of(host: str) -> str:
    """Give a Host header without its port and brackets."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0].lower()


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
