"""A worker that rubbish and forgeries on the broker can neither kill, stall nor command.

A stock Celery worker dies of well-formed JSON of the wrong shape or of a header of the wrong kind, and again at each
restart; it also does what anybody tells it by remote control.  This one looks at each message before Celery does
(`workers.message_forms`), files what is not of our making in the ledger (`stray_message`), takes it off the broker and
lives on.  Only our producers may write to the broker; this is for the day somebody else does.
"""

from collections.abc import Callable, Sequence
from queue import Empty
from time import monotonic
from typing import Any

from celery.app.utils import filter_hidden_settings
from celery.events.dispatcher import EventDispatcher
from celery.worker.consumer import Consumer
from celery.worker.consumer.connection import Connection as ConnectionStep
from celery.worker.state import maybe_shutdown
from kombu import Connection, Message, compression, pidbox
from kombu.exceptions import ContentDisallowed
from kombu.transport import TRANSPORT_ALIASES
from kombu.utils.json import loads
from vine import promise

from shared.errors import LedgerError
from shared.ledger.engine import engine, transaction
from shared.ledger.heartbeats import file_stray
from shared.liveness import this_process
from shared.logs import logger
from shared.redis_transport import (
    ThriftyChannel,
    ThriftySentinelChannel,
    ThriftySentinelTransport,
    ThriftyTransport,
)
from workers.message_forms import fault_of_command, fault_of_envelope, fault_of_task

log = logger(__name__)

_TOLD_WITHIN_S = 0.05
_CHOKES = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What code raises that was handed something of another shape than it believed."""


def guard() -> None:
    """Put the guards in place in this process, before its worker connects."""
    pidbox.Mailbox.node_cls = GuardedNode
    _Step.info = _told_without_secrets
    for scheme, transport in _GUARDED.items():
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{transport.__name__}"
    for kind in compression.encoders():  # a few bytes may be gigabytes unpacked; we send nothing packed
        compression.register(_refuse_packed, _refuse_packed, kind)


class GuardedConsumer(Consumer):
    """Celery's consumer with a net under it.  Source: celery/worker/consumer/consumer.py of 5.7."""

    connection_errors: tuple[type[BaseException], ...]
    hub: Any  # left out by Celery's stubs, as is the next
    _flush_events: Callable[[], None]
    _told_at = 0.0
    first_connection_attempt: bool

    def on_send_event_buffered(self) -> Callable[[], None]:
        """Tell Flower of the tasks of a moment together; Celery does it at once, before it hands a task on."""
        if self.hub and monotonic() >= self._told_at:
            self._told_at = monotonic() + _TOLD_WITHIN_S
            self.hub.call_later(_TOLD_WITHIN_S, self._flush_events)
        return self._flush_events  # as Celery's stubs want it; nobody asks

    def ensure_connected(self, conn: Connection) -> Connection:
        """Connect, for as long as it takes; this process is alive meanwhile, and shows what it waits for."""

        def waiting() -> None:
            this_process.went_round()
            maybe_shutdown()

        def failed(error: Exception, again_in_s: float) -> None:
            this_process.waits_for("the broker: it cannot be reached")
            log.error("the broker is away", cause=type(error).__name__, again_in_s=again_in_s)

        conn = conn.ensure_connection(failed, callback=waiting)
        self.first_connection_attempt = False
        return conn

    def create_task_handler(self, promise: type[promise] = promise) -> Callable[[Message], None]:
        """Wrap Celery's handler: what is not of our making, or chokes it, is filed and acknowledged."""
        handle = super().create_task_handler(promise)

        def guarded(message: Message) -> None:
            fault = fault_of_task(message.headers, message.body, message.content_type, message.content_encoding)
            if fault is None:
                try:
                    handle(message)
                except _CHOKES as error:
                    fault = f"not a task message: {type(error).__name__}"
                else:
                    return
            _file_message(message, fault)
            message.reject_log_error(log, self.connection_errors)

        return guarded

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """File a body that cannot be decoded."""
        _file_message(message, f"undecodable: {type(exc).__name__}")
        message.ack()


class Telling(EventDispatcher):
    """Tells Flower how this worker does, and tries each time once: the next heartbeat says the same.

    Celery's own would try in the main loop for as long as the broker is away.
    """

    def send(self, *event: object, **fields: object) -> None:
        """Send *event* with its *fields*."""
        celery: Any = super()
        celery.send(*event, **fields | {"retry": False})


class GuardedNode(pidbox.Node):
    """The end of Celery's remote control in a worker: answers questions, takes no orders."""

    def handle_message(self, body: object, message: Message | None = None) -> None:
        """Answer a question of ours; file and refuse anything else."""
        if message is None:
            raise TypeError("kombu hands over each message with its body")
        if (fault := fault_of_command(message.headers, body)) is None:
            super().handle_message(body, message)
        else:
            _file_message(message, f"remote control refused: {fault}")


class GuardedChannel(ThriftyChannel):
    """A channel on Redis that can be handed any text.  Source: kombu/transport/redis.py of 5.7."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.client.set_response_callback("BRPOP", _read_popped)
        self._receive_all = self.handlers["LISTEN"]
        self.handlers["LISTEN"] = self._listen

    def _handle_message(self, client: object, response: object) -> object:
        """Read what Redis says of a broadcast; a text in it that is no JSON is filed, and taken out."""
        channel: Any = super()  # kombu's stubs leave out what is read here
        payload = channel._handle_message(client, response)  # noqa: SLF001  # what we override
        text = payload["data"]
        if isinstance(text, bytes) and (fault := _fault_of_text(text)) is not None:
            _file(payload["channel"].decode(errors="replace"), fault, headers="", body=repr(text))
            payload["data"] = None
        return payload

    def _listen(self) -> bool:
        """Take what is broadcast; what is no message does not hold up those behind it."""
        while True:
            try:
                return bool(self._receive_all())
            except (*_CHOKES, Empty) as error:
                if not isinstance(error, Empty):
                    log.error("stray text in a broadcast", reason=type(error).__name__)
                listened = self.subclient.connection
                if listened is None or not listened.can_read(timeout=0):
                    return False


class GuardedTransport(ThriftyTransport):
    """A transport on Redis that passes on only what has the form of a message."""

    Channel = GuardedChannel

    def _deliver(self, message: object, queue: str | None) -> None:
        if (fault := fault_of_envelope(message)) is None:
            super()._deliver(message, queue)
        else:
            _file(str(queue), f"no message: {fault}", headers="", body=repr(message))


class GuardedSentinelChannel(GuardedChannel, ThriftySentinelChannel):
    """The same on whichever server Sentinel names."""


class GuardedSentinelTransport(GuardedTransport, ThriftySentinelTransport):
    """The same on whichever server Sentinel names."""

    Channel = GuardedSentinelChannel


_GUARDED = {"redis": GuardedTransport, "rediss": GuardedTransport, "sentinel": GuardedSentinelTransport}


_Step: Any = ConnectionStep
_told = _Step.info


def _told_without_secrets(step: ConnectionStep, consumer: Consumer) -> dict[str, Any]:
    """Return what a worker says of its broker; Celery leaves out the password of the URL, and none in the options."""
    found: dict[str, Any] = _told(step, consumer)
    if isinstance(found["broker"], dict):
        found["broker"]["transport_options"] = filter_hidden_settings(found["broker"]["transport_options"])
    return found


def _read_popped(popped: Sequence[bytes] | None, **_: object) -> tuple[bytes, ...] | None:
    """Return the queue and the text that were taken from it; nothing, once it is filed, where the text is no JSON."""
    if not popped:
        return None
    queue, text = popped
    if (fault := _fault_of_text(text)) is not None:
        _file(queue.decode(errors="replace"), fault, headers="", body=repr(text))
        return None
    return tuple(popped)


def _fault_of_text(text: bytes) -> str | None:
    """Return why *text* cannot be read as a message, None if it can."""
    try:
        loads(text.decode())
    except _CHOKES as error:
        return f"no message: {type(error).__name__}"
    return None


def _refuse_packed(_: object) -> bytes:
    raise ContentDisallowed("packed")


def _file_message(message: Message, reason: str) -> None:
    queue = str((message.delivery_info or {}).get("routing_key") or "")
    _file(queue, reason, headers=repr(message.headers), body=repr(message.body))


def _file(queue: str, reason: str, *, headers: str, body: str) -> None:
    log.error("stray message on the broker", queue=queue, reason=reason)
    try:
        with transaction(engine()) as tx:
            file_stray(tx, queue=queue, reason=reason, headers=headers, body=body)
    except LedgerError:
        log.exception("could not file the stray message")
