"""What every request gets: an id, one line in the log, cautious headers, and an answer even when we have a bug.

Written against ASGI itself: FastAPI's own middleware costs a task and two queues for each request.
"""

import re
import time
import traceback
import uuid
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producers.http.problems import problem
from shared.logs import logger

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
            log.error("bug", error=type(error).__name__, at=_place_of(error))
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


def _place_of(error: Exception) -> list[str]:
    """Say where it was raised, innermost last, without the message: it may carry a member's data."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-5:]]
