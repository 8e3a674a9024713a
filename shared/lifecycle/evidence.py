"""What a batch's answers show of the connection.  Pure.

An answer to a member shows it up: a success, a Data Error.  A failure counts against it if its class says so.  What
needed no call, what could not be paid for, a bug of ours and a conflict about one record say nothing of it.
"""

from collections.abc import Sequence

from shared.errors import AddressPendingError, BudgetSpentError, DataError, LeaseLostError, StageError
from shared.instances import Answer, Done, Errand, Failed, Result, Work
from shared.lifecycle.breaker import Evidence, Seen
from shared.lifecycle.retry import RetryPolicy
from shared.lifecycle.verdicts import kept
from shared.masking import mask_text
from shared.personal import NOBODY, Company


def seen(answers: Sequence[Answer], policy: RetryPolicy, *, was_open: bool, company: Company = NOBODY) -> Seen:
    """Say what *answers* show; *was_open*: whoever was due could go when they set out; *company* as in `Rules`."""
    failures = [(work, result.error) for work, result in answers if counts(result) and isinstance(result, Failed)]
    is_up = any(shows_it_up(result) for _, result in answers)
    # A suspect that is asked to wait waits alone: others were served since it was asked first.
    waits = [0.0 if work.suspect and was_open else policy.floor_s(error) for work, error in failures]
    asked_all = bool(waits) and all(waits)
    untried = frozenset(work.instance_id for work, result in answers if _was_not_tried(result))
    told = {work.instance_id for work, result in answers if counts(result) or shows_it_up(result)}
    return Seen(
        is_up,
        {work.instance_id: work.member_number for work, _ in failures},
        _words(failures, company),
        untried=untried,
        mute=frozenset(work.instance_id for work, _ in answers) - untried - told,
        evidence=Evidence.SYSTEM if asked_all else Evidence.UNASKED,
        wait_s=0.0 if is_up else max(waits, default=0.0),
    )


def counts(result: Result | BaseException) -> bool:
    """Say whether *result* counts against the connection."""
    return isinstance(result, Failed) and result.error.counts_for_breaker


def shows_it_up(result: Result | BaseException) -> bool:
    """Say whether *result* came of an answer; what needed no call shows nothing."""
    if isinstance(result, BaseException) or not result.calls:
        return False
    return isinstance(result, Done) or isinstance(result.error, DataError | AddressPendingError)


def would_be_given_up(answers: Sequence[Answer], policy: RetryPolicy) -> bool:
    """Say whether a failure that counts against the connection was the last attempt of any."""
    return any(
        counts(result) and work.errand is Errand.SYNC and work.attempt >= policy.max_attempts
        for work, result in answers
    )


def _words(failures: Sequence[tuple[Work, StageError]], company: Company) -> str:
    if not failures:
        return ""
    work, error = failures[0]
    return mask_text(kept(str(error), work, company))


def _was_not_tried(result: Result | BaseException) -> bool:
    return isinstance(result, Failed) and isinstance(result.error, BudgetSpentError | LeaseLostError)
