"""When a failed attempt is tried again.  Pure: no clock, no dice, no I/O.

The life of a failing instance:
1. Attempt 1 fails with a StageError.
2. A DataError is reported to Siebel and never retried.
3. Any other StageError waits a random time up to `base * 2^(attempt-1)`, at most `cap` (full jitter).
4. A stated Retry-After is a floor under that time, never shortened, not even by the cap; up to one `base` is added to
   it, so that all who got the same instant do not come back in it together.  One out of all proportion counts up
   to `retry_after_max_s`.
5. After `max_attempts` attempts, the first included, it is a dead letter: a person decides.  Not so after a
   RowConflictError or AddressPendingError: who is changing the record, or has the address, will be done with it.
6. Time during which the connection is down or paused costs no attempt: those instances are held.

With the defaults of `crowdtwist` (10 s, 30 min, 20): the waits are at most 10 s, 20 s, 40 s … 21 min, then 30 min each,
five hours in all on average.
"""

from dataclasses import dataclass
from math import inf

from shared.errors import AddressPendingError, DataError, RowConflictError, StageError, ThrottledError

_LARGEST_EXPONENT = 62  # beyond it 2**n only overflows; every cap is long reached


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How patiently one stage is retried.  Units: seconds; `max_attempts` includes the first."""

    base_s: float
    cap_s: float
    max_attempts: int
    retry_after_max_s: float = inf

    def floor_s(self, error: StageError) -> float:
        """Return the seconds for which *error* asks us to wait, as far as we listen; 0: it does not."""
        stated_s = error.retry_after_s if isinstance(error, ThrottledError) else None
        return min(stated_s or 0.0, self.retry_after_max_s)


@dataclass(frozen=True, slots=True)
class RetryIn:
    """Due again after *delay_s* seconds."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Given up: a person decides."""


@dataclass(frozen=True, slots=True)
class Reject:
    """The member's data is at fault: tell Siebel, do not retry."""


def decide(policy: RetryPolicy, attempt: int, error: StageError, jitter: float) -> RetryIn | DeadLetter | Reject:
    """Return what happens after a failed attempt.  Pure.

    Units: seconds; *attempt* counts from 1; *jitter* in [0, 1), drawn by the caller.  A stated Retry-After is a floor.
    """
    if isinstance(error, DataError):
        return Reject()
    if attempt >= policy.max_attempts and not isinstance(error, RowConflictError | AddressPendingError):
        return DeadLetter()
    ceiling_s = min(policy.cap_s, policy.base_s * 2.0 ** min(attempt - 1, _LARGEST_EXPONENT))
    delay_s = ceiling_s * jitter
    if floor_s := policy.floor_s(error):
        return RetryIn(max(delay_s, floor_s + policy.base_s * jitter))
    return RetryIn(delay_s)
