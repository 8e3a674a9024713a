"""The valve between ledger and broker: all flow control is here and nowhere else.

A turn: claim what is due, no more than keeps the broker's queues short and breakers and budgets allow, and publish it
as chains; hold, probe and let go where a connection is down or back; take operators' jobs further; once a tick give
back expired leases.  Any number of dispatchers may run; row locks decide.  Between turns it naps until intake or a
worker wakes it, at most `tick_s`; while the broker's queues are full, until workers have taken some of it (`_Pace`).
"""

import secrets
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import kombu.exceptions

from producers.dispatch.calls import Calls
from producers.dispatch.leases import Leases
from shared.broker import publish
from shared.budgets import budgets
from shared.errors import LedgerConflictError, LedgerError
from shared.ledger import agenda, call_limits, connections, heartbeats, maintenance, spending
from shared.ledger.connections import Gate
from shared.ledger.engine import Transaction, engine, statements, transaction
from shared.ledger.front import Front
from shared.ledger.listening import wait_for_call, wake_calls
from shared.ledger.transitions import claims, errands, holds, outages, requeues
from shared.ledger.transitions.claims import Claimed
from shared.ledger.transitions.job_turns import Caps
from shared.ledger.transitions.outages import Hold, Lease
from shared.lifecycle.breaker import ramp
from shared.liveness import this_process
from shared.logs import logger
from shared.pipeline import Lane, Stage
from shared.settings import Settings

log = logger(__name__)

_BUSY_NAP_S = 0.02
_FULL_NAP_S = 0.2
_PART = 0.25
"""Of what may wait in the broker: when so much has been taken, the queues are filled up again."""
_PRUNE_EVERY_S = 60.0
_PRUNE_SIZE = 5_000
_ERRANDS_SIZE = 200
_HOLD_SIZE = 2_000
_TOKEN_BITS = 62


@dataclass(frozen=True, slots=True)
class _Room:
    """How much of a lane may go out: *free* by the broker's queues, *limits* by stage, the budgets included."""

    free: int
    limits: dict[Stage, int]


@dataclass(slots=True)
class _Pace:
    """How fast workers take what waits in the broker: a look at full queues shows nothing, and costs the ledger."""

    full_at: float | None = None
    nap_s: float = _BUSY_NAP_S

    def full(self, part: float, at: float) -> None:
        """Note that the queues are full *at*, and which *part* of what may wait was taken since they were last."""
        if part <= 0:
            self.nap_s = min(2 * self.nap_s, _FULL_NAP_S)
            return
        if self.full_at is not None:
            self.nap_s = min(max(_BUSY_NAP_S, (at - self.full_at) * _PART / part), _FULL_NAP_S)
        self.full_at = at

    def not_full(self) -> None:
        """Forget how fast it was."""
        self.full_at, self.nap_s = None, _BUSY_NAP_S


class Dispatcher:
    """One dispatcher process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._calls_url = settings.require_direct_ledger()
        # What it commits need not be durable: whoever is called for is begun durably first (deploy/decisions/0003).
        self._ledger = engine(settings.require_ledger(), durable=False)
        self._budgets = budgets(settings)
        self._calls = Calls(self._ledger, settings)
        self._front = Front()
        self._rest_s = settings.dispatcher.tick_s
        self._pace = _Pace()
        self._leases = Leases(self._ledger, settings)
        self._tidy_at = 0.0
        self._prune_at = 0.0
        self._who = heartbeats.dispatcher()
        self._beat_at = 0.0
        self._has_holds = False
        self._is_broker_away = False

    def run(self, stop: threading.Event) -> None:
        """Take turns until *stop*; a ledger or broker that is away is waited for, not died of."""
        while not stop.is_set():
            try:
                with wake_calls(self._calls_url) as calls:
                    while not stop.is_set():
                        try:
                            is_busy = self.turn()
                            this_process.waits_for("the broker: it took no message" if self._is_broker_away else "")
                        except LedgerConflictError as error:
                            log.info("met another transaction, and takes the turn again", cause=str(error))
                            is_busy = True
                        nap_s = _BUSY_NAP_S if is_busy else self._rest_s
                        this_process.went_round(nap_s)
                        wait_for_call(calls, nap_s)
            except LedgerError as error:
                log.error("the ledger is away", cause=str(error))
                this_process.waits_for("the ledger: it cannot be reached, or takes no writes")
                this_process.went_round(self._settings.dispatcher.tick_s)
                stop.wait(self._settings.dispatcher.tick_s)
        with suppress(LedgerError), statements(self._ledger) as tx:
            heartbeats.leave(tx, self._who)

    def turn(self) -> bool:
        """Do one turn, what is due first; say whether there may be more to do at once.

        Between ticks it ends where there is nothing for it: nobody is due in a lane that has room, and nothing else is.
        Where the broker's queues are full, it is rested until workers have taken some of it.
        """
        self._rest_s = self._settings.dispatcher.tick_s
        is_tick = time.monotonic() >= self._tidy_at
        if is_tick:
            self._tidy_at = time.monotonic() + self._settings.dispatcher.tick_s
            # First: whatever fails below, turn by turn, keeps no lease from coming back.
            if not self._leases.give_back(self._front):
                self._front = Front()
        self._calls.limit(is_first=True)
        token = _token()
        with statements(self._ledger) as tx:
            todo = agenda.look(tx, self._front)
            frees = {lane: self._settings.dispatcher.unbegun(lane) - waiting for lane, waiting in todo.unbegun.items()}
            is_called_for = todo.held or todo.errands or todo.jobs or any(frees[lane] > 0 for lane, _ in todo.due)
            if not is_tick and not is_called_for:
                self._rest(frees, {lane for lane, _ in todo.due})
                self._calls.limit()
                return False
            gates = connections.gates(tx)
            rooms = self._rooms(tx, frees, todo.unbegun)
            claimed = self._claim(tx, todo.due, gates, rooms, token)
        if self._publish_all(claimed, token):
            full = {lane for lane, stage in todo.due if frees[lane] <= len(claimed.get((lane, stage), ()))}
            self._rest(frees, full)
        self._calls.limit()  # six round trips, a second: whoever is due goes before
        self._beat()
        stages = [stage for stage, gate in gates.items() if gate.is_open]
        is_busy = todo.errands and self._run_errands(stages, rooms)
        is_busy |= self._tend(gates, todo.held)
        if todo.jobs:
            is_busy |= self._carry_on_jobs()
        if is_tick or self._has_holds:
            self._has_holds = self._tend_holds()
        self._beat()
        self._prune()
        return is_busy or self._has_holds

    def _rest(self, frees: Mapping[Lane, int], full: Collection[Lane]) -> None:
        """Rest, where lanes are *full* and more of them is due, until workers have taken some of it."""
        if not full:
            self._pace.not_full()
            return
        part = max(frees[lane] / self._settings.dispatcher.unbegun(lane) for lane in full)
        self._pace.full(part, time.monotonic())
        self._rest_s = min(self._rest_s, self._pace.nap_s)

    def _beat(self) -> None:
        """Say to probes, and in the ledger, that this goes round: it reads and writes it, what was due is published."""
        this_process.went_round()
        if time.monotonic() < self._beat_at:
            return
        with statements(self._ledger) as tx:
            heartbeats.beat(tx, self._who)
        self._beat_at = time.monotonic() + heartbeats.EVERY_S

    def _tend(self, gates: Mapping[Stage, Gate], held: Collection[tuple[Lane, Stage]]) -> bool:
        """Hold who is due where nothing may go out, probe what is down, let go who was held; say if there is more."""
        is_busy = False
        for stage, gate in gates.items():
            if gate.is_open:
                if gate.wants_verdict:
                    self._ask_a_good_member(stage)
                is_busy |= self._let_go_the_held(gate, [lane for lane in Lane if (lane, stage) in held])
                continue
            report_after_s = None if gate.paused else self._settings.siebel.report_after_s
            with transaction(self._ledger) as tx:
                count = outages.hold_due(
                    tx, Hold(stage, gate.why, report_after_s, gate.breaker.failing_since), limit=_HOLD_SIZE
                )
            is_busy |= count == _HOLD_SIZE
            if not gate.wants_probe:
                continue
            token, lease_s = _token(), self._leases.patience.lease_s
            with transaction(self._ledger) as tx:
                probe = outages.claim_probe(tx, stage, token=token, lease_s=lease_s)
            if probe is not None:
                lane, instance = probe
                log.info("probe", stage=stage, instance_id=instance.instance_id)
                self._publish(lane, stage, [instance], token)
        return is_busy

    def _ask_a_good_member(self, stage: Stage) -> None:
        """Let a good member decide whether the system fails, or others; where there is none, decide without."""
        of, lease_s = self._settings.connection(stage), self._leases.patience.lease_s
        lease = Lease(_token(), lease_s, lease_s + of.timeout_s)
        with transaction(self._ledger) as tx:
            good, opened = outages.claim_verdict(tx, stage, of.breaker_rules, lease)
            if opened is not None and opened.failing_since is not None:
                outages.hold_failed(tx, stage, opened.failing_since)
        if opened is not None:
            log.warning("breaker", stage=stage, now=opened.position, failures=opened.failures)
        if good is not None:
            log.info("a good member decides", stage=stage, instance_id=good.instance_id)
            self._publish(Lane.LIVE, stage, [good], lease.token)

    def _let_go_the_held(self, gate: Gate, lanes: Sequence[Lane]) -> bool:
        """Make held instances due again, live before bulk, no more at once than the ramp after healing allows."""
        for lane in lanes[:1]:
            most = max(1, int(ramp(gate.well_since, gate.now) * self._settings.dispatcher.unbegun(lane)))
            with transaction(self._ledger) as tx:
                room = most - outages.waiting_room(tx, gate.stage, lane, at_most=most)
                if room > 0:
                    outages.release(tx, gate.stage, lane, limit=room)
        return bool(lanes)

    def _claim(
        self,
        tx: Transaction,
        due: Collection[tuple[Lane, Stage]],
        gates: Mapping[Stage, Gate],
        rooms: Mapping[Lane, _Room],
        token: int,
    ) -> dict[tuple[Lane, Stage], list[Claimed]]:
        """Claim who is due where calls may go out and there is room."""
        limits = {(lane, stage): rooms[lane].limits[stage] for lane, stage in due if gates[stage].is_open}
        limits = {of: limit for of, limit in limits.items() if limit > 0}
        if not limits:
            return {}
        lease_s = self._leases.patience.lease_s
        claimed = claims.claim(tx, limits, token=token, lease_s=lease_s, front=self._front)
        self._calls.hand_over(claimed)
        return claimed

    def _rooms(self, tx: Transaction, frees: Mapping[Lane, int], unbegun: Mapping[Lane, int]) -> dict[Lane, _Room]:
        """Say how many instances of each lane may be put on the broker: by its queues, the budgets and crowds.

        Where a budget allows fewer than the queues, rest no longer than until it allows more.
        """
        limits = {lane: dict.fromkeys(Stage, free) for lane, free in frees.items()}
        for stage, budget in self._budgets.items():
            used = spending.used(tx, stage)
            for lane, waiting in unbegun.items():
                limits[lane][stage] = min(frees[lane], budget.free(lane, used) - waiting)
            if any(limits[lane][stage] < free for lane, free in frees.items()):
                self._rest_s = min(self._rest_s, spending.more_in_s(tx, stage))
        for stage in Stage:
            for lane in Lane:
                limits[lane][stage] = int(max(0, min(limits[lane][stage], self._calls.room(lane, stage))))
        for of in limits.values():  # what starts at oic goes on to crowdtwist in the same chain
            of[Stage.OIC] = min(of[Stage.OIC], of[Stage.CROWDTWIST])
        return {lane: _Room(free, limits[lane]) for lane, free in frees.items()}

    def _run_errands(self, stages: Sequence[Stage], rooms: Mapping[Lane, _Room]) -> bool:
        """Claim and publish errands: at most half of a lane's room, on top of what was claimed; so neither starves.

        Nor more than the stage's budget allows.  Say whether there may be more to do at once.
        """
        sizes = {
            (lane, stage): min(_ERRANDS_SIZE, room.free // 2, room.limits[stage])
            for lane, room in rooms.items()
            for stage in stages
        }
        limits = {of: size for of, size in sizes.items() if size > 0}
        if not limits:
            return False
        token = _token()
        lease_s = self._leases.patience.lease_s
        with transaction(self._ledger) as tx:
            claimed = errands.claim(tx, limits, token=token, lease_s=lease_s)
        return self._publish_all(claimed, token) and bool(claimed)

    def _carry_on_jobs(self) -> bool:
        """Take one job of an operator a step further; say whether to go on at once.

        Cheap when there is no job; a job that another dispatcher has is passed by.
        """
        try:
            with transaction(self._ledger) as tx:
                caps = Caps(*self._settings.reconcile.repair_caps)
                return requeues.advance(tx, resubmits_max=self._settings.requeue_max, caps=caps)
        except LedgerConflictError as error:
            log.warning("a job's turn met another transaction, and is taken again", cause=str(error))
            return False

    def _tend_holds(self) -> bool:
        """Begin and end planned windows; take what guards hold further, as was decided; say if there is more."""
        with transaction(self._ledger) as tx:
            maintenance.turn(tx)
            return holds.turn(tx, self._settings.guard.flood_rules)

    def _publish_all(self, claimed: Mapping[tuple[Lane, Stage], Sequence[Claimed]], token: int) -> bool:
        """Publish what was claimed, live before bulk; once the broker does not take a batch, what is left is let go."""
        left = dict(claimed)
        for (lane, stage), instances in sorted(claimed.items(), key=lambda one: list(Lane).index(one[0][0])):
            del left[lane, stage]
            if not self._publish(lane, stage, instances, token):
                self._let_go([one.id for some in left.values() for one in some], token)
                return False
        return True

    def _publish(self, lane: Lane, stage: Stage, instances: Sequence[Claimed], token: int) -> bool:
        """Put *instances* on the broker; those that it does not take are let go and due again at the next tick."""
        size = self._settings.dispatcher.batch(lane)
        together = [one for one in instances if not one.apart]
        batches = [together[start : start + size] for start in range(0, len(together), size)]
        batches += [[one] for one in instances if one.apart]  # who must go apart has a message alone
        published: set[int] = set()
        for batch in batches:
            ids = [one.id for one in batch]
            instance_ids = [one.instance_id for one in batch]
            try:
                publish(stage, lane, ids, [one.member_number for one in batch], instance_ids)
            except (kombu.exceptions.KombuError, OSError) as error:
                # It may have arrived or not: a message that did finds its instances let go, and passes on.
                left = [one.id for one in instances if one.id not in published]
                self._is_broker_away = True
                log.error("the broker is away", stage=stage, lane=lane, let_go=len(left), cause=type(error).__name__)
                self._let_go(left, token)
                return False
            self._is_broker_away = False
            published.update(ids)
            log.info("published", stage=stage, lane=lane, instances=len(ids))
        return True

    def _let_go(self, ids: Sequence[int], token: int) -> None:
        self._leases.has_let_go = True
        with statements(self._ledger) as tx:
            claims.let_go(tx, ids, token=token)

    def _prune(self) -> None:
        if time.monotonic() < self._prune_at:
            return
        self._prune_at = time.monotonic() + _PRUNE_EVERY_S
        with transaction(self._ledger) as tx:
            spending.forget(tx)
            pruned = claims.prune(tx, days=self._settings.dispatcher.retention_days, limit=_PRUNE_SIZE)
            heartbeats.prune(tx)
            errands.prune(tx)
            call_limits.forget(tx)
            holds.prune(tx, days=self._settings.dispatcher.retention_days)
        if pruned:
            log.info("pruned", instances=pruned)
        if pruned == _PRUNE_SIZE:
            self._prune_at = 0.0


def _token() -> int:
    return secrets.randbits(_TOKEN_BITS) + 1
