"""HEAD: answered as GET is, without the body.

FastAPI gives a route the methods that it names and no other; monitors and load balancers ask by HEAD.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Heads:
    """ASGI middleware that asks the app by GET, and sends no more of its answer than the headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            asked = {**scope, "method": "GET"}
            try:
                await self._app(asked, receive, _without_body(send))
            finally:
                scope["route"] = asked.get("route")  # for the line in the log
        else:
            await self._app(scope, receive, send)


def _without_body(send: Send) -> Send:
    """Give a way to send that ends with the headers; the server then tells a stream that nobody listens."""

    async def headers_only(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return headers_only
