"""Errors as `application/problem+json` (RFC 9457): a stable `code`, one sentence, never a member's data or SQL."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from shared.errors import LedgerError
from shared.logs import logger

log = logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "stable; branch on this"},
    },
}


class ProblemError(Exception):
    """An answer that is not what was asked for.  *more* are further members of the problem object."""

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: object
    ) -> None:
        super().__init__(status, code, detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers
        self.more = more


def problem(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: object) -> Response:
    """Give the answer for a problem."""
    content = {
        "type": f"urn:membersync:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **more,
    }
    return Response(orjson.dumps(content), status, dict(headers or {}), MEDIA_TYPE)


def unavailable() -> Response:
    """Give the answer when the ledger cannot be asked or cannot commit."""
    detail = "the ledger cannot be reached just now; nothing is lost by sending the same again"
    return problem(503, LedgerError.code, detail, {"Retry-After": str(RETRY_AFTER_S)})


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe these answers for `/openapi.json`."""
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": SCHEMA}}}
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Answer every error of *app* with a problem."""
    app.add_exception_handler(ProblemError, _ours)
    app.add_exception_handler(LedgerError, _ledger)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(HTTPException, _http)


def _ours(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101  # registered for nothing else
    return problem(error.status, error.code, error.detail, error.headers, **error.more)


def _ledger(_: Request, error: Exception) -> Response:
    log.error("the ledger does not serve", cause=str(error))
    return unavailable()


def _parameters(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for nothing else
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:])
    return problem(400, "invalid_parameter", f"{name}: {first['msg']}", field=name)


def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for nothing else
    status = HTTPStatus(error.status_code)
    return problem(status, status.name.lower(), status.description or status.phrase, error.headers)
