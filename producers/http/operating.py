"""Operating over HTTP: who may - whoever else tries is recorded - and the bodies of what they ask for."""

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import anyio.to_thread
import orjson
from fastapi import Depends, Request
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    WithJsonSchema,
    create_model,
)

from producers.http.auth import Principal, Right, principal
from producers.http.request import ID_PATTERN, INSTANT, WORD, ProblemError, invalid, ledger_of, read_limited
from producers.operations import job_control
from producers.operations.connection_control import REASON_MAX
from producers.operations.job_control import Ask, AskError, Operator, Selection
from producers.operations.job_selections import RESENT_MAX, Acknowledged, Differences
from producers.operations.reads import INSTANT_SAID, filter_of, instant_of
from shared.ledger.filters import CONDITIONS, Condition, Filter
from shared.ledger.jobs import Kind
from shared.ledger.transitions.requeues import SELECTION_MAX
from shared.reconciling import DriftClass

SAID: dict[str, JsonValue] = {"pattern": r"\S"}
"""A reason that says something."""

COMPARISONS = anyio.CapacityLimiter(4)
"""Whoever has other systems asked now waits for them: not in a thread of those who read."""

_BODY_MAX_BYTES = 2 * 1024 * 1024
_UNFILED = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_FILED_MAX = 100
_DENIED_MAX_BYTES = 64 * 1024
"""Of what is denied nobody reads more."""
_RATE_MAX = 1_000_000
_EXACT_MAX = 2**53 - 1
"""Above it a JSON reader may lose digits: such an id is text."""
_B = TypeVar("_B", bound=BaseModel)


def _whole(value: object) -> object:
    """Return the number that a JSON number without a fraction stands for, however it is written."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _text_of_number(value: object) -> object:
    number = _whole(value)
    is_exact = isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= _EXACT_MAX
    return str(number) if is_exact else value


Id = Annotated[
    str,
    BeforeValidator(_text_of_number),
    Field(pattern=ID_PATTERN),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": ID_PATTERN},
                {"type": "integer", "minimum": 0, "maximum": _EXACT_MAX},
            ]
        }
    ),
]
Whole = BeforeValidator(_whole)
_Word = Annotated[str, WORD]
_Instant = Annotated[str | None, WithJsonSchema({"anyOf": [INSTANT, {"type": "null"}]})]
_StatedInstant = Annotated[str, WithJsonSchema({**INSTANT, "minLength": 1})]
Reason = Annotated[str, Field(max_length=REASON_MAX, pattern=r"^[^\x00]*$")]


def _given(name: str, **rule: JsonValue) -> JsonValue:
    return {"required": [name], "properties": {name: rule}}


_IDS_OR_FILTER: list[JsonValue] = [
    {"required": ["ids"], "properties": {"ids": {"minItems": 1}, "filter": {"type": "null"}}},
    {"required": ["filter"], "properties": {"ids": {"maxItems": 0}, "filter": {"type": "object"}}},
]


def _condition(row: Condition) -> tuple[object, object]:
    """Return type and field of a condition; empty it asks for nothing."""
    if issubclass(row.of, datetime):
        return _Instant, Field(None, description=f"{row.help}; {INSTANT_SAID}")
    if row.several:
        of = GenericAlias(list, (_Word if row.of is str else row.of,))
        return of, Field(default_factory=list, description=row.help)
    if row.choices:
        return row.of | None, Field(None, description=row.help)
    return _Word, Field("", description=row.help)


def _is_given(row: Condition) -> JsonValue:
    """Return the schema of a filter that has this condition."""
    if row.several:
        return _given(row.name, minItems=1)
    if row.of is str:
        return _given(row.name, pattern=r"\S")
    return _given(row.name, type="string", **({} if row.choices else {"minLength": 1}))


class _Conditions(BaseModel):
    """The conditions of a filter, which a body adds."""

    model_config = ConfigDict(extra="forbid")

    def read(self) -> Filter:
        """Return the filter that the ledger understands.

        Raises:
            AskError: with the name of the field.
        """
        try:
            return filter_of(datetime.now(UTC), **self.model_dump(exclude={"limit"}))
        except ValueError as error:
            raise AskError.of(error) from None


class _Some(_Conditions):
    """How many, beside the conditions, of which there is one at least."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [_is_given(row) for row in CONDITIONS]})

    limit: Annotated[int, Whole] = Field(SELECTION_MAX, ge=1, le=SELECTION_MAX, description="the newest so many")


class _Any(_Conditions):
    """How many, beside the conditions."""

    limit: Annotated[int | None, Whole] = Field(
        None, ge=1, le=RESENT_MAX, description="the newest so many; null: all that match"
    )


if TYPE_CHECKING:
    FilterBody = _Some
    NarrowingBody = _Any
else:
    _FIELDS = {row.name: _condition(row) for row in CONDITIONS}
    FilterBody = create_model(
        "FilterBody",
        __base__=_Some,
        __doc__="The filter of spec section 5, dead letters where it names no state; at least one condition.",
        **_FIELDS,
    )
    NarrowingBody = create_model(
        "NarrowingBody",
        __base__=_Any,
        __doc__="The filter of spec section 5; without a condition everything.",
        **_FIELDS,
    )


class SelectionBody(BaseModel):
    """Which instances: `ids` or `filter`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"anyOf": _IDS_OR_FILTER})

    ids: list[Id] = Field(default_factory=list, description=f"instance ids, at most {SELECTION_MAX}")
    filter: FilterBody | None = None

    def selection(self) -> Selection:
        """Return the selection.

        Raises:
            AskError: with the name of the field.
        """
        if self.filter is None:
            return Selection(tuple(map(int, self.ids)))
        return Selection(tuple(map(int, self.ids)), self.filter.read(), self.filter.limit)


_REASON_OR_DRY_RUN: dict[str, JsonValue] = {
    "anyOf": [_given("reason", **SAID), _given("dry_run", const=True)],
}


def _say_why(reason: str, *, dry_run: bool) -> None:
    if not dry_run and not reason.strip():
        raise AskError("reason", "say why")


class DiscardBody(SelectionBody):
    """What is to be discarded, and why."""

    model_config = ConfigDict(json_schema_extra={"allOf": [{"anyOf": _IDS_OR_FILTER}, _REASON_OR_DRY_RUN]})

    reason: Reason = Field("", description="required, unless it is a dry run")
    dry_run: bool = Field(default=False, description="only say what would become of them")

    def ask(self) -> Ask:
        """Return what is asked.

        Raises:
            AskError: with the name of the field.
        """
        _say_why(self.reason, dry_run=self.dry_run)
        return Ask(Kind.DISCARD, self.selection(), self.reason)


class RequeueBody(SelectionBody):
    """What is to be requeued, and how."""

    reason: Reason = Field("", description="required for more than one")
    rate: Annotated[int | None, Whole] = Field(
        None, ge=1, le=_RATE_MAX, description="instances per minute; null: as fast as it goes"
    )
    from_start: bool = Field(default=False, description="map again with today's settings")
    force: bool = Field(default=False, description="also what was requeued MEMBERSYNC_REQUEUE_MAX times")
    dry_run: bool = Field(default=False, description="only say what would become of them")

    def ask(self) -> Ask:
        """Return what is asked.

        Raises:
            AskError: with the name of the field.
        """
        return Ask(Kind.REQUEUE, self.selection(), self.reason, self.rate, self.from_start, self.force)


class ResendBody(BaseModel):
    """Which members are to be sent to CrowdTwist once more, and why."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"allOf": [_REASON_OR_DRY_RUN]})

    acknowledged_since: _StatedInstant = Field(
        description=f"what CrowdTwist acknowledged then or later it may have lost; {INSTANT_SAID}"
    )
    acknowledged_until: _Instant = Field(None, description="what it acknowledged then or later it has for certain")
    filter: NarrowingBody | None = Field(None, description="of these only whose instances match; null: all")
    reason: Reason = Field("", description="required, unless it is a dry run")
    rate: Annotated[int | None, Whole] = Field(
        None, ge=1, le=_RATE_MAX, description="members per minute; null: as fast as the budget allows"
    )
    recreate: bool = Field(
        default=False, description="also create again whom CrowdTwist created since then and has no longer"
    )
    dry_run: bool = Field(default=False, description="only say what would become of them")

    def ask(self) -> Ask:
        """Return what is asked.

        Raises:
            AskError: with the name of the field.
        """
        _say_why(self.reason, dry_run=self.dry_run)
        now = datetime.now(UTC)
        try:
            since = instant_of("acknowledged_since", self.acknowledged_since, now)
            until = instant_of("acknowledged_until", self.acknowledged_until, now)
        except ValueError as error:
            raise AskError.of(error) from None
        narrowed = self.filter or NarrowingBody()
        limit = narrowed.limit or RESENT_MAX + 1
        selection = Acknowledged(where=narrowed.read(), limit=limit, since=since, until=until)
        return Ask(Kind.RESEND, selection, self.reason, self.rate, recreate=self.recreate)


class RepairBody(BaseModel):
    """Which differences of a reconciliation are to be repaired, and why."""

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        json_schema_extra={"allOf": [_REASON_OR_DRY_RUN]},
    )

    run: Id = Field(description="the reconciliation's id")
    classes: list[DriftClass] = Field(default_factory=list, alias="class", description="of these classes; none: of all")
    filter: NarrowingBody | None = Field(
        None, description="of these members only, or whose newest instance matches; null: all"
    )
    reason: Reason = Field("", description="required, unless it is a dry run")
    rate: Annotated[int | None, Whole] = Field(
        None, ge=1, le=_RATE_MAX, description="members per minute; null: as fast as it goes"
    )
    force: bool = Field(
        default=False, description="also what was repaired twice and differs again: two masters, and you know who wins"
    )
    dry_run: bool = Field(default=False, description="only say what would become of them")

    def ask(self) -> Ask:
        """Return what is asked.

        Raises:
            AskError: with the name of the field.
        """
        _say_why(self.reason, dry_run=self.dry_run)
        narrowed = self.filter or NarrowingBody()
        selection = Differences(
            where=narrowed.read(),
            limit=narrowed.limit or RESENT_MAX,
            run_id=int(self.run),
            classes=tuple(dict.fromkeys(self.classes)),
        )
        return Ask(Kind.REPAIR, selection, self.reason, self.rate, force=self.force)


def body_of(model: type[_B]) -> Callable[[Request], Awaitable[_B]]:
    """Return a dependency that reads the body as *model*; put it after the one that says who may ask."""

    async def read(request: Request) -> _B:
        body = await read_limited(request, _BODY_MAX_BYTES)
        try:
            return model.model_validate_json(body or b"{}", strict=True)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            raise invalid(first["loc"], first) from None

    return read


def described_body(model: type[BaseModel], *, required: bool = True, **examples: dict[str, Any]) -> dict[str, Any]:
    """Describe a body that is read by hand, for `/openapi.json`."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})
    shown = {name: {"summary": name.replace("_", " "), "value": value} for name, value in examples.items()}
    content = {"schema": _inlined(schema, parts), "examples": shown}
    return {"requestBody": {"required": required, "content": {"application/json": content}}}


def _inlined(schema: object, parts: dict[str, Any]) -> object:
    """Replace references into `$defs`, which mean nothing inside another document."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inlined(parts[schema["$ref"].rpartition("/")[2]], parts)
        return {name: _inlined(part, parts) for name, part in schema.items()}
    return [_inlined(part, parts) for part in schema] if isinstance(schema, list) else schema


def operates(what: str, right: Right = Right.OPERATE) -> Callable[[Request, Principal], Awaitable[Operator]]:
    """Return a dependency for the action *what*, which takes *right*; what it denies is recorded."""

    async def check(request: Request, who: Annotated[Principal, Depends(principal)]) -> Operator:
        asked: Mapping[str, Any] | None = None
        if not who.may(right):
            # The denial is kept with the instances that the body names, if it can be read.
            with suppress(ProblemError, AskError, ValueError, TypeError):
                body = orjson.loads(await read_limited(request, _DENIED_MAX_BYTES) or b"{}")
                named = {name: body[name] for name in SelectionBody.model_fields if name in body}
                asked = SelectionBody.model_validate(named).selection().asked
        return await anyio.to_thread.run_sync(permit, request, who, what, asked, right)

    return check


def permit(
    request: Request,
    who: Principal,
    what: str,
    asked: Mapping[str, Any] | None = None,
    right: Right = Right.OPERATE,
) -> Operator:
    """Return who operates; *asked*: what it would be done to, where the address does not say it.

    Raises:
        ProblemError: 403, they may not; it is recorded.
    """
    operator = Operator(who.name, who.role)
    if not who.may(right):
        why = f"the role {who.role} may not do this"
        ledger = ledger_of(request)
        named = {name: filed(str(value)) for name, value in request.path_params.items()}
        job_control.deny(ledger, operator, what, why, asked={**named, **(asked or {})} or None)
        raise ProblemError(403, "forbidden", why)
    return operator


def filed(words: str) -> str:
    """Return what somebody put into an address as the audit keeps it: in short, without control characters."""
    return _UNFILED.sub("\N{REPLACEMENT CHARACTER}", words[:_FILED_MAX])
