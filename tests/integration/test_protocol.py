"""The life of one member against the real ledger, in any order that two dispatchers and three workers can make of it.

Hypothesis plays intake, dispatchers, workers, the broker and both outside systems, a step at a time: messages are lost,
doubled and late, workers die before and after a call, leases run out, writes land long after they were given up, an
attempt is the last and the dead letter is requeued, the member is refused, sent again and overtaken.  After each step
nothing of the member is out twice; at the end everything drains, and both systems show what became of the newest event
(spec section 7).  `tests.protocol` has the same rules as a model that is explored to its end.

`PROTOCOL_STEPS` and `PROTOCOL_EXAMPLES` go deeper than CI does.
"""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import integers, lists, sampled_from, tuples
from sqlalchemy import text

from producers.intake.accept import IntakeRules, accept
from shared.errors import DataError, LeaseLostError, OutcomeUnknownError, UnavailableError
from shared.events import parse_event
from shared.instances import Done, Errand, Failed, Result, Work
from shared.ledger.jobs import Kind
from shared.ledger.transitions import attempts, claims, errands, requeues
from shared.ledger.transitions.requeues import Order
from shared.lifecycle.retry import RetryPolicy
from shared.lifecycle.verdicts import Rules, after_loss, conclude
from shared.pipeline import Lane, Stage, State, SyncStatus
from tests.conftest import emptied

NUMBER = "M-1"
BEGAN = datetime.now(UTC) - timedelta(days=1)
DEPTH = int(os.environ.get("PROTOCOL_STEPS", "30"))
EXAMPLES = int(os.environ.get("PROTOCOL_EXAMPLES", "20"))
WORKERS = 3
EACH = {(lane, stage): 10 for lane in Lane for stage in Stage}
POLICY = RetryPolicy(1, 1, max_attempts=1_000)
LAST = RetryPolicy(1, 1, max_attempts=1)
"""For an attempt that is the last, however many there were before."""
TERMS = attempts.Terms(lease_s=600, settle_s=600, tell_settle_s=600)
DRAINED_IN = 60


@dataclass
class Message:
    """What is on the broker: ids, and the stages that are left to them."""

    ids: list[int]
    stages: tuple[Stage, ...]


@dataclass
class Hand:
    """What one worker has in hand."""

    message: Message
    works: list[Work]
    answers: list[tuple[Work, Result]] = field(default_factory=list)
    is_called: bool = False
    policy: RetryPolicy = POLICY


class Life:
    """One member; *shown* and *told* are what the systems show, *late* what may still land there."""

    def __init__(self, ledger_url: str) -> None:
        self.ledger = emptied(ledger_url)
        self.versions: dict[int, int] = {}
        self.bad: set[int] = set()
        self.newest = 0
        self.messages: list[Message] = []
        self.hands: dict[int, Hand] = {}
        self.shown = 0
        self.sent_newest = 0
        self.told: tuple[str, int] | None = None
        self.late_writes: list[int] = []
        self.late_tells: list[tuple[str, int]] = []

    # Intake

    def accept(self, version: int, *, is_good: bool) -> None:
        if not is_good and version not in self.versions.values():
            self.bad.add(version)
        member = {"member_number": NUMBER, "row_id": "1-R", "last_name": f"V{version}", "status": "Active"}
        when = (BEGAN + timedelta(minutes=version)).isoformat()
        event = {"event_id": f"E-{version}", "operation": "update", "occurred_at": when, "member": member}
        (receipt,) = accept(self.ledger, [(0, parse_event(event, max_bytes=64_000))], IntakeRules(Lane.LIVE))
        self.versions[int(receipt.instance_id or 0)] = version
        self.newest = max(self.newest, version)

    def an_older_event_comes_or_one_twice(self, back: int) -> None:
        self.accept(max(1, self.newest - back % 4), is_good=True)

    # Dispatchers

    def a_dispatcher_claims(self) -> None:
        token = secrets.randbits(62) + 1
        with self.ledger.begin() as tx:
            claimed = claims.claim(tx, EACH, token=token, lease_s=600)
        with self.ledger.begin() as tx:
            out = errands.claim(tx, EACH, token=secrets.randbits(62) + 1, lease_s=600)
        for (_, stage), some in [*claimed.items(), *out.items()]:
            self.messages.append(Message([one.id for one in some], stage.rest))

    def leases_run_out_and_are_given_back(self) -> None:
        self.sql("update instance set lease_until = now() - interval '1 s' where token <> 0")
        self.sql("update errand set lease_until = now() - interval '1 s' where token <> 0")
        self.give_back()

    def give_back(self) -> None:
        with self.ledger.begin() as tx:
            lost = claims.expired(tx, limit=100)
        for stage in {one.stage for one in lost}:
            endings = [after_loss(one, losses_max=1_000) for one in lost if one.stage is stage]
            with self.ledger.begin() as tx:
                attempts.finish(tx, stage, endings, TERMS)

    def what_waits_becomes_due(self) -> None:
        self.sql("update instance set due_at = now() where state = 'waiting'")
        self.sql("update errand set due_at = now() where token = 0")

    def what_was_lost_has_settled(self) -> None:
        if self.late_writes or self.late_tells:
            return  # not yet: that is what settling is
        self.sql("update member set read_back_at = now() where read_back_at is not null")
        self.sql("update member set tell_again_at = now() where tell_again_at is not null")

    # The broker

    def a_message_is_lost(self, at: int) -> None:
        if self.messages:
            self.messages.pop(at % len(self.messages))

    # Workers

    def a_worker_begins(self, at: int, *, twice: bool = False) -> None:
        if not self.messages:
            self.a_dispatcher_claims()
        worker = next((one for one in range(WORKERS) if one not in self.hands), None)
        if worker is None or not self.messages:
            return
        place = at % len(self.messages)
        message = self.messages[place] if twice else self.messages.pop(place)
        with self.ledger.begin() as tx:
            begun = attempts.begin(tx, message.stages[0], message.ids, lease_s=600)
        self.hands[worker] = Hand(message, begun.works)

    def a_worker_calls(self, at: int, how: str) -> None:
        waiting = [hand for hand in self.hands.values() if not hand.is_called]
        if not waiting:
            return
        hand = waiting[at % len(waiting)]
        hand.is_called = True
        stage = hand.message.stages[0]
        hand.policy = LAST if how == "away for good" else POLICY
        hand.answers = [(work, self.called(stage, work, how)) for work in hand.works]

    def called(self, stage: Stage, work: Work, how: str) -> Result:
        table = "errand" if work.errand else "instance"
        key = work.errand_id or work.instance_id
        is_mine = self.sql(f"select token from {table} where id = {key}") == [work.token]
        if not is_mine:  # its lease is over, and its own clock says so
            return Failed(LeaseLostError("membersync"))
        if stage is Stage.OIC:
            return Done("mapped", {"user": {"third_party_id": NUMBER}})
        if how.startswith("away"):
            return Failed(UnavailableError("It", "is away", 503))
        return self.written(work, how) if stage is Stage.CROWDTWIST else self.told_of(work, how)

    def written(self, work: Work, how: str) -> Result:
        version = self.versions[work.instance_id]
        if version in self.bad and work.errand is None:
            return Failed(DataError("CrowdTwist", "is refused", 400))
        if work.errand is Errand.READ_BACK and self.shown == version:
            return Done("as sent", {"ct_user_id": 42, "echoed": {}})
        if how == "late":
            self.late_writes.append(version)
        else:
            assert version >= self.sent_newest, f"{version} was applied after {self.sent_newest}"
            self.shown = self.sent_newest = version
        unanswered = Failed(OutcomeUnknownError("CrowdTwist", "no answer"), {"unknown_outcome": True})
        return Done("updated", {"ct_user_id": 42, "echoed": {}}) if how == "well" else unanswered

    def told_of(self, work: Work, how: str) -> Result:
        assert work.status is not None
        told = work.status.value, self.versions[work.instance_id]
        if how == "late":
            self.late_tells.append(told)
        else:
            self.told = told
        facts = {"row_id": "1-R", "told_status": told[0], "told_error": work.error}
        unanswered = Failed(OutcomeUnknownError("Siebel", "no answer"), {"unknown_outcome": True})
        return Done("told", facts) if how == "well" else unanswered

    def a_worker_finishes(self, at: int) -> None:
        called = [worker for worker, hand in self.hands.items() if hand.is_called]
        if not called:
            return
        hand = self.hands.pop(called[at % len(called)])
        stage, rest = hand.message.stages[0], hand.message.stages[1:]
        rules = Rules(stage, hand.policy, report_after_s=0.0, jitter=0.0, carried=True)
        endings = [conclude(work, result, rules) for work, result in hand.answers]
        with self.ledger.begin() as tx:
            attempts.finish(tx, stage, endings, TERMS)
        if rest:
            self.messages.append(Message(hand.message.ids, rest))

    def a_worker_dies(self, at: int) -> None:
        if self.hands:
            del self.hands[list(self.hands)[at % len(self.hands)]]

    # The outside

    def what_was_given_up_lands(self) -> None:
        if self.late_writes:
            self.shown = self.late_writes.pop(0)
        if self.late_tells:
            self.told = self.late_tells.pop(0)

    # Operators

    def dead_letters_are_requeued(self) -> None:
        dead = self.sql("select id from instance where state = 'dead'")
        with self.ledger.begin() as tx:
            requeues.create(tx, Order(Kind.REQUEUE, "olga", "it is back", {}), dead, resubmits_max=1_000)
        self.jobs_go_on()

    def jobs_go_on(self) -> None:
        self.sql("update job set next_at = now() where ended_at is null")
        for _ in range(DRAINED_IN):
            with self.ledger.begin() as tx:
                if not requeues.advance(tx, resubmits_max=1_000):
                    break

    # What must hold

    def has_nothing_out_twice(self) -> None:
        out = self.sql("""
            select (select count(*) from instance where state = 'running')
                 + (select count(*) from errand where token <> 0)
        """)
        queued = self.sql("select count(*) from instance where state in ('pending', 'waiting', 'held')")
        assert out[0] <= 1
        assert queued[0] <= 1

    def ends_well(self) -> None:
        """Let everything drain, and see that the newest event decided."""
        self.hands.clear()
        for _ in range(DRAINED_IN):
            self.leases_run_out_and_are_given_back()
            self.what_waits_becomes_due()
            self.what_was_lost_has_settled()
            self.messages.clear()
            self.dead_letters_are_requeued()
            self.a_dispatcher_claims()
            if not self.messages and not (self.late_writes or self.late_tells):
                break
            while not self.messages and (self.late_writes or self.late_tells):
                self.what_was_given_up_lands()  # as late as can be: after the newest
            while self.messages:
                self.a_worker_begins(0)
                self.a_worker_calls(0, "well")
                self.a_worker_finishes(0)
        states = self.sql("select id, state, code from instance order by id")
        assert not self.messages, f"it never drains: {states}"
        newest_is_bad = self.newest in self.bad
        state = dict(self.sql("select occurred_at, state from instance where state in ('completed', 'rejected')"))
        assert state[max(state)] == (State.REJECTED if newest_is_bad else State.COMPLETED), states
        status = SyncStatus.DATA_ERROR if newest_is_bad else SyncStatus.SUCCESS
        assert self.told == (status, self.newest), f"Siebel shows {self.told}, newest is {self.newest}: {states}"
        if not newest_is_bad:
            assert self.shown == self.newest, f"CrowdTwist shows {self.shown}, newest is {self.newest}: {states}"

    def sql(self, statement: str) -> list[Any]:
        with self.ledger.begin() as tx:
            result = tx.execute(text(statement))
            if not result.returns_rows:
                return []
            return [tuple(row) if len(row) > 1 else row[0] for row in result]


STEPS: dict[str, tuple[int, Callable[[Life, int], None]]] = {
    "a newer event": (2, lambda life, _: life.accept(life.newest + 2, is_good=True)),
    "a newer one that is refused": (1, lambda life, _: life.accept(life.newest + 2, is_good=False)),
    "an older one, or one twice": (1, Life.an_older_event_comes_or_one_twice),
    "claim": (2, lambda life, _: life.a_dispatcher_claims()),
    "begin": (6, Life.a_worker_begins),
    "begin, and the message is there still": (1, lambda life, at: life.a_worker_begins(at, twice=True)),
    "call": (5, lambda life, at: life.a_worker_calls(at, "well")),
    "call, applied without an answer": (1, lambda life, at: life.a_worker_calls(at, "applied")),
    "call, given up, and still to land": (2, lambda life, at: life.a_worker_calls(at, "late")),
    "call, and nobody serves": (1, lambda life, at: life.a_worker_calls(at, "away")),
    "call, for the last time, and nobody serves": (2, lambda life, at: life.a_worker_calls(at, "away for good")),
    "finish": (6, Life.a_worker_finishes),
    "die": (1, Life.a_worker_dies),
    "lose a message": (1, Life.a_message_is_lost),
    "leases are over": (1, lambda life, _: life.leases_run_out_and_are_given_back()),
    "due": (2, lambda life, _: life.what_waits_becomes_due()),
    "settled": (1, lambda life, _: life.what_was_lost_has_settled()),
    "land": (1, lambda life, _: life.what_was_given_up_lands()),
    "requeue": (2, lambda life, _: life.dead_letters_are_requeued()),
}
"""What may happen, and how often beside the others."""
_DRAWN = sampled_from([name for name, (weight, _) in STEPS.items() for _ in range(weight)])


@settings(max_examples=EXAMPLES, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(steps=lists(tuples(_DRAWN, integers(0, 9)), min_size=DEPTH, max_size=DEPTH))
def test_whatever_the_order_of_steps_the_newest_event_decides(ledger_url: str, steps: list[tuple[str, int]]) -> None:
    life = Life(ledger_url)
    life.accept(1, is_good=True)
    for name, at in steps:
        STEPS[name][1](life, at)
        life.has_nothing_out_twice()
    life.ends_well()
