"""Leases that are over: whoever has one is given back, unless it is the ledger's clock that was set."""

import time
from collections.abc import Sequence
from functools import partial

from producers.dispatch.patience import Patience
from shared.ledger import clock
from shared.ledger.engine import Ledger, in_halves, statements, transaction
from shared.ledger.front import Front
from shared.ledger.transitions import attempts, claims, clock_moves
from shared.lifecycle.verdicts import Advanced, Ending, Lost, after_loss
from shared.logs import logger
from shared.pipeline import Stage
from shared.settings import Settings

log = logger(__name__)

LOSSES_MAX = 3
"""A worker that dies with the same instance this often is killed by it: poison."""
_EXPIRE_SIZE = 1_000
_FORWARD_SIZE = 500


class Leases:
    """The leases that a dispatcher gives back.

    Shape: *patience* how long unbegun ones wait; *has_let_go* some were just let go, and say nothing of that.
    """

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        of = settings.dispatcher
        self._ledger = ledger
        self._longest_s = max(of.lease_s, of.unbegun_lease_s)
        self._terms = attempts.Terms(of.unbegun_lease_s, settings.crowdtwist.settle_s, settings.siebel.settle_s)
        self.patience = Patience(of.unbegun_lease_s, of.lease_s)
        self.has_let_go = False
        self._is_fresh = False

    def give_back(self, front: Front) -> bool:
        """Give back who has one that is over; False: the clock was set, and *front* says nothing any more.

        The clock is looked at after they are read and before they are given back, so a step is never taken for time.
        """
        if self._is_fresh:
            with transaction(self._ledger) as tx:
                clock_moves.follow_up(tx, lease_s=self._longest_s)
        with statements(self._ledger) as tx:
            lost = claims.expired(tx, limit=_EXPIRE_SIZE, front=front)
            looked = clock.look(tx)
        self._is_fresh = looked.is_fresh or bool(looked.step_s)
        if looked.step_s:
            self._follow_the_clock()
            return False
        if looked.doubted_s:
            self._bear_a_doubt(looked.doubted_s)
            return False
        if looked.has_late:
            with transaction(self._ledger) as tx:
                clock_moves.bring_forward(tx, limit=_FORWARD_SIZE)
        self._end(lost)
        begun = sum(one.begun for one in lost)
        self.patience.look(0 if self.has_let_go else len(lost) - begun, time.monotonic())
        self.has_let_go = False
        if lost:
            log.warning("leases expired", instances=len(lost), begun=begun, unbegun=len(lost) - begun)
        return True

    def _follow_the_clock(self) -> None:
        with transaction(self._ledger) as tx:
            by_s = clock_moves.follow(tx, lease_s=self._longest_s)
        if by_s:
            what = f"{abs(by_s):g} s {'ahead' if by_s > 0 else 'back'}"
            log.warning("the ledger's clock was set: leases, due times and budgets were moved with it", by=what)

    def _bear_a_doubt(self, by_s: float) -> None:
        with transaction(self._ledger) as tx:
            clock_moves.bear(tx, by_s, lease_s=self._longest_s)
        log.warning(
            "the ledger's clock was set ahead while no dispatcher ran, or this machine's back: leases stay in force",
            by=f"{by_s:.1f} s",
        )

    def _end(self, lost: Sequence[Lost]) -> None:
        def end(stage: Stage, endings: Sequence[Ending]) -> list[int]:
            with transaction(self._ledger) as tx:
                return [attempts.finish(tx, stage, endings, self._terms)]

        def at_fault(ending: Ending, error: Exception) -> list[int]:
            instance_id = ending.work.instance_id if isinstance(ending, Advanced) else ending.instance_id
            log.error("a lease cannot be given back", instance_id=instance_id, error=type(error).__name__)
            return [0]

        for stage in {one.stage for one in lost}:
            endings = [after_loss(one, losses_max=LOSSES_MAX) for one in lost if one.stage is stage]
            in_halves(endings, partial(end, stage), at_fault)
