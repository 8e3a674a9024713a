"""RabbitMQ as kombu reaches it, with an end to each wait, and each node of a cluster checked by its own name.

Apart from `shared.broker`: who is on Redis needs no client of AMQP.  Source: kombu/transport/pyamqp.py of 5.7.
"""

import struct
from collections.abc import Callable
from typing import Any, ClassVar

import amqp
from amqp import abstract_channel, serialization, spec
from kombu.transport import pyamqp

CONFIRMED_WITHIN_S = 5.0
"""A node that is frozen, or out of memory or disk, confirms nothing: a publisher would wait for it for ever."""


class PatientChannel(pyamqp.Channel):
    """A channel that waits for a confirmation for so long and no longer."""

    def basic_publish_confirm(self, *args: object, **kwargs: Any) -> None:  # noqa: ANN401  # as kombu has it
        """Publish, and wait until the broker has it.

        Raises:
            TimeoutError: it did not say so in time; it may have it all the same.
        """
        patience = {"confirm_timeout": kwargs.get("confirm_timeout") or CONFIRMED_WITHIN_S}
        super().basic_publish_confirm(*args, **(kwargs | patience))


class PatientConnection(pyamqp.Connection):
    """A connection with such channels, whose `on_blocked` is told why the broker takes no messages.

    py-amqp says that it does not, and leaves out RabbitMQ's word for it: "low on memory", "low on disk" or both.
    """

    Channel = PatientChannel
    on_blocked: Callable[[str], object] | None
    _METHODS: ClassVar[dict[Any, Any]] = {
        **vars(amqp.Connection)["_METHODS"],
        spec.Connection.Blocked: spec.method(spec.Connection.Blocked, "s"),
    }

    def _on_blocked(self, reason: str) -> None:
        if self.on_blocked:
            self.on_blocked(reason)


class PatientTransport(pyamqp.Transport):
    """RabbitMQ."""

    Connection = PatientConnection


class VerifyingTransport(pyamqp.SSLTransport):
    """RabbitMQ over TLS; kombu checks every node of a cluster by the name of the first that it reached."""

    Connection = PatientConnection
    client: Any  # kombu's stubs say that it may be None

    def establish_connection(self) -> Any:  # noqa: ANN401  # as kombu has it
        """Connect to the node whose turn it is."""
        asked = self.client.ssl
        if isinstance(asked, dict) and asked.get("server_hostname", "") is None:
            self.client.ssl = asked | {"server_hostname": self.client.hostname}
        try:
            return super().establish_connection()
        finally:
            self.client.ssl = asked


class _Readable(bytes):
    """Bytes of which all text can be read: what is no UTF-8 is escaped."""

    def __getitem__(self, part: Any) -> Any:  # noqa: ANN401  # as bytes have it
        found = super().__getitem__(part)
        return _Readable(found) if isinstance(found, bytes) else found

    def decode(self, *_: object) -> str:
        """Return the text, whatever encoding and strictness are asked for."""
        return super().decode(errors="backslashreplace")


def _read_properties(buf: bytes, offset: int) -> Any:  # noqa: ANN401  # as py-amqp has it
    """Read the properties of a message; none where they cannot be read."""
    try:
        return _properties(buf, offset)
    except UnicodeDecodeError:
        return _read_properties(_Readable(buf), offset)
    except _UNREADABLE:
        return {}, len(buf)


def _read_arguments(form: str, buf: bytes, offset: int) -> Any:  # noqa: ANN401  # as py-amqp has it
    """Read what the server says of a message, such as where it was sent."""
    try:
        return _arguments(form, buf, offset)
    except UnicodeDecodeError:
        return _arguments(form, _Readable(buf), offset)


# Whoever sends a property, or the name of a queue, that is no UTF-8 would else end each process that is handed it.
_UNREADABLE = (ArithmeticError, LookupError, ValueError, OSError, struct.error, amqp.FrameSyntaxError)
_serialization: Any = serialization
_channel: Any = abstract_channel
_properties, _arguments = _serialization.PROPERTY_CLASSES[spec.Basic.CLASS_ID], _channel.loads
_serialization.PROPERTY_CLASSES[spec.Basic.CLASS_ID] = _read_properties
_channel.loads = _read_arguments
