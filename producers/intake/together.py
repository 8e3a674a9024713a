"""Small requests share transactions: what comes while one is written is written with the next.

A transaction costs the same statements and the same wait for the disk for one event as for hundreds.  Nobody waits for
others to come: where nothing is being written, whoever comes is written at once.  Where a transaction takes longer than
`_HELD_UP_S` - it waits for a member's lock - the next begins beside it; and one that fails with several requests in it
is done again for each by itself, so that no request fails for another's sake.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import anyio
import anyio.to_thread

from producers.intake.accept import Delivery, IntakeRules, Receipt, accept_together
from shared.ledger.engine import engine

AT_MOST = 200
"""Requests in one transaction."""
_HELD_UP_S = 0.05


@dataclass(frozen=True, slots=True)
class _Waiting:
    rules: IntakeRules
    delivery: Delivery
    receipts: "asyncio.Future[list[Receipt]]"


class Together:
    """What takes in the small requests of one api process.  For one event loop."""

    def __init__(self, ledger_url: str, threads: anyio.CapacityLimiter) -> None:
        self._ledger_url = ledger_url
        self._threads = threads
        self._waiting: list[_Waiting] = []
        self._writing: set[asyncio.Task[None]] = set()

    async def accept(self, delivery: Delivery, rules: IntakeRules) -> list[Receipt]:
        """Take one delivery in, with others where that is sooner; return its receipts.

        Raises:
            LedgerError: nothing of it was stored.
        """
        receipts: asyncio.Future[list[Receipt]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(rules, delivery, receipts))
        if not self._writing:
            self._write_next()
        return await receipts

    def _write_next(self) -> None:
        if not self._waiting:
            return
        rules = self._waiting[0].rules
        alike: list[_Waiting] = []
        others: list[_Waiting] = []
        for one in self._waiting:
            (alike if one.rules == rules and len(alike) < AT_MOST else others).append(one)
        self._waiting = others
        writing = asyncio.create_task(self._write(alike))
        self._writing.add(writing)
        held_up = asyncio.get_running_loop().call_later(_HELD_UP_S, self._write_next)

        def written(task: "asyncio.Task[None]") -> None:
            held_up.cancel()
            self._writing.discard(task)
            self._write_next()

        writing.add_done_callback(written)

    async def _write(self, alike: Sequence[_Waiting]) -> None:
        """Write all of them; each learns what came of it, whoever has gone away meanwhile."""
        write = partial(accept_together, engine(self._ledger_url), [one.delivery for one in alike], alike[0].rules)
        try:
            answers = await anyio.to_thread.run_sync(write, limiter=self._threads)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the answer to who waits
            if len(alike) > 1:
                await asyncio.gather(*(self._write([one]) for one in alike))
            elif not alike[0].receipts.done():
                alike[0].receipts.set_exception(error)
            return
        for one, receipts in zip(alike, answers, strict=True):
            if not one.receipts.done():
                one.receipts.set_result(receipts)
