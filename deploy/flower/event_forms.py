"""What workers and dispatchers tell Flower, in every field; what has another form was told by somebody else.

Flower believes what it is told: a field becomes a number on its page, a label of its metrics or an attribute of its
task, and one of another kind ends the page, the scrape or the hearing.
Source: celery 5.7 `events/dispatcher.py`, `worker/heartbeat.py`, `worker/request.py`, `worker/strategy.py`.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from shared.message_forms import fault_in
from shared.pipeline import STAGES

HOSTS_MAX = 1_000
"""So many names of workers and dispatchers are believed at one time."""
_FORGOTTEN_S = 600.0
"""Who is not heard of for so long makes room; Flower forgets a worker after as long."""
_LONGEST = 20_000
"""Characters of a traceback, or of what an exception says, of which the last are kept."""

_Text = Annotated[str, Field(max_length=2_000)]
_Id = Annotated[str, Field(pattern=r"\A[0-9a-f-]{36}\z")]
_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Seconds = Annotated[float, Field(ge=0, lt=1e10, allow_inf_nan=False)]
_Load = Annotated[list[_Seconds], Field(max_length=3)]


class _Event(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    hostname: Annotated[str, Field(max_length=255, pattern=r"\A[A-Za-z0-9_.@:+-]+\z")]
    utcoffset: Annotated[float, Field(ge=-24, le=24)]
    pid: _Count
    clock: _Count | None
    timestamp: _Seconds


class _Worker(_Event):
    type: Literal["worker-online", "worker-heartbeat", "worker-offline"]
    freq: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
    active: _Count = 0
    processed: _Count = 0
    loadavg: _Load = []
    """These three a worker leaves out when it was asked for a heartbeat, as Flower asks when it starts."""
    sw_ident: _Text
    sw_ver: _Text
    sw_sys: _Text


class _Task(_Event):
    uuid: _Id


class _Described(_Task):
    name: Annotated[str, Field(pattern=rf"\A({'|'.join(stage.task.replace('.', '[.]') for stage in STAGES)})\z")]
    args: _Text
    kwargs: _Text
    retries: Literal[0]
    eta: None
    expires: None
    root_id: _Id | None
    parent_id: _Id | None


class _Sent(_Described):
    type: Literal["task-sent"]
    queue: _Text
    exchange: _Text | None
    routing_key: _Text | None


class _Received(_Described):
    type: Literal["task-received"]


class _Started(_Task):
    type: Literal["task-started", "task-cancelled"]


class _Succeeded(_Task):
    type: Literal["task-succeeded"]
    result: _Text
    runtime: _Seconds | None


class _Failed(_Task):
    type: Literal["task-failed", "task-retried"]
    exception: str
    traceback: str | None


class _Revoked(_Task):
    type: Literal["task-revoked"]
    terminated: bool
    signum: _Text | int | None
    expired: bool


class _Rejected(_Task):
    type: Literal["task-rejected"]
    requeue: bool


_ANY: TypeAdapter[Any] = TypeAdapter(
    Annotated[
        _Worker | _Sent | _Received | _Started | _Succeeded | _Failed | _Revoked | _Rejected,
        Field(discriminator="type"),
    ]
)


class Believed:
    """Who was heard of of late, so that names without end are not kept without end."""

    def __init__(self) -> None:
        self._heard: OrderedDict[str, float] = OrderedDict()

    def fault_of(self, event: object, now_s: float) -> str | None:
        """Return why *event*, heard at *now_s*, is not of our making, None if it is; note who tells it."""
        try:
            hostname = _ANY.validate_python(event).hostname
        except ValidationError as error:
            return fault_in(error, "type")
        while self._heard and now_s - next(iter(self._heard.values())) > _FORGOTTEN_S:
            self._heard.popitem(last=False)
        if hostname not in self._heard and len(self._heard) >= HOSTS_MAX:
            return "one name too many"
        self._heard[hostname] = now_s
        self._heard.move_to_end(hostname)
        return None


def shortened(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return *event*, which is believed, with no more of an exception than a page can show."""
    long = {name: event[name][-_LONGEST:] for name in ("exception", "traceback") if isinstance(event.get(name), str)}
    return {**event, **long}
