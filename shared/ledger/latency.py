"""From acceptance to Siebel: how long members wait until their status is told, counted in buckets.

Counted with the tallies, by the same bookmark, so that nothing is counted twice or missed.  A wait ends with the
attempt that told Siebel the outcome of the event; what was requeued has waited since its acceptance too.  Minutes are
kept for days, hours for months, and the sums since the ledger began for good.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

WAIT_BOUNDS_S = (
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    *(60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0),
)
"""Upper bounds of the buckets.  The tables keep counts by position: other bounds need emptied tables."""
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Waits:
    """Members of one lane told within the period that begins *at*, by the bucket of their wait.

    Shape: *bucket* counts the bounds at or below the wait.
    """

    at: datetime
    lane: str
    bucket: int
    count: int


@dataclass(frozen=True, slots=True)
class WaitTotal:
    """All waits of one lane and bucket since the ledger began.  Units: *waited_s* seconds, all of them together."""

    lane: str
    bucket: int
    count: int
    waited_s: float


@dataclass(frozen=True, slots=True)
class Percentiles:
    """What half, 95 % and 99 % of the members waited at most.  Units: seconds; *count* members."""

    count: int
    p50_s: float
    p95_s: float
    p99_s: float


def count(tx: Connection, *, since: datetime, until: datetime) -> None:
    """Count the waits that ended in [*since*, *until*); the caller holds the bookmark."""
    tx.execute(_COUNT, {"since": since, "until": until, "bounds": list(WAIT_BOUNDS_S)})


def totals(tx: Connection) -> list[WaitTotal]:
    """Read what was counted since the ledger began."""
    return [WaitTotal(row.lane, row.bucket, row.total, row.waited_s) for row in tx.execute(_TOTALS)]


def waits(tx: Connection, *, since: datetime, until: datetime, step: timedelta) -> list[Waits]:
    """List the waits that ended in [*since*, *until*), added up by *step*, oldest first."""
    parameters = {"since": since, "until": until, "step": step, "per": "hour" if step >= HOUR else "minute"}
    return [Waits(row.at, row.lane, row.bucket, int(row.total)) for row in tx.execute(_WAITS, parameters)]


def prune(tx: Connection, *, minutes_days: int, hours_days: int) -> None:
    """Delete the minutes and the hours that are older."""
    tx.execute(_PRUNE, {"minutes": minutes_days, "hours": hours_days})


def percentiles(counted: Iterable[Waits | WaitTotal]) -> Percentiles | None:
    """Estimate the percentiles of *counted*, each within its bucket by proportion; None: nobody was told.  Pure."""
    by_bucket: dict[int, int] = defaultdict(int)
    for one in counted:
        by_bucket[one.bucket] += one.count
    whole = sum(by_bucket.values())
    if not whole:
        return None
    return Percentiles(whole, *(_quantile(by_bucket, whole * part) for part in (0.5, 0.95, 0.99)))


def _quantile(by_bucket: dict[int, int], rank: float) -> float:
    """Give the wait of the member at *rank*.  The last bucket has no upper bound: its lower one is given."""
    below = 0
    for bucket, bound in enumerate(WAIT_BOUNDS_S):
        inside = by_bucket.get(bucket, 0)
        if inside and below + inside >= rank:
            floor = _floor(WAIT_BOUNDS_S, bucket)
            return floor + (bound - floor) * (rank - below) / inside
        below += inside
    return WAIT_BOUNDS_S[-1]


def _floor(bounds: Sequence[float], bucket: int) -> float:
    return bounds[bucket - 1] if bucket else 0.0


_COUNT = text("""
    with told as materialized (
        select i.lane, date_trunc('minute', a.at) as at,
               greatest(extract(epoch from a.at - i.accepted_at), 0)::float8 as waited_s
        from activity a join instance i on i.id = a.instance_id
        where a.at >= :since and a.at < :until and a.stage = 'siebel' and a.attempt is not null
          and a.state in ('completed', 'rejected')
    ), counted as materialized (
        select lane, at, width_bucket(waited_s, cast(:bounds as float8[])) as bucket,
               count(*) as total, sum(waited_s) as waited_s
        from told group by 1, 2, 3
    ), summed as (
        insert into wait_total (lane, bucket, count, waited_s)
        select lane, bucket, sum(total), sum(waited_s) from counted group by lane, bucket
        on conflict (lane, bucket)
        do update set count = wait_total.count + excluded.count, waited_s = wait_total.waited_s + excluded.waited_s
    )
    insert into wait (per, at, lane, bucket, count)
    select 'minute', at, lane, bucket, total from counted
    union all
    select 'hour', date_trunc('hour', at, 'UTC'), lane, bucket, sum(total) from counted group by 2, 3, 4
    on conflict (per, at, lane, bucket) do update set count = wait.count + excluded.count
""")
_TOTALS = text("select lane, bucket, count as total, waited_s from wait_total order by lane, bucket")
_WAITS = text("""
    select date_bin(cast(:step as interval), at, cast(:since as timestamptz)) as at, lane, bucket, sum(count) as total
    from wait where per = :per and at >= :since and at < :until group by 1, 2, 3 order by 1, 2, 3
""")
_PRUNE = text("""
    delete from wait where per = 'minute' and at < now() - make_interval(days => :minutes)
                        or per = 'hour' and at < now() - make_interval(days => :hours)
""")
