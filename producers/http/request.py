"""What routes take from a request: the app's settings and ledger, whose machine sent it, its query and its body."""

from collections.abc import Sequence
from datetime import UTC, datetime
from inspect import Parameter, Signature
from types import GenericAlias
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import Depends, Path, Query, Request
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from producers.http.problems import ProblemError
from producers.operations.filtering import INSTANT_SAID, LIMIT_DEFAULT, LIMIT_MAX, filter_of
from shared.ledger.engine import Ledger, engine
from shared.ledger.filters import CONDITIONS, NO_CONTROLS, Condition, Filter
from shared.pipeline import STAGES, Stage
from shared.settings import Settings

ID_PATTERN = "^[0-9]{1,18}$"
WORD = Field(pattern=NO_CONTROLS)
INSTANT: dict[str, Any] = {
    "type": "string",
    "anyOf": [{"format": "date-time"}, {"format": "date"}, {"pattern": "^([0-9]{1,6}[smhdw])?$"}],
    "examples": ["2026-11-23T08:51:00Z", "2026-11-23", "2h"],
}
"""What `producers.operations.filtering` reads as an instant, as a schema."""

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
