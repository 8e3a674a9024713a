"""The Celery app, and questions to its workers.

Each setting says what it protects from; the measurements behind them are in deploy/decisions/0001.

The broker may lose, double, delay or reorder anything we put there (it does: kill -9 loses what sits in a socket).  The
ledger makes that harmless: messages carry ids only, a begun instance cannot be begun twice, and an instance that nobody
begins is due again.  So these settings buy latency and quiet, never correctness.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from celery import Celery, chain
from kombu import Queue
from kombu.exceptions import KombuError
from kombu.transport import TRANSPORT_ALIASES

from shared.broker_address import is_amqp, read_broker
from shared.pipeline import QUEUES, Lane, Stage
from shared.settings import Settings, settings

_SHOWN_MEMBERS = 5
_SHOWN_INSTANCES = 50
_DELIVERY_LIMIT = 5


def configuration(of: Settings) -> dict[str, Any]:
    """Return the Celery settings for these settings of ours."""
    url = of.require_broker()
    address = read_broker(url)
    # A quorum queue survives the loss of a broker node; its delivery limit stops a message that kills every consumer.
    quorum = {"x-queue-type": "quorum", "x-delivery-limit": _DELIVERY_LIMIT} if is_amqp(url) else None
    longest_s = max(of.connection(stage).timeout_s for stage in Stage)
    return {
        "broker_url": address.url,
        # Of rediss, kombu takes any certificate unless it is told otherwise.
        "broker_use_ssl": address.tls or False,
        # No result backend: the ledger holds the outcome; a dead backend stalls workers silently (celery.md H9).
        "result_backend": None,
        "task_ignore_result": True,
        # JSON only: pickle on a broker is code execution.
        "task_serializer": "json",
        "accept_content": ["json"],
        # Our queues and no others: a misspelt queue must raise, not swallow messages for ever.
        "task_queues": [Queue(name, routing_key=name, queue_arguments=quorum) for name in QUEUES],
        "task_default_queue": Stage.OIC.queue(Lane.LIVE),
        "task_create_missing_queues": False,
        # Acknowledge late with prefetch 1: a stopping worker hands back what it has not begun.
        "task_acks_late": True,
        "worker_prefetch_multiplier": 1,
        # A failed task is acknowledged: its outcome is in the ledger, running it again would find nothing to do.
        "task_acks_on_failure": True,
        "task_acks_on_timeout": True,
        # A killed child costs nothing but its lease: no redelivery loop (127 runs in 20 s, celery.md 1b).
        "task_reject_on_worker_lost": False,
        "task_retry_on_worker_lost": False,
        # A lost connection must not kill calls under way: the lease makes a second copy of the message a no-op.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # Well-formed rubbish kills a stock consumer at each restart (celery.md H7).
        "worker_consumer": "workers.guard:GuardedConsumer",
        # SIGQUIT waits this long for calls under way; SIGTERM waits for all of them, and each is bounded.
        "worker_soft_shutdown_timeout": longest_s + 5,
        "worker_enable_soft_shutdown_on_idle": True,
        # A broker out of memory, restarting or frozen must not end or hang us.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        "broker_connection_timeout": 4,
        # Of RabbitMQ: a node whose host vanished is noticed after two of them; Celery's own 120 s are four minutes.
        "broker_heartbeat": 10,
        "broker_transport_options": transport_options(url),
        "task_publish_retry_policy": {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 1},
        # No ETA messages exist here; a stray one must not fill a worker.
        "worker_eta_task_limit": 100,
        # Flower sees through events.
        "worker_send_task_events": True,
        "task_send_sent_event": True,
        "task_track_started": True,
        # Logs are ours (shared/logs.py).
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "timezone": "UTC",
        "enable_utc": True,
    }


def transport_options(url: str) -> dict[str, Any]:
    """Return kombu's options for the broker at *url*."""
    if is_amqp(url):
        return _AMQP_OPTIONS
    sentinel = read_broker(url).sentinel
    if not sentinel:
        return _REDIS_OPTIONS
    patience = {name: _REDIS_OPTIONS[name] for name in ("socket_timeout", "socket_connect_timeout")}
    return {**_REDIS_OPTIONS, **sentinel, "sentinel_kwargs": patience | sentinel["sentinel_kwargs"]}


class LaneCycle:
    """The order in which a worker takes from its queues: live before bulk, those of a lane in turns.

    In turns, for members whose calls all hang would else keep others from a stage before or after theirs.  After
    `LIVE_IN_A_ROW` live messages a bulk one goes first, so that such live members do not hold up all bulk either.
    Source: kombu's `queue_order_strategy`, which takes a class like those of `kombu.utils.scheduling`.
    """

    LIVE_IN_A_ROW = 8

    def __init__(self) -> None:
        self._queues: list[str] = []
        self._live_in_a_row = 0

    def update(self, queues: Iterable[str]) -> None:
        """Take from *queues* from now on."""
        self._queues = list(queues)

    def consume(self, count: int) -> list[str]:
        """Return the first *count* queues, in the order in which they are looked at next."""
        bulk_first = self._live_in_a_row >= self.LIVE_IN_A_ROW
        return sorted(self._queues, key=lambda queue: _is_bulk(queue) is not bulk_first)[:count]

    def rotate(self, last_used: str) -> str:
        """Note that a message was taken from *last_used*: it comes last of its lane now."""
        if last_used in self._queues:
            self._queues.remove(last_used)
            self._queues.append(last_used)
            self._live_in_a_row = 0 if _is_bulk(last_used) else self._live_in_a_row + 1
        return last_used


def _is_bulk(queue: str) -> bool:
    return queue.endswith(f".{Lane.BULK}")


_REDIS_OPTIONS: dict[str, Any] = {
    # How soon messages of a dead worker come back: far over any batch, far under the default hour.
    "visibility_timeout": 300,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    # A frozen Redis hangs a publisher for ever without these (celery.md H11).
    "socket_timeout": 5,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "queue_order_strategy": "shared.broker:LaneCycle",
    # Messages have no priorities among themselves: else each queue is asked for at four of them.
    "priority_steps": [0],
}
_AMQP_OPTIONS: dict[str, Any] = {"confirm_publish": True}


TRANSPORT_ALIASES["redis"] = TRANSPORT_ALIASES["rediss"] = "shared.redis_transport:ThriftyTransport"
TRANSPORT_ALIASES["sentinel"] = "shared.redis_transport:ThriftySentinelTransport"
TRANSPORT_ALIASES["amqp"] = "shared.broker_transport:PatientTransport"
TRANSPORT_ALIASES["amqps"] = "shared.broker_transport:VerifyingTransport"

app = Celery("membersync", set_as_current=True)
app.add_defaults(lambda: configuration(settings()))


def publish(
    stage: Stage, lane: Lane, ids: Sequence[int], member_numbers: Sequence[str], instance_ids: Sequence[int]
) -> None:
    """Send one batch on its way: a chain of the stages from *stage* on, each naming the same ids.

    Flower shows a count and up to five member numbers as its arguments, a count and up to fifty instance ids as its
    keyword arguments; the message itself has *ids* only, of instances or of errands for them.

    Raises:
        kombu.exceptions.OperationalError: the broker did not take it, or did and could not say so.
    """
    shown = {"argsrepr": describe(member_numbers), "kwargsrepr": describe_instances(instance_ids)}
    links = [
        app.signature(
            step.task,
            args=(list(ids),),
            immutable=True,
            options={"queue": step.queue(lane), **shown},
        )
        for step in stage.rest
    ]
    with app.producer_pool.acquire(block=True, timeout=10) as producer:
        chain(*links).apply_async(producer=producer)


def describe(member_numbers: Sequence[str]) -> str:
    """Return which members a batch has: `12 members: 296-1, 296-2, …`."""
    return _counted("member", member_numbers, _SHOWN_MEMBERS)


def describe_instances(ids: Sequence[int]) -> str:
    """Return which instances a batch has: `12 instances: 4711, 4712, …`."""
    return _counted("instance", ids, _SHOWN_INSTANCES)


def _counted(noun: str, names: Sequence[object], at_most: int) -> str:
    shown = ", ".join(map(str, names[:at_most])) + (", …" if len(names) > at_most else "")
    return f"{len(names)} {noun}{'' if len(names) == 1 else 's'}: {shown}"


def ask_workers(
    broker_url: str, command: str, *, within_s: float, limit: int | None = None, pattern: str | None = None
) -> dict[str, Any]:
    """Ask the workers on a broker something, and return their answers by name.

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
    address = read_broker(broker_url)
    with Celery("asking", broker=address.url, set_as_current=False) as app:
        app.conf.broker_use_ssl = address.tls or False
        app.conf.broker_transport_options = transport_options(broker_url)
        connection = app.connection_for_write()
        away: tuple[type[BaseException], ...] = (KombuError, OSError, *connection.connection_errors)
        try:
            with connection:
                # Each host once; what follows would go on trying.
                connection.ensure_connection(max_retries=len(address.urls), interval_start=0, interval_step=0)
                answers = app.control.broadcast(
                    command, reply=True, timeout=within_s, limit=limit, connection=connection, **whom
                )
        except (*away, *connection.channel_errors) as error:
            raise ConnectionError(type(error).__name__) from None
    return {name: said for answer in answers or [] for name, said in answer.items()}
