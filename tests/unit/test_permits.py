"""Permission for each call, out of a budget: nobody waits for ever, nobody goes unpaid."""

import asyncio
import threading

import pytest

from shared.errors import BudgetSpentError, LedgerError
from shared.lease_clock import lease_clock
from shared.pipeline import Lane
from shared.systems.permits import Calling, Permits, calling
from tests.rig import eventually


def test_one_who_comes_back_at_once_is_served_again() -> None:
    async def often() -> None:
        permits = Permits("CrowdTwist", lambda _lane, wanted: (wanted, 0.0, lease_clock()))
        async with asyncio.timeout(5):
            for _ in range(200):
                await permits.take()

    asyncio.run(often())


def test_those_who_wait_together_share_a_payment_and_each_is_paid_for() -> None:
    paid: list[int] = []

    def pay(_lane: Lane, wanted: int) -> tuple[int, float, float]:
        paid.append(wanted)
        return wanted, 0.0, lease_clock()

    async def together() -> None:
        permits = Permits("CrowdTwist", pay)
        async with asyncio.timeout(5):
            await asyncio.gather(*(permits.take() for _ in range(100)))

    asyncio.run(together())
    assert sum(paid) == 100
    assert len(paid) < 100


def test_a_call_that_would_go_out_long_after_its_payment_is_paid_for_again() -> None:
    paid: list[int] = []

    async def late() -> None:
        loop = asyncio.get_running_loop()

        def pay(_lane: Lane, wanted: int) -> tuple[int, float, float]:
            if not paid:
                loop.call_soon_threadsafe(threading.Event().wait, 0.03)  # hangs the loop
            paid.append(wanted)
            return wanted, 0.0, lease_clock()

        async with asyncio.timeout(5):
            await Permits("CrowdTwist", pay, fresh_s=0.02).take()

    asyncio.run(late())
    assert paid == [1, 1]


def test_a_payment_whose_answer_was_long_on_its_way_is_no_permit() -> None:
    paid: list[int] = []

    def pay(_lane: Lane, wanted: int) -> tuple[int, float, float]:
        paid_at = lease_clock()
        if not paid:
            threading.Event().wait(0.03)  # the ledger has counted it, and commits
        paid.append(wanted)
        return wanted, 0.0, paid_at

    async def late() -> None:
        async with asyncio.timeout(5):
            await Permits("CrowdTwist", pay, fresh_s=0.02).take()

    asyncio.run(late())
    assert paid == [1, 1]


def test_what_is_not_granted_is_refused_with_the_time_to_wait() -> None:
    async def ask() -> list[BaseException | float]:
        permits = Permits("CrowdTwist", lambda _lane, _wanted: (3, 7.5, lease_clock()))
        async with asyncio.timeout(5):
            return await asyncio.gather(*(permits.take() for _ in range(5)), return_exceptions=True)

    refused = [answer for answer in asyncio.run(ask()) if isinstance(answer, BudgetSpentError)]
    assert [error.more_in_s for error in refused] == [7.5, 7.5]


def test_a_ledger_that_is_away_refuses_instead_of_breaking() -> None:
    def pay(_lane: Lane, _wanted: int) -> tuple[int, float, float]:
        raise LedgerError("away")

    async def ask() -> None:
        async with asyncio.timeout(5):
            await Permits("CrowdTwist", pay).take()

    with pytest.raises(BudgetSpentError):
        asyncio.run(ask())


def test_each_lane_pays_for_itself() -> None:
    lanes: list[Lane] = []

    def pay(lane: Lane, wanted: int) -> tuple[int, float, float]:
        lanes.append(lane)
        return wanted, 0.0, lease_clock()

    async def ask() -> None:
        permits = Permits("CrowdTwist", pay)
        calling.set(Calling(lane=Lane.BULK))
        async with asyncio.timeout(5):
            await permits.take()

    asyncio.run(ask())
    assert lanes == [Lane.BULK]


def test_what_could_not_be_counted_again_is_counted_with_the_next_payment() -> None:
    done: list[tuple[str, Lane, int]] = []
    away = [True]

    def charge(lane: Lane, calls: int) -> None:
        if away.pop() if away else False:
            raise LedgerError("away")
        done.append(("charged", lane, calls))

    def pay(lane: Lane, wanted: int) -> tuple[int, float, float]:
        done.append(("paid", lane, wanted))
        return wanted, 0.0, lease_clock()

    async def twice() -> None:
        permits = Permits("CrowdTwist", pay, charge)
        async with asyncio.timeout(5):
            permits.connected(await permits.take())  # at once: it is not counted again
            permits.connected(lease_clock() - 1)
            await asyncio.to_thread(eventually, lambda: not away, "the ledger was away")
            await permits.take()
            await asyncio.to_thread(eventually, lambda: len(done) == 3, "it is back", 5)

    asyncio.run(twice())
    assert sorted(done) == [("charged", Lane.LIVE, 1), ("paid", Lane.LIVE, 1), ("paid", Lane.LIVE, 1)]
