"""When a job will have ended, and whether a lane clears: with a band, and the reason.  Pure.

A job's end is the sum over time of what is left for it: in each minute the tightest `Capacity` lets so much through,
less what live members take of it then.  Their demand is drawn from our own history, of the last hour and of the same
hour of earlier weeks; many futures are drawn (`DRAWS`), and the band goes from their 5th to their 95th hundredth.
Once a job has gone on for `PACE_MINUTES` it has shown its pace, and draws are of that, where it is slower.

Where nothing honest can be said there is no figure, and `Forecast.none` says why: too few calls were seen, a connection
is down, nobody works.  A forecast that is kept is compared with what happened; how wide the band has to be for nine of
ten to have come true is its `width`, the next ones' factor.

A lane is judged by how its depth changes, not by what was processed.  Source of these rules: what others' users
reported of forecasts (a figure while throttled, one without a band, "7 months" that was 4).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from math import inf, sqrt
from zlib import crc32

LEAST_CALLS = 20
"""Observed calls under which there is no forecast."""
DRAWS = 100
_FEW_DRAWS = 21
PACE_MINUTES = 3
LEAST_BAND = 0.1
"""No band is narrower than this part of what is expected, either way."""
SHARE_STEP = 0.1
"""What is told of the bulk lane having so much more, or less, of a budget."""
_DEPARTED_S = 60.0
_FINE_MINUTES = 180
_COARSE_MINUTES = 60
_HORIZON_MINUTES = 60 * 24 * 14
_BLOCK = 5
"""Steps that are drawn as one: a few busy minutes come together."""
_LOW, _MIDDLE, _HIGH = 0.05, 0.5, 0.95


@dataclass(frozen=True, slots=True)
class Capacity:
    """Something that bounds how fast instances of the bulk lane go.

    Shape: *name* as people call it; *bulk* the part of it that the bulk lane may use at most; *is_shared*: live
    members take theirs out of it first; *is_budget*: an operator may give the bulk lane more of it; *moves*: it is
    learnt, and another in a minute.  Units: *per_minute* instances.
    """

    name: str
    per_minute: float
    bulk: float = 1.0
    is_shared: bool = True
    is_budget: bool = False
    moves: bool = False

    def left(self, live: float) -> float:
        """Return what it lets through of the bulk lane in a minute with so many *live* instances."""
        most = self.per_minute * self.bulk
        return max(0.0, min(most, self.per_minute - live)) if self.is_shared else most


@dataclass(frozen=True, slots=True)
class Demand:
    """How many live instances ended in a minute: in those of the last hour, and by hour of the week (UTC, Monday 0)."""

    recent: Sequence[float] = ()
    by_hour: Mapping[int, Sequence[float]] = field(default_factory=dict)

    def at(self, when: datetime, ahead: timedelta) -> Sequence[float]:
        """Return what it may be *ahead* of *when*: as in the last hour, as in the same hour of earlier weeks."""
        usual = self.by_hour.get(hour_of_week(when + ahead), ())
        if ahead < timedelta(hours=1):
            return [*self.recent, *usual] or (0.0,)
        return usual or self.recent or (0.0,)


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done.

    Shape: *left* instances; *ahead* others of its lane that go before; *pace* instances of it that ended in each of
    the last minutes, the newest last; *calls_seen* observed calls that say how fast it goes; *stalled* why nothing goes
    out now, None: it does.
    """

    left: int
    ahead: int = 0
    pace: Sequence[float] = ()
    calls_seen: int = 0
    stalled: str | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """When it has ended.

    Shape: *none* why there is no figure, None: there is; *binding* what bounds it; *live_short* the part of minutes in
    which live members need more than is kept for them.  Units: seconds from now, *upper_s* None: later than can be
    seen; *more_share_s* and *less_share_s* what is expected if the bulk lane had 10 % more, or less, of the budget that
    binds, None: no budget does; *departed* that reality has left the band that was foreseen first, and why, None: it
    has not.
    """

    left: int
    none: str | None = None
    lower_s: float | None = None
    expected_s: float | None = None
    upper_s: float | None = None
    binding: str | None = None
    more_share_s: float | None = None
    less_share_s: float | None = None
    live_short: float = 0.0
    departed: str | None = None


def hour_of_week(when: datetime) -> int:
    """Return 0 for the hour that begins on Monday at 00:00 of its clock, 167 for the last."""
    return when.weekday() * 24 + when.hour


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under what work goes on: what bounds it, what live members need, and when *now* is."""

    capacities: Sequence[Capacity]
    demand: Demand
    now: datetime


def foresee(work: Work, under: Conditions, *, width: float = 1.0) -> Forecast:
    """Return when *work* ends.  The same arguments give the same answer."""
    if not work.left:
        return Forecast(0, none="nothing is left to do")
    if work.stalled is not None:
        return Forecast(work.left, none=work.stalled)
    if work.calls_seen < LEAST_CALLS:
        return Forecast(work.left, none=f"only {work.calls_seen} calls were seen so far, too few to tell")
    ends = _drawn(work, under)
    expected, binding = _quantile(ends, _MIDDLE), _binding(work, under)
    if expected is None:
        return Forecast(work.left, none="it would take more than two weeks", binding=binding)
    low, high = _quantile(ends, _LOW), _quantile(ends, _HIGH)
    below = max(expected - (low or 0.0), LEAST_BAND * expected) * width
    above = None if high is None else max(high - expected, LEAST_BAND * expected) * width
    more, less = (_with_share(work, under, binding, step) for step in (SHARE_STEP, -SHARE_STEP))
    return Forecast(
        work.left,
        lower_s=max(0.0, expected - below),
        expected_s=expected,
        upper_s=None if above is None else expected + above,
        binding=binding,
        more_share_s=more,
        less_share_s=less,
        live_short=_live_short(under),
    )


def departure(first: Forecast, ago_s: float, now: Forecast) -> str | None:
    """Say that a job ends outside the band that was *first* foreseen, *ago_s* seconds ago, and why; None: inside it.

    By less than a minute nobody's decision was wrong.
    """
    if first.lower_s is None or ago_s <= 0:
        return None
    upper_s = None if first.upper_s is None else first.upper_s - ago_s
    if upper_s is not None and (now.lower_s or 0.0) > upper_s + _DEPARTED_S:
        how = "later"
    elif now.none is None and now.upper_s is not None and now.upper_s < first.lower_s - ago_s - _DEPARTED_S:
        how = "sooner"
    else:
        return None
    foreseen, done = 60 * first.left / (first.expected_s or 1), 60 * (first.left - now.left) / ago_s
    if now.none is not None:
        why = now.none
    elif now.binding != first.binding:
        why = f"what bounds it is {now.binding}, not {first.binding}"
    elif how == "later" and now.live_short > first.live_short + LEAST_BAND:
        why = "live members need more than was foreseen"
    else:
        why = f"it does {done:.0f} a minute, {foreseen:.0f} were foreseen"
    return f"{how} than foreseen at first: {why}"


def width_of(outcomes: Sequence[tuple[Forecast, float]]) -> float:
    """Return by which factor bands have to be wider, or narrower, for nine of ten of *outcomes* to have come true.

    Shape: each a forecast and the seconds that it took in the end.  Fewer than ten say nothing: 1.
    """
    needed = sorted(stretch for forecast, took_s in outcomes if (stretch := _stretch(forecast, took_s)) is not None)
    if len(needed) < _SCORED_LEAST:
        return 1.0
    return min(_WIDEST, max(1.0, needed[min(len(needed) - 1, int(0.9 * len(needed)))]))


_SCORED_LEAST = 10
_WIDEST = 5.0


def _stretch(forecast: Forecast, took_s: float) -> float | None:
    """Return how far off it was, in parts of its band."""
    if forecast.expected_s is None or forecast.lower_s is None:
        return None
    off = took_s - forecast.expected_s
    if off <= 0:
        return -off / max(1.0, forecast.expected_s - forecast.lower_s)
    return 0.0 if forecast.upper_s is None else off / max(1.0, forecast.upper_s - forecast.expected_s)


def _drawn(work: Work, under: Conditions, draws: int = DRAWS) -> list[float | None]:
    ahead = _Ahead(under, work.pace)
    return [_end_of(work.left + work.ahead, ahead, future) for future in range(draws)]


class _Ahead:
    """What goes through in each step of the time ahead, by what may be drawn; computed as far as anybody looks."""

    def __init__(self, under: Conditions, pace: Sequence[float]) -> None:
        self._under = under
        self._pace = pace if len(pace) >= PACE_MINUTES else ()
        self._capacities = [one for one in under.capacities if not self._is_in_pace(one)]
        self._steps: list[Sequence[float]] = []

    def through(self, step: int, future: int) -> float:
        """Return what goes through in a minute of *step* in one *future*, the same whenever it is asked."""
        while step >= len(self._steps):
            ahead = timedelta(minutes=_minute_of(len(self._steps)))
            live = self._under.demand.at(self._under.now, ahead)
            self._steps.append([min((one.left(drawn) for one in self._capacities), default=inf) for drawn in live])
        found = self._steps[step]
        drawn = crc32(b"%d,%d" % (future, step // _BLOCK))
        through = found[drawn % len(found)]
        return min(through, self._pace[drawn // 7 % len(self._pace)]) if self._pace else through

    def _is_in_pace(self, capacity: Capacity) -> bool:
        """Return whether the pace tells more of what moves than where it is at this moment."""
        if not self._pace or not capacity.moves:
            return False
        now, shown = capacity.left(_mean(self._under.demand.recent)), _mean(self._pace)
        return shown / _ALIKE <= now <= shown * _ALIKE


_ALIKE = 2.0
"""What moves counts as it is where it is so many times what went through, or less by as much: then it has changed."""


def _minute_of(step: int) -> int:
    return step if step < _FINE_MINUTES else _FINE_MINUTES + (step - _FINE_MINUTES) * _COARSE_MINUTES


def _end_of(work: float, ahead: _Ahead, future: int) -> float | None:
    """Return in how many seconds one future has done it, None: not within the horizon."""
    left, step = work, 0
    while (minute := _minute_of(step)) < _HORIZON_MINUTES:
        minutes = _minute_of(step + 1) - minute
        through = ahead.through(step, future)
        if through > 0 and left <= through * minutes:
            return (minute + left / through) * 60.0
        left -= through * minutes
        step += 1
    return None


def _binding(work: Work, under: Conditions) -> str:
    usual = _mean(under.demand.recent)
    tightest = min(under.capacities, key=lambda one: one.left(usual))
    if len(work.pace) >= PACE_MINUTES and _mean(work.pace) < tightest.left(usual) * _AS_FAST:
        return "the pace so far"
    return tightest.name


_AS_FAST = 0.8


def _with_share(work: Work, under: Conditions, binding: str, step: float) -> float | None:
    if not any(one.is_budget and one.name == binding for one in under.capacities):
        return None
    changed = [
        replace(one, bulk=min(1.0, max(_LEAST_SHARE, one.bulk + step))) if one.name == binding else one
        for one in under.capacities
    ]
    return _quantile(_drawn(replace(work, pace=()), replace(under, capacities=changed), _FEW_DRAWS), _MIDDLE)


_LEAST_SHARE = 0.05


def _live_short(under: Conditions) -> float:
    """Return in which part of minutes live members need more than the bulk lane leaves them."""
    drawn = under.demand.at(under.now, timedelta())
    kept = min((one.per_minute * (1 - one.bulk) for one in under.capacities if one.is_budget), default=None)
    return 0.0 if kept is None else sum(live > kept for live in drawn) / len(drawn)


def _quantile(ends: Sequence[float | None], share: float) -> float | None:
    ordered = sorted(ends, key=lambda end: float("inf") if end is None else end)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


class Trend(StrEnum):
    """How the depth of a lane goes."""

    KEEPS_UP = "keeps up"
    CLEARS = "clears"
    STEADY = "steady"
    STALLED = "stalled"
    GROWS = "grows"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class LaneForecast:
    """Whether what waits in a lane comes to its end.

    Units: *clears_s* seconds, None: it does not; *per_s* instances by which it changes in a second.
    Shape: *depth* instances that wait; *why* it is stalled, as far as that is known.
    """

    lane: str
    depth: int
    trend: Trend
    per_s: float = 0.0
    clears_s: float | None = None
    why: str | None = None


TREND_SAMPLES = 4
"""Samples of a depth under which nothing is said of it."""
_FEW = 20


def lane_forecast(
    lane: str, depths: Sequence[tuple[float, int]], *, ended_per_minute: float, why: str | None
) -> LaneForecast:
    """Return how a lane goes by its *depths*: seconds on some clock, and what waited then; the newest last.

    Shape: *ended_per_minute* of its instances lately; *why* nothing goes out, None: nothing is known to keep it.
    """
    depth = depths[-1][1] if depths else 0
    if depth <= max(_FEW, ended_per_minute):
        return LaneForecast(lane, depth, Trend.KEEPS_UP)
    if len(depths) < TREND_SAMPLES:
        return LaneForecast(lane, depth, Trend.UNKNOWN)
    slope, error = _slope(depths)
    if abs(slope) <= 2 * error or abs(slope) * 3600 < _STILL * depth:
        trend = Trend.STEADY if ended_per_minute > 0 else Trend.STALLED
        return LaneForecast(lane, depth, trend, why=why if trend is Trend.STALLED else None)
    if slope > 0:
        return LaneForecast(lane, depth, Trend.GROWS, per_s=slope, why=why)
    return LaneForecast(lane, depth, Trend.CLEARS, per_s=slope, clears_s=depth / -slope)


_STILL = 0.01
"""Less of its depth than this in an hour is no change."""


def _slope(depths: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Return the change in a second, and the standard error of it, by least squares."""
    count = len(depths)
    mean_at, mean = sum(at for at, _ in depths) / count, sum(depth for _, depth in depths) / count
    spread = sum((at - mean_at) ** 2 for at, _ in depths) or 1.0
    slope = sum((at - mean_at) * (depth - mean) for at, depth in depths) / spread
    off = sum((depth - mean - slope * (at - mean_at)) ** 2 for at, depth in depths)
    return slope, sqrt(off / max(1, count - 2) / spread)
