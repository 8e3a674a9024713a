"""One limit of calls in flight for all workers: it settles near what a system takes, and falls when it takes less."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from producers.dispatch.dispatcher import Dispatcher
from shared.ledger import call_limits, connections
from shared.ledger.call_limits import SLOTS, Looked, Shown
from shared.lifecycle.concurrency import START, Limit, Rules
from shared.lifecycle.windows import Answers, Window, bucket
from shared.pipeline import Lane, Stage
from shared.settings import settings
from tests.rig import DISPATCHER, Pipeline, eventually, member_event, publishing

RULES = {Stage.CROWDTWIST: Rules(1, 500, 10.0)}
ADAPTIVE = {"MEMBERSYNC_CROWDTWIST__ADAPTIVE": "true", "MEMBERSYNC_SIEBEL__ADAPTIVE": "true"}
GOOD = Answers({bucket(0.2): 40.0})


def shown(answers: Answers, in_flight: int, wanted: int | None = None, of: int = START) -> dict[Stage, Shown]:
    window = Window(1.0, {"PUT": answers}, in_flight, reached=wanted is not None)
    return {Stage.CROWDTWIST: Shown(window, wanted or in_flight, of)}


def later(tx: Connection, seconds: float) -> None:
    """Let so much time pass."""
    ago = f"make_interval(secs => {seconds})"
    tx.execute(text(f"update call_limit set looked_at = looked_at - {ago}, upto = upto - {ago}"))
    tx.execute(text(f"update call_window set at = at - {ago}"))


def look(tx: Connection) -> Looked:
    later(tx, 1.0)
    (looked,) = call_limits.look(tx, RULES)
    return looked


@pytest.fixture
def tx(ledger: Engine) -> Iterator[Connection]:
    with ledger.begin() as transaction:
        yield transaction
        transaction.rollback()


def test_each_process_gets_its_share_of_one_limit(tx: Connection) -> None:
    assert call_limits.tell(tx, "w/1", 0, shown(GOOD, 4, wanted=30)) == {}
    call_limits.tell(tx, "w/2", 0, shown(GOOD, 1))
    limit = look(tx).now.limit

    one = call_limits.tell(tx, "w/1", 1, {})[Stage.CROWDTWIST]
    other = call_limits.tell(tx, "w/2", 1, {})[Stage.CROWDTWIST]

    assert one.limit + other.limit == limit == one.of == other.of
    assert one.limit > other.limit >= 1


def test_what_all_processes_showed_is_looked_at_together_and_once(tx: Connection) -> None:
    for process in ("w/1", "w/2"):
        call_limits.tell(tx, process, 0, shown(GOOD, START // 2, wanted=START))
    first = look(tx)
    again = look(tx)

    assert first.was.limit == START
    assert first.now.limit == 2 * START
    assert first.now.was_rate == pytest.approx(80, rel=0.3)
    assert again.now == again.was == first.now


def test_only_one_dispatcher_looks_in_a_second(tx: Connection) -> None:
    call_limits.tell(tx, "w/1", 0, shown(GOOD, 4, wanted=5))
    look(tx)

    assert call_limits.look(tx, RULES) == []


def test_a_process_that_died_gives_its_share_back(tx: Connection) -> None:
    for process in ("w/1", "w/2"):
        call_limits.tell(tx, process, 0, shown(GOOD, 4, wanted=30))
    look(tx)
    later(tx, call_limits.ALIVE_S)
    call_limits.tell(tx, "w/1", 1, shown(GOOD, 4, wanted=30))
    limit = look(tx).now.limit

    assert call_limits.tell(tx, "w/1", 2, {})[Stage.CROWDTWIST].limit == limit
    assert Stage.CROWDTWIST not in call_limits.tell(tx, "w/2", 2, {})


def test_a_process_that_ends_gives_its_share_back_at_once(tx: Connection) -> None:
    for process in ("w/1", "w/2"):
        call_limits.tell(tx, process, 0, shown(GOOD, 4, wanted=30))
    call_limits.leave(tx, "w/2")
    limit = look(tx).now.limit

    assert call_limits.tell(tx, "w/1", 1, {})[Stage.CROWDTWIST].limit == limit


def test_losses_lower_the_limit_and_say_why_where_people_look(tx: Connection) -> None:
    call_limits.tell(tx, "w/1", 0, shown(Answers(timed_out=9), 8))
    looked = look(tx)
    state = next(one for one in connections.connections(tx, {}) if one.name == Stage.CROWDTWIST).calls

    assert looked.now.limit == START // 8
    assert state is not None
    assert (state.limit, state.in_flight, state.backoffs) == (START // 8, 8, 1)
    assert state.reason == "9 of 9 calls were lost: 9 timed out"


def test_a_limit_that_is_fixed_is_forgotten(tx: Connection) -> None:
    call_limits.tell(tx, "w/1", 0, shown(GOOD, 4, wanted=5))
    look(tx)

    assert call_limits.look(tx, {}) == []
    assert [one.calls for one in connections.connections(tx, {})] == [None] * 3


def test_a_process_keeps_a_bounded_number_of_rows(tx: Connection) -> None:
    for turn in range(3 * SLOTS):
        call_limits.tell(tx, "w/1", turn, shown(GOOD, 1))

    assert tx.execute(text("select count(*) from call_window")).scalar() == SLOTS
    later(tx, 120)
    call_limits.forget(tx)
    assert tx.execute(text("select count(*) from call_window")).scalar() == 0


def test_nobody_is_sent_to_wait_for_a_slot_in_vain(pipeline: Pipeline) -> None:
    pipeline.settings |= ADAPTIVE
    claimed = []
    with publishing(pipeline.environment):
        for turn, wanted in enumerate((0, 30, 50)):  # it lets 20 calls through in 2 s
            dispatcher = Dispatcher(settings())
            known = Limit(4, unloaded={"PUT": {bucket(0.4): 9.0}})
            window = Window(1.0, {}, 4, reached=True)
            with pipeline.ledger.begin() as tx:
                call_limits.tell(tx, "w/1", turn, {Stage.CROWDTWIST: Shown(window, wanted, 4)})
                tx.execute(
                    text("update call_limit set known = cast(:known as jsonb)"), {"known": call_limits.kept(known)}
                )
                later(tx, 1.0)
            dispatcher.turn()
            pipeline.send(member_event(f"L-{turn}"))
            pipeline.send(member_event(f"B-{turn}"), lane=Lane.BULK)
            dispatcher.turn()
            running = f"select lane from instance where state = 'running' and member_number like '%-{turn}'"
            claimed.append(set(pipeline.sql(running)))
    assert claimed == [{"live", "bulk"}, {"live"}, set()]


def enqueue(pipeline: Pipeline, series: str, count: int) -> None:
    for start in range(0, count, 500):
        pipeline.send(*(member_event(f"{series}-{number}") for number in range(start, start + 500)), lane=Lane.BULK)


def limit_of(pipeline: Pipeline) -> dict[str, Any]:
    found = pipeline.sql("select known from call_limit where name = 'crowdtwist' and known is not null")
    return dict(found[0]) if found else {"limit": 0, "reason": ""}


def stays(pipeline: Pipeline, least: int, most: int, for_s: float = 4.0) -> bool:
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        if not least <= limit_of(pipeline)["limit"] <= most:
            return False
        time.sleep(0.2)
    return True


@pytest.mark.timeout(500)
def test_real_workers_settle_near_the_knee_and_follow_it_down(pipeline: Pipeline) -> None:
    pipeline.settings |= ADAPTIVE
    control = pipeline.sandbox.control
    control.set("crowdtwist", latency_ms=400, capacity=20)
    with ExitStack() as stack:
        stack.enter_context(pipeline.process(*DISPATCHER))
        stack.enter_context(pipeline.worker("w1"))
        stack.enter_context(pipeline.worker("w2"))
        enqueue(pipeline, "K", 4_000)
        eventually(lambda: stays(pipeline, 14, 36), "a limit near the knee of 20", 180)
        assert int(control.state("crowdtwist")["in_flight"]) <= 40

        enqueue(pipeline, "L", 1_000)  # however long that took, there is something to be seen at the new knee
        control.set("crowdtwist", capacity=3)
        eventually(lambda: 1 <= limit_of(pipeline)["limit"] <= 6, "a limit near the new knee of 3", 180)
        eventually(lambda: int(control.state("crowdtwist")["in_flight"]) <= 8, "no more calls than that")

    assert pipeline.sql("select count(*) from activity where code = 'outcome_unknown'") == [0]
    assert pipeline.sql("select breaker from connection where name = 'crowdtwist'") == ["closed"]
