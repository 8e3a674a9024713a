"""What a reverse proxy before the api changes, put right before anything else sees a request.

| what       | how                                                                                                     |
|------------|---------------------------------------------------------------------------------------------------------|
| its path   | that of PUBLIC_URL is taken off if the proxy has not done so, and put before each `Location` of ours    |
| the client | the right-most address of the chain that no trusted proxy has, and the scheme and host it asked for     |

Headers are believed only from peers that TRUSTED_PROXIES names, and only those of the kind that PROXY_HEADERS names: a
proxy passes on what it does not write, so that the other kind is whatever the client likes.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.addresses import hosts
from shared.addresses.hosts import Address, Network
from shared.settings import ApiSettings

_NODE = re.compile(r"\[(?P<v6>[^\[\]]+)\](?::\d+)?|(?P<v4>[\d.]+)(?::\d+)?", re.ASCII)
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Hop:
    """What one proxy says of who asked it; empty: nothing."""

    node: str = ""
    scheme: str = ""
    host: str = ""


class Proxied:
    """ASGI middleware around everything."""

    def __init__(self, app: ASGIApp, settings: ApiSettings) -> None:
        self._app = app
        self._prefix = settings.prefix
        self._trusted = settings.proxies
        self._read = _forwarded if settings.proxy_headers == "forwarded" else _x_forwarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = self._as_asked(scope)
        if not self._prefix:
            await self._app(scope, receive, send)
            return

        async def send_prefixed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                location = headers.get("location", "")
                if location.startswith("/") and not location.startswith("//"):
                    headers["location"] = self._prefix + location
            await send(message)

        await self._app(_without(self._prefix, scope), receive, send_prefixed)

    def _as_asked(self, scope: Scope) -> Scope:
        """Give *scope* as the client asked for it, if a proxy that is trusted says so."""
        peer = _address(scope["client"][0]) if scope.get("client") else None
        if peer is None or not _is_in(peer, self._trusted):
            return scope
        chain = list(self._read(Headers(scope=scope)))
        client, asked = _asked(peer, chain, self._trusted)
        changes: dict[str, object] = {"client": (str(client), 0)}
        if asked.scheme.lower() in {"http", "https"}:
            changes["scheme"] = asked.scheme.lower()
        if _HOST.fullmatch(asked.host):
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            changes["headers"] = [(b"host", asked.host.encode()), *others]
        return {**scope, **changes}


def _asked(peer: Address, chain: Sequence[_Hop], trusted: Collection[Network]) -> tuple[Address, _Hop]:
    """Say who asked the outermost proxy that is trusted, and what it says of that.  Pure.

    Shape: *chain* has the outermost first; each proxy has added who asked it at the end.
    """
    client, asked = peer, _Hop()
    for hop in reversed(chain):
        asked = _Hop(hop.node, hop.scheme or asked.scheme, hop.host or asked.host)
        found = _address(hop.node)
        if found is None:  # hidden, or nothing that a proxy of ours would write
            break
        client = found
        if not _is_in(client, trusted):
            break
    return client, asked


def _x_forwarded(headers: Headers) -> Iterator[_Hop]:
    """Read `X-Forwarded-For`, `-Proto` and `-Host`, which stand side by side from the right."""
    columns = [
        [part.strip() for line in headers.getlist(f"x-forwarded-{name}") for part in line.split(",") if part.strip()]
        for name in ("for", "proto", "host")
    ]
    length = max(map(len, columns))
    for row in zip(*([""] * (length - len(column)) + column for column in columns), strict=True):
        yield _Hop(*row)


def _forwarded(headers: Headers) -> Iterator[_Hop]:
    """Read `Forwarded`.  Source: RFC 7239, section 4."""
    for line in headers.getlist("forwarded"):
        for element in filter(str.strip, _split(line, ",")):
            pairs = [part.partition("=") for part in _split(element, ";")]
            said = {name.strip().lower(): _unquoted(value.strip()) for name, _, value in pairs}
            yield _Hop(said.get("for", ""), said.get("proto", ""), said.get("host", ""))


def _split(text: str, separator: str) -> Iterator[str]:
    """Split *text* outside of its quotes, in one pass: no header may take long."""
    begin, is_quoted, is_escaped = 0, False, False
    for index, letter in enumerate(text):
        if is_escaped:
            is_escaped = False
        elif is_quoted and letter == "\\":
            is_escaped = True
        elif letter == '"':
            is_quoted = not is_quoted
        elif letter == separator and not is_quoted:
            yield text[begin:index]
            begin = index + 1
    yield text[begin:]


def _unquoted(value: str) -> str:
    is_quoted = len(value) > 1 and value[0] == value[-1] == '"'
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if is_quoted else value


def _address(node: str) -> Address | None:
    found = _NODE.fullmatch(node.strip())
    try:
        return hosts.address(found["v6"] or found["v4"]) if found else hosts.address(node)
    except ValueError:
        return None


def _is_in(address: Address, networks: Collection[Network]) -> bool:
    return any(address in network for network in networks)


def _without(prefix: str, scope: Scope) -> Scope:
    path: str = scope["path"]
    if path != prefix and not path.startswith(f"{prefix}/"):
        return scope
    raw = scope.get("raw_path") or b""
    return {
        **scope,
        "path": path.removeprefix(prefix) or "/",
        "raw_path": raw.removeprefix(prefix.encode()) or b"/",
    }
