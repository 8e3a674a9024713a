"""huey over Redis: one task does all three stages, in the threads of two consumers; results are not kept.

Threads are its default; four of them cost no more per event than two, eight cost more.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from huey import RedisHuey

from tests.bench.contestants import work

TITLE = "huey"
DISTRIBUTION = "huey"
THREADS = 4
huey = RedisHuey("bench", url=os.environ["BENCH_REDIS_URL"], results=False)


@huey.task()
def deliver(event: dict[str, Any]) -> None:
    """Do all three stages."""
    work.deliver(event)


def prepare() -> None:
    """Make an empty queue."""
    huey.flush()


def enqueue(events: Sequence[Mapping[str, Any]]) -> None:
    """Send a message per event: huey has no bulk form."""
    for event in events:
        deliver(event)


def workers() -> list[list[str]]:
    """Return two consumers."""
    options = ["--worker-type", "thread", "--workers", str(THREADS), "--quiet", "--no-periodic"]
    return [["-m", "huey.bin.huey_consumer", f"{__name__}.huey", *options]] * 2
