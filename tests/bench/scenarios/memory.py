"""How much memory a worker process holds after a million events, and whether that still grows."""

from collections.abc import Sequence

from tests.bench.drain import drained, running, say
from tests.bench.scenarios import Options, Start

TITLE = "memory of a worker process over a million events"
KEYS: Sequence[str] = ("worker_rss_mb",)
_EVENTS = 1_000_000
_PARTS = 20


def run(start: Start, options: Options) -> dict[str, float]:
    """Drain backlogs, one after the other; the largest of the worker's processes counts, its parent among them."""
    part = options.scaled(_EVENTS // _PARTS, 200)
    held = []
    with start() as on, running(on):
        for number in range(1, _PARTS + 1):
            drained(on, part, f"{part * number:,} events")
            held.append(max(on.accounts.rss_mb("worker")))
            say(f"{held[-1]:.1f} MB")
    half = _PARTS // 2
    slope = (held[-1] - held[half]) / (part * (_PARTS - 1 - half)) * 100_000
    say(f"in the second half it grew {slope:+.2f} MB per 100,000 events")
    return {"worker_rss_mb": held[-1]}
