"""While the broker's queues are full a dispatcher looks seldom, and it looks in time once workers take some of it."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic

import pytest
from sqlalchemy import Engine

from producers.dispatch.dispatcher import Dispatcher
from shared.pipeline import Lane
from shared.settings import settings
from tests.rig import eventually, flush, publishing
from tests.road import Road
from tests.tapped import Tap, tapped

MAY_WAIT = 40
EVENTS = 400
LOOKS_FOR_S = 1.0
MOST_LOOKS = 15
"""Five a second, and those before it knows how slow workers are; it was fifty."""


@pytest.fixture
def tap(ledger_url: str, ledger: Engine, broker_url: str) -> Iterator[Tap]:
    """Run a dispatcher whose queues are full; give what it asks the ledger."""
    Road(ledger).accept(*(f"M-{number}" for number in range(EVENTS)), lane=Lane.BULK)
    flush(broker_url)
    stop = threading.Event()
    with tapped(ledger_url) as seen, ThreadPoolExecutor(1) as thread:
        environment = {
            "MEMBERSYNC_LEDGER_URL": seen.url,
            "MEMBERSYNC_BROKER_URL": broker_url,
            "MEMBERSYNC_DISPATCHER__UNBEGUN_BULK": str(MAY_WAIT),
            "MEMBERSYNC_DISPATCHER__TICK_S": "30",
        }
        with publishing(environment):
            running = thread.submit(Dispatcher(settings()).run, stop)
            try:
                yield seen
            finally:
                stop.set()
                Road(ledger).sql("notify membersync_due")
                running.result(30)


@pytest.fixture
def out(ledger: Engine) -> Callable[[], int]:
    """Count who is out."""
    return lambda: int(Road(ledger).sql("select count(*) from instance where token > 0")[0])


def test_nobody_looks_again_and_again_at_what_no_worker_takes(tap: Tap, out: Callable[[], int]) -> None:
    eventually(lambda: out() == MAY_WAIT, "full queues")
    began = monotonic()
    tap.clear()
    threading.Event().wait(LOOKS_FOR_S)
    looks = sum(any("unbegun" in sql for sql in one.asks) for one in tap.transactions())
    assert looks <= MOST_LOOKS * (monotonic() - began) / LOOKS_FOR_S
    assert out() == MAY_WAIT


@pytest.mark.usefixtures("tap")
def test_what_workers_take_is_filled_up_without_a_call(out: Callable[[], int], ledger: Engine) -> None:
    for taken in range(1, 7):
        eventually(partial(lambda all_of_it: out() == all_of_it, taken * MAY_WAIT), "full", within_s=25)  # no tick
        Road(ledger).sql("update instance set begun = true where token > 0")


def test_what_nobody_begins_in_time_may_wait_longer_each_time(ledger: Engine, ledger_url: str, broker_url: str) -> None:
    """Else what is published anew and anew keeps slow workers from ever beginning any of it in time."""
    Road(ledger).accept("M-1")
    flush(broker_url)
    environment = {
        "MEMBERSYNC_LEDGER_URL": ledger_url,
        "MEMBERSYNC_BROKER_URL": broker_url,
        "MEMBERSYNC_DISPATCHER__UNBEGUN_LEASE_S": "0.1",
        "MEMBERSYNC_DISPATCHER__TICK_S": "0.01",
    }
    with publishing(environment):
        dispatcher = Dispatcher(settings())

        def lease_is_longer() -> bool:
            dispatcher.turn()
            lease = "select extract(epoch from lease_until - now()) from instance where state = 'running'"
            return any(seconds > 0.3 for seconds in Road(ledger).sql(lease))

        eventually(lease_is_longer, "a longer lease")
