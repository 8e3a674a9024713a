"""Beside the dispatcher: makes the scheduled run, has open ones carried on, clears away what ended ones have seen.

Any number of dispatchers may have one: the lease on the run lets one carry it on.  It is carried on in a process of its
own (`process`): the dispatcher's turns have the interpreter to themselves.
"""

import multiprocessing
import threading
import time
from multiprocessing.process import BaseProcess

from producers.dispatch.beside import keep_turning
from producers.operations.reconcile import process, runs
from shared.ledger import run_turns, sightings
from shared.ledger.engine import engine, transaction
from shared.logs import logger
from shared.settings import Settings

log = logger(__name__)

_EVERY_S = 0.5
_SCHEDULE_EVERY_S = 60.0
_FORGET_SIZE = 5_000
_STOP_WITHIN_S = 2.0


class Runner:
    """One of those who see to it that runs are carried on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ledger = engine(settings.require_ledger(), durable=False)
        self._child: BaseProcess | None = None
        self._token = 0
        self._schedule_at = 0.0
        self._is_said = False

    def run(self, stop: threading.Event) -> None:
        """See to it until *stop*; a ledger that is away is waited for."""
        keep_turning(self.turn, stop, _EVERY_S, "no run is carried on")
        self.close()

    def close(self) -> None:
        """End the process that carries a run on; the run goes on elsewhere."""
        if self._child is not None and self._child.is_alive():
            self._child.terminate()
            self._child.join(_STOP_WITHIN_S)

    def turn(self) -> bool:
        """See what is to be done; say whether there is more to clear away at once."""
        self._schedule()
        with transaction(self._ledger) as tx:
            if self._child is not None and self._child.exitcode:
                run_turns.let_go(tx, self._token)
            found = run_turns.left_over(tx)
            has_more = found.forgettable and sightings.forget(tx, limit=_FORGET_SIZE) > 0
        if (found.takeable or found.loading) and (self._child is None or not self._child.is_alive()):
            self._token = run_turns.new_token()
            spawn = multiprocessing.get_context("spawn").Process
            self._child = spawn(target=process.main, args=(self._token,), daemon=True)
            self._child.start()
        return has_more

    def _schedule(self) -> None:
        if time.monotonic() < self._schedule_at:
            return
        self._schedule_at = time.monotonic() + _SCHEDULE_EVERY_S
        why_not = runs.why_not_scheduled(self._settings)
        with transaction(self._ledger) as tx:
            run_turns.give_up_loading(tx)
            made = None if why_not else runs.schedule(tx, self._settings)
        if why_not and not self._is_said:
            self._is_said = True
            log.info("no run is made by itself", why=why_not)
        if made is not None:
            log.info("time for a run", run=made)
