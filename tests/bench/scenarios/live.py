"""How long a live event takes while 100,000 bulk events drain at full speed, beside what it takes on the idle stack."""

import statistics
from collections.abc import Sequence

import httpx

from shared.pipeline import Lane
from tests.bench.drain import FROZEN, fresh_events, say
from tests.bench.rig import Rig
from tests.bench.scenarios import Options, Start
from tests.bench.scenarios.idle import told_after_ms
from tests.bench.waits import sampled_waits

TITLE = "live: one at a time while 100,000 bulk events drain"
KEYS: Sequence[str] = ("live_p99_under_bulk_ms",)
_BULK = 100_000
_IDLE = 100
_WARM_UP = 10


def run(start: Start, options: Options) -> dict[str, float]:
    """Run a worker for each lane, as it is deployed; POST live events until the last bulk event is told."""
    bulk = options.scaled(_BULK, 2_000)
    with (
        start() as on,
        on.ours("dispatcher"),
        on.ours("worker", "--lane", "live"),
        on.ours("worker", "--lane", "bulk"),
        on.api() as url,
        httpx.Client(trust_env=False) as client,
    ):
        for index in range(_WARM_UP):
            told_after_ms(on, client, url, f"W-{index}")
        idle = [told_after_ms(on, client, url, f"I-{index}") for index in range(options.scaled(_IDLE, 20))]
        backlog = fresh_events(on, bulk)
        on.stub.reset()
        with on.accounts.frozen(*FROZEN):
            on.feed(backlog, Lane.BULK)
        with sampled_waits(on.ledger) as waits:
            busy = _until_drained(on, client, url, bulk)
    p99 = statistics.quantiles(busy, n=100)[-1]
    say(f"{len(busy)} live events: p50 {statistics.median(busy):.0f} ms, p99 {p99:.0f} ms, max {max(busy):.0f} ms")
    say(f"idle p99 {statistics.quantiles(idle, n=100)[-1]:.0f} ms; waits: {waits.top()}")
    return {"live_p99_under_bulk_ms": p99}


def _until_drained(on: Rig, client: httpx.Client, url: str, bulk: int) -> list[float]:
    took: list[float] = []
    while on.stub.counts().members < bulk + len(took):
        took.append(told_after_ms(on, client, url, f"L-{len(took)}"))
    return took
