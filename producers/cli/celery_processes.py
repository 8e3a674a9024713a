"""`membersync worker` and `flower`: processes that become Celery's, so that signals and exit code are its own."""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from celery import __main__ as celery

from producers.cli.command import TroubleError, loaded
from producers.cli.command_settings import Port, configured, port_setting, with_servers
from shared import logs
from shared.hosts import listening
from shared.ledger.engine import engine
from shared.ledger.schema import wait_for_schema
from shared.liveness import this_process
from shared.pipeline import QUEUES, STAGES, Lane
from shared.settings import Settings

_BULK_NICE = 10
"""On a machine that has too few cores for both lanes, a bulk worker leaves them to whoever serves live events."""


def worker(
    lane: Annotated[Lane | None, typer.Option(metavar="LANE", help="Only live, or bulk; both when left out.")] = None,
    concurrency: Annotated[int | None, typer.Option(metavar="N", min=1, help="Processes.")] = None,
) -> None:
    """Become a Celery worker of *lane*, or of both, as soon as the ledger has the schema for it.

    Raises:
        TroubleError: ledger or broker is not set.
    """
    of = with_servers()
    if lane is Lane.BULK:
        os.nice(_BULK_NICE)
    this_process.begin(f"worker-{lane}" if lane else "worker", of)
    if not _has_its_schema(of):
        return
    queues = QUEUES if lane is None else [stage.queue(lane) for stage in STAGES]
    _become_celery(
        "workers.app",
        ("celery.bin.celery", "celery.apps.worker", "celery.worker.worker"),
        "worker",
        "--queues",
        ",".join(queues),
        "--hostname",
        f"{lane or 'all'}.{os.getpid()}@%h",
        "--pool",
        "prefork",
        "--concurrency",
        str(concurrency or of.worker.concurrency),
        "--loglevel",
        of.log_level,
        "--without-mingle",  # nothing here is revoked or shared between workers: waiting for their answers is lost time
        "--without-gossip",
    )


def flower(port: Port = None) -> None:
    """Become Flower.

    Raises:
        TroubleError: broker or password is not set, or its configuration is not installed.
        PortError: its port cannot be listened on.
    """
    of = configured()
    if of.broker_url is None:
        raise TroubleError("MEMBERSYNC_BROKER_URL is not set", "set it; `membersync up` starts a Flower of its own")
    if of.flower.password is None:
        raise TroubleError("MEMBERSYNC_FLOWER__PASSWORD is not set", "Flower does not run without a login")
    with listening("Flower", of.flower.host, of.flower.port if port is None else port, port_setting("FLOWER", port)):
        pass  # Flower would say it with a traceback
    package = find_spec("deploy")
    files = [Path(folder) / "flowerconfig.py" for folder in package.submodule_search_locations or ()] if package else []
    configuration = next(filter(Path.is_file, files), None)
    if configuration is None:
        raise TroubleError("deploy/flowerconfig.py is not installed", "install membersync with its package `deploy`")
    chosen = [] if port is None else [f"--port={port}"]
    _become_celery(
        "shared.broker", ("celery.bin.celery", "flower.command"), "flower", f"--conf={configuration}", *chosen
    )


def _has_its_schema(of: Settings) -> bool:
    """Wait for the ledger's schema, without a connection that its children would inherit; False: told to stop."""
    logs.configure("worker", of.log_level)
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    has_it = wait_for_schema(engine(of.require_ledger()), stop)
    for number, handler in before.items():
        signal.signal(number, handler)
    engine(of.require_ledger()).dispose()
    return has_it


def _become_celery(app: str, its_modules: Sequence[str], *arguments: str) -> NoReturn:
    """Go on as Celery's own command line, in this process: a second interpreter would import much of it once more.

    *its_modules* it would import by itself, one here and one there.
    """
    for name in (app, *its_modules):
        loaded(name)
    sys.argv = [celery.__file__, "--quiet", "-A", app, *arguments]
    sys.exit(celery.main())
