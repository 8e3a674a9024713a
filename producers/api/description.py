"""What `/openapi.json` says beyond what FastAPI reads from the routes."""

import re
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from producers.api import event_schema
from producers.http import problems
from producers.http.auth import Authenticator

_DESCRIPTION = """Takes member changes from Siebel Loyalty, brings them to CrowdTwist, and tells Siebel what came of it.

Lists are paged: the `next` of a page is the `cursor` of the one after it; null: there is none.
Ids are text, instants are UTC.  Every answer carries `X-Request-Id`, the caller's own if it is a sane one.

Errors are `application/problem+json` with a stable `code`:

"""
_TAGS = {
    "intake": "Member events in: accepted means committed, nothing of it is lost from then on.",
    "reading": "Instances and members.  People are masked, but for the role `admin`; what that reads is recorded.",
    "repairing": "Dead letters, and the jobs that requeue or discard them.",
    "connections": "The outside systems: how they stand; test, pause, resume.",
    "watching": "How it goes, and how it went.",
    "audit": "What operators did, what they were not allowed to do, and who was shown people unmasked.",
    "probes": "For machines that watch.",
}
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457.  Further members belong to single codes.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "one sentence for people"},
        "code": {"type": "string", "description": "stable; branch on this"},
        "field": {"type": ["string", "null"], "description": "what is wrong with the request, where that is one thing"},
    },
}
_REQUEST_ID = {"description": "names this request in the log", "required": True, "schema": {"type": "string"}}


def install(app: FastAPI) -> None:
    """Let *app* describe itself so."""
    app.description = _DESCRIPTION + problems.table()
    app.openapi_tags = [{"name": name, "description": text} for name, text in _TAGS.items()]
    of_the_routes = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(of_the_routes(), app)
        return of_the_routes()  # FastAPI keeps what it has made

    app.openapi = described  # type: ignore[method-assign]  # the way FastAPI documents


def answered(what: str, model: object, example: object, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """Describe one good answer: of which record it is, and an example of it."""
    return {status: {"description": what, "model": model, "content": {"application/json": {"example": example}}}}


def _complete(document: dict[str, Any], app: FastAPI) -> None:
    """Add to FastAPI's description what it does not know, and correct what it changed."""
    authenticator: Authenticator = app.state.authenticator
    is_open = not authenticator.known
    parts = document.setdefault("components", {})
    parts.setdefault("schemas", {}).update(event_schema.SCHEMAS, Problem=_PROBLEM)
    parts["headers"] = {"RequestId": _REQUEST_ID}
    for name in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(name, None)  # FastAPI's own, which nobody is ever sent
    operations = [(path, method, item[method]) for path, item in document["paths"].items() for method in item]
    for path, method, operation in operations:
        # FastAPI's ids repeat the path and the method.
        operation["operationId"] = operation["operationId"].removesuffix(re.sub(r"\W", "_", path) + f"_{method}")
        if "HTTPValidationError" in str(operation["responses"].get("422")):
            del operation["responses"]["422"]
        for answer in operation["responses"].values():
            answer.setdefault("headers", {})["X-Request-Id"] = {"$ref": "#/components/headers/RequestId"}
        if is_open and "security" in operation:
            operation["security"].append({})  # no token is configured: none is asked for
    # The examples of answers go back as they were given: FastAPI takes out what is null in them.
    for route in iter_route_contexts(app.routes):
        path = document["paths"].get(route.path_format, {})
        for operation in (path.get(method.lower(), {}) for method in route.methods or ()):
            for status, answer in operation.get("responses", {}).items():
                for media_type, given in route.responses.get(int(status), {}).get("content", {}).items():
                    kept = {name: given[name] for name in ("example", "examples") if name in given}
                    answer["content"][media_type] |= kept
