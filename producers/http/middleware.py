"""The ASGI middleware around every route.  FastAPI's own would cost a task and two queues for each request.

| from the outside in | what it does                                                                                   |
|---------------------|------------------------------------------------------------------------------------------------|
| `Proxied`           | puts right what a reverse proxy before the api changes: path, client, scheme and host          |
| `Envelope`          | gives an id, one line in the log, cautious headers, and an answer even when we have a bug      |
| `Heads`             | answers HEAD as GET is, without the body: FastAPI gives a route the methods that it names      |

A proxy's headers are believed only from peers that TRUSTED_PROXIES names, and only those of the kind that PROXY_HEADERS
names: a proxy passes on what it does not write, so that the other kind is whatever the client likes.
"""

import re
import time
import traceback
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producers.http.request import problem
from shared import hosts
from shared.hosts import Address, Network
from shared.logs import logger
from shared.settings import ApiSettings

log = logger(__name__)

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
_PROBES = {"/healthz", "/readyz", "/metrics"}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
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
        scope = self._as_the_client_asked(scope)
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

        path: str = scope["path"]
        if path == self._prefix or path.startswith(f"{self._prefix}/"):
            raw_path = (scope.get("raw_path") or b"").removeprefix(self._prefix.encode()) or b"/"
            scope = {**scope, "path": path.removeprefix(self._prefix) or "/", "raw_path": raw_path}
        await self._app(scope, receive, send_prefixed)

    def _as_the_client_asked(self, scope: Scope) -> Scope:
        """Return *scope* as the client asked for it, if a proxy that is trusted says so: the outermost that is.

        Each proxy has added who asked it at the end, so the hops are followed from there.
        """
        client = _address(scope["client"][0]) if scope.get("client") else None
        if client is None or not _is_in(client, self._trusted):
            return scope
        asked = _Hop()
        for hop in reversed(list(self._read(Headers(scope=scope)))):
            asked = _Hop(hop.node, hop.scheme or asked.scheme, hop.host or asked.host)
            found = _address(hop.node)
            if found is None:  # hidden, or nothing that a proxy of ours would write
                break
            client = found
            if not _is_in(client, self._trusted):
                break
        changes: dict[str, object] = {"client": (str(client), 0)}
        if asked.scheme.lower() in {"http", "https"}:
            changes["scheme"] = asked.scheme.lower()
        if _HOST.fullmatch(asked.host):
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            changes["headers"] = [(b"host", asked.host.encode()), *others]
        return {**scope, **changes}


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


class Envelope:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        stated = Headers(scope=scope).get("x-request-id", "")
        request_id = stated if _SANE_ID.fullmatch(stated) else uuid.uuid4().hex
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._answer(scope, receive, send, request_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        began = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = 499  # nginx's word for: they went away before we could answer
        except Exception as error:  # noqa: BLE001  # the last resort: no traceback may reach a log with its message
            frames = traceback.extract_tb(error.__traceback__)[-5:]  # without the message: it may carry a member's data
            at = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
            log.error("bug", error=type(error).__name__, at=at)
            if not status:
                answer = problem(500, "internal", "membersync has a bug; the log has it by X-Request-Id")
                await answer(scope, receive, send_with_headers)
        finally:
            _note(scope, status, (time.perf_counter() - began) * 1000)


def _note(scope: Scope, status: int, took_ms: float) -> None:
    state: dict[str, Any] = scope.get("state", {})
    # The route, not the path: whatever somebody puts into a URL stays out of the log.
    path = getattr(scope.get("route"), "path", "unknown")
    write = log.debug if path in _PROBES else log.info
    who = {"who": state["who"]} if "who" in state else {}
    counts = state.get("counts", {})
    write("request", method=scope["method"], path=path, status=status, ms=round(took_ms, 1), **who, **counts)


class Heads:
    """ASGI middleware that asks the app by GET, and sends no more of its answer than the headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_headers_only(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)  # and no more: the server then tells a stream that nobody listens
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        asked = {**scope, "method": "GET"}
        try:
            await self._app(asked, receive, send_headers_only)
        finally:
            scope["route"] = asked.get("route")  # for the line in the log
