"""A large requeue goes on when processes die in the middle, and live events do not wait for it."""

import os
import signal
import time
from contextlib import ExitStack

from producers.operations import job_control
from producers.operations.job_control import Ask, Operator, Selection
from shared.ledger.filters import Filter
from shared.ledger.jobs import Kind
from shared.pipeline import State
from shared.settings import Settings
from tests.rig import DISPATCHER, Pipeline, eventually, member_event

COUNT = 1_000
LIVE = 15
BURY = """
    update instance set state = 'dead', code = 'unavailable', failed_stage = 'oic', attempt = 12,
                        status = 'OIC Failure', error = 'OIC: could not serve us (HTTP 503)', finished_at = now()
    where state = 'pending'
"""


def test_a_requeue_survives_its_dispatcher_and_spares_the_live_lane(pipeline: Pipeline) -> None:
    pipeline.send(*(member_event(f"D-{index}") for index in range(COUNT)))
    pipeline.sql(BURY)
    selection = Selection(where=Filter(states=(State.DEAD,)))
    ask = Ask(Kind.REQUEUE, selection, reason="OIC is back", rate=6_000)
    plan, job = job_control.start(pipeline.ledger, Operator("ann", "operator"), ask, Settings())
    assert plan.touched == COUNT
    assert job is not None
    live_s: list[float] = []
    with ExitStack() as stack:
        first = stack.enter_context(pipeline.process(*DISPATCHER))
        stack.enter_context(pipeline.worker())
        eventually(lambda: pipeline.states().get("completed", 0) > 50, "a part of it")
        os.killpg(first.pid, signal.SIGKILL)
        stack.enter_context(pipeline.process(*DISPATCHER))
        for index in range(LIVE):
            sent = time.monotonic()
            pipeline.send(member_event(f"L-{index}"))
            is_there = f"select state from instance where member_number = 'L-{index}'"
            eventually(lambda: pipeline.sql(is_there) == ["completed"], f"live event {index}")  # noqa: B023
            live_s.append(time.monotonic() - sent)
        job_state = "select state from job"
        eventually(lambda: pipeline.sql(job_state) == ["done"], "the job", within_s=90)
    assert pipeline.states() == {"completed": COUNT + LIVE}
    assert pipeline.sandbox.control.state("crowdtwist")["posts"] == COUNT + LIVE
    assert sorted(live_s)[LIVE // 2] < 3
