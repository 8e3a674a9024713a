"""A pipeline for tests: real worker and dispatcher processes on a real ledger and broker, against the sandbox."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import Connection
from sqlalchemy import Engine, text

from deploy.local.programs import inherited_environment
from deploy.sandbox.server import RunningSandbox
from producers.intake.accept import IntakeRules, Receipt, accept
from shared.broker import app, configuration
from shared.broker_address import is_amqp
from shared.events import parse_event
from shared.pipeline import QUEUES, Lane
from shared.settings import settings
from tests.forked import Forked

NOW = datetime.now(UTC) - timedelta(days=1)
DISPATCHER = ("-m", "producers.cli", "dispatcher")
WORKER = (
    *("-m", "celery", "-A", "workers.app", "worker", "--concurrency=2", "--loglevel=info"),
    *("--without-mingle", "--without-gossip"),  # as `membersync worker` has it
)


@contextmanager
def publishing(environment: Mapping[str, str]) -> Iterator[None]:
    """Have this process publish, and read its settings, as *environment* says, while the block runs."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        settings.cache_clear()
        app.conf.update(configuration(settings()))
        try:
            yield
        finally:
            del app.amqp  # it keeps the connections to this broker, which closing leaves
            app.close()
    settings.cache_clear()


def eventually(true: Callable[[], bool], what: str, within_s: float = 120) -> None:
    """Poll until *true*; fail with *what* otherwise."""
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        time.sleep(0.02)


def member_event(number: str, minute: int = 0, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return an update of a US member, with its ROW_ID."""
    member = {
        "member_number": number,
        "row_id": f"1-{number}",
        "status": "Active",
        "first_name": "Ann",
        "last_name": "Lee",
        "email_address": f"{number.lower()}@example.org",
        "postal_code": "10010",
        "country_code": "US",
    } | changes
    return {"operation": "update", "occurred_at": (NOW + timedelta(minutes=minute)).isoformat(), "member": member}


@dataclass
class Pipeline:
    """The servers and the processes that were started on them."""

    ledger: Engine
    ledger_url: str
    broker_url: str
    sandbox: RunningSandbox
    logs: Path
    settings: dict[str, str] = field(default_factory=dict)
    running: list[Forked] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        base = inherited_environment()
        return base | {
            "MEMBERSYNC_LEDGER_URL": self.ledger_url,
            "MEMBERSYNC_BROKER_URL": self.broker_url,
            "MEMBERSYNC_OIC__BASE_URL": self.sandbox.oic,
            "MEMBERSYNC_CROWDTWIST__BASE_URL": self.sandbox.crowdtwist,
            "MEMBERSYNC_CROWDTWIST__API_KEY": "sandbox-key",
            "MEMBERSYNC_SIEBEL__BASE_URL": self.sandbox.siebel,
            "MEMBERSYNC_SIEBEL__USERNAME": "SADMIN",
            "MEMBERSYNC_SIEBEL__PASSWORD": "SADMIN",
            "MEMBERSYNC_DISPATCHER__TICK_S": "0.2",
            "MEMBERSYNC_CROWDTWIST__RETRY_BASE_S": "0.2",
            "MEMBERSYNC_SIEBEL__RETRY_BASE_S": "0.2",
            "MEMBERSYNC_HEALTH__FOLDER": str(self.logs),
            **self.settings,
        }

    @contextmanager
    def process(self, *arguments: str) -> Iterator[Forked]:
        """Run `python *arguments`; whatever of it still runs at the end is killed, as any test must bear."""
        started = Forked(arguments, self.environment, self.logs / f"{len(self.running)}.log")
        self.running.append(started)
        try:
            yield started
        finally:
            started.kill_group()

    @contextmanager
    def worker(self, name: str = "w1") -> Iterator[Forked]:
        """Run a worker and wait until it takes tasks."""
        log = self.logs / f"{len(self.running)}.log"
        with self.process(*WORKER, "-n", f"{name}@test") as started:
            eventually(lambda: b" ready." in log.read_bytes() or started.poll() is not None, "worker ready")
            assert started.poll() is None, log.read_text()
            yield started

    @contextmanager
    def whole(self) -> Iterator["Pipeline"]:
        """Run a dispatcher and a worker."""
        with ExitStack() as stack:
            stack.enter_context(self.process(*DISPATCHER))
            stack.enter_context(self.worker())
            yield self

    def send(self, *events: dict[str, Any], lane: Lane = Lane.LIVE) -> list[Receipt]:
        items = [(position, parse_event(event, max_bytes=64_000)) for position, event in enumerate(events)]
        return accept(self.ledger, items, IntakeRules(lane))

    def sql(self, statement: str) -> list[Any]:
        with self.ledger.begin() as tx:
            result = tx.execute(text(statement))
            if not result.returns_rows:
                return []
            return [tuple(row) if len(row) > 1 else row[0] for row in result]

    def states(self) -> dict[str, int]:
        return dict(self.sql("select state, count(*) from instance group by state"))

    def settled(self) -> bool:
        """Return whether nothing is on its way any more, no errand either."""
        on_its_way = {"pending", "running", "waiting", "held"} & self.states().keys()
        return not on_its_way and self.sql("select count(*) from errand where token <> 0") == [0]

    def log_text(self) -> str:
        return "\n".join(log.read_text(errors="replace") for log in sorted(self.logs.glob("*.log")))


def flush(broker_url: str) -> None:
    """Empty the broker."""
    if not is_amqp(broker_url):
        with redis.Redis.from_url(broker_url) as client:
            client.flushall()
        return
    with Connection(broker_url) as connection:
        channel: Any = connection.channel()
        for queue in QUEUES:
            channel.queue_delete(queue)


def messages(broker_url: str, queue: str) -> list[tuple[dict[str, Any], bytes]]:
    """Return the headers of each message that waits in *queue*, and all of it as it lies there."""
    if not is_amqp(broker_url):
        with redis.Redis.from_url(broker_url) as client:
            found: Any = client.lrange(queue, 0, -1)
        return [(json.loads(raw)["headers"], raw) for raw in found]
    with Connection(broker_url) as connection:
        channel: Any = connection.channel()  # what it took is back when it closes
        took: list[tuple[dict[str, Any], bytes]] = []
        with suppress(*connection.channel_errors):  # nobody has declared it yet
            while (message := channel.basic_get(queue)) is not None:
                took.append((message.headers, f"{message.headers}{message.properties}{message.body}".encode()))
        return took
