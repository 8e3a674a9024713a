"""What a batch's answers show of the connection.  Pure.

An answer to a member shows it up: a success, a Data Error.  A failure counts against it if its class says so.  What
needed no call, what could not be paid for, a bug of ours and a conflict about one record say nothing of it.
"""

from collections.abc import Sequence

from shared.errors import AddressPendingError, BudgetSpentError, DataError, LeaseLostError
from shared.instances import Answer, Done, Errand, Failed, Result
from shared.lifecycle.breaker import Evidence, Seen
from shared.lifecycle.retry import RetryPolicy
from shared.lifecycle.verdicts import kept
from shared.masking import mask_text
from shared.personal import NOBODY, Company


def seen(answers: Sequence[Answer], policy: RetryPolicy, *, was_open: bool, company: Company = NOBODY) -> Seen:
    """Return what *answers* show; *was_open*: whoever was due could go when they set out; *company* as in `Rules`."""
    failures = [(work, result.error) for work, result in answers if isinstance(result, Failed) and counts(result)]
    is_up = any(shows_it_up(result) for _, result in answers)
    # A suspect that is asked to wait waits alone: others were served since it was asked first.
    waits = [0.0 if work.suspect and was_open else policy.floor_s(error) for work, error in failures]
    untried = frozenset(
        work.instance_id
        for work, result in answers
        if isinstance(result, Failed) and isinstance(result.error, BudgetSpentError | LeaseLostError)
    )
    tell = {work.instance_id for work, result in answers if counts(result) or shows_it_up(result)}
    return Seen(
        is_up,
        {work.instance_id: work.member_number for work, _ in failures},
        mask_text(kept(str(failures[0][1]), failures[0][0], company)) if failures else "",
        untried=untried,
        mute=frozenset(work.instance_id for work, _ in answers) - untried - tell,
        evidence=Evidence.SYSTEM if waits and all(waits) else Evidence.UNASKED,
        wait_s=0.0 if is_up else max(waits, default=0.0),
    )


def counts(result: Result | BaseException) -> bool:
    """Return whether *result* counts against the connection."""
    return isinstance(result, Failed) and result.error.counts_for_breaker


def shows_it_up(result: Result | BaseException) -> bool:
    """Return whether *result* came of an answer; what needed no call shows nothing."""
    if isinstance(result, BaseException) or not result.calls:
        return False
    return isinstance(result, Done) or isinstance(result.error, DataError | AddressPendingError)


def failing(answers: Sequence[Answer]) -> set[str]:
    """Return the numbers of the members whose failure counts against the connection."""
    return {work.member_number for work, result in answers if counts(result)}


def gives_up_unproven(answers: Sequence[Answer], policy: RetryPolicy) -> bool:
    """Return whether a failure that counts against the connection was the last attempt of any, and nobody got through.

    Then it is to be asked whether the system was up at all: a dead letter means that it was.
    """
    gives_up = any(
        counts(result) and work.errand is not Errand.PROBE and work.attempt >= policy.max_attempts
        for work, result in answers
    )
    return gives_up and not any(shows_it_up(result) for _, result in answers)
