"""rq over Redis: one job does all three stages, in workers that do not fork for each; results are not kept.

`SimpleWorker` is what its notes on performance have for jobs of milliseconds, six times as quick there as the default.
A worker does one job at a time.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis
from rq import Queue

from tests.bench.contestants import work

TITLE = "rq"
DISTRIBUTION = "rq"
SENT_AT_ONCE = 500
_URL = os.environ["BENCH_REDIS_URL"]
queue = Queue(connection=Redis.from_url(_URL))


def prepare() -> None:
    """Make an empty queue."""
    queue.empty()


def enqueue(events: Sequence[Mapping[str, Any]]) -> None:
    """Send a job per event, in bulk."""
    for start in range(0, len(events), SENT_AT_ONCE):
        some = events[start : start + SENT_AT_ONCE]
        queue.enqueue_many([Queue.prepare_data(work.deliver, args=(event,), result_ttl=0) for event in some])


def workers() -> list[list[str]]:
    """Return two workers."""
    options = ["--url", _URL, "--worker-class", "rq.SimpleWorker", "--quiet"]
    return [["-m", "rq.cli.__main__", "worker", *options]] * 2
