"""A channel to Redis has one client, for as long as it has one pool of connections."""

from typing import Any

from kombu import Connection

from shared.broker import transport_options


def test_a_channel_makes_a_client_once_for_each_pool(broker_url: str) -> None:
    with Connection(broker_url, transport_options=transport_options(broker_url)) as connection:
        channel: Any = connection.default_channel
        with channel.conn_or_acquire() as one, channel.conn_or_acquire() as other:
            assert one is other
            assert one.ping()
        channel._disconnect_pools()  # noqa: SLF001  # what kombu does when it loses a server
        with channel.conn_or_acquire() as new:
            assert new is not one
            assert new.connection_pool is channel.pool
            assert new.ping()


def test_who_waits_for_messages_has_a_client_alone(broker_url: str) -> None:
    with Connection(broker_url, transport_options=transport_options(broker_url)) as connection:
        channel: Any = connection.default_channel
        assert channel.subclient is not channel.client
