"""What the attempts of a stage show of its connection: taken into the breaker, and asked on where it is in doubt.

What answers show and what follows, `shared.lifecycle.breaker` says.  Here the ledger and the
system itself are asked for what these need to know.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from shared.instances import Answer
from shared.lease_clock import lease_clock
from shared.ledger import connections
from shared.ledger.engine import Transaction, engine, transaction, wake
from shared.ledger.transitions import errands, outages
from shared.lifecycle import breaker
from shared.lifecycle.breaker import Breaker, Position, Seen
from shared.logs import logger
from shared.pipeline import Stage
from shared.settings import Connection
from workers.loop import CallLoop

log = logger(__name__)

_SERVED_S = 60.0
"""A last attempt counts if somebody got through since the one before it, give or take this.  Units: seconds."""
_TEST_S = 5.0
"""A connection that does not pass its test within this is not up.  Units: seconds."""


@dataclass(slots=True)
class Health:
    """The connection of one stage, as one attempt comes to know it."""

    loop: CallLoop
    stage: Stage
    of: Connection
    is_in_question: bool = False
    """Whether so many failed that the connection's own test is to be asked."""

    def take_in(self, tx: Transaction, seen: Seen) -> tuple[Breaker, Breaker]:
        """Take in what a batch showed; return the breaker before and after, for `note` once it is committed."""
        rules = self.of.breaker_rules
        if seen.failed:
            seen = replace(seen, due=connections.how_many_due(tx, self.stage, at_most=rules.members))
        before, now, in_question = connections.observe(tx, self.stage, seen, rules)
        if seen.is_up and before.position is Position.CLOSED:
            members = before.failing_members | set(seen.failed.values())
            if members and (named := outages.suspect(tx, self.stage, members)):
                log.warning("suspects", stage=self.stage, instances=named)
        if seen.failed:
            self._hold_failed(tx, before, now, list(seen.failed))
        self.is_in_question |= in_question
        if before.position is not now.position:
            wake(tx)
        return before, now

    def ask_the_system(self) -> None:
        """Let the connection's own test say whether it is down; if it passes, a dispatcher asks a good member."""
        self.is_in_question = False
        passed = self.loop.is_up(self.stage, _TEST_S)
        if passed is None:
            return
        with transaction(engine(durable=False)) as tx:
            before, now = connections.judge(tx, self.stage, self.of.breaker_rules, passed=passed)
            self._hold_failed(tx, before, now, [])
            wake(tx)
        self.note(before, now)

    def spares(self, answers: Sequence[Answer], *, lease_ends: float) -> bool:
        """Return whether a last attempt does not count, since nothing shows that the system was up.

        What shows it: somebody in this batch got through; or the connection passes its own test, and somebody got
        through of late.  A good member is asked now, for the next time; where there is none, as many members that fail
        as open the breaker are no sign of it, fewer may be at fault themselves.
        """
        if not breaker.gives_up_unproven(answers, self.of.policy):
            return False
        if lease_clock() + _TEST_S > lease_ends or not self.loop.is_up(self.stage, _TEST_S):
            return True
        with transaction(engine(durable=False)) as tx:
            if connections.served(tx, self.stage, within_s=self.of.policy.cap_s + _SERVED_S):
                return False
            if not errands.has_good(tx):
                failing = connections.gate(tx, self.stage).breaker.failing_members
                return len(failing | breaker.failing(answers)) >= self.of.breaker_members
            connections.doubt(tx, self.stage)
            wake(tx)
        return True

    def note(self, before: Breaker, now: Breaker) -> None:
        """Log a breaker that opened or closed."""
        if before.position is not now.position:
            log.warning("breaker", stage=self.stage, was=before.position, now=now.position, failures=now.failures)

    def _hold_failed(self, tx: Transaction, before: Breaker, now: Breaker, failed: list[int]) -> None:
        """Hold who failed as the connection went down; *failed* are those who failed after it."""
        if now.failing_since is not None and now.position is not Position.CLOSED:
            late = None if before.position is Position.CLOSED else failed
            outages.hold_failed(tx, self.stage, now.failing_since, late)
