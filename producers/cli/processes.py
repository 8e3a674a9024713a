"""The commands that become one process of a deployment."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from producers.cli.command_errors import TroubleError
from producers.cli.ledger_location import configured, with_ledger, with_servers
from shared.addresses import hosts
from shared.addresses.hosts import AddressError, listening
from shared.pipeline import QUEUES, STAGES, Lane

if TYPE_CHECKING:
    from shared.ledger.checkup import Schema, Server

# Imports inside commands keep the start of the others short.
# ruff: noqa: PLC0415

_STOP_WITHIN_S = 5.0


def run_api(host: str | None, port: int | None) -> None:
    """Serve the api until SIGTERM or Ctrl-C.

    Raises:
        TroubleError: it may not listen there, or has no ledger.
        PortError: its port cannot be listened on.
    """
    from producers.site import serve

    of = with_ledger()
    if host is not None:
        host = _host(host)
    changes = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    try:
        serve(of.model_copy(update={"api": of.api.model_copy(update=changes)}), _named("API", port))
    except ValueError as error:
        raise TroubleError(str(error)) from error


def _host(given: str) -> str:
    try:
        return hosts.canonical(given)
    except AddressError as error:
        raise TroubleError(f"--host {error}") from None


def _named(of: str, option: int | None) -> str:
    return f"MEMBERSYNC_{of}__PORT" if option is None else "--port"


def run_dispatcher() -> None:
    """Dispatch until SIGTERM or Ctrl-C.

    Raises:
        PortError: the port of its metrics cannot be listened on.
    """
    from producers.dispatch.bookkeeper import Bookkeeper
    from producers.dispatch.dispatcher import Dispatcher
    from shared import logs

    of = with_servers()
    logs.configure("dispatcher", of.log_level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    runs = [Bookkeeper(of).run]
    if of.mail.host:
        from producers.mail.postman import Postman

        runs.append(Postman(of).run)
    with ExitStack() as beside:
        if of.dispatcher.metrics_port:
            from producers.metrics.server import metrics_served

            beside.enter_context(metrics_served(of))
        beside.enter_context(_beside(stop, *runs))
        Dispatcher(of).run(stop)


def become_worker(lane: Lane | None, concurrency: int | None) -> None:
    """Become a Celery worker of *lane*, or of both.

    Raises:
        TroubleError: ledger or broker is not set.
    """
    of = with_servers()
    queues = QUEUES if lane is None else [stage.queue(lane) for stage in STAGES]
    _become_celery(
        "workers.app",
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


def become_flower(port: int | None) -> None:
    """Become Flower.

    Raises:
        TroubleError: broker or password is not set.
        PortError: its port cannot be listened on.
    """
    of = configured()
    if of.broker_url is None:
        raise TroubleError("MEMBERSYNC_BROKER_URL is not set", "set it; `membersync up` starts a Flower of its own")
    if of.flower.password is None:
        raise TroubleError("MEMBERSYNC_FLOWER__PASSWORD is not set", "Flower does not run without a login")
    with listening("Flower", of.flower.host, of.flower.port if port is None else port, _named("FLOWER", port)):
        pass  # Flower would say it with a traceback
    chosen = [] if port is None else [f"--port={port}"]
    _become_celery("shared.broker", "flower", f"--conf={_flower_configuration()}", *chosen)


def run_migrations(*, as_json: bool) -> None:
    """Bring the ledger's schema up to date.

    Raises:
        TroubleError: it cannot be done.
    """
    from producers.cli.ledger_commands import print_json
    from producers.doctor.ledger import MAKE_UTF8
    from shared.ledger.readiness import UTF8, migrate

    url = with_ledger().require_ledger()
    server, schema = _server(url)
    if server.encoding != UTF8:
        what = f"the ledger's database is {server.encoding}, and must be {UTF8} to hold every name"
        raise TroubleError(what, MAKE_UTF8)
    if not schema.is_ours:
        raise TroubleError("the ledger was migrated by a newer version", "run that version here too")
    if server.read_only and schema.found != schema.wanted:
        raise TroubleError("the ledger's server is read-only", "name the one that takes writes")
    try:
        migrate(url)
    except Exception as error:
        raise TroubleError(
            f"the ledger cannot be migrated ({type(error).__name__})",
            "its user must be allowed to create tables in its schema",
        ) from error
    found = _server(url)[1].found
    if as_json:
        print_json({"schema": found})
    else:
        typer.echo(f"the ledger's schema is up to date: {found}")


def _server(url: str) -> "tuple[Server, Schema]":
    from shared.ledger import checkup
    from shared.ledger.engine import engine, transaction

    with transaction(engine(url)) as tx:
        return checkup.server(tx), checkup.schema(tx)


@contextmanager
def _beside(stop: threading.Event, *runs: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run each in a thread of its own for the length of the block; *stop* is set at its end.

    Whoever has not stopped `_STOP_WITHIN_S` later, waiting for a silent mail server say, ends with the process.
    """
    threads = [threading.Thread(target=run, args=(stop,), daemon=True) for run in runs]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(_STOP_WITHIN_S)


def _flower_configuration() -> Path:
    package = find_spec("deploy")
    for folder in package.submodule_search_locations or () if package else ():
        if (file := Path(folder) / "flowerconfig.py").is_file():
            return file
    raise TroubleError("deploy/flowerconfig.py is not installed", "install membersync with its package `deploy`")


def _become_celery(app: str, *arguments: str) -> None:
    """Replace this process by Celery's, so that signals and exit code are its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    argv = [sys.executable, "-m", "celery", "--quiet", "-A", app, *arguments]
    os.execv(sys.executable, argv)  # noqa: S606  # our own interpreter and arguments, no shell
