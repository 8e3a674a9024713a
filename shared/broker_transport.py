"""RabbitMQ as kombu reaches it, with an end to each wait, and each node of a cluster checked by its own name.

Apart from `shared.broker`: who is on Redis needs no client of AMQP.  Source: kombu/transport/pyamqp.py of 5.7.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import amqp
from amqp import spec
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
