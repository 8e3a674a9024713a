"""Whether the broker serves: it takes messages and drops none, how many wait in it, and who consumes its queues."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from producers.doctor.check import Finding, Subject, UnlookedError, fail, ok, place, warn
from producers.operations.broker_reached import BrokerError, alarm_of, open_rabbitmq, open_redis, word_of
from shared.broker import ask_workers
from shared.broker_address import is_amqp
from shared.pipeline import QUEUES, STAGES, Lane
from shared.settings import Settings

BROKER, QUEUED, WORKERS = "broker", "broker's queues", "workers"
REDIS_LEAST, RABBITMQ_LEAST = (6, 2), (3, 10)
KEEPS_ALL = "noeviction"
_ANSWERS_WITHIN_S = (2.0, 4.0)
"""Who is busy answers late: where somebody is missing they are asked again, with more patience."""
_CONSUMERS = "who answers Celery's control commands, and their queues"
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


def _of_redis(subject: Subject, where: str) -> list[Finding]:
    with open_redis(subject.broker_url) as client:
        server: Mapping[str, Any] = client.info()
        counts = [client.llen(queue) for queue in QUEUES]
        refusal = word_of(client)
    if refusal:
        return [fail(BROKER, where, f"it takes no writes: {refusal}", _NO_MESSAGE_GOES_OUT, _TAKES_NONE)]
    lengths = {queue: int(str(count)) for queue, count in zip(QUEUES, counts, strict=True)}
    return [judge_broker(server, where), _judge_queues(lengths, subject.of, where)]


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
        alarm = alarm_of(connection)
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
