"""The slots of a process: how many calls are in flight at once, by a limit that changes while they are."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import BudgetSpentError, LeaseLostError, OutcomeUnknownError, StageError, UnreachableError
from shared.lifecycle.shares import shares
from shared.lifecycle.windows import Answers, bucket, quantile_s
from shared.pipeline import Lane
from shared.systems.answers import Answer, came_of
from shared.systems.permits import Calling, Came, Slots, calling
from shared.systems.transport import Door, Request


async def waiting(slots: Slots, count: int) -> list["asyncio.Task[None]"]:
    tasks = [asyncio.create_task(slots.take(5)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


def in_flight(slots: Slots) -> int:
    return slots.window(1.0)[0].in_flight


def test_a_higher_share_lets_those_in_who_wait_first_come_first_served() -> None:
    async def story() -> list[bool]:
        slots = Slots(1)
        tasks = await waiting(slots, 4)
        slots.share(3, 3)
        await asyncio.sleep(0)
        found = [task.done() for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return found

    assert asyncio.run(story()) == [True, True, True, False]


def test_the_live_lane_goes_first() -> None:
    async def story() -> list[bool]:
        slots = Slots(1)
        await slots.take(1)
        calling.set(Calling(lane=Lane.BULK))
        bulk = await waiting(slots, 2)
        calling.set(Calling(lane=Lane.LIVE))
        (live,) = await waiting(slots, 1)
        slots.give_back()
        await asyncio.sleep(0)
        found = [task.done() for task in (live, *bulk)]
        for task in bulk:
            task.cancel()
        await asyncio.gather(*bulk, return_exceptions=True)
        return found

    assert asyncio.run(story()) == [True, False, False]


def test_who_has_failed_before_has_half_of_the_slots_and_goes_behind_its_lane() -> None:
    async def story() -> list[bool]:
        slots = Slots(4)
        calling.set(Calling(again=True))
        failed = await waiting(slots, 4)
        calling.set(Calling(lane=Lane.BULK))
        bulk = await waiting(slots, 1)
        calling.set(Calling())
        first = await waiting(slots, 2)
        found = [task.done() for task in (*failed, *bulk, *first)]
        for task in (*failed, *bulk, *first):
            task.cancel()
        await asyncio.gather(*failed, *bulk, *first, return_exceptions=True)
        return found

    assert asyncio.run(story()) == [True, True, False, False, True, True, False]


def test_of_few_slots_one_is_for_who_has_failed_before() -> None:
    async def story() -> None:
        slots = Slots(1)
        calling.set(Calling(again=True))
        for _ in range(3):
            await slots.take(0.01)
            slots.give_back()

    asyncio.run(story())


def test_what_is_lost_of_who_has_failed_before_says_nothing_of_the_other_side() -> None:
    async def story() -> Mapping[str, Answers]:
        slots = Slots(9)
        calling.set(Calling(again=True))
        slots.note("PUT", Came.TIMED_OUT, 3.0)
        slots.note("PUT", Came.GOOD, 0.1)
        return slots.window(1.0)[0].operations

    assert asyncio.run(story()) == {"PUT": Answers({bucket(0.1): 1.0})}


def test_a_lower_share_lets_nobody_in_until_enough_are_back() -> None:
    async def story() -> list[bool]:
        slots = Slots(3)
        await waiting(slots, 3)
        slots.share(1, 1)
        (late,) = await waiting(slots, 1)
        found = []
        for _ in range(3):
            slots.give_back()
            await asyncio.sleep(0)
            found.append(late.done())
        return found

    assert asyncio.run(story()) == [False, False, True]


def test_who_gave_up_waiting_takes_no_slot_from_who_came_later() -> None:
    async def story() -> tuple[bool, bool, int]:
        slots = Slots(1)
        await slots.take(LONG_S)
        first = asyncio.create_task(slots.take(0.01))
        (second,) = await waiting(slots, 1)
        (gave_up,) = await asyncio.gather(first, return_exceptions=True)
        slots.give_back()
        await second
        slots.give_back()
        await slots.take(LONG_S)  # so none is left out
        return isinstance(gave_up, TimeoutError), second.done(), slots.window(1.0)[1]

    assert asyncio.run(story()) == (True, True, 3)


def test_no_share_lets_nobody_in() -> None:
    async def story() -> None:
        slots = Slots(5)
        slots.share(0, 0)
        with pytest.raises(TimeoutError):
            await slots.take(0.01)
        slots.share(1, 1)
        await slots.take(0.01)

    asyncio.run(story())


def test_who_gives_up_in_the_moment_in_which_a_slot_comes_back_just_gives_up() -> None:
    async def story() -> object:
        slots = Slots(1)
        await slots.take(1)
        (late,) = await waiting(slots, 1)
        late.cancel()
        slots.give_back()
        (found,) = await asyncio.gather(late, return_exceptions=True)
        await slots.take(0.01)  # nobody has it
        return found

    assert isinstance(asyncio.run(story()), asyncio.CancelledError)


def test_who_gave_up_waiting_takes_no_slot() -> None:
    async def story() -> int:
        slots = Slots(1)
        await slots.take(1)
        with pytest.raises(TimeoutError):
            await slots.take(0.01)
        (cancelled,) = await waiting(slots, 1)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        slots.give_back()
        await slots.take(0.01)
        return in_flight(slots)

    assert asyncio.run(story()) == 1


def test_who_gives_up_in_the_moment_it_gets_a_slot_gives_it_back() -> None:
    async def story() -> None:
        slots = Slots(1)
        await slots.take(1)
        (turn,) = await waiting(slots, 1)
        slots.give_back()  # it has the slot now, and does not run yet
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
        await slots.take(0.01)

    asyncio.run(story())


def test_a_window_tells_what_came_and_begins_anew() -> None:
    async def story() -> None:
        slots = Slots(2)
        await slots.take(1)
        await slots.take(1)
        late = await waiting(slots, 3)
        slots.note("PUT", Came.GOOD, 0.2)
        slots.note("PUT", Came.GOOD, 0.2)
        slots.note("PUT", Came.TIMED_OUT, 30.0)
        slots.note("POST", Came.UNSERVED, 0.01)
        window, wanted, _ = slots.window(1.5)
        assert window.operations == {
            "PUT": Answers({bucket(0.2): 2.0}, timed_out=1),
            "POST": Answers(unserved=1),
        }
        assert (window.lasted_s, window.in_flight, window.reached, wanted) == (1.5, 2, True, 5)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        slots.give_back()
        slots.window(1.0)
        window, wanted, _ = slots.window(1.0)
        assert (window.operations, window.in_flight, window.reached, wanted) == ({}, 1, False, 1)

    asyncio.run(story())


demands = st.dictionaries(st.sampled_from([f"w{number}" for number in range(9)]), st.integers(0, 300), min_size=1)


@given(st.integers(1, 600), demands, st.integers(0, 1000))
def test_shares_are_together_the_limit_and_nobody_is_starved(limit: int, wanted: Mapping[str, int], turn: int) -> None:
    given_ = shares(limit, wanted, turn=turn)

    assert given_.keys() == wanted.keys()
    assert sum(given_.values()) == max(limit if limit > len(wanted) else 0, min(limit, len(wanted)))
    if limit >= len(wanted):
        assert min(given_.values()) >= 1
    if sum(max(1, demand) for demand in wanted.values()) <= limit:
        assert all(given_[name] >= demand for name, demand in wanted.items())


@given(st.integers(1, 600), demands)
def test_who_wants_more_gets_no_less(limit: int, wanted: Mapping[str, int]) -> None:
    given_ = shares(limit, wanted, turn=0)

    for one, less in wanted.items():
        for other, more in wanted.items():
            if more > less:
                assert given_[other] >= given_[one] - 1


def test_where_it_is_not_enough_for_all_those_who_want_take_turns() -> None:
    wanted = {"a": 5, "b": 0, "c": 5, "d": 5}

    had = [next(name for name, share in shares(1, wanted, turn=turn).items() if share) for turn in range(8)]

    assert set(had) == {"a", "c", "d"}


def test_nobody_there_has_no_share() -> None:
    assert shares(5, {}, turn=3) == {}


@pytest.mark.parametrize(
    ("answer", "came"),
    [
        (Answer(200, {}), Came.GOOD),
        (Answer(204, None), Came.GOOD),
        (Answer(500, None), Came.UNSERVED),
        (Answer(500, {"ERROR": "x"}), Came.UNSERVED),
        (Answer(503, None), Came.UNSERVED),
        (Answer(408, None), Came.UNSERVED),
        (OutcomeUnknownError("Siebel", "no answer"), Came.TIMED_OUT),
        (UnreachableError("Siebel", "refused"), Came.UNCONNECTED),
        # what says nothing of load: refusals, wishes for patience, a page elsewhere, no time of our own
        *((Answer(status, {}), None) for status in (302, 400, 401, 403, 404, 409, 422, 429)),
        (Answer(503, None, retry_after="3"), None),
        (LeaseLostError("Siebel"), None),
    ],
)
def test_what_an_answer_says_of_load(answer: Answer | StageError, came: Came | None) -> None:
    assert came_of(answer, frozenset()) is came


def test_words_about_a_record_say_nothing_of_load_whatever_their_status() -> None:
    reads = frozenset({500})

    assert came_of(Answer(500, {"ERROR": "Wrong value (SBL-DAT-00001)"}), reads) is None
    assert came_of(Answer(500, None), reads) is Came.UNSERVED


LONG_S = 60.0


@asynccontextmanager
async def answering(wait: Callable[[], Awaitable[object]]) -> AsyncIterator[Door]:
    """A door to a server that answers when it has waited."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await wait()
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = "http://{}:{}".format(*server.sockets[0].getsockname())
    door = Door("Siebel", url, timeout_s=LONG_S, calls_in_flight=50)
    try:
        yield door
    finally:
        await door.close()
        server.close()


def test_a_call_that_finds_no_slot_of_a_shared_limit_comes_again_at_no_cost() -> None:
    async def story() -> tuple[Answer, BudgetSpentError]:
        over = asyncio.Event()
        async with answering(over.wait) as door:
            door.slots.share(1, 1)
            first = asyncio.create_task(door.send(Request("GET", "/"), LONG_S))
            await asyncio.sleep(0)
            assert in_flight(door.slots) == 1
            with pytest.raises(BudgetSpentError) as second:
                await door.send(Request("GET", "/"), 0.1)
            over.set()
            return await first, second.value

    _, second = asyncio.run(story())
    assert "in flight" in str(second)
    assert not second.counts_for_breaker


def test_a_call_is_counted_by_what_it_took_and_how_much_was_asked() -> None:
    async def story() -> Mapping[str, Answers]:
        async with answering(partial(asyncio.sleep, 0.05)) as door:
            await door.send(Request("GET", "/"), LONG_S)
            await door.send(Request("PUT", "/", rows=37), LONG_S)
            return door.slots.window(1.0)[0].operations

    shown = asyncio.run(story())
    assert {name: answers.count for name, answers in shown.items()} == {"GET": 1, "PUT 10+": 1}
    assert all(0.045 <= quantile_s(answers.good, 0.5) < LONG_S for answers in shown.values())
