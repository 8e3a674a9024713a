"""Who asks, and what they may do.

| role     | post events | read | people unmasked | requeue, discard, pause | forget people |
|----------|-------------|------|-----------------|-------------------------|---------------|
| producer | yes         |      |                 |                         |               |
| viewer   |             | yes  |                 |                         |               |
| operator | with force  | yes  |                 | yes                     |               |
| admin    | yes         | yes  | yes             | yes                     | yes           |

Without any token configured, whoever is on this machine may do everything but see people unmasked; the api then listens
on the loopback address only, and answers only to its names, so that a web page elsewhere cannot talk to it by giving
its own name our address; nor to a page of another origin, which could post without reading the answer.

Wrong tokens are counted by where they come from, for the api and for the console's login alike.  A right token never
asks there: whoever guesses behind a proxy keeps nobody out.
"""

import hmac
import ipaddress
import math
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Flag, auto
from hashlib import sha256
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from producers.http.request import ProblemError, client_of
from shared.hosts import is_loopback
from shared.logs import logger
from shared.settings import ApiSettings, Role

log = logger(__name__)

WINDOW_S = 60.0
"""What is older is forgotten: the way back."""
_REPEATED = 0.2
"""A wrong token that was tried before is a forgotten setting rather than a guess: five count as one."""
_SOURCES_MAX = 10_000
_SOURCE_BITS = 64
"""Of an IPv6 address; whoever has one has all that begin so."""


class Right(Flag):
    """What a principal may do."""

    PRODUCE = auto()
    READ = auto()
    OPERATE = auto()
    UNMASKED = auto()
    FORGET = auto()


_RIGHTS: dict[Role, Right] = {
    "producer": Right.PRODUCE,
    "viewer": Right.READ,
    "operator": Right.READ | Right.OPERATE,
    "admin": Right.PRODUCE | Right.READ | Right.OPERATE | Right.UNMASKED | Right.FORGET,
}
_SCHEME = HTTPBearer(
    scheme_name="token",
    description="One of `MEMBERSYNC_API__TOKENS`.  Its role says what may be done: producer, viewer, operator, admin.",
    auto_error=False,  # described for readers of /openapi.json; it is `Authenticator` that reads it
)
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="membersync"'}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks."""

    name: str
    role: Role
    rights: Right

    def may(self, right: Right) -> bool:
        """Return whether they have *right*."""
        return right in self.rights


_LOCAL = Principal("local", "admin", Right.PRODUCE | Right.READ | Right.OPERATE | Right.FORGET)


class Authenticator:
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
        """Return whose token this is, with its digest; None: nobody's."""
        given = _digest(token.strip())
        found = None
        for digest, principal in self._known:  # all of them, so that the time tells nothing
            if hmac.compare_digest(digest, given):
                found = digest, principal
        return found

    def authenticate(
        self, authorization: str | None, host: str, origin: str | None = None, *, client: str = ""
    ) -> Principal:
        """Return who sends this `Authorization` header to this `Host`, from a web page of *origin* if any.

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
        if found is not None:
            return found[1]
        source = source_of(client)
        if wait_s := self.guesses.wait_s(source):
            headers = {"Retry-After": str(math.ceil(wait_s))}
            raise ProblemError(429, "too_many_wrong_tokens", "too many wrong tokens came from this address", headers)
        self.guesses.count(source, _digest(token.strip()))
        if self.guesses.wait_s(source):
            log.warning("too many wrong tokens", client=client)  # once, until the window has moved on
        raise ProblemError(401, "unauthorised", "this token is not known", _CHALLENGE)

    def is_ours(self, origin: str, host: str) -> bool:
        """Return whether pages of *origin* are ours, asked as this `Host`: by that name, or where people open us."""
        scheme, _, place = origin.lower().partition("://")
        usual = {"http": ":80", "https": ":443"}.get(scheme, ":")
        public = urlsplit(self._public_url or "")
        is_public = bool(self._public_url) and (scheme, place) == (public.scheme, public.netloc)
        return is_public or (place != "" and place.removesuffix(usual) == host.lower().removesuffix(usual))


async def principal(request: Request, _: Annotated[object, Depends(_SCHEME)] = None) -> Principal:
    """Return who asks, and bind it to the request's line in the log.

    On the loop, as `needs` is: events must not wait for a thread behind those who read.
    """
    authenticator: Authenticator = request.app.state.authenticator
    headers = request.headers
    who = authenticator.authenticate(
        headers.get("authorization"), headers.get("host", ""), headers.get("origin"), client=client_of(request)
    )
    request.state.who = who.name
    return who


def needs(right: Right, *, any_of: bool = False) -> Callable[[Principal], Awaitable[Principal]]:
    """Return a dependency that lets pass who has *right*; *any_of*: one of several is enough."""

    async def check(who: Annotated[Principal, Depends(principal)]) -> Principal:
        if not (who.rights & right if any_of else who.may(right)):
            raise ProblemError(403, "forbidden", f"the role {who.role} may not do this")
        return who

    return check


def name_of(host: str) -> str:
    """Return a Host header without its port and brackets."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0].lower()


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


class _Try(NamedTuple):
    at: float
    weight: float
    token: bytes | None


class Guesses:
    """Counts wrong tokens by where they come from, in a moving window; the sources that tried last are remembered.

    Args:
        most: Different tokens in `WINDOW_S`; the next ones are too many.
        sources_max: Sources that are remembered.
        clock: Gives seconds; never goes back.
    """

    def __init__(
        self, most: int, *, sources_max: int = _SOURCES_MAX, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._sources_max = sources_max
        self._clock = clock
        self._tried: OrderedDict[str, deque[_Try]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many sources are remembered."""
        return len(self._tried)

    def wait_s(self, source: str) -> float:
        """Return in how many seconds another wrong token of *source* is answered as such; 0: now."""
        tried = self._tried.get(source, deque())
        while tried and tried[0].at + WINDOW_S <= self._clock():
            tried.popleft()
        if not tried:
            self._tried.pop(source, None)
        if sum(one.weight for one in tried) < self._most:
            return 0.0
        return tried[0].at + WINDOW_S - self._clock()

    def count(self, source: str, token: bytes | None = None) -> None:
        """Remember that *source* tried a wrong *token*, by its digest; None: it counts as one never tried before."""
        if self.wait_s(source):
            return  # what is refused does not prolong it
        tried = self._tried.setdefault(source, deque())
        is_repeated = token is not None and any(one.token == token for one in tried)
        tried.append(_Try(self._clock(), _REPEATED if is_repeated else 1.0, token))
        self._tried.move_to_end(source)
        if len(self._tried) > self._sources_max:
            self._tried.popitem(last=False)


def source_of(address: str) -> str:
    """Return what counts as one source: an IPv4 address, or the network of an IPv6 one."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, _SOURCE_BITS), strict=False))
