"""The three tasks and the one attempt they share.

1. *Read*, in one transaction: which of these ids are at this stage, unbegun; count the attempt; read their inputs.
2. *Call*, with no transaction open: all members of the batch at once.
3. *Write*, in one transaction: advanced, waiting, dead, with a line of activity each, fenced by token.

Who fails leaves the batch and is due again alone.  The task's own end only informs Flower: RETRY when its members all
wait, FAILURE when they all failed for good, else the counts by outcome.
"""

import random
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from math import inf
from typing import Any, NamedTuple

from celery import Task
from celery.exceptions import Retry

from shared import spans
from shared.broker import app
from shared.instances import Answer, Done, Failed, Result, Work
from shared.lease_clock import lease_clock
from shared.ledger import connections, people
from shared.ledger.engine import engine, in_halves, outlasting, statements, transaction
from shared.ledger.heartbeats import Who
from shared.ledger.transitions import attempts, floods
from shared.lifecycle import breaker
from shared.lifecycle.breaker import Seen
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
from shared.pipeline import QUEUED, Stage, State
from shared.settings import Settings, settings
from shared.systems.permits import MARGIN_S, Calling
from workers.health import Health
from workers.loop import CallLoop
from workers.outcomes import attributes, outcome

log = logger(__name__)

_SHOWN_IDS = 20
_IN_TROUBLE = 300
"""Of so many who failed of late the names are taken out of what is said to others."""
_LEDGER_PATIENCE_S = 10.0
"""How long a ledger that restarts is waited for before a call.  Units: seconds."""
_RESULTS_PATIENCE_S = 25.0
"""Results in hand are worth more: longer than two of the ledger's lock time-outs, shorter than the rest of a lease."""
_dice = random.SystemRandom()
"""Spreads retries."""


class AllFailedError(Exception):
    """No member of the batch goes on; shown in Flower, e.g. `2 dead, 1 rejected`."""


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
    """Try one stage once for those of *ids* that are there; return the counts by outcome.

    Raises:
        celery.exceptions.Retry: all of them wait; the ledger has their time, nothing is published.
        AllFailedError: all of them failed for good.
    """
    end = _attempted(stage, ids, str(task.request.id or ""))
    if not isinstance(end, Exception):
        return end
    try:
        raise end  # here: Celery keeps it until a search for garbage, with all that the frames below it hold
    finally:
        del end  # which holds this frame


def _attempted(stage: Stage, ids: Sequence[int], task_id: str) -> dict[str, int] | Retry | AllFailedError:
    if process.loop is None:
        raise RuntimeError("this process was not started as a worker")
    run = Attempt(process.loop, stage, settings(), task_id)
    begun = outlasting(lambda: run.begin(ids), _LEDGER_PATIENCE_S)
    answers = run.call(begun.works)
    endings = begun.endings + run.write(answers, carried=not all(is_data_error(result) for _, result in answers))
    late = len(begun.works) - len(answers)
    stay_behind = all(  # who waits, or goes on by itself, needs no message
        isinstance(ending, Parked) or (isinstance(ending, Advanced) and ending.state is State.PENDING)
        for ending in endings
    )
    return _summary(endings, late=late, goes_on=begun.ahead or late > 0 or not stay_behind)


@dataclass(frozen=True, slots=True)
class Begun:
    """Who is to be called for; how it ended for who is not; *ahead*: others of the batch are at a later stage."""

    works: list[Work]
    endings: list[Ending]
    ahead: bool


class Concluded(NamedTuple):
    """What came of one member, and how its attempt ended by that."""

    work: Work
    result: Result | BaseException
    ending: Ending


class Written(NamedTuple):
    """What was written at once, and how many of it: who lost the lease writes nothing."""

    endings: Sequence[Ending]
    written: int


class Attempt:
    """One attempt of one stage for a batch."""

    def __init__(self, loop: CallLoop, stage: Stage, of: Settings, task_id: str) -> None:
        self.loop = loop
        self.stage = stage
        self.of = of
        self.task_id = task_id
        self.health = Health(loop, stage, of.connection(stage))
        self.begun_ns = time.time_ns()
        self.lease_ends = inf
        """On `lease_clock`; what comes later shows nothing of the connection."""
        self.was_open = self.was_well = False
        """Whether calls could go out when the attempt began, and nothing had been wrong of late."""
        self.in_trouble: Sequence[Persons] = ()
        """Who else failed of late, where there is trouble."""
        self.company = NOBODY
        """Who may be named in what is said to another."""
        self.terms = attempts.Terms(of.dispatcher.unbegun_lease_s, of.crowdtwist.settle_s, of.siebel.settle_s, task_id)

    # 1. Read

    def begin(self, ids: Sequence[int]) -> Begun:
        """Read and count the attempt; where nothing may go out, send back whom the gate does not admit."""
        self.lease_ends = lease_clock() + self.of.dispatcher.lease_s - MARGIN_S
        halves = in_halves(ids, self._begin, self._bury_unread)
        works = [work for half in halves for work in half.works]
        endings = [ending for half in halves for ending in half.endings]
        return Begun(works, endings, ahead=any(half.ahead for half in halves))

    def _begin(self, ids: Sequence[int]) -> list[Begun]:
        # Durable where a call follows that must not be repeated beside itself (deploy/decisions/0003).
        ledger, lease_s = engine(durable=self.stage is not Stage.OIC), self.of.dispatcher.lease_s
        with statements(ledger) as tx:  # mostly all is well, and one way there and back is enough
            begun = attempts.begin(tx, self.stage, ids, lease_s=lease_s, if_well=True)
            if any(work.attempt > 1 for work in begun.works):
                self.in_trouble = people.in_trouble(tx, limit=_IN_TROUBLE)
        if begun.works or begun.unreadable:
            self.was_open = self.was_well = True
            return [Begun(begun.works, self._buried(begun.unreadable), begun.ahead)]
        with transaction(ledger) as tx:
            gate = connections.gate(tx, self.stage)
            self.was_open, self.was_well = gate.is_open, gate.is_well
            begun = attempts.begin(tx, self.stage, ids, lease_s=lease_s)
            if begun.works:
                self.in_trouble = people.in_trouble(tx, limit=_IN_TROUBLE)
            works = [replace(work, must_call=work.instance_id == gate.breaker.seeks) for work in begun.works]
            kept_out = [] if gate.is_open else [work for work in works if not gate.admits(work.instance_id)]
            report_after_s = None if gate.paused else self.of.siebel.report_after_s
            endings = [held(work, self.stage, why=gate.why, report_after_s=report_after_s) for work in kept_out]
            if endings:
                attempts.finish(tx, self.stage, endings, self.terms)
                works = [work for work in works if work not in kept_out]
        return [Begun(works, endings + self._buried(begun.unreadable), begun.ahead)]

    def _buried(self, unreadable: Sequence[tuple[Work, Exception]]) -> list[Ending]:
        """Bury those whose inputs cannot be read; return how they ended."""
        for work, error in unreadable:
            log.error("unreadable", stage=self.stage, instance_id=work.instance_id, error=type(error).__name__)
        endings = [bug(work, error, self.stage) for work, error in unreadable]
        if endings:
            with transaction(engine()) as tx:
                attempts.finish(tx, self.stage, endings, self.terms)
        return endings

    def _bury_unread(self, one: int, error: Exception) -> list[Begun]:
        """Bury the one whose inputs the ledger cannot read."""
        with transaction(engine()) as tx:
            begun = attempts.begin(tx, self.stage, [one], lease_s=self.of.dispatcher.lease_s, unread=True)
        return [Begun([], self._buried([(work, error) for work in begun.works]), begun.ahead)]

    # 2. Call

    def call(self, works: Sequence[Work]) -> list[Answer]:
        """Call for all *works* at once; return the answers that came soon, and write those of stragglers as they come.

        No message carries stragglers on: they become due by themselves.
        """
        if not works:
            return []
        in_trouble = self.in_trouble  # by itself: whoever holds this attempt is held by it, and all its members
        self.company = Company(lambda: chain(((work.user, work.event.get("member")) for work in works), in_trouble))
        calling = Calling(lease_ends=self.lease_ends, company=self.company)
        write_late = partial(self.write, carried=False)
        return self.loop.run(self.stage, works, self.of.worker.patience_s, write_late, calling)

    # 3. Write

    def write(self, answers: Sequence[Answer], *, carried: bool) -> list[Ending]:
        """Conclude *answers*, write the endings and what they show of the connection."""
        answers = self._waiting_for_holders(answers)
        concluded = self._conclude(answers, carried=carried)
        answers = [(one.work, one.result) for one in concluded]  # with the bugs that concluding them showed
        if self.health.spares(answers, lease_ends=self.lease_ends):
            concluded = self._conclude(answers, carried=carried, spared=True)
        if not concluded:
            return []
        seen = None  # what comes after the lease shows nothing of the connection
        if lease_clock() < self.lease_ends:
            seen = breaker.seen(answers, self.health.of.policy, was_open=self.was_open, company=self.company)
        pieces = in_halves(
            [concluded], lambda whole: self._written([one.ending for one in whole[0]], seen), self._written_in_halves
        )
        endings = [ending for piece in pieces for ending in piece.endings]
        traces = self._traced(concluded)
        log.info(
            "attempt",
            stage=self.stage,
            task_id=self.task_id,
            instances=len(endings),
            instance_ids=[one.work.instance_id for one in concluded[:_SHOWN_IDS]],
            overtaken=len(endings) - sum(piece.written for piece in pieces),
            **({"trace_ids": traces[:_SHOWN_IDS]} if traces else {}),
            **Counter(outcome(ending) for ending in endings),
        )
        for given_up in (one for one in endings if isinstance(one, ErrandEnded) and one.is_given_up):
            log.warning("given up", stage=self.stage, instance_id=given_up.instance_id, errand=given_up.errand)
        if self.health.is_in_question:
            self.health.ask_the_system()
        return endings

    def _traced(self, concluded: Sequence[Concluded]) -> list[str]:
        """Show this attempt in the traces of those members whose events are in one; return the traces."""
        tracer = spans.tracer()
        if tracer is None:
            return []
        tried = (
            spans.Tried(
                one.work.traceparent,
                failed=not isinstance(one.result, Done),
                attributes=attributes(one.work, one.ending),
            )
            for one in concluded
            if one.work.traceparent
        )
        of_batch: spans.Attributes = {"membersync.task_id": self.task_id, "membersync.instances": len(concluded)}
        return tracer.batch(self.stage.task, self.stage, self.begun_ns, tried, of_batch)

    def _waiting_for_holders(self, answers: Sequence[Answer]) -> Sequence[Answer]:
        """Let those wait whose refusal hangs on an address that another member is just giving up."""
        refused = [work.instance_id for work, result in answers if is_data_error(result)]
        if self.stage is not Stage.CROWDTWIST or not refused:
            return answers

        def read() -> dict[int, str]:
            with transaction(engine()) as tx:
                return people.giving_up(tx, refused)

        holders = outlasting(read, _RESULTS_PATIENCE_S)
        return [(work, waiting_for(result, holders.get(work.instance_id))) for work, result in answers]

    def _conclude(self, answers: Sequence[Answer], *, carried: bool, spared: bool = False) -> list[Concluded]:
        """Conclude each of *answers*; where to conclude one is a bug, that is what came of it."""
        rules = Rules(
            stage=self.stage,
            policy=self.of.connection(self.stage).policy,
            report_after_s=self.of.siebel.report_after_s,
            jitter=0.0,
            carried=carried,
            spared=spared,
            company=self.company,
        )
        concluded = []
        for work, result in answers:
            try:
                concluded.append(Concluded(work, result, _ending(work, result, rules)))
            except Exception as error:  # noqa: BLE001  # it becomes that member's dead letter
                concluded.append(Concluded(work, error, _ending(work, error, rules)))
        return concluded

    def _written_in_halves(self, concluded: Sequence[Concluded], _: Exception) -> list[Written]:
        """Write what the ledger does not take as a whole: all but the one at fault as they ended."""
        return in_halves(concluded, lambda some: self._written([one.ending for one in some]), self._written_bare)

    def _written_bare(self, one: Concluded, error: Exception) -> list[Written]:
        """Write an ending without the calls that led to it, which must not change it; if that fails too, as a bug."""
        log.error("cannot be written", stage=self.stage, instance_id=one.work.instance_id, error=type(error).__name__)
        bare = replace(one.ending, line=replace(one.ending.line, calls=()))
        return in_halves([bare], self._written, lambda _, why: self._written([bug(one.work, why, self.stage)]))

    def _written(self, endings: Sequence[Ending], seen: Seen | None = None) -> list[Written]:
        tells = seen is not None and (bool(seen.failed) or not self.was_well)
        opened = transaction if tells or not attempts.are_mapped(endings) else statements

        def write() -> Written:
            with opened(engine(durable=False)) as tx:
                guarded = floods.guard(tx, self.stage, endings, self.of.guard.flood_rules)
                written = Written(guarded, attempts.finish(tx, self.stage, guarded, self.terms))
                if seen is None or not tells or not written.written:
                    return written
                change = self.health.take_in(tx, seen)
            self.health.note(*change)
            return written

        return [outlasting(write, _RESULTS_PATIENCE_S)]


def _ending(work: Work, result: Result | BaseException, rules: Rules) -> Ending:
    stage = rules.stage
    if isinstance(result, BaseException):
        # Frames only: the message of a foreign exception may carry a member's data.
        frames = "".join(traceback.format_tb(result.__traceback__))
        who = {"instance_id": work.instance_id, **spans.named(work.traceparent)}
        log.error("bug", stage=stage, kind=type(result).__name__, frames=frames, **who)
        return bug(work, result, stage)
    if isinstance(result, Failed):
        who = {"instance_id": work.instance_id, **spans.named(work.traceparent)}
        log.warning("failed", stage=stage, attempt=work.attempt, code=result.error.code, **who)
        rules = replace(rules, jitter=_dice.random())
    return conclude(work, result, rules)


def _summary(endings: Sequence[Ending], *, late: int, goes_on: bool) -> dict[str, int] | Retry | AllFailedError:
    """Return what Flower shows of a task: counts where its chain goes on, an error where it ends here."""
    counts = Counter(outcome(ending) for ending in endings)
    if late:
        counts["slow"] = late
    if goes_on:
        return dict(counts)
    summary = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    parked = [ending for ending in endings if isinstance(ending, Parked)]
    if any(ending.state in QUEUED for ending in parked):
        soonest_s = min(ending.delay_s for ending in parked)
        return _waits(f"{summary}; tried again in {soonest_s:.0f} s" if soonest_s else summary)
    return AllFailedError(summary)


def _waits(summary: str) -> Retry:
    waits = Retry(summary)
    waits.args = ()  # Celery puts the error itself there
    return waits
