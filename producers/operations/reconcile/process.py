"""The process in which runs are carried on: it takes the lease of one after another, and ends with its parent.

So a run takes nothing from the dispatcher but the machine's idle time.  The lease is short, for a run stands still
until it is over when the process vanishes with its machine; so it is kept beside a step that takes long.  Whoever sees
the process die lets go of the lease at once, by its token.
"""

import asyncio
import os
import threading
from contextlib import suppress

from producers.operations.reconcile.carrier import Carrier
from producers.operations.reconcile.outside import LEASE_S
from shared import logs
from shared.errors import LedgerError
from shared.garbage import search_seldom
from shared.ledger import run_turns
from shared.ledger.engine import engine, transaction
from shared.settings import Settings, settings

log = logs.logger(__name__)

PATIENCE_S = 6 * 3600.0
_NICE = 10
_PARENT_EVERY_S = 2.0
_LOOK_EVERY_S = 0.2


def main(token: int | None = None) -> None:
    """Carry on what is open, then end; the process of a `runner`, which made *token*."""
    of, parent = settings(), os.getppid()
    logs.configure("reconcile", of.log_level)
    search_seldom()
    with suppress(OSError):
        os.nice(_NICE)
    try:
        while carry_on(of, token=token) or _awaits_rows(of, parent):
            pass
    except LedgerError as error:
        log.warning("nothing is reconciled", cause=str(error))


def _awaits_rows(of: Settings, parent: int) -> bool:
    """Wait a moment for a run whose file is being handed over, so as to be ready when it is; False: there is none."""
    with transaction(engine(of.require_ledger(), durable=False)) as tx:
        is_loading = run_turns.left_over(tx).loading
    if is_loading:
        threading.Event().wait(_LOOK_EVERY_S)
    return is_loading and os.getppid() == parent


def carry_on(of: Settings, *, patience_s: float = PATIENCE_S, token: int | None = None) -> bool:
    """Take the oldest open run and carry it on to its end; False: there was none to be had.

    Shape: *token* by which whoever sees this process die lets go of its lease; None: nobody does.
    """
    ledger = engine(of.require_ledger(), durable=False)
    with transaction(ledger) as tx:
        turn = run_turns.take(tx, token or run_turns.new_token(), lease_s=LEASE_S)
    if turn is None:
        return False
    log.info("reconciles", run=turn.id, mode=turn.mode, phase=turn.phase)
    asyncio.run(_watched(Carrier(of, ledger, turn, patience_s=patience_s)))
    return True


async def _watched(carrier: Carrier) -> None:
    """Carry a run on while the parent lives."""
    parent = os.getppid()
    task = asyncio.create_task(carrier.run())
    while not task.done():
        await asyncio.wait([task], timeout=_PARENT_EVERY_S)
        if os.getppid() != parent:
            task.cancel()
            break
    with suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    main()
