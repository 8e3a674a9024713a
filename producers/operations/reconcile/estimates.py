"""How many members differ, estimated from those that were looked at, with an interval that says how sure that is.

Members are drawn stratum by stratum, each at a rate of its own, and weighed by the sizes of the strata.  Within one the
bounds are exact, from the hypergeometric distribution: Clopper and Pearson's interval for a population that ends, so
a stratum that was looked at whole has none.  The strata are combined by the distances of their bounds from the
estimate (Zou and Donner, Statistics in Medicine 27, 2008): near zero, where a normal interval would say "surely none",
this one does not.  Nothing found among n of many still leaves about 3.7 members in n possible, and the figures say so.

All is pure.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import exp, lgamma, sqrt

from shared.ledger.reconciliations import CONFIDENCE

_LEAST = 30
"""Members of a stratum that are drawn if it has them and the sample allows: fewer say next to nothing."""
_NEGLIGIBLE = 1e-15
_A_FEW = 2


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found in one stratum: of *size* members *looked* were looked at, *found* of these differ."""

    size: int
    looked: int
    found: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """The part of all members that differs: the best guess and the bounds of its interval, each 0 to 1."""

    estimate: float
    low: float
    high: float


def allocation(sizes: Mapping[str, int], sample: int) -> dict[str, int]:
    """Say how many to draw from each stratum, *sample* in all, or everybody where there are no more.

    By the square roots of the sizes: the few who are at risk are looked at far more closely than the many others, who
    still get the most.  Each gets `_LEAST` first.
    """
    drawn = dict.fromkeys(sizes, 0)
    least = min(_LEAST, sample // max(1, len(sizes)))
    for name, size in sizes.items():
        drawn[name] = min(size, least)
    left = min(sample, sum(sizes.values())) - sum(drawn.values())
    while left > 0:
        open_ = {name: sqrt(size) for name, size in sizes.items() if drawn[name] < size}
        whole = sum(open_.values())
        shares = {name: min(sizes[name] - drawn[name], int(left * weight / whole)) for name, weight in open_.items()}
        if not any(shares.values()):  # fewer are left than there are strata
            shares = dict.fromkeys(sorted(open_, key=lambda name: -sizes[name])[:left], 1)
        for name, more in shares.items():
            drawn[name] += more
        left -= sum(shares.values())
    return drawn


def estimate(strata: Iterable[Looked], confidence: float = CONFIDENCE) -> Estimate | None:
    """Combine the strata; None: nobody was looked at.

    Of a stratum in which nobody was, anything is possible: its whole weight goes into the interval, and the guess is
    what was found in those that were sampled.
    """
    strata = [one for one in strata if one.size]
    looked = [one for one in strata if one.looked]
    if not looked:
        return None
    whole = sum(one.size for one in strata)
    found = below = above = 0.0
    for one in looked:
        low, high = bounds(one, confidence)
        weight, part = one.size / whole, one.found / one.looked
        found += weight * part
        below += (weight * (part - low / one.size)) ** 2
        above += (weight * (high / one.size - part)) ** 2
    unknown = 1 - sum(one.size for one in looked) / whole
    sampled = [one for one in looked if one.looked < one.size]
    rate = sum(one.size * one.found / one.looked for one in sampled) / max(1, sum(one.size for one in sampled))
    return Estimate(
        min(1.0, found + unknown * rate), max(0.0, found - sqrt(below)), min(1.0, found + sqrt(above) + unknown)
    )


def bounds(of: Looked, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """Return between which numbers the members of one stratum that differ lie, with at least this confidence."""
    tail = (1 - confidence) / 2
    least, most = of.found, of.size - of.looked + of.found
    low = _first(least, most, lambda differing: 1 - _at_most(of, differing, of.found - 1) > tail)
    high = _first(least, most, lambda differing: _at_most(of, differing, of.found) <= tail) - 1
    return low, max(least, high)


def _first(least: int, most: int, holds: Callable[[int], bool]) -> int:
    """Return the first number from *least* to *most* for which *holds*, which then holds for all after it; else +1."""
    after = most + 1
    while least < after:
        middle = (least + after) // 2
        if holds(middle):
            after = middle
        else:
            least = middle + 1
    return least


def _at_most(of: Looked, differing: int, found: int) -> float:
    """Return how likely it is to find no more than *found*, if so many of the stratum differ.

    Summed from *found* away from the commonest number: there the terms only fall, and what is too small counts nothing.
    """
    rest = of.size - differing - of.looked
    least, most = max(0, -rest), min(differing, of.looked)
    if found < least or found >= most:
        return float(found >= most)
    is_below = found < (of.looked + 1) * (differing + 1) // (of.size + 2)
    at = found if is_below else found + 1
    term, total = _exactly(of, differing, at), 0.0
    while least <= at <= most and term > _NEGLIGIBLE * total:
        total += term
        if is_below:
            term *= at * (rest + at) / ((differing - at + 1) * (of.looked - at + 1))
            at -= 1
        else:
            term *= (differing - at) * (of.looked - at) / ((at + 1) * (rest + at + 1))
            at += 1
    return total if is_below else 1 - total


def _exactly(of: Looked, differing: int, found: int) -> float:
    return exp(
        _choose(differing, found) + _choose(of.size - differing, of.looked - found) - _choose(of.size, of.looked)
    )


def _choose(of: int, some: int) -> float:
    return lgamma(of + 1) - lgamma(some + 1) - lgamma(of - some + 1)


def said(  # noqa: PLR0913  # the figures
    found: Estimate | None, *, members: int, compared: int, differ: int, all_take_s: float | None, unread: int = 0
) -> str:
    """Say in one sentence what the figures mean.

    Shape: *differ* members of those that were looked at; *all_take_s* how long it would take to look at all; *unread*
    of the *members* could not be looked at.
    """
    unseen = f"; {unread:,} could not be looked at, and may differ" if unread else ""
    if found is not None and unread and compared + unread == members:
        return f"{compared:,} of {members:,} members were looked at: {differ:,} differ{unseen}"
    return _meant(found, members, compared, differ, all_take_s) + unseen


def _meant(found: Estimate | None, members: int, compared: int, differ: int, all_take_s: float | None) -> str:
    if found is None:
        return "nobody was compared"
    at_most = f"{found.high:.2%} of {members:,} members ({round(found.high * members):,})"
    if found.low == found.high:
        return f"all of {members:,} members were looked at: {differ:,} differ"
    if not differ:
        words = f"none of {compared:,} members looked at differs: with 95 % confidence no more than {at_most} do"
    else:
        low = f"{found.low:.2%}"
        words = f"about {found.estimate:.2%} differ: with 95 % confidence between {low} and {at_most}"
    if all_take_s is not None and compared < members:
        words += f"; to look at all would take {_duration(all_take_s)}"
    return words


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < _A_FEW:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes / 60 < _A_FEW else f"{minutes / 60:.1f} h"
