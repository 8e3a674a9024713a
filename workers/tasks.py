"""The three tasks and the one attempt they share.

1. *Read*, in one transaction: which of these ids are at this stage, unbegun; count the attempt; read their inputs.
2. *Call*, with no transaction open: all members of the batch at once.
3. *Write*, in one transaction: advanced, waiting, dead, with a line of activity each, fenced by token.

Who fails leaves the batch and is due again alone.  The task's own end only informs Flower: RETRY when its members all
wait, FAILURE when they all failed for good, else the counts by outcome.
"""

import random
import traceback
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Any

from celery import Task
from celery.exceptions import Retry

from shared.broker import app
from shared.instances import Answer, Errand, Failed, Work
from shared.ledger import addresses, connections, inputs
from shared.ledger.engine import Transaction, engine, in_halves, outlasting, transaction, wake
from shared.ledger.heartbeats import Who
from shared.ledger.transitions import attempts, errands, outages
from shared.lifecycle import evidence
from shared.lifecycle.breaker import Breaker, Position, Seen
from shared.lifecycle.evidence import shows_it_up, would_be_given_up
from shared.lifecycle.verdicts import (
    Advanced,
    Ending,
    ErrandEnded,
    Parked,
    Rules,
    bug,
    conclude,
    held,
    is_data_error,
    waiting_for,
)
from shared.logs import logger
from shared.personal import NOBODY, Company, Persons
from shared.pipeline import QUEUED, Stage, State, SyncStatus
from shared.settings import Settings, settings
from shared.systems.permits import MARGIN_S, Calling, lease_clock
from workers.loop import CallLoop

log = logger(__name__)

_SHOWN_IDS = 20
_IN_TROUBLE = 300
"""Of so many who failed of late the names are taken out of what is said to others."""
_LEDGER_PATIENCE_S = 10.0
"""How long a ledger that restarts is waited for before a call.  Units: seconds."""
_RESULTS_PATIENCE_S = 25.0
"""Results in hand are worth more: longer than two of the ledger's lock time-outs, shorter than the rest of a lease."""
_SERVED_S = 60.0
"""A last attempt counts if somebody got through since the one before it, give or take this.  Units: seconds."""
_TEST_S = 5.0
"""A connection that does not pass its test within this is not up.  Units: seconds."""


class AllFailedError(Exception):
    """No member of the batch goes on; shown in Flower, e.g. `2 dead, 1 rejected`."""


Begun = tuple[list[Work], list[Ending], bool]
"""Who is to be called for, who is not, and whether others of the batch are further on."""
Concluded = tuple[Work, Ending]
Written = tuple[list[Ending], int]
"""What was written at once, and how many of it: who lost the lease writes nothing."""


class _Process:
    """What `workers.app` puts in place when a worker process starts."""

    loop: CallLoop | None = None
    who: Who | None = None


process = _Process()


@app.task(name=Stage.OIC.task, bind=True, throws=(AllFailedError,))
def oic_flow(task: "Task[..., Any]", ids: list[int]) -> dict[str, int]:
    """Stage 1 of 3: map the members to CrowdTwist users, here or in Oracle Integration."""
    return attempt(task, Stage.OIC, ids)


@app.task(name=Stage.CROWDTWIST.task, bind=True, throws=(AllFailedError,))
def crowdtwist_call(task: "Task[..., Any]", ids: list[int]) -> dict[str, int]:
    """Stage 2 of 3: create or update the members in CrowdTwist."""
    return attempt(task, Stage.CROWDTWIST, ids)


@app.task(name=Stage.SIEBEL.task, bind=True, throws=(AllFailedError,))
def siebel_result(task: "Task[..., Any]", ids: list[int]) -> dict[str, int]:
    """Stage 3 of 3: write the outcome on the members in Siebel."""
    return attempt(task, Stage.SIEBEL, ids)


def attempt(task: "Task[..., Any]", stage: Stage, ids: Sequence[int]) -> dict[str, int]:
    """Try one stage once for those of *ids* that are there; give the counts by outcome.

    Raises:
        celery.exceptions.Retry: all of them wait; the ledger has their time, nothing is published.
        AllFailedError: all of them failed for good.
    """
    if process.loop is None:
        raise RuntimeError("this process was not started as a worker")
    run = Attempt(process.loop, stage, settings(), str(task.request.id or ""))
    works, endings, ahead = outlasting(lambda: run.begin(ids), _LEDGER_PATIENCE_S)
    run.company = Company((*((work.user, work.event.get("member")) for work in works), *run.in_trouble))
    calling = Calling(lease_ends=run.ends, company=run.company)
    write_late = partial(run.write, carried=False)  # stragglers: no message carries them on
    answers = process.loop.run(stage, works, run.of.worker.patience_s, write_late, calling) if works else []
    carried = not all(is_data_error(result) for _, result in answers)
    endings += run.write(answers, carried=carried)
    late = len(works) - len(answers)
    return _summary(endings, late=late, goes_on=ahead or late > 0 or not all(_stays_behind(one) for one in endings))


@dataclass(slots=True)
class Attempt:
    """One attempt of one stage for a batch."""

    loop: CallLoop
    stage: Stage
    of: Settings
    task_id: str
    was_well: bool = False
    """Whether nothing was wrong with the connection when the attempt began."""
    was_open: bool = False
    """Whether whoever was due could go then."""
    asks: bool = False
    """Whether so many failed that the connection's own test is to be asked."""
    in_trouble: Sequence[Persons] = ()
    """Who else failed of late, where there is trouble."""
    company: Company = NOBODY
    """Who may be named in what is said to another."""
    ends: float = inf
    """When its lease is over, on `lease_clock`: what comes later shows nothing of the connection."""

    def begin(self, ids: Sequence[int]) -> Begun:
        """Read and count the attempt; where nothing may go out, send back whom the gate does not admit."""
        self.ends = lease_clock() + self.of.dispatcher.lease_s - MARGIN_S
        begun = in_halves(ids, self._begin, self._bury_unread)
        works = [work for some, _, _ in begun for work in some]
        endings = [ending for _, some, _ in begun for ending in some]
        return works, endings, any(ahead for _, _, ahead in begun)

    def _begin(self, ids: Sequence[int]) -> list[Begun]:
        # Durable where a call follows that must not be repeated beside itself (deploy/decisions/0003).
        with transaction(engine(), durable=self.stage is not Stage.OIC) as tx:
            gate = connections.gate(tx, self.stage)
            begun = attempts.begin(tx, self.stage, ids, lease_s=self.of.dispatcher.lease_s)
            works = begun.works
            self.was_well, self.was_open = gate.is_well, gate.is_open
            if not gate.is_well or any(work.attempt > 1 for work in works):
                self.in_trouble = inputs.in_trouble(tx, limit=_IN_TROUBLE)
            if gate.breaker.seeks is not None:
                works = [replace(work, must_call=work.instance_id == gate.breaker.seeks) for work in works]
            kept_out = [] if gate.is_open else [work for work in works if not gate.admits(work.instance_id)]
            if not kept_out:
                return [(works, [], begun.ahead)]
            report_after_s = None if gate.paused else self.of.siebel.report_after_s
            endings = [held(work, self.stage, why=gate.why, report_after_s=report_after_s) for work in kept_out]
            attempts.finish(tx, self.stage, endings, self._terms)
        return [([work for work in works if work not in kept_out], endings, begun.ahead)]

    def _bury_unread(self, instance_id: int, error: Exception) -> list[Begun]:
        """Bury the one whose inputs cannot be read."""
        log.error("unreadable", stage=self.stage, instance_id=instance_id, error=type(error).__name__)
        lease_s = self.of.dispatcher.lease_s
        with transaction(engine()) as tx:
            begun = attempts.begin(tx, self.stage, [instance_id], lease_s=lease_s, unread=True)
            endings = [bug(work, error, self.stage) for work in begun.works]
            attempts.finish(tx, self.stage, endings, self._terms)
        return [([], endings, begun.ahead)]

    def write(self, answers: Sequence[Answer], *, carried: bool) -> list[Ending]:
        """Conclude *answers*, write the endings and what they show of the connection."""
        answers = self._waiting_for_holders(answers)
        answers, endings = self._concluded(answers, carried=carried)
        if self._is_spared(answers):
            answers, endings = self._concluded(answers, carried=carried, spared=True)
        if endings:
            policy = self.of.connection(self.stage).policy
            in_time = lease_clock() < self.ends
            seen = evidence.seen(answers, policy, was_open=self.was_open, company=self.company) if in_time else None
            concluded = [(work, ending) for (work, _), ending in zip(answers, endings, strict=True)]
            pieces = in_halves([(concluded, seen)], self._written_all, self._written_by_halves)
            endings = [ending for some, _ in pieces for ending in some]
            counts = Counter(_outcome(ending) for ending in endings)
            overtaken = len(endings) - sum(count for _, count in pieces)
            log.info(
                "attempt",
                stage=self.stage,
                task_id=self.task_id,
                instances=len(endings),
                instance_ids=[work.instance_id for work, _ in answers[:_SHOWN_IDS]],
                overtaken=overtaken,
                **counts,
            )
        if self.asks:
            self._ask_the_system()
        return endings

    def _waiting_for_holders(self, answers: Sequence[Answer]) -> Sequence[Answer]:
        """Let those wait whose refusal hangs on an address that another member is just giving up."""
        refused = [work.instance_id for work, result in answers if is_data_error(result)]
        if self.stage is not Stage.CROWDTWIST or not refused:
            return answers
        holders = outlasting(lambda: self._holders(refused), _RESULTS_PATIENCE_S)
        return [(work, waiting_for(result, holders.get(work.instance_id))) for work, result in answers]

    def _holders(self, ids: Sequence[int]) -> dict[int, str]:
        with transaction(engine()) as tx:
            return addresses.giving_up(tx, ids)

    def _concluded(
        self, answers: Sequence[Answer], *, carried: bool, spared: bool = False
    ) -> tuple[list[Answer], list[Ending]]:
        """Give the endings of *answers*; where to conclude one is a bug, that is its answer."""
        of = self.of
        rules = Rules(
            stage=self.stage,
            policy=of.connection(self.stage).policy,
            report_after_s=of.siebel.report_after_s,
            jitter=0.0,
            carried=carried,
            spared=spared,
            company=self.company,
        )
        concluded: list[tuple[Answer, Ending]] = []
        for answer in answers:
            try:
                concluded.append((answer, _ending(answer, rules)))
            except Exception as error:  # noqa: BLE001  # it becomes that member's dead letter
                failed = answer[0], error
                concluded.append((failed, _ending(failed, rules)))
        return [answer for answer, _ in concluded], [ending for _, ending in concluded]

    @property
    def _terms(self) -> attempts.Terms:
        of = self.of
        return attempts.Terms(of.dispatcher.unbegun_lease_s, of.crowdtwist.settle_s, of.siebel.settle_s, self.task_id)

    def _written_all(self, batches: Sequence[tuple[Sequence[Concluded], Seen | None]]) -> list[Written]:
        ((concluded, seen),) = batches
        return self._written(concluded, seen)

    def _written_by_halves(self, batch: tuple[Sequence[Concluded], Seen | None], _: Exception) -> list[Written]:
        """Write a batch that the ledger does not take as a whole: all but the one at fault as they ended."""
        return in_halves(batch[0], self._written, self._written_unrecorded)

    def _written(self, concluded: Sequence[Concluded], seen: Seen | None = None) -> list[Written]:
        endings = [ending for _, ending in concluded]
        return [(endings, outlasting(lambda: self._finish(endings, seen), _RESULTS_PATIENCE_S))]

    def _written_unrecorded(self, one: Concluded, error: Exception) -> list[Written]:
        """Write an ending without the calls that led to it: what was recorded of them must not change it."""
        work, ending = one
        log.error("cannot be written", stage=self.stage, instance_id=work.instance_id, error=type(error).__name__)
        bare = replace(ending, line=replace(ending.line, calls=()))
        return in_halves([(work, bare)], self._written, self._written_as_bug)

    def _written_as_bug(self, one: Concluded, error: Exception) -> list[Written]:
        work, _ = one
        return self._written([(work, bug(work, error, self.stage))])

    def _finish(self, endings: Sequence[Ending], seen: Seen | None) -> int:
        rules = self.of.connection(self.stage).breaker_rules
        with transaction(engine(), durable=False) as tx:
            written = attempts.finish(tx, self.stage, endings, self._terms)
            if seen is None or not written or (not seen.failed and self.was_well):
                return written
            if seen.failed:
                due = connections.how_many_due(tx, self.stage, at_most=rules.members)
                seen = replace(seen, due=max(seen.due, due))
            before, now = connections.observe(tx, self.stage, seen, rules)
            if seen.is_up and before.position is Position.CLOSED:
                self._name_suspects(tx, before.failing_members | set(seen.failed.values()))
            if seen.failed:
                self._hold_failed(tx, before, now, list(seen.failed))
            if before.position is not now.position:
                wake(tx)
            self.asks |= bool(seen.failed) and connections.in_question(tx, self.stage, rules, due=seen.due)
        self._log(before, now)
        return written

    def _name_suspects(self, tx: Transaction, members: Collection[str]) -> None:
        named = outages.suspect(tx, self.stage, members) if members else 0
        if named:
            log.warning("suspects", stage=self.stage, instances=named)

    def _hold_failed(self, tx: Transaction, before: Breaker, now: Breaker, failed: list[int]) -> None:
        """Hold who failed as the connection went down; *failed* are those who failed after it."""
        if now.failing_since is not None and now.position is not Position.CLOSED:
            late = None if before.position is Position.CLOSED else failed
            outages.hold_failed(tx, self.stage, now.failing_since, late)

    def _ask_the_system(self) -> None:
        """Let the connection's own test say whether it is down; if it passes, a dispatcher asks a good member."""
        self.asks = False
        rules = self.of.connection(self.stage).breaker_rules
        passed = self.loop.is_up(self.stage, _TEST_S)
        if passed is None:
            return
        with transaction(engine(), durable=False) as tx:
            before, now = connections.judge(tx, self.stage, rules, passed=passed)
            self._hold_failed(tx, before, now, [])
            wake(tx)
        self._log(before, now)

    def _log(self, before: Breaker, now: Breaker) -> None:
        if before.position is not now.position:
            log.warning("breaker", stage=self.stage, was=before.position, now=now.position, failures=now.failures)

    def _is_spared(self, answers: Sequence[Answer]) -> bool:
        """Say whether a last attempt does not count, since nothing shows that the system was up.

        What shows it: somebody in this batch got through; or the connection passes its own test, and somebody got
        through of late.  A good member is asked now, for the next time; where there is none, as many members that fail
        as open the breaker are no sign of it, fewer may be at fault themselves.
        """
        policy = self.of.connection(self.stage).policy
        if not would_be_given_up(answers, policy) or any(shows_it_up(result) for _, result in answers):
            return False
        if lease_clock() + _TEST_S > self.ends or not self.loop.is_up(self.stage, _TEST_S):
            return True
        with transaction(engine(), durable=False) as tx:
            is_proven = connections.served(tx, self.stage, within_s=policy.cap_s + _SERVED_S)
            if is_proven:
                return False
            if not errands.has_good(tx):
                failing = connections.gate(tx, self.stage).breaker.failing_members
                failing |= {work.member_number for work, result in answers if evidence.counts(result)}
                return len(failing) >= self.of.connection(self.stage).breaker_members
            connections.doubt(tx, self.stage)
            wake(tx)
        return True


def _ending(answer: Answer, rules: Rules) -> Ending:
    work, result = answer
    stage = rules.stage
    if isinstance(result, BaseException):
        # Frames only: the message of a foreign exception may carry a member's data.
        frames = "".join(traceback.format_tb(result.__traceback__))
        log.error("bug", stage=stage, instance_id=work.instance_id, kind=type(result).__name__, frames=frames)
        return bug(work, result, stage)
    if isinstance(result, Failed):
        log.warning("failed", stage=stage, instance_id=work.instance_id, attempt=work.attempt, code=result.error.code)
    jitter = random.random()  # noqa: S311  # spreads retries, guards nothing
    return conclude(work, result, replace(rules, jitter=jitter))


def _outcome(ending: Ending) -> str:
    match ending:
        case Advanced(status=SyncStatus.DATA_ERROR):
            return "data_error"
        case Advanced():
            return "done"
        case Parked(state=state):
            return str(state)
        case ErrandEnded(errand=errand):
            return _ERRANDS[errand]


_ERRANDS = {
    Errand.REPORT: "reported",
    Errand.READ_BACK: "read_back",
    Errand.PROBE: "probed",
    Errand.TELL_AGAIN: "told_again",
}


def _stays_behind(ending: Ending) -> bool:
    """Return whether the instance leaves its batch: who waits, or goes on by itself, needs no message."""
    return isinstance(ending, Parked) or (isinstance(ending, Advanced) and ending.state is State.PENDING)


def _summary(endings: Sequence[Ending], *, late: int, goes_on: bool) -> dict[str, int]:
    """Return what Flower shows of a task whose chain goes on; raise what it shows of one whose chain ends here."""
    counts = Counter(_outcome(ending) for ending in endings)
    if late:
        counts["slow"] = late
    if goes_on:
        return dict(counts)
    summary = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    parked = [ending for ending in endings if isinstance(ending, Parked)]
    if any(ending.state in QUEUED for ending in parked):
        soonest_s = min(ending.delay_s for ending in parked)
        raise Retry(f"{summary}; tried again in {soonest_s:.0f} s" if soonest_s else summary)
    raise AllFailedError(summary)
