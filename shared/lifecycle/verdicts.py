"""What becomes of an instance: after the result of an attempt, held untried, after a bug, with its worker lost.  Pure.

The one place where results become endings, which `finish` writes: the instance advances, is parked, or ends an errand.
"""

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from shared.errors import AddressPendingError, BudgetSpentError, DataError, LeaseLostError, OutcomeUnknownError
from shared.instances import Call, Done, Errand, Failed, Result, Work, unchanging
from shared.lifecycle.retry import DeadLetter, Reject, RetryIn, RetryPolicy, decide
from shared.masking import mask_text
from shared.personal import NOBODY, Company, marked, values_of
from shared.pipeline import FAILURE_STATUS, STAGES, SYSTEMS, Stage, State, SyncStatus

_AFTER = dict(pairwise(STAGES))
_HELD_ERRAND_S = 5.0
_SPARED = "; it is not given up, since nothing shows that the system was up"


@unchanging
class Line:
    """One line of an instance's activity."""

    what: str
    code: str | None = None
    took_ms: float | None = None
    calls: tuple[Call, ...] = ()


@unchanging
class Advanced:
    """The stage is done: the instance goes on to *stage* (state `running`), or has ended there.

    *facts* as in `shared.instances.Done`.
    """

    work: Work
    state: State
    stage: Stage
    status: SyncStatus | None
    error: str
    line: Line
    code: str | None = None
    failed_stage: Stage | None = None
    facts: Mapping[str, Any] | None = None

    @property
    def member_number(self) -> str:
        """The number of the member that it is about."""
        return self.work.member_number


@unchanging
class Parked:
    """The attempt did not succeed: the instance leaves the batch; *hold_id* is the guard's hold that has it then.

    Units: *delay_s* until it is due again, *report_after_s* from its first failure until it is reported (None: not).
    *attempt* is what the ledger counts for the stage; less than was begun when the attempt is given back.
    """

    instance_id: int
    token: int
    member_number: str
    state: State
    stage: Stage
    attempt: int
    line: Line
    delay_s: float = 0.0
    status: SyncStatus | None = None
    error: str = ""
    code: str | None = None
    failed_stage: Stage | None = None
    report_after_s: float | None = None
    lost: bool = False
    """A worker died with it alone: counts a loss."""
    apart: bool = False
    """A worker died with it in company: it goes alone from now on, so that only the one at fault is counted."""
    unsure: bool = False
    """What was called for at CrowdTwist or Siebel may have been applied, or may yet be, without our knowing."""
    hold_id: int | None = None


@unchanging
class ErrandEnded:
    """An errand is over; the instance is where it was.

    Units: *again_in_s* until it is repeated.  Shape: *facts* None when it failed, and is not repeated if *again_in_s*
    is None too; *unsure* as in `Parked`; *untried*: its attempt is given back; *refused*: in which words it was.
    """

    errand_id: int
    instance_id: int
    token: int
    member_number: str
    errand: Errand
    line: Line
    again_in_s: float | None = None
    facts: Mapping[str, Any] | None = None
    apart: bool = False
    unsure: bool = False
    untried: bool = False
    refused: str | None = None

    @property
    def is_given_up(self) -> bool:
        """Whether nobody will do what the errand was for: it failed, and is not repeated."""
        return self.facts is None and self.again_in_s is None and self.errand is not Errand.PROBE


Ending = Advanced | Parked | ErrandEnded


@dataclass(frozen=True, slots=True)
class Rules:
    """What a verdict depends on beside the result.

    *company*: who was in the batch, and may be named in what is said to another.
    *carried*: the chain's next message will find the instance, so it stays `running`; else it becomes due by itself.
    *jitter* in [0, 1).  *report_after_s*: seconds of failing after which it is reported to Siebel.  *spared*: nothing
    shows that the system was up, so that the last attempt does not count.
    """

    stage: Stage
    policy: RetryPolicy
    report_after_s: float
    jitter: float
    carried: bool
    spared: bool = False
    company: Company = NOBODY


def conclude(work: Work, result: Result, rules: Rules) -> Ending:
    """Return what becomes of *work* after *result*."""
    if isinstance(result, Failed) and isinstance(result.error, BudgetSpentError):
        line = Line(f"{result.error.what}, due again", calls=result.calls)
        return _untried(work, rules.stage, line, result.error.more_in_s)
    if isinstance(result, Failed) and isinstance(result.error, LeaseLostError):
        return _untried(work, rules.stage, Line("the lease ran out before it was sent, due again", calls=result.calls))
    if work.errand is not None:
        return _errand_ended(work, work.errand, result, rules)
    if isinstance(result, Failed):
        return _failed(work, result, rules)
    line = Line(result.what, None, result.took_ms, result.calls)
    if rules.stage is Stage.SIEBEL:
        state = State.COMPLETED if work.status in {None, SyncStatus.SUCCESS} else State.REJECTED
        return Advanced(work, state, Stage.SIEBEL, work.status, work.error, line, facts=result.facts)
    status = SyncStatus.SUCCESS if rules.stage is Stage.CROWDTWIST else work.status
    return Advanced(work, _onward(rules), _AFTER[rules.stage], status, "", line, facts=result.facts)


def _untried(work: Work, stage: Stage, line: Line, more_in_s: float = 0.0) -> Ending:
    """Send *work* back: a call was not made, for a reason of our own.  Costs no attempt."""
    if work.errand is not None:
        return replace(_errand_over(work, work.errand, line), again_in_s=more_in_s, untried=True)
    number, attempt = work.member_number, work.attempt - 1
    return Parked(work.instance_id, work.token, number, State.PENDING, stage, attempt, line, delay_s=more_in_s)


def _failed(work: Work, failed: Failed, rules: Rules) -> Ending:
    error = failed.error
    line = _failed_line(work, failed, rules)
    match decide(rules.policy, work.attempt, error, rules.jitter):
        case Reject() if rules.stage is not Stage.SIEBEL:
            return Advanced(
                work,
                _onward(rules),
                Stage.SIEBEL,
                SyncStatus.DATA_ERROR,
                kept(error.what, work, rules.company),
                line,
                code=error.code,
                failed_stage=rules.stage,
            )
        case DeadLetter() if rules.spared and error.counts_for_breaker:
            untried = replace(work, attempt=work.attempt - 1)
            line = replace(line, what=line.what + _SPARED)
            return _waiting(untried, failed, line, rules.policy.cap_s * rules.jitter, rules)
        case Reject() | DeadLetter():
            error_kept = kept(str(error), work, rules.company)
            return _buried(work, rules.stage, line, error_kept, unsure=_is_unsure(failed, rules.stage))
        case RetryIn(delay_s):
            return _waiting(work, failed, line, delay_s, rules)


def _is_unsure(failed: Failed, stage: Stage) -> bool:
    """Return whether a write to CrowdTwist or Siebel may have been applied, or may still be."""
    may_be_out = isinstance(failed.error, OutcomeUnknownError) or bool(failed.facts.get("unknown_outcome"))
    return stage is not Stage.OIC and may_be_out


def _waiting(work: Work, failed: Failed, line: Line, delay_s: float, rules: Rules) -> Parked:
    error = failed.error
    tells = rules.stage in FAILURE_STATUS
    # A Data Error on its way to Siebel keeps its cause; that Siebel is away just now is in its activity.
    keeps_cause = not tells and work.status is SyncStatus.DATA_ERROR
    return Parked(
        work.instance_id,
        work.token,
        work.member_number,
        State.WAITING,
        rules.stage,
        work.attempt,
        line,
        delay_s=delay_s,
        status=FAILURE_STATUS.get(rules.stage),
        error=kept(str(error), work, rules.company) if tells else work.error,
        code=None if keeps_cause else error.code,
        failed_stage=None if keeps_cause else rules.stage,
        report_after_s=rules.report_after_s if tells else None,
        unsure=_is_unsure(failed, rules.stage),
    )


def _buried(work: Work, stage: Stage, line: Line, error: str, *, unsure: bool) -> Parked:
    tells = stage in FAILURE_STATUS
    return Parked(
        work.instance_id,
        work.token,
        work.member_number,
        State.DEAD,
        stage,
        work.attempt,
        line,
        status=FAILURE_STATUS.get(stage),
        # What is to be written to Siebel must survive Siebel's own failure: a requeue writes it then.
        error=work.error if not tells and work.status is SyncStatus.DATA_ERROR else error,
        code=line.code,
        failed_stage=stage,
        report_after_s=0.0 if tells else None,
        unsure=unsure,
    )


def _errand_ended(work: Work, errand: Errand, result: Result, rules: Rules) -> ErrandEnded:
    if isinstance(result, Done):
        line = Line(result.what, None, result.took_ms, result.calls)
        return replace(_errand_over(work, errand, line), facts=result.facts)
    over = _errand_over(work, errand, _failed_line(work, result, rules))
    over = replace(over, unsure=_is_unsure(result, rules.stage))
    verdict = decide(rules.policy, work.attempt, result.error, rules.jitter)
    if isinstance(verdict, RetryIn):
        return replace(over, again_in_s=verdict.delay_s)
    if errand is Errand.PROBE:
        return over
    if isinstance(verdict, DeadLetter) and rules.spared and result.error.counts_for_breaker:
        line = replace(over.line, what=over.line.what + _SPARED)
        return replace(over, line=line, again_in_s=rules.policy.cap_s * rules.jitter, untried=True)
    line = replace(over.line, what=f"{over.line.what}; the {errand} is given up")
    words = kept(result.error.what, work, rules.company) if isinstance(verdict, Reject) else None
    return replace(over, line=line, refused=words)


def _errand_over(work: Work, errand: Errand, line: Line) -> ErrandEnded:
    return ErrandEnded(work.errand_id, work.instance_id, work.token, work.member_number, errand, line)


def _failed_line(work: Work, failed: Failed, rules: Rules) -> Line:
    error = failed.error
    return Line(mask_text(kept(str(error), work, rules.company)), error.code, failed.took_ms, failed.calls)


def kept(words: str, work: Work, company: Company) -> str:
    """Return what was said, with what names the member, or another of its *company*, marked."""
    keep = (work.member_number, work.row_id or "", str(work.ct_user_id or ""))
    return marked(words, (*values_of(work.user, work.event.get("member")), *company.values_in(words)), keep)


def _onward(rules: Rules) -> State:
    return State.RUNNING if rules.carried else State.PENDING


def waiting_for(result: Result | BaseException, holder: str | None) -> Result | BaseException:
    """Make a refusal one that waits for *holder*, who is giving up what the member wants; None: nobody is."""
    if holder is None or not isinstance(result, Failed) or not isinstance(result.error, DataError):
        return result
    refusal = result.error
    return replace(result, error=AddressPendingError(refusal.system, refusal.what, refusal.http_status, holder))


def is_data_error(result: Result | BaseException) -> bool:
    """Return whether *result* is the member's own fault."""
    return isinstance(result, Failed) and isinstance(result.error, DataError)


def held(work: Work, stage: Stage, *, why: str, report_after_s: float | None) -> Ending:
    """Send *work* back untried: nothing may go out at its stage.  Costs no attempt.

    *report_after_s*: seconds until it is reported to Siebel that it fails; None: a pause is no failure.
    """
    line = Line(f"held: {why}")
    if work.errand is not None:
        return replace(_errand_over(work, work.errand, line), again_in_s=_HELD_ERRAND_S, untried=True)
    tells = report_after_s is not None and stage in FAILURE_STATUS
    return Parked(
        work.instance_id,
        work.token,
        work.member_number,
        State.HELD,
        stage,
        work.attempt - 1,
        line,
        status=FAILURE_STATUS[stage] if tells else None,
        error=why,
        code="connection_down" if tells else None,
        failed_stage=stage if tells else None,
        report_after_s=report_after_s if tells else None,
    )


def bug(work: Work, error: BaseException, stage: Stage) -> Ending:
    """Bury *work*: its stage raised what it must not.  The traceback is in the log, by instance id."""
    frame = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
    where = f" at {frame.filename.rpartition('/')[2]}:{frame.lineno}" if frame else ""
    line = Line(what=f"a bug in membersync: {type(error).__name__}{where}", code="bug")
    if work.errand is not None:
        return replace(_errand_over(work, work.errand, line), unsure=True)
    what = f"{SYSTEMS[stage]}: unexpected {type(error).__name__}, see the log"
    return _buried(work, stage, line, what, unsure=stage is not Stage.OIC)


@dataclass(frozen=True, slots=True)
class Lost:
    """An instance, or an errand for one, whose lease ran out."""

    instance_id: int
    errand_id: int
    token: int
    member_number: str
    stage: Stage
    attempt: int
    begun: bool
    losses: int
    alone: bool
    errand: Errand | None
    status: SyncStatus | None


def after_loss(lost: Lost, *, losses_max: int) -> Parked | ErrandEnded:
    """Return what becomes of an instance whose lease ran out.

    One that no worker had begun costs nothing.  One that was begun in company is tried again alone: any of them may be
    at fault.  One that was begun alone counts a loss; the *losses_max*-th buries it, code `worker_lost`.  What it
    called for may have been applied, or may yet be.
    """
    if lost.errand is not None:
        line = Line("the worker was lost on this errand" if lost.begun else "no worker took this errand in time")
        apart = lost.begun and not lost.alone
        return ErrandEnded(
            lost.errand_id,
            lost.instance_id,
            lost.token,
            lost.member_number,
            lost.errand,
            line,
            again_in_s=0.0,
            apart=apart,
            unsure=lost.begun,
        )
    if not lost.begun:
        return _due_again(lost, Line("no worker took it in time, due again"))
    if not lost.alone:
        return _due_again(lost, Line("the worker was lost with its whole batch, due again alone", "worker_lost"))
    if lost.losses + 1 < losses_max:
        return _due_again(lost, Line("the worker was lost, due again", "worker_lost"))
    what = f"the worker was lost {lost.losses + 1} times with it"
    return Parked(
        lost.instance_id,
        lost.token,
        lost.member_number,
        State.DEAD,
        lost.stage,
        lost.attempt,
        Line(what, "worker_lost"),
        status=FAILURE_STATUS.get(lost.stage),
        error=what,
        code="worker_lost",
        failed_stage=lost.stage,
        report_after_s=0.0 if lost.stage in FAILURE_STATUS else None,
        lost=True,
        unsure=lost.stage is not Stage.OIC,
    )


def _due_again(lost: Lost, line: Line) -> Parked:
    return Parked(
        lost.instance_id,
        lost.token,
        lost.member_number,
        State.PENDING,
        lost.stage,
        lost.attempt,
        line,
        lost=lost.begun and lost.alone,
        apart=lost.begun and not lost.alone,
        unsure=lost.begun and lost.stage is not Stage.OIC,
    )
