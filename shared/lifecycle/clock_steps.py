"""Whether the ledger's clock was set, judged by a clock that nobody can set: the host's own since its start.  Pure.

Between two looks of one process both clocks have gone on by the same.  What the ledger's has gone on by more, or less,
is a step of it: NTP corrected it, a server with another clock took over, its machine stood still or was restored.  How
long an answer was on its way is no step: each look says between which two instants of ours the ledger read its clock.

A machine of ours that stood still, with its own clock, takes that for a step forward.  So it is none if anybody else
has looked since at which there was none.

Where nobody looked for a while, since all of us were stopped, the last look is in the ledger.  On the machine on which
it was made, and that has not been started anew since, it is as good as one's own.  Elsewhere only the wall clocks of
both can be compared: if they do not agree one of them was set, or is wrong, and nobody can say which (`doubted_s`).
"""

from dataclasses import dataclass
from typing import NamedTuple

_TIGHT_S = 0.5
"""A look whose answer came so soon replaces what was known."""
_OTHERS_WITHIN_S = 1.0
_ALONE_S = 10.0
"""Whoever runs looks each tick: for so long nobody did."""


class Ahead(NamedTuple):
    """How far the ledger's clock is ahead of ours, its known steps left out.  Units: seconds, at least and at most."""

    least_s: float
    most_s: float

    @property
    def took_s(self) -> float:
        """How long the answer was on the way that says so."""
        return self.most_s - self.least_s


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
    def ahead(self) -> Ahead:
        """How far the ledger's clock was ahead of ours."""
        return Ahead(self.ledger_s - self.moved_s - self.after_s, self.ledger_s - self.moved_s - self.before_s)


def step_s(known: Ahead | None, now: Look, most_s: float) -> float:
    """Return by how much the ledger's clock was set since it was *known*, 0: by no more than *most_s*, if at all.

    Units: seconds, below 0 when it was set back.  Who has not looked before knows of a step back only, and only of as
    much as the clock is behind the last look of anybody.
    """
    if known is None:
        behind_s = now.looked_s - now.ledger_s
        return -behind_s if behind_s > most_s else 0.0
    by_s = sum(now.ahead) / 2 - sum(known) / 2
    if _apart_s(known, now.ahead) <= most_s:
        return 0.0
    others_found_none = by_s > 0 and now.looked_s > now.ledger_s - by_s + _OTHERS_WITHIN_S
    return 0.0 if others_found_none else by_s


def doubted_s(was_ahead_s: float, is_ahead_s: float, looked_ago_s: float, most_s: float) -> float:
    """Return by how much the ledger's clock may have been set forward while none of us ran, 0: nothing says so.

    Units: seconds; how far it was, and is, ahead of the wall clock of whoever looks, its known steps left out;
    *looked_ago_s* since anybody last looked, by the ledger's clock.  Set back it only makes things late, by no more
    than they were stopped.
    """
    by_s = is_ahead_s - was_ahead_s
    return by_s if by_s > most_s and looked_ago_s > _ALONE_S else 0.0


def better(known: Ahead | None, now: Look, most_s: float) -> Ahead:
    """Return what is to be compared with the next look, where there was no step before this one.

    Clocks drift, so the newer one, unless its answer was long on the way.
    """
    found = now.ahead
    if known is None or found.took_s <= max(_TIGHT_S, known.took_s) or _apart_s(known, found) > most_s:
        return found
    return known


def _apart_s(was: Ahead, found: Ahead) -> float:
    """Return by how much two looks differ at least, whichever way."""
    return max(found.least_s - was.most_s, was.least_s - found.most_s)
