"""`membersync dispatcher`: sends what is due to the workers; beside it books, desk, runs, mail, webhook and metrics."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from producers.cli.command_settings import with_servers
from producers.dispatch.bookkeeper import Bookkeeper
from producers.dispatch.desk import Desk
from producers.dispatch.dispatcher import Dispatcher
from producers.mail.mailer import Mailer
from producers.mail.webhook import Poster
from producers.operations.reconcile.repairer import Repairer
from producers.operations.reconcile.runner import Runner
from shared import logs
from shared.ledger.engine import engine
from shared.ledger.schema import wait_for_schema
from shared.liveness import this_process

_STOP_WITHIN_S = 5.0


def dispatcher() -> None:
    """Dispatch until SIGTERM or Ctrl-C, as soon as the ledger has the schema for it.

    Raises:
        TroubleError: ledger or broker is not set.
        PortError: the port of its metrics cannot be listened on.
    """
    of = with_servers()
    logs.configure("dispatcher", of.log_level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    this_process.begin("dispatcher", of)
    with ExitStack() as beside:
        if of.dispatcher.metrics_port:
            from producers.metrics import metrics_served  # noqa: PLC0415  # a web server, which few ask for

            beside.enter_context(metrics_served(of))
        if not wait_for_schema(engine(of.require_ledger()), stop):
            return
        runs = [Bookkeeper(of).run, Desk(of).run, Runner(of).run, Repairer(of).run]
        if of.tells:
            runs.append(Mailer(of).run)
        if of.webhook.url:
            runs.append(Poster(of).run)
        beside.enter_context(_beside(stop, *runs))
        Dispatcher(of).run(stop)


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
