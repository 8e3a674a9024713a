"""Query parameters that routes share: the filter of spec section 5, the cursor, the limit."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Depends, Path, Query
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from producers.http.problems import ProblemError
from producers.operations.filtering import LIMIT_MAX, filter_of, instant_of
from shared.ledger.filters import NO_CONTROLS, Filter
from shared.ledger.operators import ActionFilter
from shared.pipeline import STAGES, Lane, Stage, State, SyncStatus

ID_PATTERN = "^[0-9]{1,18}$"
WORD = Field(pattern=NO_CONTROLS)
INSTANT: dict[str, Any] = {
    "type": "string",
    "anyOf": [{"format": "date-time"}, {"format": "date"}, {"pattern": "^([0-9]{1,6}[smhdw])?$"}],
    "examples": ["2026-11-23T08:51:00Z", "2026-11-23", "2h"],
}
"""What `producers.operations.filtering` reads as an instant, as a schema."""

_INSTANT = "RFC 3339, a date, or an age: 15m, 2h, 7d"
_Absent = SkipJsonSchema[None]
_Word = Annotated[str, WORD]
_Words = Sequence[_Word]
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="at most so many")]
Since = Annotated[str, Query(description=f"accepted, or done, then or later; {_INSTANT}", json_schema_extra=INSTANT)]
Until = Annotated[str, Query(description=f"accepted, or done, before then; {_INSTANT}", json_schema_extra=INSTANT)]
States = Annotated[Sequence[State], Query(description="where an instance is in its life")]
FailedStates = Annotated[Sequence[Literal["dead", "rejected"]], Query(description="none: dead letters")]


def conditions_parameters(  # noqa: PLR0913, PLR0917  # the filter of spec section 5
    stage: Annotated[Sequence[Stage], Query(description="where it stands; dead or refused: where it failed")] = (),
    status: Annotated[Sequence[SyncStatus], Query(description="CT Sync Status")] = (),
    code: Annotated[_Words, Query(description="why it failed: throttled, data_error, bug, …")] = (),
    member: Annotated[_Words, Query(description="member number")] = (),
    lane: Annotated[Lane | _Absent, Query(description="live or bulk")] = None,
    since: Since = "",
    until: Until = "",
    text: Annotated[_Word, Query(description="beginning of event id or member number, or part of the error")] = "",
) -> Filter:
    """Read all of the filter but the states from the query.

    Raises:
        ProblemError: 400.
    """
    try:
        return filter_of(
            now=datetime.now(UTC),
            stage=stage,
            status=status,
            code=code,
            member=member,
            lane=lane,
            since=since,
            until=until,
            text=text,
        )
    except ValueError as error:
        raise _refused(error) from None


_Conditions = Annotated[Filter, Depends(conditions_parameters)]


def filter_parameters(where: _Conditions, state: States = ()) -> Filter:
    """Read the filter from the query."""
    return replace(where, states=tuple(dict.fromkeys(state)))


def failure_parameters(where: _Conditions, state: FailedStates = ()) -> Filter:
    """Read a filter of dead letters and Data Errors from the query."""
    return replace(where, states=tuple(State(one) for one in dict.fromkeys(state)) or (State.DEAD,))


def action_parameters(
    who: Annotated[_Words, Query(description="name of whoever acted, or tried to")] = (),
    what: Annotated[_Words, Query(description="requeue, discard, pause, unmask, …")] = (),
    denied: Annotated[
        bool | _Absent, Query(description="true: only what was not allowed; false: only what was")
    ] = None,
    since: Since = "",
    until: Until = "",
) -> ActionFilter:
    """Read the audit's filter from the query.

    Raises:
        ProblemError: 400.
    """
    now = datetime.now(UTC)
    try:
        bounds = instant_of("since", since, now), instant_of("until", until, now)
    except ValueError as error:
        raise _refused(error) from None
    return ActionFilter(tuple(who), tuple(what), denied, *bounds)


def cursor_parameter(
    cursor: Annotated[str, Query(description="`next` of the page before", pattern="^[0-9]{0,18}$")] = "",
) -> int | None:
    """Read the cursor from the query."""
    return int(cursor) if cursor else None


Before = Annotated[int | None, Depends(cursor_parameter)]


def _refused(error: ValueError) -> ProblemError:
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


Name = Annotated[Stage, Depends(connection_parameter)]
