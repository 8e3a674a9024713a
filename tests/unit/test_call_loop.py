"""The loop of a worker process: a batch waits for nobody for long, and nothing of it outlives the lease."""

import asyncio
import threading
from collections.abc import Iterator, Sequence

import pytest

from shared.errors import OutcomeUnknownError
from shared.instances import Answer, Done, Failed, Result, Work
from shared.lease_clock import lease_clock
from shared.pipeline import Lane, Stage
from shared.systems.permits import Calling, calling
from shared.systems.transport import Client
from workers.loop import CallLoop

SLOW, BROKEN = "slow", "broken"


class Runner:
    """A stage of groups of two, that never ends for a member called slow and raises for one called broken."""

    group = 2
    client: Client | None = None

    def __init__(self) -> None:
        self.terms: dict[str, Calling] = {}

    async def run(self, works: Sequence[Work]) -> Sequence[Result]:
        numbers = [work.member_number for work in works]
        self.terms |= dict.fromkeys(numbers, calling.get())
        if BROKEN in numbers and len(numbers) > 1:
            raise RuntimeError
        if SLOW in numbers:
            await asyncio.sleep(60)
        return [Done(number) for number in numbers]


@pytest.fixture
def runner() -> Runner:
    return Runner()


@pytest.fixture
def loop(runner: Runner) -> Iterator[CallLoop]:
    made = CallLoop(lambda: dict.fromkeys(Stage, runner))
    yield made
    made.close(5)


def work(number: str, lane: Lane = Lane.LIVE) -> Work:
    return Work(1, 7, 1, number, "update", {}, lane=lane)


def run(loop: CallLoop, numbers: Sequence[str], lease_s: float) -> tuple[list[Answer], list[Answer]]:
    """Return the answers that came soon, and those that came late or with the end of the lease."""
    late: list[Answer] = []
    came = threading.Event()

    def take(answers: list[Answer]) -> None:
        late.extend(answers)
        came.set()

    terms = Calling(lease_ends=lease_clock() + lease_s)
    soon = loop.run(Stage.CROWDTWIST, [work(number) for number in numbers], 0.05, take, terms)
    if len(soon) < len(numbers):
        assert came.wait(5)
    return soon, late


@pytest.mark.parametrize("lease_s", [0.2, 0.02])
def test_who_has_no_answer_at_the_end_of_the_lease_is_unknown(loop: CallLoop, lease_s: float) -> None:
    soon, late = run(loop, ["A", "B", SLOW, "C"], lease_s)
    assert [one.member_number for one, _ in soon] == ["A", "B"]
    assert [one.member_number for one, _ in late] == [SLOW, "C"]
    assert all(isinstance(said, Failed) and isinstance(said.error, OutcomeUnknownError) for _, said in late)


def test_of_a_group_that_is_tried_one_by_one_only_the_hanging_one_is_unknown(loop: CallLoop) -> None:
    _, late = run(loop, [SLOW, BROKEN], 0.2)
    said = {one.member_number: result for one, result in late}
    assert isinstance(said[SLOW], Failed)
    assert said[BROKEN] == Done(BROKEN)


def test_each_group_is_called_for_in_its_own_lane(loop: CallLoop, runner: Runner) -> None:
    works = [work("A"), work("B"), work("C", Lane.BULK)]
    loop.run(Stage.CROWDTWIST, works, 5, lambda _: None, Calling())
    assert {number: terms.lane for number, terms in runner.terms.items()} == {
        "A": Lane.LIVE,
        "B": Lane.LIVE,
        "C": Lane.BULK,
    }
