"""Whether the ledger's clock was set, judged by a clock that nobody can set: the host's own since its start.  Pure.

Between two looks of one process both clocks have gone on by the same.  What the ledger's has gone on by more, or less,
is a step of it: NTP corrected it, a server with another clock took over, its machine stood still or was restored.  How
long an answer was on its way is no step: each look says between which two instants of ours the ledger read its clock.

A machine of ours that stood still, with its own clock, takes that for a step forward.  So it is none if anybody else
has looked since at which there was none.
"""

from dataclasses import dataclass

_TIGHT_S = 0.5
"""A look whose answer came so soon replaces what was known."""
_OTHERS_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """The ledger's clock beside ours.

    Units: seconds.  Shape: *ledger_s* since the epoch; *before_s* and *after_s* on `lease_clock`, around the moment at
    which that was read; *moved_s* all steps together that the ledger knew of; *looked_s* when somebody last looked and
    found none, by the ledger's clock.
    """

    ledger_s: float
    before_s: float
    after_s: float
    moved_s: float
    looked_s: float

    @property
    def ahead_s(self) -> tuple[float, float]:
        """How far the ledger's clock is ahead of ours, its known steps left out: at least, and at most."""
        return self.ledger_s - self.moved_s - self.after_s, self.ledger_s - self.moved_s - self.before_s

    @property
    def took_s(self) -> float:
        """How long its answer was on the way."""
        return self.after_s - self.before_s


def step_s(known: Look | None, now: Look, most_s: float) -> float:
    """Return by how much the ledger's clock was set between two looks, 0: by no more than *most_s*, if at all.

    Units: seconds, below 0 when it was set back.  Who has not looked before knows of a step back only, and only of as
    much as the clock is behind the last look of anybody.
    """
    if known is None:
        behind_s = now.looked_s - now.ledger_s
        return -behind_s if behind_s > most_s else 0.0
    by_s = sum(now.ahead_s) / 2 - sum(known.ahead_s) / 2
    if _apart_s(known, now) <= most_s:
        return 0.0
    others_found_none = by_s > 0 and now.looked_s > now.ledger_s - by_s + _OTHERS_WITHIN_S
    return 0.0 if others_found_none else by_s


def better(known: Look | None, now: Look, most_s: float) -> Look:
    """Return which of two looks is to be compared with the next, where there was no step between them.

    Clocks drift, so the newer one, unless its answer was long on the way.
    """
    if known is None or now.took_s <= max(_TIGHT_S, known.took_s) or _apart_s(known, now) > most_s:
        return now
    return known


def _apart_s(known: Look, now: Look) -> float:
    """Return by how much two looks differ at least, whichever way."""
    (was_least_s, was_most_s), (is_least_s, is_most_s) = known.ahead_s, now.ahead_s
    return max(is_least_s - was_most_s, was_least_s - is_most_s)
