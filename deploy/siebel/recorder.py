"""What stands where Siebel sends to, and keeps each message before it goes on to the api, whose answer it returns.

Without an api behind it, it answers as one that has nothing to say of any event: enough for a workflow to go on.
"""

import time
from collections.abc import Callable, Mapping

import anyio.to_thread
import httpx
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deploy.siebel.recording import Message, Recording
from shared.settings import Settings

PATH = "/v1/member-events"
_SIGNED = ("webhook-id", "webhook-timestamp", "webhook-signature")
_HEADERS = ("authorization", "content-type", "content-encoding", "accept", "x-request-id", "traceparent", *_SIGNED)
_OF_ANSWERS = ("content-type", "retry-after", "www-authenticate", "x-request-id", "accept-post")


def recorder(
    recording: Recording, api: httpx.Client | None, settings: Settings, clock: Callable[[], float] = time.monotonic
) -> FastAPI:
    """Return the application that writes *recording*; *api* is who the messages are for.

    It bounds what it is sent as the api of *settings* does.  Units: seconds of *clock*.
    """
    started_s = clock()
    max_body_bytes = settings.api.max_body_bytes

    async def post(request: Request) -> Response:
        at_s = clock() - started_s
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > max_body_bytes:
                return _problem(413, f"the body is longer than {max_body_bytes} bytes")
        message = Message(
            at_s, request.query_params.get("lane", ""), request.headers.get("content-type", ""), bytes(body)
        )
        await anyio.to_thread.run_sync(recording.keep, message)
        if api is None:
            return JSONResponse({"results": []}, 202)
        headers = {name: request.headers[name] for name in _HEADERS if name in request.headers}
        return await anyio.to_thread.run_sync(_passed_on, api, request.url.query, headers, message.body)

    app = FastAPI(openapi_url=None, routes=[Route(PATH, post, methods=["POST"])])
    app.state.settings = settings
    return app


def _passed_on(api: httpx.Client, query: str, headers: Mapping[str, str], body: bytes) -> Response:
    try:
        answer = api.post(f"{PATH}?{query}" if query else PATH, content=body, headers=headers)
    except httpx.RequestError as error:
        return _problem(503, f"the api behind the recorder does not answer ({type(error).__name__})")
    kept = {name: answer.headers[name] for name in _OF_ANSWERS if name in answer.headers}
    return Response(answer.content, answer.status_code, kept)


def _problem(status: int, detail: str) -> Response:
    headers = {"Retry-After": "5"}
    return JSONResponse({"status": status, "detail": detail}, status, headers, "application/problem+json")
