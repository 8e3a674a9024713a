"""Whether the broker serves: it takes messages and drops none, how many wait in it, and who consumes its queues."""

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

from producers.doctor.check import Finding, Subject, UnlookedError, fail, ok, place, warn
from producers.operations.verdict import Level as Severity
from producers.operations.verdict import Trouble, Verdict, of_troubles
from shared.broker import ask_workers, transport_options
from shared.broker_address import Broker, is_amqp, read_broker
from shared.hosts import Host
from shared.pipeline import QUEUES, STAGES, Lane
from shared.settings import Settings

BROKER, QUEUED, WORKERS = "broker", "broker's queues", "workers"
REDIS_LEAST, RABBITMQ_LEAST = (6, 2), (3, 10)
KEEPS_ALL = "noeviction"
_WITHIN_S = 3.0
_ANSWERS_WITHIN_S = (2.0, 4.0)
"""Who is busy answers late: where somebody is missing they are asked again, with more patience."""
_CONSUMERS = "who answers Celery's control commands, and their queues"
_TRIED = "membersync.doctor"
_REFUSALS = {
    redis.exceptions.ReadOnlyError: "READONLY, it is a replica",
    redis.exceptions.OutOfMemoryError: "OOM, its memory is full",
}
_TAKES_NONE = (
    "let MEMBERSYNC_BROKER_URL name the primary; or see to its memory (maxmemory), its disk, or the replicas that it "
    "waits for (min-replicas-to-write), whichever the word names"
)
_NO_MESSAGE_GOES_OUT = (
    "no message goes out; what is due waits in the ledger, and goes out as soon as the broker takes it"
)
_UNBLOCK = (
    "free or give it what it is low on (`rabbitmq-diagnostics alarms` names the node): memory "
    "(vm_memory_high_watermark), or disk (disk_free_limit)"
)
_LONGEST = 200
_FILES = {"ca_certs", "certfile", "keyfile"}


class BrokerError(Exception):
    """The broker does not serve; the message says how, and no secret."""


class BlockedError(Exception):
    """An alarm of RabbitMQ blocks who publishes, on all its nodes; the message is its word for why."""


def look_at_broker(subject: Subject) -> list[Finding]:
    """Look at the server and at what waits in it."""
    where = place(subject.broker_url)
    try:
        if is_amqp(subject.broker_url):
            return _of_rabbitmq(subject, where)
        return _of_redis(subject, where)
    except BrokerError as error:
        why = "nothing goes out until it is back; nothing is lost, the ledger sends again what was in it"
        remedy = "start the broker, or correct MEMBERSYNC_BROKER_URL; all processes go on by themselves"
        return [fail(BROKER, where, f"does not serve ({error})", why, remedy)]


def with_broker(verdict: Verdict, of: Settings) -> Verdict:
    """Add to *verdict*, which is on the ledger, what keeps the broker from taking messages."""
    if of.broker_url is None or (refusal := refusal_of(of.broker_url)) is None:
        return verdict
    what = f"The broker {place(of.broker_url)} {refusal}; what is due waits safely"
    blocked = Trouble(Severity.PERSON, what, None, 0, "see `membersync doctor`", "the broker")
    return of_troubles([blocked, *verdict.troubles], verdict.waiting)


def refusal_of(url: str) -> str | None:
    """Return in what way the broker takes no message, to follow its name; None: it takes them."""
    try:
        if is_amqp(url):
            with open_rabbitmq(url) as (connection, _):
                alarm = _alarm(connection)
            return f"blocks who publishes: {alarm}" if alarm else None
        with open_redis(url) as client:
            word = _refusal(client)
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


def _of_redis(subject: Subject, where: str) -> list[Finding]:
    with open_redis(subject.broker_url) as client:
        server: Mapping[str, Any] = client.info()
        counts = [client.llen(queue) for queue in QUEUES]
        refusal = _refusal(client)
    if refusal:
        return [fail(BROKER, where, f"it takes no writes: {refusal}", _NO_MESSAGE_GOES_OUT, _TAKES_NONE)]
    lengths = {queue: int(str(count)) for queue, count in zip(QUEUES, counts, strict=True)}
    return [judge_broker(server, where), _judge_queues(lengths, subject.of, where)]


def _refusal(client: "redis.Redis") -> str | None:
    """Write as a message is written, for a moment; return the word with which that is refused."""
    try:
        client.set(_TRIED, "", px=1)
        client.delete(_TRIED)
    except redis.exceptions.NoPermissionError:
        return None  # its user has other keys
    except redis.exceptions.ResponseError as error:
        return _REFUSALS.get(type(error), str(error).split(" ", 1)[0])
    return None


def judge_broker(server: Mapping[str, Any], where: str) -> Finding:
    """Judge a Redis or Valkey by what its INFO says.  Pure."""
    name = "Valkey" if "valkey_version" in server else "Redis"
    shown = str(server.get("valkey_version", server.get("redis_version", "")))
    policy = server.get("maxmemory_policy", "")
    if _version(str(server.get("redis_version", ""))) < REDIS_LEAST:
        why = "Celery's transport needs commands of 6.2"
        return fail(BROKER, where, f"{name} {shown} answers", why, "upgrade it to 6.2 or newer")
    if policy != KEEPS_ALL:
        why = "when its memory is full it drops messages, and their instances wait for their lease to run out"
        remedy = f"`redis-cli CONFIG SET maxmemory-policy {KEEPS_ALL}`, and the same in its configuration"
        return fail(BROKER, where, f"{name} {shown}: maxmemory-policy is {policy or 'not told'}", why, remedy)
    return ok(BROKER, where, f"{name} {shown} answers, maxmemory-policy is {policy}")


def _of_rabbitmq(subject: Subject, where: str) -> list[Finding]:
    with open_rabbitmq(subject.broker_url) as (connection, silent):
        version = str(connection.connection.server_properties.get("version", ""))
        lengths = dict.fromkeys(QUEUES, 0)
        for queue in QUEUES:
            channel: Any = connection.channel()
            with suppress(*connection.channel_errors):  # nobody has declared it yet: it has no messages
                lengths[queue] = int(channel.queue_declare(queue, passive=True).message_count)
        alarm = _alarm(connection)
    found = f"RabbitMQ {version} answers"
    if _version(version) < RABBITMQ_LEAST:
        server = fail(BROKER, where, found, "quorum queues need 3.10", "upgrade it to 3.10 or newer")
    elif alarm:
        found = f"RabbitMQ {version} blocks who publishes: {alarm}"
        server = fail(BROKER, where, found, _NO_MESSAGE_GOES_OUT, _UNBLOCK)
    elif silent:
        found += f"; not at {', '.join(f'{host} ({why})' for host, why in silent.items())}"
        why = "a queue takes messages while most of its nodes are there: the next one that goes may stop all"
        server = warn(BROKER, where, found, why, "start these nodes; `rabbitmqctl cluster_status` on one that is there")
    else:
        server = ok(BROKER, where, found)
    return [server, _judge_queues(lengths, subject.of, where)]


def _alarm(connection: Connection) -> str | None:
    """Publish to nobody, and return RabbitMQ's word for why it keeps who publishes waiting, if it does."""
    with suppress(*connection.channel_errors):  # its user may publish elsewhere alone
        try:
            Producer(connection).publish("", routing_key=_TRIED)
        except BlockedError as error:
            return str(error)
    return None


def _judge_queues(lengths: Mapping[str, int], of: Settings, where: str) -> Finding:
    found = ", ".join(f"{queue} {count}" for queue, count in lengths.items() if count) or "empty"
    for lane in Lane:
        waiting = sum(lengths[stage.queue(lane)] for stage in STAGES)
        if waiting > of.dispatcher.unbegun(lane):
            why = f"a dispatcher keeps at most {of.dispatcher.unbegun(lane)} instances of {lane} waiting there"
            remedy = f"start workers (`membersync worker --lane {lane}`); emptying the broker is safe, see the runbook"
            return warn(QUEUED, where, f"{found} messages", why, remedy)
    return ok(QUEUED, where, found if found == "empty" else f"{found} messages")


def _version(words: str) -> tuple[int, ...]:
    return tuple(int(part) for part in words.split(".")[:2] if part.isdecimal())


def look_for_consumers(subject: Subject) -> list[Finding]:
    """Ask the workers which queues they consume."""
    try:
        consumed = _consumed(subject.broker_url)
    except ConnectionError as error:
        raise UnlookedError(f"the broker does not serve ({error})", "first what is said of the broker") from error
    if not consumed:
        why = "what is due goes to the broker and comes back: nothing is synced"
        remedy = "start them: `membersync worker --lane live` and `membersync worker --lane bulk`"
        return [fail(WORKERS, _CONSUMERS, f"no worker answers within {_ANSWERS_WITHIN_S[-1]:g} s", why, remedy)]
    findings = []
    for lane in Lane:
        queues = {stage.queue(lane) for stage in STAGES}
        if missing := queues - set().union(*consumed.values()):
            why = f"instances of the {lane} lane are not taken through these stages"
            remedy = f"start one: `membersync worker --lane {lane}`"
            findings.append(fail(WORKERS, _CONSUMERS, f"nobody consumes {', '.join(sorted(missing))}", why, remedy))
        else:
            names = sorted(name for name, its in consumed.items() if queues & its)
            findings.append(ok(WORKERS, _CONSUMERS, f"{lane}: {', '.join(names)}"))
    return findings


def _consumed(url: str) -> dict[str, set[str]]:
    """Return, by worker, those of our queues that it consumes; ask again while somebody is missing."""
    consumed: dict[str, set[str]] = {}
    for within_s in _ANSWERS_WITHIN_S:
        for name, queues in ask_workers(url, "active_queues", within_s=within_s).items():
            if ours := {str(queue["name"]) for queue in queues} & set(QUEUES):
                consumed[name] = ours
        if set().union(*consumed.values()) == set(QUEUES):
            break
    return consumed
