"""What five million finished instances cost, payloads and activity included, against an empty ledger."""

import statistics
from collections.abc import Sequence

from tests.bench.drain import claim_ms, drained, fresh_events, running, say
from tests.bench.many import multiply
from tests.bench.rig import Rig
from tests.bench.scenarios import Options, Start

TITLE = "growth: a ledger of 5 million finished instances against an empty one"
KEYS: Sequence[str] = ("growth_ratio",)
_INSTANCES = 5_000_000
_ORIGINALS = 500
_EVENTS = 10_000
_ROUNDS = 3


def run(start: Start, options: Options) -> dict[str, float]:
    """Drain on either ledger in turns; the processes of the one that waits are there and idle."""
    events = options.scaled(_EVENTS, 500)
    empty_rates, grown_rates = [], []
    with start() as empty, start() as grown:
        with running(grown):
            drained(grown, _ORIGINALS, "originals")
        many = multiply(grown.ledger, options.scaled(_INSTANCES, 10_000))
        with running(empty), running(grown):
            for _ in range(_ROUNDS):
                empty_rates.append(drained(empty, events, "empty").events_per_s)
                grown_rates.append(drained(grown, events, f"{many:,} instances").events_per_s)
        claims = [_claims(on) for on in (empty, grown)]
    say(f"a claim of 200 takes {claims[0]:.2f} ms on the empty ledger, {claims[1]:.2f} ms on the other")
    say(f"claim time: {claims[1] / claims[0]:.2f} times")
    return {"growth_ratio": statistics.median(grown_rates) / statistics.median(empty_rates)}


def _claims(on: Rig) -> float:
    on.feed(fresh_events(on, 1_000))
    return statistics.median(claim_ms(on) for _ in range(30))
