"""How many calls may be in flight to one system at once, learnt from how it answers.  Pure.

A system that is overloaded says so by latency, time-outs and 5xx long before it says 429.  Once a second all workers'
calls of that second, one `shared.lifecycle.windows.Window`, are looked at together; the first that holds decides:

1. Too little was answered to tell: nothing changes, and the window goes on with the next second.
2. *Losses* (time-outs, no connection, 5xx) above `LOSS_TOLERATED`: down at once, the more the larger their share, to
   an eighth if nothing else came.  One alone beside good answers is that member's; 5xx of less than half that go on
   undiminished at 60 % of the limit are no matter of load.
3. *Too slow*: the slowest tenth above an absolute cap: down.
4. *Queueing*: good answers take `QUEUEING` times what they take unloaded, and the last step up gained nothing: down to
   what the throughput needs without a queue (answers/s x unloaded latency, by Little's law), to a quarter at most.
5. *Calm* (less than `CALM` times, or the last step up was all gained), and the limit was reached: up, twofold until
   the first time down, then by its square root.  The last limit that queued is left alone for `WARY_S`.
6. In between for `PATIENT_S`, and reached: a step up, to see; undone if it gains nothing.

What an answer takes *unloaded* is kept for each operation by itself, for they differ: the lower fifth of the medians of
about `REMEMBERED` windows.  Under load a window counts at most as much as is known already, so that no overload,
however long, becomes the new normal; only quiet windows (a limit half used) and those whose throughput grew with the
limit count as they are.  Where nothing is known yet, such a limit is searched for, up and down.  If answers are as slow
with half as many in flight, or stay slow at the floor, load of ours is not the reason: that is the new measure.

Whether it serves at all the breaker learns from calls, the later the fewer go out: so `Limit.answers_nobody` tells it.

Refusals (4xx) are neither slow nor lost, however fast they come; 429 and Retry-After are the budget's and breaker's.
Why so, and what was measured: deploy/decisions/0012-adaptive-concurrency.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import ceil, exp, inf, log, sqrt

from shared.lifecycle.windows import Answers, Histogram, Window, added, bucket, quantile_s

LOSS_TOLERATED = 0.01
"""Share of calls lost that is nothing to step back for."""
QUEUEING = 1.45
CALM = 1.2
"""Latency over unloaded latency: from `QUEUEING` on the limit goes down, below `CALM` it may go up."""
HEADROOM = 1.2
"""What the limit is set to, over what the throughput needs: a short queue keeps the system busy."""
PATIENT_S = 10.0
"""A limit in between is tried a step higher after so long.  Units: seconds."""
WARY_S = 15.0
"""A limit that queued is not tried again for so long.  Units: seconds."""
LEAST_S = 0.05
"""Less is not told apart: so much the event loop of a busy worker adds by itself.  Units: seconds."""
START = 50
"""The first limit of all."""
ENOUGH = 20
"""Answers that tell something; fewer do where the limit is lower."""
LONGEST_S = 3.0
"""A window with less is judged all the same after so long.  Units: seconds."""
REMEMBERED = 3_600
"""Windows after which what an operation takes unloaded is half forgotten."""
_LOW = 0.2
_LEARNT = 2
_LEAST_ANSWERS = 3
_DOUBT = 1.5
_MOST_OF_IT, _NEXT_TO_NOTHING = 0.5, 0.25
"""Parts of a step up, or down, that became throughput."""
_MOSTLY_LOST = 0.5
_FILLED = 0.75
_SAME = (0.75, 1.15)
"""Between these parts of what it was a ratio is the same; at half the limit a queue would halve it."""
_FLOOR = 2
_FLOOR_WINDOWS = 5
_SLOW_WINDOWS = 2


@dataclass(frozen=True, slots=True)
class Rules:
    """Between which limits it may move, and which latency is too long whatever is usual.  Units: seconds."""

    least: int
    most: int
    latency_max_s: float


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit in force, why, and what is known of the system.

    Shape: *doubles_to* below it a step up is twofold; *age_s* since it changed; *was*, *was_rate* and *was_s* limit,
    answers per second and what they took before the last step up, until that is judged; *queued* the limit that queued
    last, *queued_s* how long ago; *slow_at_floor* windows in a row, *slow_windows* those as slow, *slow_ratio*, as at
    *slow_from*, twice the limit or more; *lossy_from* and *lossy_share* the limit and the share of losses when the
    present losses began; *lost_in_a_row* calls since the last good answer; *usual_loss* the share that is lost at any
    limit; *unloaded* a histogram of medians for each operation; *backoffs* since ever.
    """

    limit: int
    reason: str = "nothing is known yet"
    doubles_to: float = inf
    age_s: float = 0.0
    was: int = 0
    was_rate: float = 0.0
    was_s: float = 0.0
    queued: int = 0
    queued_s: float = inf
    slow_at_floor: int = 0
    slow_from: int = 0
    slow_ratio: float = 0.0
    slow_windows: int = 0
    backoffs: int = 0
    lossy_from: int = 0
    lossy_share: float = 0.0
    lost_in_a_row: int = 0
    usual_loss: float = 0.0
    unloaded: Mapping[str, Histogram] = field(default_factory=dict)

    @property
    def answers_nobody(self) -> bool:
        """Whether so many calls in a row, each of another member (`permits.Slots`), were lost that it may be down."""
        return self.lost_in_a_row >= _LEAST_ANSWERS

    def unloaded_s(self, operation: str) -> float | None:
        """Return what a good answer to *operation* takes when nothing waits, None: not known.  Units: seconds."""
        known = self.unloaded.get(operation)
        return quantile_s(known, _LOW) if known else None

    def carries(self, seconds: float) -> float:
        """Return how many calls it lets through in that time, by the slowest operation; infinity: not known."""
        slowest_s = max((self.unloaded_s(name) or 0.0 for name in self.unloaded), default=0.0)
        return max(self.limit, self.limit * seconds / slowest_s) if slowest_s else inf


def first(rules: Rules) -> Limit:
    """Return the limit to begin with."""
    return Limit(max(rules.least, min(rules.most, START)))


def tells(window: Window, limit: int) -> bool:
    """Return whether *window* is enough to judge by: calls that began together come back together, in lumps."""
    good = added(answers.good for answers in window.operations.values())
    served, lost = sum(good.values()), sum(answers.lost for answers in window.operations.values())
    if window.lasted_s >= LONGEST_S or lost >= max(_LEAST_ANSWERS, served):
        return served + lost > 0
    is_short = not lost and served > 0 and window.lasted_s < quantile_s(good, 0.5)
    return not is_short and served + lost >= max(_LEAST_ANSWERS, min(ENOUGH, limit))


def after(known: Limit, window: Window, rules: Rules) -> Limit:
    """Return the limit after *window*, which tells something."""
    known = replace(known, age_s=known.age_s + window.lasted_s, queued_s=known.queued_s + window.lasted_s)
    look = _Look(known, window)
    known = replace(known, lost_in_a_row=0 if look.good else known.lost_in_a_row + look.lost)
    if look.is_lossy:
        return _lossy(known, look, rules)
    if look.share < known.usual_loss / 2:
        known = replace(known, usual_loss=known.usual_loss * 0.97)
    if known.limit >= 0.9 * known.lossy_from:
        known = replace(known, lossy_from=0)
    if look.slowest_s > rules.latency_max_s:
        lowered = min(known.limit - 1, int(known.limit * max(0.5, rules.latency_max_s / look.slowest_s)))
        why = f"the slowest tenth takes {_shown(look.slowest_s)}, more than {_shown(rules.latency_max_s)}"
        known = replace(known, doubles_to=min(known.doubles_to, known.limit / 2), queued=known.limit, queued_s=0.0)
        return _lowered(known, lowered, why, rules)
    if not look.is_known:
        return _searched(known, window, look, rules)
    known = replace(known, unloaded=_learnt(known, window, look))
    if look.ratio < QUEUEING * look.doubt or look.gained:
        known = replace(known, slow_at_floor=0, slow_from=0, slow_windows=0)
    elif (found := _queued(known, window, look, rules)) is not None:
        return found
    return _raised(known, window, look, rules)


def _queued(known: Limit, window: Window, look: "_Look", rules: Rules) -> Limit | None:
    """Return the limit after answers that took too long, None: these are no reason to change it."""
    known = _slow_as_before(known, look)
    if known.slow_windows >= _SLOW_WINDOWS:  # so at twice the limit nothing waited either
        limit = max(rules.least, min(rules.most, known.slow_from)) if window.reached else known.limit
        return _new_measure(replace(known, limit=limit, age_s=0.0), look, "as slow with half as many in flight")
    if known.limit <= max(rules.least, min(_FLOOR, rules.most)):
        return _slow_at_floor(known, look)
    needed = round(look.needed * HEADROOM)
    if not window.reached:
        needed = max(needed, 2 * window.in_flight)
    lowered = max(needed, known.limit // 4)
    # Calls that were made under a higher limit come back slow, and then few: no reason for a small step more.
    if lowered >= known.limit * (1.0 if look.is_fresh else 0.75):
        return None
    why = f"answers take {look.ratio:.1f} times {_shown(look.unloaded_s)}, what they take unloaded"
    known = replace(known, queued=known.limit, queued_s=0.0, slow_at_floor=0, doubles_to=lowered)
    return _lowered(known, lowered, why, rules)


def _lossy(known: Limit, look: "_Look", rules: Rules) -> Limit:
    """Return the limit after losses: down, but not below what is served all the while; unless that changes nothing."""
    why = f"{look.lost} of {look.lost + look.good} calls were lost: {look.losses}"
    if not known.lossy_from:
        known = replace(known, lossy_from=known.limit, lossy_share=look.share, doubles_to=known.limit / 2)
    is_of_load = look.timed_out or look.share >= _MOSTLY_LOST or look.share < 0.75 * known.lossy_share
    if known.limit <= 0.6 * known.lossy_from and not is_of_load:
        return replace(known, reason=f"{why}; as many as at {known.lossy_from}", usual_loss=look.share)
    lowered = max(int(known.limit * max(0.125, (1 - look.share) ** 2)), round(look.served * 0.9))
    return _lowered(known, min(int(known.limit * 0.9), lowered), why, rules)


class _Look:
    """What a window says, by what is known."""

    def __init__(self, known: Limit, window: Window) -> None:
        operations = window.operations
        self.is_filled = window.reached and window.in_flight >= _FILLED * known.limit
        """Whether the limit was reached, not just the share that one process has of it."""
        self.good = sum(answers.count for answers in operations.values())
        self.lost = sum(answers.lost for answers in operations.values())
        self.share = self.lost / max(1, self.lost + self.good)
        self.timed_out = sum(answers.timed_out for answers in operations.values())
        tolerated = max(LOSS_TOLERATED, 2 * known.usual_loss)
        self.is_lossy = self.share > tolerated and not (self.lost == 1 and self.good)
        self.losses = ", ".join(_losses(operations.values()))
        served = {name: answers for name, answers in operations.items() if answers.count}
        self.slowest_s = quantile_s(added(answers.good for answers in served.values()), 0.9) if served else 0.0
        self.medians = {name: quantile_s(answers.good, 0.5) for name, answers in served.items()}
        learnt = [name for name in served if sum(known.unloaded.get(name, {}).values()) >= _LEARNT]
        self.is_known = bool(learnt) or not served
        spent = needed = deviation = 0.0
        for name in learnt:
            answers = served[name]
            spent += answers.count * max(self.medians[name], LEAST_S)
            needed += answers.count * max(known.unloaded_s(name) or 0.0, LEAST_S)
            spread = log(quantile_s(answers.good, 0.84) / self.medians[name])
            deviation += answers.count * spread
        self.ratio = spent / needed if needed else 1.0
        told = sum(served[name].count for name in learnt)
        self.doubt = exp(_DOUBT * deviation / told / sqrt(told)) if told else 1.0
        """By what factor the ratio may be wrong for want of answers, as far as they scatter."""
        self.unloaded_s = needed / told if told else 0.0
        # The very first calls find nothing in flight: until they are answered there is no rate.
        empty_s = quantile_s(added(one.good for one in served.values()), 0.5) if served and not known.unloaded else 0.0
        is_first = not known.was and known.age_s <= window.lasted_s
        counted_s = max(window.lasted_s / 4, window.lasted_s - empty_s * is_first)
        served_rate = self.good / counted_s
        self.served = served_rate * self.unloaded_s
        """Calls in flight that carry what was served, where none waits."""
        full_s = min(window.in_flight, known.limit) * window.lasted_s
        is_in_lumps = window.reached and 0 < window.busy_s < full_s
        self.rate = served_rate * (full_s / window.busy_s if is_in_lumps else 1.0)
        """Answers per second while the limit is reached: between two lumps of calls there is nothing to answer."""
        self.needed = self.rate * self.unloaded_s
        self.is_fresh = window.is_current and known.age_s >= self.slowest_s
        """Whether most of these calls were made under the limit in force."""
        is_judged = known.was > 0 and self.is_fresh and self.is_filled
        gain = self._gain(known) if is_judged else None
        self.gained = gain is not None and gain >= _MOST_OF_IT
        self.gained_nothing = gain is not None and gain < _NEXT_TO_NOTHING
        self.mean_s = sum(one.count * max(self.medians[name], LEAST_S) for name, one in served.items()) / max(
            1, self.good
        )
        is_up = gain is not None and known.limit > known.was
        shows_s = known.was_s * known.limit / known.was if is_up else inf  # so long it takes for a queue to show
        self.is_as_quick = known.age_s - window.lasted_s >= shows_s and self.mean_s <= CALM * known.was_s
        """Whether answers take no longer than before a step up: if it carries no more, the reason is not theirs."""

    def _gain(self, known: Limit) -> float:
        """Return how much of the last step became more, or less, throughput: 1.0 all of it."""
        if not known.was_rate or known.limit == known.was:
            return 0.0
        return (self.rate / known.was_rate - 1) / (known.limit / known.was - 1)


def _losses(all_answers: Iterable[Answers]) -> Iterable[str]:
    answers = list(all_answers)
    words = {"timed_out": "timed out", "unserved": "answered 5xx", "unconnected": "without a connection"}
    for name, said in words.items():
        if count := sum(getattr(one, name) for one in answers):
            yield f"{count} {said}"


def _searched(known: Limit, window: Window, look: _Look, rules: Rules) -> Limit:
    """Return the limit while nothing is known of what answers take unloaded: where throughput follows the limit.

    Up as long as it grows with the limit, else down until it falls with it; there answers wait for nobody.
    """
    if look.gained or look.is_as_quick or not window.reached or known.limit <= rules.least:
        known = replace(known, unloaded=_learnt(known, window, look, is_honest=True))
        if known.limit < known.was:  # the knee is between the two
            return replace(known, reason="answers wait for nobody here", was=0, doubles_to=known.was)
        return _raised(known, window, look, rules)
    if not look.is_fresh or not look.is_filled:
        return known
    if not known.was or known.was == known.limit:
        return _raised(known, window, look, rules)
    is_down = known.limit < known.was
    at_s, took_s = (look.rate, look.mean_s) if is_down else (known.was_rate, known.was_s)
    before = min(known.limit, known.was)
    lowered = max(rules.least, before // 2)
    why = f"{known.limit} at once carry no more than {known.was}" if known.limit > known.was else "no less is carried"
    return replace(known, limit=lowered, reason=why, age_s=0.0, was=before, was_rate=at_s, was_s=took_s)


def _learnt(known: Limit, window: Window, look: _Look, *, is_honest: bool = False) -> Mapping[str, Histogram]:
    """Return what operations take unloaded, with what *window* adds to it."""
    is_honest |= look.gained or (not window.reached and window.in_flight * 2 <= known.limit)
    unloaded = dict(known.unloaded)
    for name, median_s in look.medians.items():
        before = unloaded.get(name, {})
        if window.operations[name].count < _LEAST_ANSWERS or not (before or is_honest):
            continue
        place = bucket(median_s)
        if not is_honest:
            place = min(place, bucket(quantile_s(before, _LOW)))
        is_full = sum(before.values()) >= REMEMBERED
        kept = {one: count / 2 for one, count in before.items() if count >= 1} if is_full else dict(before)
        kept[place] = kept.get(place, 0.0) + 1.0
        unloaded[name] = kept
    return unloaded


def _lowered(known: Limit, limit: int, why: str, rules: Rules) -> Limit:
    limit = max(rules.least, min(rules.most, limit))
    if limit >= known.limit:
        return replace(known, reason=why, was=0)
    return replace(known, limit=limit, reason=why, age_s=0.0, was=0, backoffs=known.backoffs + 1)


def _slow_at_floor(known: Limit, look: _Look) -> Limit:
    """Return what to think of answers that are slow though next to nothing is in flight: in the end, that they are."""
    if known.slow_at_floor + 1 < _FLOOR_WINDOWS:
        return replace(known, reason="slow, though hardly anything is in flight", slow_at_floor=known.slow_at_floor + 1)
    return _new_measure(known, look, "as slow with hardly anything in flight")


def _slow_as_before(known: Limit, look: _Look) -> Limit:
    """Return what is known with how slow answers are, beside how slow they were at the limit where that began."""
    if not look.is_fresh:
        return known
    least, most = (part * known.slow_ratio for part in _SAME)
    is_same = known.slow_from and least <= look.ratio <= most
    if not is_same and (not known.slow_from or look.ratio > known.slow_ratio):
        return replace(known, slow_from=known.limit, slow_ratio=look.ratio, slow_windows=0)
    is_half = is_same and known.limit * 2 <= known.slow_from
    return replace(known, slow_windows=known.slow_windows + 1 if is_half else 0)


def _new_measure(known: Limit, look: _Look, why: str) -> Limit:
    measured = {name: {bucket(median_s): float(_LEARNT)} for name, median_s in look.medians.items()}
    known = replace(known, unloaded={**known.unloaded, **measured}, doubles_to=inf, was=0, queued=0)
    known = replace(known, slow_at_floor=0, slow_from=0, slow_windows=0)
    return replace(known, reason=f"{why}: that is its new measure")


def _raised(known: Limit, window: Window, look: _Look, rules: Rules) -> Limit:
    if not look.is_filled:
        return replace(
            known, reason="so many were not needed yet", was=0 if look.is_fresh and not window.reached else known.was
        )
    if not look.is_fresh:
        return known
    is_calm = look.ratio <= CALM or look.gained
    if known.was and look.gained_nothing and not is_calm:
        known = replace(known, queued=known.limit, queued_s=0.0, doubles_to=known.was)
        return _lowered(known, known.was, f"the step from {known.was} to {known.limit} gained nothing", rules)
    if not is_calm and known.age_s < PATIENT_S:
        return replace(known, reason=f"answers take {look.ratio:.1f} times what they take unloaded", was=0)
    limit = 2 * known.limit if known.limit < known.doubles_to else known.limit + max(1, int(sqrt(known.limit)))
    if known.limit < known.doubles_to < limit:
        limit = ceil(known.doubles_to)
    if known.queued_s < WARY_S and known.queued > known.limit // 2:
        limit = min(limit, known.queued - 1)
    limit = min(limit, rules.most)
    if limit <= known.limit:
        why = "at the highest allowed" if known.limit >= rules.most else f"{known.queued} queued a moment ago"
        return replace(known, reason=why, was=0)
    why = f"reached, and answers take {look.ratio:.1f} times what they take unloaded"
    known = replace(known, was=known.limit, was_rate=look.rate, was_s=look.mean_s)
    return replace(known, limit=limit, reason=why, age_s=0.0)


def _shown(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
