"""What slow outside systems cost: the same backlog with every call at 0, 20 and 100 ms, and with one more process."""

from collections.abc import Sequence

from tests.bench.drain import drained, running
from tests.bench.scenarios import Options, Start

TITLE = "slow outside systems: every call at 20 and at 100 ms"
KEYS: Sequence[str] = ("latency20_ratio", "latency100_events_per_s", "scale_2_workers")
_EVENTS = 20_000


def run(start: Start, options: Options) -> dict[str, float]:
    """Drain one backlog after the other, with as many processes as a worker has by default, then with two and one."""
    events = options.scaled(_EVENTS, 500)
    rates: dict[tuple[int | None, int], float] = {}
    with start() as on:
        for processes, latencies in ((None, (0, 20, 100)), (2, (100,)), (1, (100,))):
            with running(on, processes=processes):
                for latency_ms in latencies:
                    on.stub.set_latency(latency_ms)
                    what = f"{latency_ms} ms, worker processes: {processes or 'as many as by default'}"
                    rates[processes, latency_ms] = drained(on, events, what).events_per_s
                on.stub.set_latency(0)
    return {
        "latency20_ratio": rates[None, 20] / rates[None, 0],
        "latency100_events_per_s": rates[None, 100],
        "scale_2_workers": rates[2, 100] / rates[1, 100],
    }
