"""What one worker process keeps warm: an event loop in a thread of its own, and the stages with their connections.

A batch's calls run together on that loop.  Who has not answered after a short patience leaves the batch: the task goes
on with the others, and the straggler is concluded by itself when its answer or its time-out comes.  So one slow member
holds up neither its batch nor the next one.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from math import isinf
from typing import Any, NamedTuple, TypeVar

import uvloop

from shared.errors import BudgetSpentError, LeaseLostError, LedgerError, OutcomeUnknownError, StageError
from shared.instances import Answer, Failed, Work
from shared.logs import logger
from shared.pipeline import Lane, Stage
from shared.systems.permits import Calling, calling
from workers.stages import Runner

log = logger(__name__)
T = TypeVar("T")


class _Kind(NamedTuple):
    """What tells the terms of one group from those of another; as in `Calling`."""

    lane: Lane
    out_of_turn: bool
    again: bool


def _kind(works: Sequence[Work]) -> _Kind:
    first = works[0]
    return _Kind(first.lane, first.must_call, first.attempt > 1 and all(work.attempt > 1 for work in works))


class CallLoop:
    """The loop and the stages of one process."""

    def __init__(self, build: Callable[[], Mapping[Stage, Runner]]) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="calls", daemon=True)
        self._thread.start()
        self._writers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="straggler")
        self._late: set[Future[Any]] = set()
        self._kept: list[Future[None]] = []
        self.stages = build()

    def call(self, coroutine: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Run *coroutine* on the loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)

    def keep(self, step: Callable[[], Awaitable[object]], every_s: float, without: str) -> None:
        """Do *step*, which asks the ledger, every *every_s* seconds beside all else, for as long as the loop runs.

        Where the ledger is away, *without* is logged once.
        """

        async def kept() -> None:
            is_logged = False
            while True:
                try:
                    await step()
                    is_logged = False
                except LedgerError as error:
                    if not is_logged:
                        log.warning(without, cause=str(error))
                    is_logged = True
                await asyncio.sleep(every_s)

        self._kept.append(asyncio.run_coroutine_threadsafe(kept(), self._loop))

    def run(
        self,
        stage: Stage,
        works: Sequence[Work],
        patience_s: float,
        conclude_late: Callable[[list[Answer]], object],
        terms: Calling,
    ) -> list[Answer]:
        """Try *works* at *stage*; return the answers that came within *patience_s*.

        Later ones are handed to *conclude_late*, in a thread, a group at a time.  *terms* say for whom calls are made,
        and until when.
        """
        runner = self.stages[stage]
        groups = [works[start : start + runner.group] for start in range(0, len(works), runner.group)]
        kinds = [_kind(group) for group in groups]
        terms_of = {kind: replace(terms, **kind._asdict()) for kind in set(kinds)}

        async def answered() -> list[Answer]:
            pairs = zip(groups, kinds, strict=True)
            tasks = [asyncio.create_task(self._group(runner, group, terms_of[kind])) for group, kind in pairs]
            done, late = await asyncio.wait(tasks, timeout=max(0.0, min(patience_s, terms.left_s)))
            for task in late:
                self._expect(task, conclude_late, terms)
            return [answer for task in tasks if task in done for answer in task.result()]

        return self.call(answered())

    def is_up(self, stage: Stage, within_s: float) -> bool | None:
        """Test the connection of *stage*; None: the budget leaves no call for it."""
        client = self.stages[stage].client

        async def passes() -> bool | None:
            if client is None:
                return True
            calling.set(Calling(out_of_turn=True))
            try:
                async with asyncio.timeout(within_s):
                    await client.test()
            except BudgetSpentError:
                return None
            except (StageError, TimeoutError) as error:
                error.__traceback__ = error.__context__ = None  # frames there may hold the error
                return False
            return True

        return self.call(passes())

    def close(self, timeout_s: float) -> None:
        """Wait for the stragglers, then end the loop."""
        for late in list(self._late):
            late.result(timeout_s)
        for kept in self._kept:
            kept.cancel()
        self._writers.shutdown(wait=True)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout_s)

    async def _group(self, stage: Runner, works: Sequence[Work], terms: Calling) -> list[Answer]:
        """Try *works* together; whatever escapes the stage is a bug of one of them, so then each is tried alone.

        It is cancelled at the end of the lease, by `_expect`.
        """
        calling.set(terms)
        if terms.left_s <= 0:
            return [(work, Failed(LeaseLostError("membersync"))) for work in works]
        try:
            return list(zip(works, await stage.run(works), strict=True))
        except asyncio.CancelledError:
            failed = Failed(OutcomeUnknownError("membersync", "no end within the lease"))
            return [(work, failed) for work in works]
        except Exception as error:  # noqa: BLE001  # it becomes that member's dead letter
            if len(works) == 1:
                return [(works[0], error)]
        alone = [asyncio.create_task(self._group(stage, [work], terms)) for work in works]
        try:
            await asyncio.wait(alone)
        except asyncio.CancelledError:
            for one in alone:
                one.cancel()
            await asyncio.wait(alone)
        return [answer for one in alone for answer in one.result()]

    def _expect(
        self, task: "asyncio.Task[list[Answer]]", conclude_late: Callable[[list[Answer]], object], terms: Calling
    ) -> None:
        finished: Future[None] = Future()
        self._late.add(finished)

        def write(answers: list[Answer]) -> None:
            try:
                conclude_late(answers)
            except Exception as error:  # noqa: BLE001  # nobody asks for this thread's result; their leases run out
                log.error("late answers were not written", answers=len(answers), error=type(error).__name__)
            finally:
                self._late.discard(finished)
                finished.set_result(None)

        # Only who is late has a timer: one for each group would cost more than the rest of its bookkeeping.
        end = None if isinf(terms.left_s) else self._loop.call_later(max(0.0, terms.left_s), task.cancel)

        def ended(task: "asyncio.Task[list[Answer]]") -> None:
            if end is not None:
                end.cancel()
            self._writers.submit(write, task.result())

        task.add_done_callback(ended)
