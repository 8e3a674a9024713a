"""How many calls workers are given, where the limit of calls in flight makes them wait: one dispatcher's part of it.

Once a second it has the limits decided and divided anew (`shared.ledger.call_limits`); in between it counts what it
hands over itself, for what is wanted shows a second later.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sized
from math import inf

from shared.ledger import call_limits, connections
from shared.ledger.call_limits import Crowd
from shared.ledger.engine import Ledger, transaction
from shared.logs import logger
from shared.pipeline import Lane, Stage
from shared.settings import Settings

log = logger(__name__)

AHEAD_S = 2.0
"""Workers are given calls for as long ahead as this.

Not longer than a batch waits for its members (`worker.patience_s`): whoever leaves it is concluded alone, which costs
the ledger several times as much.
"""
_ENOUGH = {Lane.BULK: 1.0, Lane.LIVE: 2.0}
"""How much of that is enough for a lane; live calls go before bulk calls."""


class Calls:
    """The limits of calls in flight, and who waits for them."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        rules = {stage: settings.connection(stage).concurrency_rules for stage in Stage}
        self._ledger = ledger
        self._rules = {stage: one for stage, one in rules.items() if one is not None}
        self._of_a_call = {stage: settings.siebel.rows_per_request if stage is Stage.SIEBEL else 1 for stage in Stage}
        self._limits_at = 0.0
        self._crowds: Mapping[Stage, Crowd] = {}
        self._handed: Counter[Stage] = Counter()

    def limit(self, *, is_first: bool = False) -> None:
        """Decide and divide anew how many calls may be in flight, once in a while; where all are fixed, just once.

        *is_first*: only if that was never done.
        """
        if time.monotonic() < self._limits_at or (is_first and self._limits_at):
            return
        self._limits_at = time.monotonic() + call_limits.EVERY_S
        with transaction(self._ledger) as tx:
            looked = call_limits.look(tx, self._rules)  # what is known of those that are fixed is forgotten
            self._crowds = call_limits.crowds(tx, AHEAD_S)
            for one in looked:
                if one.now.answers_nobody and one.now != one.was:
                    connections.doubt(tx, one.stage)
        self._handed.clear()
        if not self._rules:
            self._limits_at = inf
        for one in looked:
            if one.now.limit < one.was.limit:
                log.warning("fewer calls", stage=one.stage, was=one.was.limit, now=one.now.limit, why=one.now.reason)

    def room(self, lane: Lane, stage: Stage) -> float:
        """Return how many more instances may be handed over; who finds no slot in time would only come back."""
        crowd = self._crowds.get(stage)
        if crowd is None:
            return inf
        return (crowd.carried * _ENOUGH[lane] - crowd.wanted) * self._of_a_call[stage] - self._handed[stage]

    def hand_over(self, claimed: Mapping[tuple[Lane, Stage], Sized]) -> None:
        """Count what was claimed; what starts at oic goes on to crowdtwist in the same chain."""
        for (_, stage), instances in claimed.items():
            self._handed[stage] += len(instances)
            if stage is Stage.OIC:
                self._handed[Stage.CROWDTWIST] += len(instances)
