"""What our own processes put on the broker, in every part that Celery reads; what has another form is not ours.

Celery trusts a message: a header becomes a time limit or a callback of the worker that takes it, a link of a chain goes
wherever it says, a command of its remote control ends the worker.  So nothing here is merely tolerable: each part has
the one value, or the few, that our processes give it, and no part may be added.  `x-…` headers are the broker's own.
Source: celery 5.7 `app/amqp.py: as_task_v2`, `canvas.py`; kombu 5.7 `pidbox.py`, `transport/virtual/base.py`.
"""

from typing import Annotated, Any, Literal

import orjson
from pydantic import Base64Str, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from shared.pipeline import Lane, Stage

_Text = Annotated[str, Field(max_length=4_000)]
_Uuid = Annotated[str, Field(pattern=r"\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\z")]
_Id = Annotated[int, Field(ge=1, lt=2**63)] | Annotated[int, Field(gt=-(2**63), le=-1)]
"""Of an instance; below zero of an errand."""
_Ids = Annotated[list[_Id], Field(min_length=1, max_length=10_000)]
_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Json = Literal["application/json"]
_Utf8 = Literal["utf-8"]
LONGEST_BYTES = 2**20
"""No message of ours is longer: ten thousand ids, three times, in base64.  JSON takes 30 times its length once read."""
CHOKES = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What code raises that was handed something of another shape than it believed."""
_PARTS = ("args", "kwargs", "embedded")
_PLACES_MAX = 5
_STAGES = {stage.task: stage for stage in Stage}


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _Empty(_Form):
    """An object with nothing in it."""


class _Headers(_Form):
    lang: Literal["py"]
    task: _Text
    id: _Uuid
    root_id: _Uuid
    parent_id: _Uuid | None
    shadow: None
    eta: None
    expires: None
    group: None
    group_index: None
    retries: Literal[0]
    timelimit: Annotated[list[None], Field(min_length=2, max_length=2)]
    argsrepr: _Text
    kwargsrepr: _Text
    origin: _Text
    ignore_result: bool | None
    replaced_task_nesting: Literal[0]
    stamped_headers: None
    stamps: _Empty
    redelivered: bool = False

    @model_validator(mode="before")
    @classmethod
    def _without_the_brokers_own(cls, headers: object) -> object:
        if not isinstance(headers, dict):
            return headers
        return {name: value for name, value in headers.items() if not str(name).startswith("x-")}

    @field_validator("task")
    @classmethod
    def _is_a_stage(cls, task: str) -> str:
        if task not in _STAGES:
            raise ValueError("no stage of ours")
        return task


class _Options(_Form):
    queue: _Text
    argsrepr: _Text
    kwargsrepr: _Text
    task_id: _Uuid
    reply_to: _Text


class _Link(_Form):
    task: _Text
    args: Annotated[list[_Ids], Field(min_length=1, max_length=1)]
    kwargs: _Empty
    options: _Options
    subtask_type: None
    immutable: Literal[True]


class _Embedded(_Form):
    callbacks: None
    errbacks: None
    chord: None
    chain: list[_Link] | None


class _Task(_Form):
    headers: _Headers
    args: Annotated[list[_Ids], Field(min_length=1, max_length=1)]
    kwargs: _Empty
    embedded: _Embedded
    content_type: _Json
    content_encoding: _Utf8

    @model_validator(mode="after")
    def _goes_on_as_the_map_says(self) -> "_Task":
        """The links are those that `shared.broker.publish` makes: the stages after this one, last first, same ids."""
        links = self.embedded.chain or []
        rest = _STAGES[self.headers.task].rest[1:]
        made = [_STAGES.get(link.task) for link in reversed(links)]
        if made != list(rest) or any(
            link.args != self.args or link.options.queue not in {stage.queue(lane) for lane in Lane}
            for link, stage in zip(reversed(links), rest, strict=True)
        ):
            raise ValueError("goes on otherwise than the map says")
        return self


class _Delivery(_Form):
    exchange: _Text
    routing_key: _Text
    redelivered: bool = False


class _Properties(BaseModel):
    model_config = ConfigDict(strict=True)

    delivery_tag: _Uuid
    delivery_info: _Delivery
    delivery_mode: Annotated[int, Field(ge=1, le=2)] = 2
    priority: Annotated[int, Field(ge=0, le=255)] = 0
    body_encoding: Literal["base64"]
    correlation_id: _Text | None = None
    reply_to: _Text | None = None


class _Envelope(_Form):
    """What kombu wraps a message in where the broker knows no messages, such as Redis."""

    body: Base64Str
    content_type: _Json = Field(alias="content-type")
    content_encoding: _Utf8 = Field(alias="content-encoding")
    headers: dict[str, Any]
    properties: _Properties
    redelivered: bool = False


class _ReplyTo(_Form):
    exchange: Literal["reply.celery.pidbox"]
    routing_key: _Text


class _Arguments(_Form):
    """What may be asked with a question: nothing that a worker would look up, run or keep."""

    safe: bool | None = None
    with_defaults: bool = False
    taskinfoitems: Annotated[list[None], Field(max_length=0)] | None = None
    builtins: bool = False


class _Command(_Form):
    """A question that doctor, readiness or Flower asks of workers, and Flower's wish for events: nothing that changes.

    The other commands of Celery's remote control are refused whoever sends them: none of our processes does.
    """

    method: Literal[
        "ping", "stats", "active_queues", "registered", "scheduled", "active", "reserved", "revoked", "conf",
        "enable_events", "heartbeat",
    ]  # fmt: skip
    arguments: _Arguments | None = None
    destination: Annotated[list[_Text], Field(max_length=1_000)] | None = None
    pattern: Annotated[str, Field(max_length=200)] | None = None
    matcher: Literal["glob"] | None = None
    ticket: _Uuid | None = None
    reply_to: _ReplyTo | None = None


class _CommandHeaders(BaseModel):
    model_config = ConfigDict(strict=True)

    clock: _Count = 0


def fault_of_envelope(envelope: object) -> str | None:
    """Return what is wrong with what stands for a message in a queue, None for nothing."""
    return _fault(_Envelope, envelope)


def fault_of_command(headers: object, body: object) -> str | None:
    """Return why a command of Celery's remote control is refused, None when it is not."""
    return _fault(_Command, body) or _fault(_CommandHeaders, headers)


def fault_of_task(headers: object, body: object, content_type: object, content_encoding: object) -> str | None:
    """Return what is wrong with a task message, None for nothing.

    Shape: *body* is `[args, kwargs, embedded]` as JSON, of which the one argument is the ids of a batch.
    """
    if not isinstance(body, bytes | bytearray | memoryview | str):
        return "the body is not JSON"
    if len(body) > LONGEST_BYTES:
        return "the body is longer than any of ours"
    try:
        parts = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "the body is not JSON"
    if not isinstance(parts, list) or len(parts) != len(_PARTS):
        return f"the body is not a list of {len(_PARTS)}"
    whole = dict(zip(_PARTS, parts, strict=True))
    return _fault(
        _Task, whole | {"headers": headers, "content_type": content_type, "content_encoding": content_encoding}
    )


def _fault(form: type[BaseModel], value: object) -> str | None:
    try:
        form.model_validate(value)
    except ValidationError as error:
        return fault_in(error, "all of it")
    return None


def fault_in(error: ValidationError, whole: str) -> str:
    """Name the parts at fault, *whole* where it is no part; neither their values nor names that are not ours."""
    places = set()
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        path = (*fault["loc"][:-1], "(more)") if fault["type"] == "extra_forbidden" else fault["loc"]
        places.add(".".join(map(str, path)) or whole)
    return f"not of our making: {', '.join(sorted(places)[:_PLACES_MAX])}"
