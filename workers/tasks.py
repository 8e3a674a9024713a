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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from celery import Task
from celery.exceptions import Retry

from shared.breaker import Position, Seen
from shared.broker import app
from shared.errors import BudgetSpentError, LeaseLostError, OutcomeUnknownError, StageError, UnavailableError
from shared.instances import Done, Errand, Failed, Result, Work
from shared.ledger import attempts, connections, holding
from shared.ledger.endings import Advanced, Ending, ErrandEnded, Parked
from shared.ledger.engine import engine, outlasting, transaction, wake
from shared.ledger.halving import in_halves
from shared.logs import logger
from shared.masking import mask_text
from shared.pipeline import QUEUED, Stage, State, SyncStatus
from shared.settings import Settings, settings
from workers import lease
from workers.crew import Answer, Crew
from workers.verdicts import Rules, bug, conclude, held, is_data_error, kept

log = logger(__name__)

_SHOWN_IDS = 20
_LEDGER_PATIENCE_S = 10.0
"""How long a ledger that restarts is waited for before a call.  Units: seconds."""
_RESULTS_PATIENCE_S = 25.0
"""Results in hand are worth more: longer than two of the ledger's lock time-outs, shorter than the rest of a lease."""
_TEST_S = 5.0
"""A connection that does not pass its test within this is not up.  Units: seconds."""


class AllFailedError(Exception):
    """No member of the batch goes on; shown in Flower, e.g. `2 dead, 1 rejected`."""


Concluded = tuple[Work, Ending]
Written = tuple[list[Ending], int]
"""What was written at once, and how many of it: who lost the lease writes nothing."""


class _Process:
    """What `workers.app` puts in place when a worker process starts."""

    crew: Crew | None = None


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
    if process.crew is None:
        raise RuntimeError("this process was not started as a worker")
    run = Attempt(process.crew, stage, settings(), str(task.request.id or ""))
    works, endings = outlasting(lambda: run.begin(ids), _LEDGER_PATIENCE_S)
    answers = process.crew.run(stage, works, run.of.worker.patience_s, run.write_late, run.ends) if works else []
    carried = not all(is_data_error(result) for _, result in answers)
    endings += run.write(answers, carried=carried)
    return _tell_flower(endings, late=len(works) - len(answers), goes_on=lambda: run.goes_on(ids))


@dataclass(slots=True)
class Attempt:
    """One attempt of one stage for a batch."""

    crew: Crew
    stage: Stage
    of: Settings
    task_id: str
    was_well: bool = False
    """Whether nothing was wrong with the connection when the attempt began."""
    ends: float = inf
    """When its lease is over, on the clock of `workers.lease`: what comes later shows nothing of the connection."""

    def begin(self, ids: Sequence[int]) -> tuple[list[Work], list[Ending]]:
        """Read and count the attempt; where nothing may go out, send back whom the gate does not admit."""
        self.ends = lease.now() + self.of.dispatcher.lease_s - lease.MARGIN_S
        begun = in_halves(ids, self._begin, self._bury_unread)
        return [work for works, _ in begun for work in works], [ending for _, endings in begun for ending in endings]

    def _begin(self, ids: Sequence[int]) -> list[tuple[list[Work], list[Ending]]]:
        # Durable where a call follows that must not be repeated beside itself (deploy/decisions/0003).
        with transaction(engine(), durable=self.stage is not Stage.OIC) as connection:
            gate = connections.gate(connection, self.stage)
            works = attempts.begin(connection, self.stage, ids, lease_s=self.of.dispatcher.lease_s)
            self.was_well = gate.is_well
            kept_out = [] if gate.is_open else [work for work in works if not gate.admits(work.instance_id)]
            if not kept_out:
                return [(works, [])]
            report_after_s = None if gate.paused else self.of.siebel.report_after_s
            endings = [held(work, self.stage, why=gate.why, report_after_s=report_after_s) for work in kept_out]
            attempts.finish(connection, self.stage, endings, self._terms)
        return [([work for work in works if work not in kept_out], endings)]

    def _bury_unread(self, instance_id: int, error: Exception) -> list[tuple[list[Work], list[Ending]]]:
        """Bury the one whose inputs cannot be read."""
        log.error("unreadable", stage=self.stage, instance_id=instance_id, error=type(error).__name__)
        lease_s = self.of.dispatcher.lease_s
        with transaction(engine()) as connection:
            works = attempts.begin(connection, self.stage, [instance_id], lease_s=lease_s, unread=True)
            endings = [bug(work, error, self.stage) for work in works]
            attempts.finish(connection, self.stage, endings, self._terms)
        return [([], endings)]

    def write(self, answers: Sequence[Answer], *, carried: bool) -> list[Ending]:
        """Conclude *answers*, write the endings and what they show of the connection."""
        answers, endings = self._concluded(answers, carried=carried)
        if endings:
            seen = self._seen(answers) if lease.now() < self.ends else None
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
        return endings

    def _concluded(self, answers: Sequence[Answer], *, carried: bool) -> tuple[list[Answer], list[Ending]]:
        """Give the endings of *answers*; where to conclude one is a bug, that is its answer."""
        concluded: list[tuple[Answer, Ending]] = []
        for answer in answers:
            try:
                concluded.append((answer, _ending(self.stage, answer, self.of, carried=carried)))
            except Exception as error:  # noqa: BLE001  # it becomes that member's dead letter
                failed = answer[0], error
                concluded.append((failed, _ending(self.stage, failed, self.of, carried=carried)))
        return [answer for answer, _ in concluded], [ending for _, ending in concluded]

    def write_late(self, answers: Sequence[Answer]) -> None:
        """Write the answers of stragglers: no message carries them on, they become due by themselves."""
        self.write(answers, carried=False)

    def goes_on(self, ids: Sequence[int]) -> bool:
        """Say whether the chain must go on for instances that are past this stage."""
        with transaction(engine()) as connection:
            return attempts.goes_on(connection, ids)

    @property
    def _terms(self) -> attempts.Terms:
        return attempts.Terms(self.of.dispatcher.unbegun_lease_s, self.of.crowdtwist.settle_s, self.task_id)

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
        with transaction(engine(), durable=False) as connection:
            written = attempts.finish(connection, self.stage, endings, self._terms)
            if seen is None or not written:
                return written
            if seen.failed:
                due = connections.how_many_due(connection, self.stage, at_most=rules.members)
                seen = replace(seen, due=max(seen.due, due))
            if not seen.failed and self.was_well:
                return written
            before, now = connections.observe(connection, self.stage, seen, rules)
            if seen.failed and now.failing_since is not None and now.position is not Position.CLOSED:
                late = None if before.position is Position.CLOSED else list(seen.failed)
                holding.hold_failed(connection, self.stage, now.failing_since, late)
            if before.position is not now.position:
                wake(connection)
        if before.position is not now.position:
            log.warning("breaker", stage=self.stage, was=before.position, now=now.position, failures=now.failures)
        return written

    def _seen(self, answers: Sequence[Answer]) -> Seen:
        """Say what *answers* show of the connection.

        A few members that fail alone may be at fault themselves: if the connection passes its own test then, it takes
        as many different members in a row as there may ever be asked for, however few are due.
        """
        failed = {
            work.instance_id: (work.member_number, result.error, kept(str(result.error), work))
            for work, result in answers
            if isinstance(result, Failed) and result.error.counts_for_breaker
        }
        is_up = any(_shows_it_up(result) for _, result in answers)
        due = 1
        if failed and not is_up and self._may_be_their_own([error for _, error, _ in failed.values()]):
            due = self.of.connection(self.stage).breaker_members if self.crew.is_up(self.stage, _TEST_S) else 1
        error = mask_text(next(iter(failed.values()))[2]) if failed else ""
        untried = frozenset(work.instance_id for work, result in answers if _was_not_tried(result))
        return Seen(is_up, {instance_id: number for instance_id, (number, _, _) in failed.items()}, error, due, untried)

    def _may_be_their_own(self, errors: Sequence[StageError]) -> bool:
        if len(errors) >= self.of.connection(self.stage).breaker_members:
            return False
        if not all(isinstance(error, UnavailableError | OutcomeUnknownError) for error in errors):
            return False
        with transaction(engine()) as connection:
            return connections.gate(connection, self.stage).is_open


def _shows_it_up(result: Result | BaseException) -> bool:
    """Say whether *result* came of an answer; what needed no call shows nothing."""
    if isinstance(result, BaseException) or not result.calls:
        return False
    return isinstance(result, Done) or is_data_error(result)


def _was_not_tried(result: Result | BaseException) -> bool:
    return isinstance(result, Failed) and isinstance(result.error, BudgetSpentError | LeaseLostError)


def _ending(stage: Stage, answer: Answer, of: Settings, *, carried: bool) -> Ending:
    work, result = answer
    if isinstance(result, BaseException):
        # Frames only: the message of a foreign exception may carry a member's data.
        frames = "".join(traceback.format_tb(result.__traceback__))
        log.error("bug", stage=stage, instance_id=work.instance_id, kind=type(result).__name__, frames=frames)
        return bug(work, result, stage)
    if isinstance(result, Failed):
        log.warning("failed", stage=stage, instance_id=work.instance_id, attempt=work.attempt, code=result.error.code)
    rules = Rules(
        stage=stage,
        policy=of.connection(stage).policy,
        report_after_s=of.siebel.report_after_s,
        jitter=random.random(),  # noqa: S311  # spreads retries, guards nothing
        carried=carried,
    )
    return conclude(work, result, rules)


def _outcome(ending: Ending) -> str:
    match ending:
        case Advanced(status=SyncStatus.DATA_ERROR):
            return "data_error"
        case Advanced():
            return "done"
        case Parked(state=state):
            return str(state)
        case ErrandEnded(errand=Errand.REPORT):
            return "reported"
        case ErrandEnded():
            return "read_back"


def _tell_flower(endings: Sequence[Ending], late: int, goes_on: Callable[[], bool]) -> dict[str, int]:
    counts = Counter(_outcome(ending) for ending in endings)
    if late:
        counts["slow"] = late
    parked = [ending for ending in endings if isinstance(ending, Parked)]
    refused = [ending for ending in endings if isinstance(ending, Advanced) and ending.state is State.PENDING]
    if not endings or late or len(parked) + len(refused) < len(endings) or goes_on():
        return dict(counts)
    summary = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    if any(ending.state in QUEUED for ending in parked):
        soonest_s = min(ending.delay_s for ending in parked)
        raise Retry(f"{summary}; tried again in {soonest_s:.0f} s" if soonest_s else summary)
    raise AllFailedError(summary)
