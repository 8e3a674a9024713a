"""The bodies of requeues, discards and rehearsals."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from producers.api.bodies import read_limited
from producers.api.problems import ProblemError
from producers.filtering import filter_of
from producers.ops import Ask, AskError, Selection
from shared.jobs import Kind
from shared.ledger.filters import Filter
from shared.ledger.requeues import SELECTION_MAX
from shared.pipeline import Lane, Stage, State, SyncStatus

_BODY_MAX_BYTES = 2 * 1024 * 1024
_RATE_MAX = 1_000_000
_REASON_MAX = 500
_B = TypeVar("_B", bound=BaseModel)


def _text_of_number(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Id = Annotated[str, BeforeValidator(_text_of_number), Field(pattern=r"^[0-9]{1,18}$")]


class FilterBody(BaseModel):
    """The filter of spec section 5."""

    model_config = ConfigDict(extra="forbid")

    state: list[State] = Field(default_factory=list, description="none: dead letters")
    stage: list[Stage] = Field(default_factory=list, description="where it failed")
    status: list[SyncStatus] = Field(default_factory=list)
    code: list[str] = Field(default_factory=list)
    member: list[str] = Field(default_factory=list, description="member number")
    lane: Lane | None = None
    since: str | None = Field(None, description="accepted then or later; RFC 3339, a date, or an age: 15m, 2h, 7d")
    until: str | None = Field(None, description="accepted before then")
    text: str = Field("", description="beginning of event id or member number, or part of the error")
    limit: int = Field(SELECTION_MAX, ge=1, le=SELECTION_MAX, description="the newest so many")

    def read(self) -> Filter:
        """Give the filter that the ledger understands.

        Raises:
            ValueError: with the name of the field.
        """
        return filter_of(now=datetime.now(UTC), **self.model_dump(exclude={"limit"}))


class SelectionBody(BaseModel):
    """Which instances: `ids` or `filter`."""

    model_config = ConfigDict(extra="forbid")

    ids: list[Id] = Field(default_factory=list, max_length=SELECTION_MAX, description="instance ids")
    filter: FilterBody | None = None

    def selection(self) -> Selection:
        """Give the selection.

        Raises:
            ValueError: with the name of the field.
        """
        if self.filter is None:
            return Selection(tuple(map(int, self.ids)))
        return Selection(tuple(map(int, self.ids)), self.filter.read(), self.filter.limit)


class DiscardBody(SelectionBody):
    """What is to be discarded, and why."""

    reason: str = Field("", max_length=_REASON_MAX, description="required, unless it is a dry run")
    dry_run: bool = Field(default=False, description="only say what would become of them")

    def ask(self) -> Ask:
        """Give what is asked.

        Raises:
            ValueError: with the name of the field.
        """
        return Ask(Kind.DISCARD, self.selection(), self.reason)


class RequeueBody(SelectionBody):
    """What is to be requeued, and how."""

    reason: str = Field("", max_length=_REASON_MAX, description="required for more than one")
    rate: int | None = Field(None, ge=1, le=_RATE_MAX, description="instances per minute; null: as fast as it goes")
    from_start: bool = Field(default=False, description="map again with today's settings")
    force: bool = Field(default=False, description="also what was requeued MEMBERSYNC_REQUEUE_MAX times")
    dry_run: bool = Field(default=False, description="only say what would become of them")

    def ask(self) -> Ask:
        """Give what is asked.

        Raises:
            ValueError: with the name of the field.
        """
        return Ask(Kind.REQUEUE, self.selection(), self.reason, self.rate, self.from_start, self.force)


def body_of(model: type[_B]) -> Callable[[Request], Awaitable[_B]]:
    """Give a dependency that reads the body as *model*; put it after the one that says who may ask."""

    async def read(request: Request) -> _B:
        body = await read_limited(request, _BODY_MAX_BYTES)
        try:
            return model.model_validate_json(body or b"{}")
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise ProblemError(400, "invalid_parameter", f"{field or 'body'}: {first['msg']}", field=field) from None

    return read


def refused(error: ValueError) -> ProblemError:
    """Give the answer to an ask that cannot be meant."""
    field = error.field if isinstance(error, AskError) else str(error).partition(":")[0]
    return ProblemError(400, "invalid_parameter", str(error), field=field)


def described_body(model: type[BaseModel], **examples: dict[str, Any]) -> dict[str, Any]:
    """Describe a body that is read by hand, for `/openapi.json`."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})
    content = {"schema": _inlined(schema, parts)}
    shown = {name: {"summary": name.replace("_", " "), "value": value} for name, value in examples.items()}
    return {"requestBody": {"required": True, "content": {"application/json": {**content, "examples": shown}}}}


def _inlined(schema: object, parts: dict[str, Any]) -> object:
    """Replace references into `$defs`, which mean nothing inside another document."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inlined(parts[schema["$ref"].rpartition("/")[2]], parts)
        return {name: _inlined(part, parts) for name, part in schema.items()}
    return [_inlined(part, parts) for part in schema] if isinstance(schema, list) else schema
