"""What slow outside systems cost: the same backlog with every call at 0, 20 and 100 ms, and with one more process."""

from collections.abc import Sequence

from tests.bench.drain import drained, running
from tests.bench.scenarios import Options, Start

TITLE = "slow outside systems: every call at 20 and at 100 ms"
KEYS: Sequence[str] = ("latency20_ratio", "latency100_events_per_s", "scale_2_workers")
_EVENTS = 20_000
_SETTLING = 4
"""Part of the events that goes before."""


def run(start: Start, options: Options) -> dict[str, float]:
    """Drain a backlog at each latency, with as many processes as a worker has by default, then with two and one.

    Each on a ledger of its own, and after a part that does not count: what answers take is learnt by then.
    """
    events = options.scaled(_EVENTS, 500)
    rates: dict[tuple[int | None, int], float] = {}
    for processes, latency_ms in ((None, 0), (None, 20), (None, 100), (2, 100), (1, 100)):
        with start() as on:
            on.stub.set_latency(latency_ms)
            with running(on, processes=processes):
                what = f"{latency_ms} ms, worker processes: {processes or 'as many as by default'}"
                drained(on, events // _SETTLING, f"{what}, to settle")
                rates[processes, latency_ms] = drained(on, events, what).events_per_s
    return {
        "latency20_ratio": rates[None, 20] / rates[None, 0],
        "latency100_events_per_s": rates[None, 100],
        "scale_2_workers": rates[2, 100] / rates[1, 100],
    }
