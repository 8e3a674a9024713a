"""What routes take from a request, and answer when it cannot be: settings, ledger, client, query, body; problems.

Errors are `application/problem+json` (RFC 9457): a stable `code`, one sentence, never a member's data or SQL.  `CODES`
has every `code` that callers may branch on: its status, and what it means.  None changes its sense.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from inspect import Parameter, Signature
from types import GenericAlias
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import iter_route_contexts
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.routing import Match

from producers.operations.job_control import AskError, ReasonError
from producers.operations.reads import INSTANT_SAID, LIMIT_DEFAULT, LIMIT_MAX, filter_of
from shared.errors import LedgerError, LedgerRefusedError, LedgerSlowError, LedgerUnwritableError, without_kind
from shared.ledger.engine import Ledger, engine
from shared.ledger.filters import CONDITIONS, NO_CONTROLS, Condition, Filter
from shared.logs import logger
from shared.pipeline import STAGES, Stage
from shared.settings import Settings

CODES: dict[str, tuple[int, str]] = {
    "invalid_parameter": (400, "a parameter, or a field of the body, cannot be meant; `field` names it"),
    "unreadable_body": (400, "the body is not what its media type says"),
    "unreadable_request": (400, "the request is not HTTP/1.1"),
    "unauthorised": (401, "no token, or one that is not known"),
    "bad_signature": (401, "the sender must sign its body, and this is not signed by its key, or not just now"),
    "forbidden": (403, "the token's role may not do this"),
    "forbidden_host": (403, "without tokens, only loopback names of this machine are answered"),
    "forbidden_origin": (403, "without tokens, the page of another site is not answered"),
    "not_found": (404, "there is nothing at this path"),
    "no_such_instance": (404, "there is no such instance, or it was pruned"),
    "no_such_member": (404, "no event of this member was accepted; `refusals` has those that were refused"),
    "no_such_case": (404, "there is no such case, and no open one of a member of this number"),
    "no_such_requeue": (404, "there is no such requeue"),
    "no_such_discard": (404, "there is no such discard"),
    "no_such_resend": (404, "there is no such resend"),
    "no_such_repair": (404, "there is no such repair"),
    "no_such_reconciliation": (404, "there is no such reconciliation"),
    "no_such_guard": (404, "there is no such hold of a guard"),
    "no_such_incident": (404, "there is no such incident"),
    "no_such_approval": (404, "nothing of this id waits for approval, or did"),
    "no_such_connection": (404, "there is no such connection"),
    "no_such_undo": (404, "there is no such undo of a discard"),
    "no_such_note": (404, "there is no such note on a cause"),
    "no_such_window": (404, "there is no such planned window of a connection"),
    "method_not_allowed": (405, "this path has other methods; `Allow` names them"),
    "unfinished_request": (408, "the head or the body of the request did not come in time"),
    "nothing_matched": (409, "nothing matches the selection now; nothing is done"),
    "all_refused": (409, "everything that matches is refused, `plan` says why; nothing is done"),
    "reason_required": (409, "the selection is of more than one instance now, and no reason is given; nothing is done"),
    "own_approval": (409, "whoever asked for it cannot approve it; another operator has to"),
    "window_refused": (409, "the planned window is reversed, past, or overlaps another of its connection"),
    "not_now": (
        409,
        "a call is out or may still land, a reconciliation is under way, or the ledger is too large for a request",
    ),
    "job_is_over": (409, "the job has ended, or was stopped already"),
    "cannot_rehearse": (409, "today's mapping cannot be asked from here"),
    "body_too_large": (413, "the body is larger than allowed; nothing is taken in"),
    "too_many_events": (413, "the body has more events than allowed; nothing is taken in"),
    "address_too_long": (414, "the address is longer than allowed"),
    "unsupported_media_type": (415, "send JSON, NDJSON or XML"),
    "unsupported_encoding": (415, "send the body as it is, not compressed"),
    "no_good_event": (422, "none of the events could be taken in; `results` says why of each"),
    "too_many_wrong_tokens": (429, "too many wrong tokens came from this address; one that is known still passes"),
    "head_too_long": (431, "the headers are longer than allowed"),
    "internal": (500, "membersync has a bug; its log has it by `X-Request-Id`"),
    "ledger": (503, "the ledger cannot be reached just now; send the same again"),
    "too_slow": (503, "the question took the ledger too long; ask a narrower one"),
    "too_many_connections": (503, "too many connections are open; send the same again"),
    "not_ready": (503, "something that is needed is away; `missing` says what"),
}


def table_of_codes() -> str:
    """Return all of them as a table in Markdown."""
    rows = [f"| {status} {HTTPStatus(status).phrase} | `{code}` | {sense} |" for code, (status, sense) in CODES.items()]
    return "\n".join(["| status | code | meaning |", "|---|---|---|", *rows])


log = logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
REFUSED_BY_LEDGER = "something in it can be neither kept nor found; the same again would fail the same"
TOO_SLOW = "the ledger took too long to find this; narrow it by state, member or time"

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_ALWAYS_POSSIBLE = {404: "not_found"}
_WANTS_TOKEN, _TOO_MANY_GUESSES = 401, "too_many_wrong_tokens"
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}, "required": True, "description": "asks for a token"}},
    429: {"Retry-After": {"schema": {"type": "integer"}, "description": "s; when another one is looked at"}},
    503: {"Retry-After": {"schema": {"type": "integer"}, "description": "s; when to send the same again"}},
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
    """Return the answer for a problem."""
    content = {
        "type": f"urn:membersync:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **more,
    }
    return Response(orjson.dumps(content), status, dict(headers or {}), MEDIA_TYPE)


def unavailable(why: str = "the ledger cannot be reached just now") -> Response:
    """Return the answer when the ledger cannot be asked or cannot commit."""
    detail = f"{why}; nothing is lost by sending the same again"
    return problem(503, LedgerError.code, detail, {"Retry-After": str(RETRY_AFTER_S)})


def described(*answers: int | str) -> dict[int | str, dict[str, Any]]:
    """Describe these answers for `/openapi.json`: a status with all of its codes, or one code with its status.

    Where a token is asked for, too many wrong ones are an answer too.
    """
    found: dict[int, list[str]] = {}
    for answer in (*answers, *([_TOO_MANY_GUESSES] if _WANTS_TOKEN in answers else [])):
        status = CODES[answer][0] if isinstance(answer, str) else answer
        codes = [answer] if isinstance(answer, str) else [code for code, (of, _) in CODES.items() if of == status]
        found.setdefault(status, []).extend(codes)
    documented: dict[int | str, dict[str, Any]] = {}
    for status, codes in found.items():
        also = [code for code in (_ALWAYS_POSSIBLE.get(status),) if code and code not in codes]
        schema = {"allOf": [_PROBLEM, {"properties": {"status": {"const": status}, "code": {"enum": [*codes, *also]}}}]}
        examples = {
            code: {"summary": CODES[code][1], "value": orjson.loads(problem(status, code, CODES[code][1]).body)}
            for code in codes
        }
        documented[status] = {
            "description": f"{HTTPStatus(status).phrase}: {', '.join(codes)}",
            "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
        }
        if status in _HEADERS:
            documented[status]["headers"] = _HEADERS[status]
    return documented


class _NumberConvertor(Convertor[str]):
    """A member number, or an id, in a path: slashes are part of it, what may be asked of one behind it is not."""

    regex = "(?:(?!/(?:acknowledge|changes|comparison|forget|look-up|person)$).)+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("number", _NumberConvertor())


def install_problems(app: FastAPI) -> None:
    """Answer every error of *app* with a problem."""
    for kind in (ProblemError, AskError, LedgerError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer)


def invalid(loc: tuple[int | str, ...], error: Mapping[str, Any]) -> ProblemError:
    """Return the answer to what pydantic refused at *loc*."""
    field = ".".join(map(str, loc))
    said = (
        "contains a control character"
        if error.get("ctx", {}).get("pattern") == NO_CONTROLS
        else without_kind(error["msg"])
    )
    return ProblemError(400, "invalid_parameter", f"{field or 'body'}: {said}", field=field)


def _answer(request: Request, error: Exception) -> Response:
    match error:
        case LedgerRefusedError():
            log.error("the ledger does not take what a request holds", cause=str(error))
            said = ProblemError(400, "invalid_parameter", REFUSED_BY_LEDGER)
        case LedgerError():
            log.error("the ledger does not serve", cause=str(error))
            if isinstance(error, LedgerSlowError):
                return problem(503, error.code, TOO_SLOW)
            return unavailable(str(error)) if isinstance(error, LedgerUnwritableError) else unavailable()
        case AskError():
            code = "reason_required" if isinstance(error, ReasonError) else "invalid_parameter"
            said = ProblemError(CODES[code][0], code, str(error), field=error.field)
        case RequestValidationError():
            first = error.errors()[0]
            said = invalid(first["loc"][1:], first)
        case HTTPException():
            status = HTTPStatus(error.status_code)
            headers = error.headers
            if status is HTTPStatus.METHOD_NOT_ALLOWED:
                # Starlette names the methods of the first route of this path only.
                routes = [one for one in iter_route_contexts(request.app.routes) if one.methods]
                matching = [one for one in routes if one.original_route.matches(request.scope)[0] is not Match.NONE]
                methods = {method for one in matching for method in one.methods or ()}
                headers = {"Allow": ", ".join(sorted(methods))}
            said = ProblemError(status, status.name.lower(), status.description or status.phrase, headers)
        case ProblemError():
            said = error
        case _:
            raise error
    return problem(said.status, said.code, said.detail, said.headers, **said.more)


ID_PATTERN = "^[0-9]{1,18}$"
WORD = Field(pattern=NO_CONTROLS)
INSTANT: dict[str, Any] = {
    "type": "string",
    "anyOf": [{"format": "date-time"}, {"format": "date"}, {"pattern": "^([0-9]{1,6}[smhdw])?$"}],
    "examples": ["2026-11-23T08:51:00Z", "2026-11-23", "2h"],
}
"""What `producers.operations.reads` reads as an instant, as a schema."""

_Absent = SkipJsonSchema[None]
_Word = Annotated[str, WORD]
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="at most so many")]


def settings_of(request: Request) -> Settings:
    """Return the settings of the app that serves *request*."""
    settings: Settings = request.app.state.settings
    return settings


def ledger_of(request: Request) -> Ledger:
    """Return the ledger of that app."""
    return engine(settings_of(request).ledger_url)


def client_of(request: Request) -> str:
    """Return the address that *request* comes from: of the connection, or what a trusted proxy says (`Proxied`)."""
    return request.client.host if request.client else "unknown"


def _query(row: Condition) -> Parameter:
    """Return the query parameter of a condition."""
    if issubclass(row.of, datetime):
        annotation: object = str
        query = Query("", description=f"{row.help}; {INSTANT_SAID}", json_schema_extra=INSTANT)
    elif row.several:
        annotation = GenericAlias(Sequence, (_Word if row.of is str else row.of,))
        query = Query((), description=row.help)
    elif row.choices:
        annotation = row.of | _Absent
        query = Query(None, description=row.help)
    else:
        annotation = row.of
        query = Query("", description=row.help, pattern=NO_CONTROLS)
    return Parameter(row.name, Parameter.KEYWORD_ONLY, default=query, annotation=annotation)


def filter_parameters(**words: str | Sequence[str] | None) -> Filter:
    """Read the filter from the query, as FastAPI reads it by the signature below.

    Raises:
        ProblemError: 400.
    """
    try:
        return filter_of(datetime.now(UTC), **words)
    except ValueError as error:
        raise invalid_parameter(error) from None


def failure_parameters(**words: str | Sequence[str] | None) -> Filter:
    """Read a filter of dead letters and Data Errors from the query.

    Raises:
        ProblemError: 400.
    """
    return filter_parameters(**words).of_dead_letters()


_QUERY = {row.name: _query(row) for row in CONDITIONS}
_OF_FAILURES = Parameter(
    "state",
    Parameter.KEYWORD_ONLY,
    default=Query((), description="none: dead letters"),
    annotation=Sequence[Literal["dead", "rejected"]],
)
filter_parameters.__signature__ = Signature([*_QUERY.values()])  # type: ignore[attr-defined]  # FastAPI reads it
failure_parameters.__signature__ = Signature([*(_QUERY | {"state": _OF_FAILURES}).values()])  # type: ignore[attr-defined]


def cursor_parameter(
    cursor: Annotated[str, Query(description="`next` of the page before", pattern="^[0-9]{0,18}$")] = "",
) -> int | None:
    """Read the cursor from the query."""
    return int(cursor) if cursor else None


Cursor = Annotated[int | None, Depends(cursor_parameter)]


class Paging(NamedTuple):
    """Which page of a list: at most *limit*, those *before* a cursor; None: the first."""

    before: int | None
    limit: int


def paging_parameters(before: Cursor, limit: Limit = LIMIT_DEFAULT) -> Paging:
    """Read from the query which page is wanted."""
    return Paging(before, limit)


Paged = Annotated[Paging, Depends(paging_parameters)]


def invalid_parameter(error: ValueError) -> ProblemError:
    """Return the answer to a parameter that *error* names and says what is wrong with."""
    return ProblemError(400, "invalid_parameter", str(error), field=str(error).partition(":")[0])


def connection_parameter(
    name: Annotated[str, Path(description="oic, crowdtwist or siebel", json_schema_extra={"enum": list(STAGES)})],
) -> Stage:
    """Read the connection's name from the path.

    Raises:
        ProblemError: 404.
    """
    try:
        return Stage(name)
    except ValueError:
        raise ProblemError(404, "no_such_connection", f"the connections are {', '.join(STAGES)}") from None


ConnectionName = Annotated[Stage, Depends(connection_parameter)]


async def read_limited(request: Request, limit: int) -> bytes:
    """Read the body.

    Raises:
        ProblemError: 413, it is larger than *limit* bytes.
    """
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(limit: int) -> ProblemError:
    # The rest of the body is not read: the connection cannot be used again.
    return ProblemError(413, "body_too_large", f"the body is larger than {limit} bytes", {"Connection": "close"})
