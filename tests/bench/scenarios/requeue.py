"""How long the plan of a requeue takes over a million dead letters: what an operator waits for before saying yes."""

import statistics
import time
from collections.abc import Sequence

from sqlalchemy import text

from producers.operations.job_control import Ask, Selection, plan
from shared.ledger.filters import Filter
from shared.ledger.jobs import Kind
from shared.pipeline import State
from shared.settings import Settings
from tests.bench.drain import drained, running, say
from tests.bench.many import multiply
from tests.bench.scenarios import Options, Start

TITLE = "the plan of a requeue over a million dead letters"
KEYS: Sequence[str] = ("requeue_plan_s",)
_LETTERS = 1_000_000
_ORIGINALS = 500
_TIMES = 5


def run(start: Start, options: Options) -> dict[str, float]:
    """Ask for the plan of every dead letter, as many as one job takes."""
    with start() as on:
        with running(on):
            drained(on, _ORIGINALS, "originals")
        with on.ledger.begin() as tx:
            tx.execute(_BURY)
        letters = multiply(on.ledger, options.scaled(_LETTERS, 10_000))
        ask = Ask(Kind.REQUEUE, Selection(where=Filter(states=(State.DEAD,))))
        settings = Settings(_env_file=None, ledger_url=on.ledger_url)
        took = []
        for _ in range(_TIMES):
            began = time.perf_counter()
            planned = plan(on.ledger, ask, settings)
            took.append(time.perf_counter() - began)
    say(f"{letters:,} dead letters, {planned.touched:,} of them in the plan; slowest {max(took):.2f} s")
    return {"requeue_plan_s": statistics.median(took)}


_BURY = text("""
    update instance set state = 'dead', stage = 'crowdtwist', due_stage = 'crowdtwist', status = 'CT Failure',
        error = 'CrowdTwist answered 503', code = 'unavailable', failed_stage = 'crowdtwist'
""")
"""Make dead letters of what has ended."""
