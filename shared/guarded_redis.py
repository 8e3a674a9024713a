"""Redis as a worker or Flower reaches it: any text where a message should be, anything at all in place of a queue.

kombu believes what it reads: a text of gigabytes, an entry of its own books that it cannot restore, a key that is no
list.  Each would end or stop a worker, and the next one too.  Here it is filed, and taken off the broker.
Source: kombu/transport/redis.py of 5.7.
"""

from collections.abc import Callable, Sequence
from queue import Empty
from typing import Any

from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.redis import QoS
from kombu.utils.json import loads
from redis.exceptions import ResponseError

from shared import strays
from shared.logs import logger
from shared.message_forms import CHOKES, LONGEST_BYTES, fault_of_envelope
from shared.pipeline import QUEUES
from shared.redis_transport import (
    BINDINGS,
    ThriftyChannel,
    ThriftySentinelChannel,
    ThriftySentinelTransport,
    ThriftyTransport,
)

log = logger(__name__)

_EXCHANGES = ("celery.pidbox", "reply.celery.pidbox", "celeryev", *QUEUES)
_KINDS = {
    **dict.fromkeys(QUEUES, b"list"),
    **{BINDINGS + exchange: b"set" for exchange in _EXCHANGES},
    **{f"_kombu.binding_permanent.{queue}": b"set" for queue in QUEUES},
    "_kombu.binding_deadlines": b"zset",
    "unacked": b"hash",
    "unacked_index": b"zset",
}
"""What kombu keeps, and as what; it can neither read nor write a key that is something else."""


class GuardedQoS(QoS):
    """kombu's books of what was taken and not acknowledged; an entry that nobody of ours wrote is taken out."""

    channel: Any  # kombu's stubs know neither this one nor the next
    _remove_from_indices: Callable[[str], Any]

    def append(self, message: Any, delivery_tag: str) -> None:  # noqa: ANN401  # as kombu has it
        """Note a message that was taken: it is off its queue by now, and would be lost."""
        try:
            super().append(message, delivery_tag)
        except ResponseError:
            with self.channel.conn_or_acquire() as client:
                _clear(client)
            super().append(message, delivery_tag)

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # as kombu has it
        """Give back what nobody acknowledged in time; look first whether all that kombu reads can be read."""
        with self.channel.conn_or_acquire() as client:
            _clear(client)
        super().restore_visible(*args, **kwargs)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:  # noqa: ANN401, FBT001, FBT002
        """Give back one message, or file what is none."""
        with self.channel.conn_or_acquire(client) as one:
            is_long = one.hstrlen(self.unacked_key, tag) > 2 * LONGEST_BYTES
            text = None if is_long else one.hget(self.unacked_key, tag)
        fault = "longer than any of ours" if is_long else text and _fault_of_entry(text)
        if fault:
            strays.file(self.unacked_key, f"no message: {fault}", body=text or "")
            self._remove_from_indices(tag).execute()
        else:
            super().restore_by_tag(tag, client, leftmost)


class GuardedChannel(ThriftyChannel):
    """A channel that can be handed any text."""

    QoS = GuardedQoS

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
            strays.file(payload["channel"].decode(errors="replace"), fault, body=text)
            payload["data"] = None
        return payload

    def _listen(self) -> bool:
        """Take what is broadcast; what is no message does not hold up those behind it."""
        while True:
            try:
                return bool(self._receive_all())
            except (*CHOKES, Empty) as error:
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
            strays.file(str(queue), f"no message: {fault}", body=message)


class GuardedSentinelChannel(GuardedChannel, ThriftySentinelChannel):
    """The same on whichever server Sentinel names."""


class GuardedSentinelTransport(GuardedTransport, ThriftySentinelTransport):
    """The same on whichever server Sentinel names."""

    Channel = GuardedSentinelChannel


_TRANSPORTS = {"redis": GuardedTransport, "rediss": GuardedTransport, "sentinel": GuardedSentinelTransport}


def guard_transports() -> None:
    """Have this process reach Redis so, before it connects."""
    for scheme, transport in _TRANSPORTS.items():
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{transport.__name__}"


def clear_the_way(connection: Connection) -> None:
    """Take off a Redis just connected to whatever stands in place of what kombu keeps there."""
    channel: Any = connection.default_channel
    if isinstance(channel, GuardedChannel):
        with channel.conn_or_acquire() as client:
            _clear(client)


def _clear(client: Any) -> None:  # noqa: ANN401  # redis-py has no types for what it answers
    """Take out each key that is not of the kind that kombu believes it to be; nothing of ours can be in it."""
    with client.pipeline(transaction=False) as asked:
        for key in _KINDS:
            asked.type(key)
        found = dict(zip(_KINDS, asked.execute(raise_on_error=False), strict=True))
    for key, kind in found.items():
        if isinstance(kind, bytes) and kind not in {b"none", _KINDS[key]}:  # not a word that its user may not ask
            _take_out(client, key)


def _take_out(client: Any, key: str) -> None:  # noqa: ANN401
    """Take *key* out unless it has become what it should be meanwhile: another worker looks at it too."""

    def unlink(pipe: Any) -> bytes | None:  # noqa: ANN401
        kind: bytes = pipe.type(key)
        pipe.multi()
        if kind in {b"none", _KINDS[key]}:
            return None
        pipe.unlink(key)
        return kind

    if kind := client.transaction(unlink, key, value_from_callable=True):
        strays.file(key, f"a {kind.decode()} in place of a {_KINDS[key].decode()}", body="")


def _read_popped(popped: Sequence[bytes] | None, **_: object) -> tuple[bytes, ...] | None:
    """Return the queue and the text that were taken from it; nothing, once it is filed, where the text is no JSON."""
    if not popped:
        return None
    queue, text = popped
    if (fault := _fault_of_text(text)) is not None:
        strays.file(queue.decode(errors="replace"), fault, body=text)
        return None
    return tuple(popped)


def _fault_of_text(text: bytes) -> str | None:
    """Return why *text* cannot be read as a message, None if it can."""
    if len(text) > LONGEST_BYTES:
        return "no message: longer than any of ours"
    try:
        loads(text.decode())
    except CHOKES as error:
        return f"no message: {type(error).__name__}"
    return None


def _fault_of_entry(text: bytes) -> str | None:
    """Return why kombu could not give back the message of an entry of its books, None if it can."""
    try:
        message, exchange, routing_key = loads(text.decode())
    except CHOKES as error:
        return type(error).__name__
    if not isinstance(exchange, str) or not isinstance(routing_key, str):
        return "from nowhere"
    return fault_of_envelope(message)
