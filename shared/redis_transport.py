"""Redis as kombu reaches it, with one client for each channel.

kombu makes a client for each command, which costs the tenth part of sending a message, and more of taking one.  A
client holds nothing but the pool of its channel.  Source: kombu/transport/redis.py of 5.7.
"""

from typing import Any

from kombu.transport import redis

BINDINGS = "_kombu.binding."
"""Before an exchange's name, the key of what is bound to it."""


class ThriftyChannel(redis.Channel):
    """A channel that makes its client once for each pool that it has."""

    _made: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002  # as kombu has it
        """Return the client; of those that wait for messages, which keep a connection, a new one each time."""
        kombu: Any = super()
        if asynchronous:
            return kombu._create_client(asynchronous=True)  # noqa: SLF001  # what we override
        pool: Any = self.pool
        if self._made is None or self._made.connection_pool is not pool:
            self._made = kombu._create_client()  # noqa: SLF001
        return self._made

    def get_table(self, exchange: str) -> list[tuple[str, str, str]]:
        """Return what is bound to *exchange*; kombu chokes on an entry of another form, and nobody gets an answer."""
        with self.conn_or_acquire() as client:
            entries = client.smembers(BINDINGS + exchange)
        table = []
        for entry in entries:
            match entry.decode(errors="replace").split(self.sep):
                case [routing_key, pattern, queue]:
                    table.append((routing_key, pattern, queue))
        return table


class ThriftyTransport(redis.Transport):
    """A transport of such channels."""

    Channel = ThriftyChannel


class ThriftySentinelChannel(ThriftyChannel, redis.SentinelChannel):
    """The same on whichever server Sentinel names."""


class ThriftySentinelTransport(redis.SentinelTransport):
    """The same on whichever server Sentinel names."""

    Channel = ThriftySentinelChannel
