"""The broker as a person's look reaches it: soon or not at all; and whether it takes messages."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import redis
from kombu import Connection, Producer
from kombu.exceptions import KombuError
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from shared.broker import transport_options
from shared.broker_address import Broker, is_amqp, read_broker
from shared.hosts import Host

_WITHIN_S = 3.0
_TRIED = "membersync.doctor"
_REFUSALS = {
    redis.exceptions.ReadOnlyError: "READONLY, it is a replica",
    redis.exceptions.OutOfMemoryError: "OOM, its memory is full",
}
_LONGEST = 200
_FILES = {"ca_certs", "certfile", "keyfile"}


class BrokerError(Exception):
    """The broker does not serve; the message says how, and no secret."""


class BlockedError(Exception):
    """An alarm of RabbitMQ blocks who publishes, on all its nodes; the message is its word for why."""


def refusal_of(url: str) -> str | None:
    """Return in what way the broker takes no message, to follow its name; None: it takes them."""
    try:
        if is_amqp(url):
            with open_rabbitmq(url) as (connection, _):
                alarm = alarm_of(connection)
            return f"blocks who publishes: {alarm}" if alarm else None
        with open_redis(url) as client:
            word = word_of(client)
    except BrokerError as error:
        return f"does not serve ({error})"
    return f"takes no writes: {word}" if word else None


@contextmanager
def open_redis(url: str) -> Iterator["redis.Redis"]:
    """Open a connection that neither waits long nor tries again.

    Raises:
        BrokerError: it cannot be opened, or broke.
    """
    retry = Retry(NoBackoff(), 0)
    address = _readable(url)
    patience: dict[str, Any] = {"socket_connect_timeout": _WITHIN_S, "socket_timeout": _WITHIN_S, "retry": retry}
    try:
        url = _url_of_primary(address, patience) if address.sentinel else address.url
        with redis.Redis.from_url(url, **patience, **(address.tls or {})) as one:
            yield one
    except (redis.RedisError, OSError) as error:
        raise BrokerError(_said(error)) from error


def _readable(url: str) -> Broker:
    """Read a broker's address, and its files of TLS, of which drivers say that one is missing and not which."""
    address = read_broker(url)
    for name, value in (address.tls or {}).items():
        if name.removeprefix("ssl_") in _FILES and not os.access(value, os.R_OK):
            raise BrokerError(f"{value} cannot be read")
    return address


def _url_of_primary(address: Broker, patience: Mapping[str, Any]) -> str:
    """Ask the Sentinels which server is the primary, and return its URL."""
    own = {**patience, **address.sentinel["sentinel_kwargs"]}
    untyped: Any = Sentinel
    sentinels = untyped([(one.name, int(one.port)) for one in address.hosts], sentinel_kwargs=own)
    host, port = sentinels.discover_master(address.sentinel["master_name"])
    url = urlsplit(address.urls[0])
    who = url.netloc.rpartition("@")[0]
    return url._replace(
        scheme="redis" if address.tls is None else "rediss", netloc=f"{who}@{Host(host, str(port))}".removeprefix("@")
    ).geturl()


@contextmanager
def open_rabbitmq(url: str) -> Iterator[tuple[Connection, Mapping[str, str]]]:
    """Open a connection to the first node that answers; give with it what keeps each of the others from answering.

    Raises:
        BrokerError: none can be opened, or it broke.
    """
    address = _readable(url)
    silent: dict[str, str] = {}
    opened: Connection | None = None
    with ExitStack() as exits:
        for one, host in zip(address.urls, address.hosts, strict=True):
            options = transport_options(one) | {"on_blocked": _raise_blocked}
            connection = Connection(one, ssl=address.tls or False, connect_timeout=_WITHIN_S, transport_options=options)
            exits.callback(connection.collect, _WITHIN_S)  # who is blocked is not told that it may go
            errors: tuple[type[BaseException], ...] = (KombuError, OSError, *connection.connection_errors)
            errors += connection.channel_errors
            try:
                connection.connect()
            except errors as error:
                silent[str(host)] = _said(error)
            else:
                opened = opened or connection
        if opened is None:
            raise BrokerError("; ".join(silent.values()))
        try:
            yield opened, silent
        except errors as error:
            raise BrokerError(_said(error)) from error


def _raise_blocked(reason: str) -> None:
    raise BlockedError(reason)


def _said(error: BaseException) -> str:
    """Return what a driver says of an error, in one short line; it names address and cause, and no password."""
    return " ".join((str(error) or type(error).__name__).split())[:_LONGEST]


def word_of(client: "redis.Redis") -> str | None:
    """Write as a message is written, for a moment; return the word with which that is refused."""
    try:
        client.set(_TRIED, "", px=1)
        client.delete(_TRIED)
    except redis.exceptions.NoPermissionError:
        return None  # its user has other keys
    except redis.exceptions.ResponseError as error:
        return _REFUSALS.get(type(error), str(error).split(" ", 1)[0])
    return None


def alarm_of(connection: Connection) -> str | None:
    """Publish to nobody, and return RabbitMQ's word for why it keeps who publishes waiting, if it does."""
    with suppress(*connection.channel_errors):  # its user may publish elsewhere alone
        try:
            Producer(connection).publish("", routing_key=_TRIED)
        except BlockedError as error:
            return str(error)
    return None
