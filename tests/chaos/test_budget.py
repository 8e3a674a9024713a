"""A budget of 600 calls a minute, 3 workers, 2 dispatchers and 3,000 due: never over it, and nearly all of it used."""

import time
from contextlib import ExitStack

from shared.pipeline import Lane
from tests.rig import DISPATCHER, Pipeline, eventually, member_event

PER_MINUTE = 600


def test_no_minute_has_more_calls_than_the_budget_and_hardly_fewer(pipeline: Pipeline) -> None:
    pipeline.settings |= {
        "MEMBERSYNC_CROWDTWIST__BUDGET_PER_MINUTE": str(PER_MINUTE),
        "MEMBERSYNC_DISPATCHER__TICK_S": "0.5",
    }
    control = pipeline.sandbox.control
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(pipeline.process(*DISPATCHER))
        for name in ("w1", "w2", "w3"):
            stack.enter_context(pipeline.worker(name))
        pipeline.send(*(member_event(f"M-{index}") for index in range(3000)), lane=Lane.LIVE)
        began = time.monotonic()
        eventually(lambda: control.state("crowdtwist")["calls_total"] >= PER_MINUTE, "the first minute's", within_s=45)
        eventually(lambda: control.state("crowdtwist")["calls_total"] >= PER_MINUTE * 2, "the second's", within_s=90)
        took_s = time.monotonic() - began
        state = control.state("crowdtwist")
    assert state["max_calls_per_minute"] <= PER_MINUTE
    # Two budgets were spent in the one period of 61 s between them, and what it took to spend them.
    assert state["calls_total"] / PER_MINUTE >= 0.95 * (1 + (took_s - 10) / 60)
