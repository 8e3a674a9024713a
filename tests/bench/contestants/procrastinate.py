"""procrastinate over PostgreSQL: one task does all three stages, on an event loop; finished jobs are deleted.

Its guide shows 30 at once and advises a connection for each and one more where jobs are short.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

from tests.bench.contestants import work, work_async

TITLE = "procrastinate"
DISTRIBUTION = "procrastinate"
JOBS_AT_ONCE, SENT_AT_ONCE = 30, 500
_SERVER: dict[str, Any] = {
    "conninfo": work.postgres_dsn(),
    "kwargs": {"options": "-c search_path=procrastinate"},
}
app = App(connector=PsycopgConnector(**_SERVER, min_size=1, max_size=JOBS_AT_ONCE + 1))


@app.task
async def deliver(event: dict[str, Any]) -> None:
    """Do all three stages."""
    await work_async.deliver(event)


def prepare() -> None:
    """Make its tables, empty, in a schema of their own."""
    with psycopg.connect(work.postgres_dsn()) as tx:
        tx.execute("drop schema if exists procrastinate cascade")
        tx.execute("create schema procrastinate")
    with app.replace_connector(SyncPsycopgConnector(**_SERVER)) as here, here.open():
        here.schema_manager.apply_schema()


def enqueue(events: Sequence[Mapping[str, Any]]) -> None:
    """Send a job per event, in bulk."""
    with app.replace_connector(SyncPsycopgConnector(**_SERVER)) as here, here.open():
        for start in range(0, len(events), SENT_AT_ONCE):
            deliver.batch_defer(*({"event": event} for event in events[start : start + SENT_AT_ONCE]))


def workers() -> list[list[str]]:
    """Return two workers."""
    options = ["--concurrency", str(JOBS_AT_ONCE), "--delete-jobs", "always"]
    return [["-m", "procrastinate", "--app", f"{__name__}.app", "--log-level", "warning", "worker", *options]] * 2
