"""Asking workers something by Celery's remote control, over a connection of one's own.

Celery's own connections come from a pool that keeps them by address for as long as the process lives: when the broker
behind one went away, or another took its port, the next question fails of it.
"""

from typing import Any

from celery import Celery
from kombu.exceptions import KombuError

from shared.addresses.broker import broker as address_of
from shared.broker import transport_options


def ask_workers(
    broker_url: str, command: str, *, within_s: float, limit: int | None = None, pattern: str | None = None
) -> dict[str, Any]:
    """Ask the workers on a broker something, and give their answers by name.

    Args:
        broker_url: As in the settings.
        command: Of Celery's remote control, such as `ping`, `stats` or `active_queues`.
        within_s: Seconds of silence after which no further answer is waited for.
        limit: Answers that are enough; all that come in time when not given.
        pattern: Glob of the names of those that shall answer; everybody when not given.

    Raises:
        ConnectionError: the broker does not serve; the message is the kind of error.
    """
    whom: dict[str, Any] = {"pattern": pattern, "matcher": "glob"} if pattern else {}
    address = address_of(broker_url)
    with Celery("asking", broker=address.url, set_as_current=False) as app:
        app.conf.broker_use_ssl = address.tls or False
        app.conf.broker_transport_options = transport_options(broker_url)
        connection = app.connection_for_write()
        away: tuple[type[BaseException], ...] = (KombuError, OSError, *connection.connection_errors)
        try:
            with connection:
                connection.connect()  # tries once; what follows would go on trying
                answers = app.control.broadcast(
                    command, reply=True, timeout=within_s, limit=limit, connection=connection, **whom
                )
        except (*away, *connection.channel_errors) as error:
            raise ConnectionError(type(error).__name__) from None
    return {name: said for answer in answers or [] for name, said in answer.items()}
