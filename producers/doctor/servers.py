"""Whether ledger and broker serve, and all clocks agree.

The ledger: fast enough, with the schema of this version, nobody holding an old snapshot.  The broker: that it takes
messages and drops none, how many wait in it, and who consumes its queues.  The clocks: this machine's against those of
ledger, broker and systems.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from time import time
from timeit import repeat
from typing import Any

import httpx
import redis
from kombu import Connection
from kombu.exceptions import KombuError
from redis.backoff import NoBackoff
from redis.retry import Retry

from producers.doctor.check import MAKE_UTF8, Finding, Subject, UnlookedError, fail, ok, place, warn
from producers.operations import advice
from shared.addresses import is_amqp, proxy_for, read_broker, trusted
from shared.broker import ask_workers
from shared.errors import LedgerError, LedgerUnwritableError
from shared.ledger import checkup, snapshots
from shared.ledger.checkup import Server
from shared.ledger.engine import DISK_FULL, engine
from shared.pipeline import QUEUES, STAGES, Lane, Stage
from shared.settings import Settings

SERVER, SCHEMA, SNAPSHOTS = "ledger", "ledger's schema", "ledger's snapshots"
VERSION_LEAST = 14
SLOW_MS = 50.0
_READ_ONLY = (
    "end what makes it read-only (default_transaction_read_only, a standby), or let MEMBERSYNC_LEDGER_URL name "
    "the node that takes writes, or all of them: postgresql://…@HOST,HOST/…?target_session_attrs=read-write"
)
_FULL = "make room on the disk of its data folder and tablespaces; all processes go on by themselves"
_PER_MAJOR = 10_000
_TRIES = 5
"""The quickest of them is the way there and back; the others waited for this machine's other checks."""


def look_at_server(subject: Subject) -> list[Finding]:
    """Look at the server, and write to it as an event is written."""
    where = place(subject.ledger_url)
    try:
        with subject.reading() as tx:
            server = checkup.server(tx)
            took_ms = 1000 * min(repeat(lambda: checkup.server(tx), number=1, repeat=_TRIES))
    except LedgerError as error:
        # what the driver says of a connection that it did not get: who, where, why; no password, nobody's data
        said = str(getattr(error.__cause__, "orig", error)).strip()
        cause = said.splitlines()[0] if said else str(error)
        why = "without its ledger nothing is accepted and nothing is sent; what was accepted is safe in it"
        remedy = "start PostgreSQL, or correct MEMBERSYNC_LEDGER_URL; all processes go on by themselves"
        return [fail(SERVER, where, f"does not serve: {cause}", why, remedy)]
    try:
        checkup.write(engine(subject.ledger_url))
    except LedgerUnwritableError as error:
        why = "nothing is accepted and nothing is sent: posts are answered 503, and what was accepted waits"
        return [fail(SERVER, where, str(error), why, _FULL if DISK_FULL in str(error) else _READ_ONLY)]
    except LedgerError:
        pass  # what else keeps a write away is said elsewhere
    return [judge_ledger(server, took_ms, where)]


def judge_ledger(server: Server, took_ms: float, where: str) -> Finding:
    """Judge a server by its version and how long one statement took.  Pure.  Units: *took_ms* milliseconds."""
    found = f"PostgreSQL {server.version} answers in {took_ms:.1f} ms"
    if server.encoding != checkup.UTF8:
        why = f"its database is {server.encoding}: an event with a letter that this does not hold cannot be kept"
        return fail(SERVER, where, found, why, MAKE_UTF8)
    if server.version_number // _PER_MAJOR < VERSION_LEAST:
        why = f"membersync is written for PostgreSQL {VERSION_LEAST} and newer"
        return fail(SERVER, where, found, why, f"upgrade the server to {VERSION_LEAST} or newer (pg_upgrade)")
    if took_ms > SLOW_MS:
        why = f"a batch needs several statements, each waits: over {SLOW_MS:g} ms workers mostly wait"
        return warn(SERVER, where, found, why, "run ledger and workers in one network; look at the server's load")
    return ok(SERVER, where, found)


def look_at_schema(subject: Subject) -> list[Finding]:
    """Look at the schema."""
    where = place(subject.ledger_url)
    with subject.reading() as tx:
        schema = checkup.schema(tx)
    if schema.found == schema.wanted:
        return [ok(SCHEMA, where, f"the schema is {schema.found}, that of this version")]
    found = f"the schema is {schema.found or 'not there'}, this version's is {schema.wanted}"
    if not schema.is_ours:
        why = "the ledger was migrated by a newer version; this one reads and writes it wrongly"
        return [fail(SCHEMA, where, found, why, "run the newer version here too")]
    return [fail(SCHEMA, where, found, "statements of this version fail on it", "`membersync migrate`")]


def look_at_snapshots(subject: Subject) -> list[Finding]:
    """Look for sessions, slots, standbys and prepared transactions that keep dead rows from being cleared away."""
    with subject.reading() as tx:
        found = snapshots.holders(tx)
        seen = (
            "" if snapshots.sees_all(tx) else "; only those of its own user are shown: `grant pg_read_all_stats` to it"
        )
    looked_at = f"who has held a snapshot of the ledger for more than {subject.of.snapshot_max_s:g} s"
    old = [one for one in found if one.age_s > subject.of.snapshot_max_s]
    if not old:
        oldest = f"none; the oldest is {found[0].age_s:.0f} s old" if found else "none"
        return [ok(SNAPSHOTS, looked_at, f"{oldest}{seen}")]
    return [
        warn(
            SNAPSHOTS,
            looked_at,
            f"{one.named} for {one.age_s / 60:.0f} min{f': {one.query}' if one.query else ''}",
            advice.HELD,
            advice.let_go(one),
        )
        for one in old
    ]


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
_LONGEST = 200


class BrokerError(Exception):
    """The broker does not serve; the message says how, and no secret."""


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


@contextmanager
def open_redis(url: str) -> Iterator["redis.Redis"]:
    """Open a connection that neither waits long nor tries again.

    Raises:
        BrokerError: it cannot be opened, or broke.
    """
    retry = Retry(NoBackoff(), 0)
    address = read_broker(url)
    patience: dict[str, Any] = {"socket_connect_timeout": _WITHIN_S, "socket_timeout": _WITHIN_S, "retry": retry}
    try:
        with redis.Redis.from_url(address.url, **patience, **(address.tls or {})) as one:
            yield one
    except (redis.RedisError, OSError) as error:
        raise BrokerError(_said(error)) from error


@contextmanager
def open_rabbitmq(url: str) -> Iterator[Connection]:
    """Open a connection that does not wait long.

    Raises:
        BrokerError: it cannot be opened, or broke.
    """
    address = read_broker(url)
    connection = Connection(address.url, ssl=address.tls or False, connect_timeout=_WITHIN_S)
    errors: tuple[type[BaseException], ...] = (KombuError, OSError, *connection.connection_errors)
    errors += connection.channel_errors
    try:
        connection.connect()
        yield connection
    except errors as error:
        raise BrokerError(_said(error)) from error
    finally:
        connection.release()


def _said(error: BaseException) -> str:
    """Return what a driver says of an error, in one short line; it names address and cause, and no password."""
    return " ".join((str(error) or type(error).__name__).split())[:_LONGEST]


def _of_redis(subject: Subject, where: str) -> list[Finding]:
    with open_redis(subject.broker_url) as client:
        server: Mapping[str, Any] = client.info()
        counts = [client.llen(queue) for queue in QUEUES]
        refusal = _refusal(client)
    if refusal:
        why = "no message goes out; what is due waits in the ledger, and goes out as soon as the broker takes it"
        return [fail(BROKER, where, f"it takes no writes: {refusal}", why, _TAKES_NONE)]
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
    with open_rabbitmq(subject.broker_url) as connection:
        version = str(connection.connection.server_properties.get("version", ""))
        lengths = dict.fromkeys(QUEUES, 0)
        for queue in QUEUES:
            channel: Any = connection.channel()
            with suppress(*connection.channel_errors):  # nobody has declared it yet: it has no messages
                lengths[queue] = int(channel.queue_declare(queue, passive=True).message_count)
    found = f"RabbitMQ {version} answers"
    if _version(version) < RABBITMQ_LEAST:
        server = fail(BROKER, where, found, "quorum queues need 3.10", "upgrade it to 3.10 or newer")
    else:
        server = ok(BROKER, where, found)
    return [server, _judge_queues(lengths, subject.of, where)]


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


WARN_S, FAIL_S = 2.0, 30.0
_CLOCK_WITHIN_S = 4.0
_HALF_A_SECOND = 0.5
_HERE = "this machine's clock against theirs"


def clock_of_ledger(subject: Subject) -> list[Finding]:
    """Compare with the ledger's clock."""
    with subject.reading() as tx:
        checkup.server(tx)  # the next one measures the way, not the connecting

        def theirs() -> float:
            return checkup.server(tx).now.timestamp()

        ahead_s = _ahead_s(theirs)
    return [judge_clock("clock of the ledger", ahead_s)]


def clock_of_broker(subject: Subject) -> list[Finding]:
    """Compare with the broker's clock; RabbitMQ does not tell its own."""
    url = subject.broker_url
    if is_amqp(url):
        return []
    try:
        with open_redis(url) as client:
            client.ping()

            def theirs() -> float:
                seconds, microseconds = client.time()
                return float(seconds) + microseconds / 1_000_000

            ahead_s = _ahead_s(theirs)
    except BrokerError as error:
        raise UnlookedError(f"the broker does not serve ({error})", "first what is said of the broker") from error
    return [judge_clock("clock of the broker", ahead_s)]


def clock_of_system(stage: Stage, subject: Subject) -> list[Finding]:
    """Compare with the `Date` of an outside system's answer, where it has one; what keeps it away is not said here."""
    url = subject.of.connection(stage).base_url
    if url is None or subject.offline or (stage is Stage.OIC and subject.of.oic.mode == "builtin"):
        return []
    try:
        return [judge_clock(f"clock of {stage}", _ahead_s(lambda: date_of(url)))]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, TypeError, ImportError):
        return []


def judge_clock(check: str, ahead_s: float) -> Finding:
    """Judge by how far that clock is ahead of ours.  Pure.  Units: seconds, negative when it is behind."""
    found = f"{abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine"
    if abs(ahead_s) <= WARN_S:
        return ok(check, _HERE, f"agrees within {WARN_S:g} s")
    why = "ages, leases and the order of a member's events compare instants of several machines"
    remedy = "`timedatectl status` on both machines; let chrony or ntpd keep them"
    return (fail if abs(ahead_s) > FAIL_S else warn)(check, _HERE, found, why, remedy)


def _ahead_s(theirs: Callable[[], float]) -> float:
    """Return how far a clock is ahead of ours, by ours in the middle of asking for it.  Units: epoch seconds."""
    asked = time()
    answered = theirs()
    return answered - (asked + time()) / 2


def date_of(url: str) -> float:
    """Return the instant of an answer's `Date`, which is cut to whole seconds; no credentials are sent.

    Raises:
        ValueError: it has none.
    """
    proxy = proxy_for(url)
    way: dict[str, Any] = {"proxy": proxy.url if proxy else None, "trust_env": False, "verify": trusted()}
    answer = httpx.head(url, timeout=_CLOCK_WITHIN_S, **way)
    said = parsedate_to_datetime(answer.headers.get("date", ""))
    return (said if said.tzinfo else said.replace(tzinfo=UTC)).timestamp() + _HALF_A_SECOND
