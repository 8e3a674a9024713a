"""How a requeue feels its way: first 1, then 10, then the rest.  Pure.

A step ends when everything sent in it has succeeded or failed again.  More than half of a step failed: the job stops.
The rest is judged while it goes, as soon as `JUDGED_FROM` have ended.
"""

from dataclasses import dataclass

SIZES = {1: 1, 2: 10}
REST = 3
JUDGED_FROM = 10
WINDOW = 1_000
"""Instances of one job that are on their way at once: what a stop may find already sent."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How the instances of one step stand."""

    sent: int = 0
    succeeded: int = 0
    failed: int = 0

    @property
    def ended(self) -> int:
        """Those whose outcome is known."""
        return self.succeeded + self.failed


@dataclass(frozen=True, slots=True)
class Send:
    """Send up to *count* more, as part of *step*."""

    step: int
    count: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Outcomes are missing."""


@dataclass(frozen=True, slots=True)
class Stop:
    """It does harm or no good."""

    why: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing is left."""


Next = Send | Wait | Stop | Finished


def next_step(step: int, tally: Tally, unsent: int) -> Next:
    """Return how a requeue goes on whose current *step* stands at *tally*, with *unsent* instances to go."""
    if step >= REST:
        return _rest(tally, unsent)
    size = min(SIZES[step], tally.sent + tally.ended + unsent)
    if tally.failed * 2 > size:
        return _stop(tally, size)
    if (missing := size - tally.sent - tally.ended) > 0:
        return Send(step, missing)
    if tally.sent:
        return Wait()
    return next_step(step + 1, Tally(), unsent) if unsent else Finished()


def _rest(tally: Tally, unsent: int) -> Next:
    if tally.ended >= JUDGED_FROM and tally.failed * 2 > tally.ended:
        return _stop(tally, tally.ended)
    if unsent and tally.sent < WINDOW:
        return Send(REST, min(unsent, WINDOW - tally.sent))
    return Wait() if tally.sent or unsent else Finished()


def _stop(tally: Tally, of: int) -> Stop:
    return Stop(f"{tally.failed} of {of} failed again")
