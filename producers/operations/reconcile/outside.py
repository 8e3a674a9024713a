"""Siebel and CrowdTwist as a run reads them: slowly, within its share, and with patience for one that is down.

Calls to CrowdTwist are paid for out of the run's share of the budget, in the bulk lane, so that the live lane keeps
what is reserved for it; they go out evenly, not in a burst at the beginning of each minute.  While a connection is
paused or its breaker is open nothing is asked, and the run says what it waits for; what it is told of one member is no
word about the system.  While live events wait longer than a second for their turn it goes slowly.  A run whose patience
is over ends as failed: what it could not ask it does not call equal.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

from shared.budgets import budgets, permits, prepaid
from shared.errors import BudgetSpentError, DataError, StageError, ThrottledError
from shared.ledger import connections, run_turns, spending
from shared.ledger.engine import Ledger, transaction
from shared.ledger.run_turns import Turn
from shared.ledger.spending import Budget
from shared.pipeline import SYSTEMS, Lane, Stage
from shared.settings import Settings
from shared.systems.crowdtwist import CrowdTwist, User
from shared.systems.permits import Calling, calling
from shared.systems.siebel import Siebel
from shared.systems.siebel_answers import Page, Row

T = TypeVar("T")
CONTRACT_PER_MINUTE = 10_000
"""Of which a share is taken where CrowdTwist's budget is switched off."""
LEASE_S = 15.0
"""How long a run stands still at most when whoever carries it on vanished with its machine."""
_RENEW_S = 5.0
_TRIES = 3
"""How often one member is asked about while others are answered."""
_IN_FLIGHT = 8
_CHUNK_MAX = 64
_NAP_MAX_S = 30.0
_WHILE_DOWN_S = 2.0
_PACE_S = 0.25
_LATE_S = 1.0
_YIELD_S = 0.5
_YIELDS = 6
"""How often a step waits for live events that are late; then it goes on, lest it stand still for ever."""
_SPREAD = 0.6
"""Over which part of its time a chunk of calls goes out, one after the other; the rest is for what comes of them."""


def share_per_minute(of: Settings, share: float) -> float:
    """Return how many calls a minute a *share* of CrowdTwist's budget is, at least 1.  Pure."""
    return max(1.0, (of.crowdtwist.budget_per_minute or CONTRACT_PER_MINUTE) * share)


class GaveUpError(Exception):
    """A system could not be read for longer than the run's patience; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A member that could not be looked at."""

    why: str


class Outside:
    """The two systems, for one run.

    Units: *patience_s* seconds for which a system that does not answer, or is down, is waited for.
    """

    def __init__(self, settings: Settings, ledger: Ledger, turn: Turn, *, patience_s: float) -> None:
        self._settings = settings
        self._ledger = ledger
        self._turn = turn
        self._patience_s = patience_s
        self.has_siebel = settings.siebel.base_url is not None
        self.has_crowdtwist = settings.crowdtwist.base_url is not None
        self._siebel = Siebel(settings.siebel, _IN_FLIGHT, permits(ledger, settings).get(Stage.SIEBEL))
        self._crowdtwist = CrowdTwist(settings.crowdtwist, _CHUNK_MAX, prepaid(ledger, Stage.CROWDTWIST))
        of = settings.crowdtwist
        self._budget = budgets(settings).get(Stage.CROWDTWIST) or Budget(
            Stage.CROWDTWIST, CONTRACT_PER_MINUTE, of.live_share
        )
        self.per_minute = share_per_minute(settings, turn.share)
        self._next_at = 0.0
        self.renewed_at = time.monotonic()
        self.calls = {Stage.SIEBEL: 0, Stage.CROWDTWIST: 0}
        calling.set(Calling(lane=Lane.BULK))

    async def close(self) -> None:
        """Close the connections."""
        await self._siebel.close()
        await self._crowdtwist.close()

    def take_calls(self) -> dict[str, int]:
        """Return how many calls were made since this was asked last, by the names of the run's counts."""
        made = {f"calls_{stage}": count for stage, count in self.calls.items()}
        self.calls = dict.fromkeys(self.calls, 0)
        return made

    @property
    def chunk(self) -> int:
        """How many members to ask CrowdTwist about at once: half a second's share."""
        return max(1, min(_CHUNK_MAX, int(self.per_minute / 120)))

    async def page(self, after: str, since: datetime | None) -> Page:
        """Return the next page of Siebel's members.

        Raises:
            GaveUpError: it cannot be read.
        """
        try:
            return await self._patiently(Stage.SIEBEL, lambda: self._read_page(after, since))
        except DataError as error:
            raise GaveUpError(str(error)) from None

    async def rows(self, members: Sequence[tuple[str, str | None]]) -> list[Row | Unread | None]:
        """Return the rows of these members, by Member Number and ROW_ID; None: Siebel has no such member.

        Raises:
            GaveUpError: it cannot be read.
        """
        found: list[Row | Unread | None] = []
        for start in range(0, len(members), _IN_FLIGHT):
            calls = [partial(self._read_row, *one) for one in members[start : start + _IN_FLIGHT]]
            found += await self._each(Stage.SIEBEL, calls)
        return found

    async def users(self, numbers: Sequence[str]) -> list[User | Unread | None]:
        """Return CrowdTwist's users of these members, None: it has no such user; paid for and paced.

        Raises:
            GaveUpError: it cannot be read.
        """
        found: list[User | Unread | None] = []
        for start in range(0, len(numbers), self.chunk):
            some = numbers[start : start + self.chunk]
            calls = [partial(self._find, one, place) for place, one in enumerate(some)]
            found += await self._each(Stage.CROWDTWIST, calls)
        return found

    async def nap(self, seconds: float, waiting: str | None = None) -> None:
        """Wait, and keep the lease meanwhile.

        Raises:
            RunLostError: it is lost.
        """
        ends = time.monotonic() + seconds
        while True:
            self._renew(waiting)
            left = ends - time.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(min(left, _RENEW_S))

    def _renew(self, waiting: str | None) -> None:
        self.renewed_at = time.monotonic()
        with transaction(self._ledger) as tx:
            run_turns.renew(tx, self._turn, lease_s=LEASE_S, waiting=waiting)

    async def _read_page(self, after: str, since: datetime | None) -> Page:
        return await self._siebel.page(self._siebel.exchange(), after, since)

    async def _read_row(self, number: str, row_id: str | None) -> Row | None:
        return await self._siebel.read(self._siebel.exchange(), number, row_id)

    async def _find(self, number: str, place: int) -> User | None:
        await asyncio.sleep(place * _SPREAD * 60 / self.per_minute)
        return await self._crowdtwist.find(self._crowdtwist.exchange(), number)

    async def _each(self, stage: Stage, calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T | Unread]:
        """Make calls at once, each for one member; repeat those that fail, and leave members out that fail alone."""
        found: dict[int, T | Unread] = {}
        failed = dict.fromkeys(range(len(calls)), 0)
        began, nap_s = time.monotonic(), 1.0
        while failed:
            await self._may_call(stage, len(failed))
            answers = await asyncio.gather(*(calls[place]() for place in failed), return_exceptions=True)
            errors: dict[int, StageError] = {}
            for place, answer in zip(list(failed), answers, strict=True):
                if isinstance(answer, DataError):
                    found[place] = Unread(answer.what)
                elif isinstance(answer, StageError):
                    errors[place] = answer
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    found[place] = answer
            serves = len(errors) < len(failed) or (bool(errors) and await self._serves(stage))
            failed = {place: failed[place] + serves for place in errors}
            for place in [place for place, tries in failed.items() if tries >= _TRIES]:
                found[place] = Unread(errors[place].what)
                del failed[place]
            if failed:
                error = errors[next(iter(failed))]
                self._lose_patience(stage, began, error.what)
                await self.nap(max(nap_s, _asked_s(error)), f"{SYSTEMS[stage]} to answer: {error.what}")
                nap_s = min(nap_s * 2, _NAP_MAX_S)
        return [found[place] for place in range(len(calls))]

    async def _patiently(self, stage: Stage, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call that is about no one member, again until it is answered."""
        began, nap_s = time.monotonic(), 1.0
        while True:
            await self._may_call(stage, 1)
            try:
                return await call()
            except DataError:
                raise
            except StageError as error:
                self._lose_patience(stage, began, error.what)
                await self.nap(max(nap_s, _asked_s(error)), f"{SYSTEMS[stage]} to answer: {error.what}")
                nap_s = min(nap_s * 2, _NAP_MAX_S)

    async def _serves(self, stage: Stage) -> bool:
        """Return whether the system passes its own test: then who fails has only himself to blame."""
        await self._may_call(stage, 1)
        try:
            await (self._siebel if stage is Stage.SIEBEL else self._crowdtwist).test()
        except StageError:
            return False
        return True

    async def _may_call(self, stage: Stage, count: int) -> None:
        """Wait until *count* calls may go out; what was paid for long before all of them were is counted once more."""
        await self.let_live_go_first()
        began = time.monotonic()
        paid = early = 0
        while True:
            with transaction(self._ledger) as tx:
                gate = connections.gate(tx, stage)
                is_paced = stage is not Stage.CROWDTWIST or time.monotonic() >= self._next_at
                if gate.is_open and stage is Stage.CROWDTWIST and is_paced:
                    paid += spending.pay_share(tx, self._budget, self._turn.share, count - paid).calls
                    if early and paid == count:
                        spending.charge(tx, stage, Lane.BULK, early)
            if not gate.is_open:
                self._lose_patience(stage, began, gate.why)
                await self.nap(_WHILE_DOWN_S, gate.why)
                paid = early = 0  # what was paid for before falls into another minute
                continue
            if is_paced and (paid == count or stage is not Stage.CROWDTWIST):
                break
            early = paid
            await self.nap(_PACE_S if is_paced else self._next_at - time.monotonic())
        self.calls[stage] += count
        if stage is Stage.CROWDTWIST:
            self._next_at = time.monotonic() + count * 60 / self.per_minute
        if time.monotonic() - self.renewed_at > _RENEW_S:
            self._renew(None)

    async def let_live_go_first(self) -> None:
        """Wait a while if live events are late: whatever makes them so, this run takes part of the machine."""
        for _ in range(_YIELDS):
            with transaction(self._ledger) as tx:
                late_s = run_turns.live_is_late_s(tx)
            if late_s < _LATE_S:
                return
            await self.nap(_YIELD_S, "live events, which are late, to go first")

    def _lose_patience(self, stage: Stage, began: float, why: str) -> None:
        if time.monotonic() - began > self._patience_s:
            raise GaveUpError(f"{SYSTEMS[stage]} could not be read for {self._patience_s:g} s: {why}")


def _asked_s(error: StageError) -> float:
    """Return how long they, or our own budget, asked us to wait."""
    if isinstance(error, ThrottledError):
        return error.retry_after_s or 0.0
    return error.more_in_s if isinstance(error, BudgetSpentError) else 0.0
