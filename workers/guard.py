"""A worker that rubbish and forgeries on the broker can neither kill, stall nor command.

A stock Celery worker dies of well-formed JSON of the wrong shape or of a header of the wrong kind, and again at each
restart; it also does what anybody tells it by remote control.  This one looks at each message before Celery does
(`shared.message_forms`), files what is not of our making in the ledger (`stray_message`), takes it off the broker and
lives on.  Only our producers may write to the broker; this is for the day somebody else does.
"""

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Any

from celery.app.utils import filter_hidden_settings
from celery.events.dispatcher import EventDispatcher
from celery.worker.consumer import Consumer
from celery.worker.consumer.connection import Connection as ConnectionStep
from celery.worker.state import maybe_shutdown
from kombu import Connection, Message, compression, pidbox
from kombu.exceptions import ContentDisallowed
from vine import promise

from shared.errors import LedgerError
from shared.guarded_redis import clear_the_way, guard_transports
from shared.ledger.engine import engine, transaction
from shared.ledger.heartbeats import file_stray
from shared.liveness import this_process
from shared.logs import logger
from shared.message_forms import CHOKES, fault_of_command, fault_of_task
from shared.strays import file_message, keeping

log = logger(__name__)

_TOLD_WITHIN_S = 0.05
_DELIVERIES = 5
"""So often a worker may be handed one message: RabbitMQ's delivery limit, and more than Redis gives back."""
_REMEMBERED = 10_000
"""Messages of which a worker knows how often it was handed them."""


def guard() -> None:
    """Put the guards in place in this process, before its worker connects."""
    pidbox.Mailbox.node_cls = GuardedNode
    _Step.info = _told_without_secrets
    keeping.keep = _keep
    guard_transports()
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
        clear_the_way(conn)
        return conn

    def create_task_handler(self, promise: type[promise] = promise) -> Callable[[Message], None]:
        """Wrap Celery's handler: what is not ours, or comes for ever, or chokes it, is filed and acknowledged."""
        handle = super().create_task_handler(promise)
        deliveries = Deliveries()

        def guarded(message: Message) -> None:
            fault = fault_of_task(message.headers, message.body, message.content_type, message.content_encoding)
            if fault is None:
                fault = deliveries.fault_of(message.headers["id"])
            if fault is None:
                try:
                    handle(message)
                except CHOKES as error:
                    fault = f"not a task message: {type(error).__name__}"
                else:
                    return
            file_message(message, fault)
            message.reject_log_error(log, self.connection_errors)

        return guarded

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """File a body that cannot be decoded."""
        file_message(message, f"undecodable: {type(exc).__name__}")
        message.ack()


class Deliveries:
    """How often this process was handed which message: a copy costs the ledger more than rubbish does."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()

    def fault_of(self, task_id: str) -> str | None:
        """Count a delivery of the message of *task_id*; return why it is one too many, None if it is not."""
        count = self._counts.pop(task_id, 0) + 1
        self._counts[task_id] = count
        if len(self._counts) > _REMEMBERED:
            self._counts.popitem(last=False)
        return "one message, again and again" if count > _DELIVERIES else None


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
            message.headers.pop("clock", None)  # ours would follow it beyond all that a clock of ours may be
            super().handle_message(body, message)
        else:
            file_message(message, f"remote control refused: {fault}")


_Step: Any = ConnectionStep
_told = _Step.info


def _told_without_secrets(step: ConnectionStep, consumer: Consumer) -> dict[str, Any]:
    """Return what a worker says of its broker; Celery leaves out the password of the URL, and none in the options."""
    found: dict[str, Any] = _told(step, consumer)
    if isinstance(found["broker"], dict):
        found["broker"]["transport_options"] = filter_hidden_settings(found["broker"]["transport_options"])
    return found


def _refuse_packed(_: object) -> bytes:
    raise ContentDisallowed("packed")


def _keep(**stray: str) -> None:
    try:
        with transaction(engine()) as tx:
            file_stray(tx, **stray)
    except LedgerError:
        log.exception("could not file the stray message")
