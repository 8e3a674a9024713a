"""Small requests share transactions, and fail each by itself."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

import anyio
import pytest

from producers.intake import together
from producers.intake.accept import Delivery, IntakeRules, Outcome, Receipt, Sender
from producers.intake.together import Together
from shared.errors import LedgerError
from shared.pipeline import Lane

LIVE, BULK = IntakeRules(Lane.LIVE), IntakeRules(Lane.BULK)


class Ledger:
    """Takes deliveries in, once it is let; *bad* it refuses, and whatever comes with it."""

    def __init__(self, bad: str = "") -> None:
        self.written: list[list[str]] = []
        self.may_go_on = threading.Event()
        self._bad = bad

    def take(self, _: object, deliveries: Sequence[Delivery], __: IntakeRules) -> list[list[Receipt]]:
        names = [one.sender.name for one in deliveries]
        self.written.append(names)
        assert self.may_go_on.wait(5)
        if self._bad in names:
            raise LedgerError("it does not take that")
        return [[Receipt(0, Outcome.ACCEPTED, name)] for name in names]


Story = Callable[[Together, Ledger], Awaitable[object]]


def told(monkeypatch: pytest.MonkeyPatch, story: Story, bad: str = "-") -> Ledger:
    ledger = Ledger(bad)
    monkeypatch.setattr(together, "accept_together", ledger.take)
    monkeypatch.setattr(together, "engine", lambda _: None)

    async def run() -> None:
        await story(Together("", anyio.CapacityLimiter(10)), ledger)

    asyncio.run(run())
    return ledger


async def asked(of: Together, *names: str, rules: IntakeRules = LIVE) -> list["asyncio.Task[list[Receipt]]"]:
    tasks = [asyncio.create_task(of.accept(Delivery([], Sender(name)), rules)) for name in names]
    await asyncio.sleep(0.01)
    return tasks


def test_who_comes_alone_waits_for_nobody_and_who_comes_meanwhile_shares_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(of: Together, ledger: Ledger) -> None:
        tasks = [*await asked(of, "a"), *await asked(of, "b", "c", "d")]
        assert ledger.written == [["a"]]
        ledger.may_go_on.set()
        answers = await asyncio.gather(*tasks)
        assert [answer[0].event_id for answer in answers] == ["a", "b", "c", "d"]  # each its own

    assert told(monkeypatch, story).written == [["a"], ["b", "c", "d"]]


def test_one_that_fails_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(of: Together, ledger: Ledger) -> None:
        tasks = [*await asked(of, "a"), *await asked(of, "b", "bad", "c")]
        ledger.may_go_on.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(answer, LedgerError) for answer in answers] == [False, False, True, False]

    first, beside, *alone = told(monkeypatch, story, "bad").written
    assert (first, beside, sorted(alone)) == (["a"], ["b", "bad", "c"], [["b"], ["bad"], ["c"]])


def test_who_is_held_up_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(of: Together, ledger: Ledger) -> None:
        tasks = [*await asked(of, "stuck"), *await asked(of, "b", "c")]
        await asyncio.sleep(0.3)
        assert ledger.written == [["stuck"], ["b", "c"]]
        ledger.may_go_on.set()
        await asyncio.gather(*tasks)

    told(monkeypatch, story)


def test_who_goes_away_takes_nobody_along(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(of: Together, ledger: Ledger) -> None:
        first = await asked(of, "a")
        away, stays = await asked(of, "away", "stays")
        away.cancel()
        ledger.may_go_on.set()
        await asyncio.gather(*first)
        assert (await stays)[0].event_id == "stays"

    told(monkeypatch, story)


def test_other_rules_are_another_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(of: Together, ledger: Ledger) -> None:
        tasks = [*await asked(of, "a"), *await asked(of, "b"), *await asked(of, "bulk", rules=BULK)]
        tasks += await asked(of, "c")
        ledger.may_go_on.set()
        await asyncio.gather(*tasks)

    assert told(monkeypatch, story).written == [["a"], ["b", "c"], ["bulk"]]
