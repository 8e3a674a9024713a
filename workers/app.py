"""The worker's composition root: `celery -A workers.app worker` (or `membersync worker`).

Prefork: each process gets, after the fork, its own ledger connections, event loop and HTTP connections, and keeps them
warm for its life.
"""

from contextlib import suppress
from functools import partial

from celery.signals import (
    celeryd_init,
    setup_logging,
    worker_process_init,
    worker_process_shutdown,
    worker_shutting_down,
)

from shared import logs, spans
from shared.broker import app
from shared.budgets import permits
from shared.errors import LedgerError
from shared.garbage import search_seldom
from shared.ledger import call_limits, heartbeats
from shared.ledger.engine import engine, forget_inherited, transaction
from shared.liveness import this_process
from shared.settings import settings
from workers import calls_in_flight, heartbeat, stages
from workers.guard import guard
from workers.loop import CallLoop
from workers.tasks import process

__all__ = ["app"]

app.steps["consumer"].add(heartbeat.Pulse)
app.events.dispatcher_cls = "workers.guard:Telling"


@setup_logging.connect
def _log_as_json(**_: object) -> None:
    logs.configure("worker", settings().log_level)


@celeryd_init.connect
def _guard(**_: object) -> None:
    guard()


@worker_shutting_down.connect
def _end(**_: object) -> None:
    this_process.ends()


@worker_process_init.connect
def _start(sender: object = None, **_: object) -> None:
    forget_inherited()
    spans.start(settings(), "worker")
    process.loop = CallLoop(lambda: stages.build(settings(), permits(engine(durable=False), settings())))
    with suppress(LedgerError), transaction(engine()):
        pass  # the first batch finds a connection; a ledger that is away is waited for by whoever needs it
    process.who = heartbeat.who(str(sender), app)
    process.loop.keep(partial(heartbeat.beat, process.who), heartbeats.EVERY_S, "no heartbeat")
    if slots := calls_in_flight.adaptive(process.loop.stages, settings()):
        follower = calls_in_flight.Follower(process.who.name, slots)
        process.loop.keep(follower.follow, call_limits.EVERY_S, "the last share of the calls in flight stays")
    search_seldom()


@worker_process_shutdown.connect
def _stop(**_: object) -> None:
    if process.loop is not None:
        process.loop.close(settings().dispatcher.lease_s)
        process.loop = None
    spans.stop()
    if process.who is not None:
        heartbeat.leave(process.who)
