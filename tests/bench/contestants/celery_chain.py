"""Plain Celery over Redis: the chain that people write first, written well.

One chain per event, the member in the message, three tasks, prefork, one pooled client per process; no results, no
ledger, no retries; gossip, mingle and heartbeat off.  Two children, its default on two cores: with four it is no
quicker and costs more.  As many messages are held in advance as its optimising guide has for short tasks.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery, chain

from tests.bench.contestants import work

TITLE = "Celery, chain of three tasks"
DISTRIBUTION = "celery"
CHILDREN, HELD_PER_CHILD = 2, 64
app = Celery("bench", broker=os.environ["BENCH_REDIS_URL"])
app.conf.update(
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    worker_prefetch_multiplier=HELD_PER_CHILD,
)


@app.task(name="bench.oic")
def oic(event: dict[str, Any]) -> dict[str, Any]:
    """Map the member."""
    return {"row_id": event["member"]["row_id"], "user": work.user_of(event)}


@app.task(name="bench.crowdtwist")
def crowdtwist(mapped: dict[str, Any]) -> str:
    """Create the member in CrowdTwist."""
    work.create_user(mapped["user"])
    return str(mapped["row_id"])


@app.task(name="bench.siebel")
def siebel(row_id: str) -> None:
    """Write the status on the member in Siebel."""
    work.write_status(row_id)


def prepare() -> None:
    """Make an empty queue."""
    app.control.purge()


def enqueue(events: Sequence[Mapping[str, Any]]) -> None:
    """Send a chain per event over one connection: Celery has no bulk form."""
    with app.producer_pool.acquire(block=True) as producer:
        for event in events:
            chain(oic.s(event), crowdtwist.s(), siebel.s()).apply_async(producer=producer)


def workers() -> list[list[str]]:
    """Return one worker with its children."""
    options = [f"--concurrency={CHILDREN}", "--loglevel=warning"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [["-m", "celery", "-A", __name__, "worker", *options, *quiet]]
