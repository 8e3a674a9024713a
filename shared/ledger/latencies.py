"""How long attempts take, by stage over time, and what may have been the reason: incidents and marks of the same time.

The roll-up (`tallies`) keeps how many attempts of a stage fell into each bucket of duration, by minute for days and by
hour for months; what is asked for here is read from those rows, however many attempts there were.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from shared.ledger.tallies import BOUNDS_S, Percentiles, percentiles_of

_HOUR = timedelta(hours=1)
_MARKS_MAX = 200


@dataclass(frozen=True, slots=True)
class Latency:
    """What attempts of a stage took in the step that begins *at*: half, 95 % and 99 % of them at most.

    Units: seconds; *count* attempts.
    """

    at: datetime
    stage: str
    count: int
    p50_s: float
    p95_s: float
    p99_s: float


@dataclass(frozen=True, slots=True)
class IncidentThen:
    """A time in which an incident went on at a stage; *to_at* None: it still does."""

    incident_id: str
    stage: str
    cause: str
    from_at: datetime
    to_at: datetime | None


@dataclass(frozen=True, slots=True)
class MarkThen:
    """A new version, or a setting that changed."""

    at: datetime
    kind: str
    what: str


@dataclass(frozen=True, slots=True)
class Took:
    """What attempts took: by stage and step, oldest first, steps of none left out; and *whole* by stage, in all."""

    steps: list[Latency]
    whole: dict[str, Percentiles]


def latencies(tx: Connection, *, since: datetime, until: datetime, step: timedelta) -> Took:
    """Return what attempts took in [*since*, *until*)."""
    parameters = {"since": since, "until": until, "step": step, "per": "hour" if step >= _HOUR else "minute"}
    counted: dict[tuple[datetime, str], dict[int, int]] = defaultdict(dict)
    in_all: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for row in tx.execute(_LATENCIES, parameters):
        counted[row.at, row.stage][row.bucket] = row.total
        in_all[row.stage][row.bucket] += row.total
    found = [(at, stage, percentiles_of(by_bucket, BOUNDS_S)) for (at, stage), by_bucket in counted.items()]
    whole = {stage: percentiles_of(by_bucket, BOUNDS_S) for stage, by_bucket in in_all.items()}
    return Took(
        [Latency(at, stage, *_figures(one)) for at, stage, one in found if one is not None],
        {stage: one for stage, one in whole.items() if one is not None},
    )


def incidents_then(tx: Connection, *, since: datetime, until: datetime) -> list[IncidentThen]:
    """List the times of incidents that reach into [*since*, *until*), oldest first."""
    return [IncidentThen(*row) for row in tx.execute(_INCIDENTS, {"since": since, "until": until})]


def marks_then(tx: Connection, *, since: datetime, until: datetime) -> list[MarkThen]:
    """List what was marked in [*since*, *until*), oldest first, at most the newest 200."""
    rows: Iterable[MarkThen] = (MarkThen(*row) for row in tx.execute(_MARKS, {"since": since, "until": until}))
    return sorted(rows, key=lambda one: one.at)


def _figures(one: Percentiles) -> tuple[int, float, float, float]:
    return one.count, one.p50_s, one.p95_s, one.p99_s


_LATENCIES = text("""
    select date_bin(cast(:step as interval), at, cast(:since as timestamptz)) as at, stage, bucket,
           sum(count)::bigint as total
    from latency where per = :per and at >= :since and at < :until group by 1, 2, 3 order by 1, 2, 3
""")
_INCIDENTS = text("""
    select coalesce(i.merged_into, i.id)::text, s.stage, i.cause, s.from_at, s.to_at
    from incident_span s join incident i on i.id = s.incident_id
    where s.from_at < :until and coalesce(s.to_at, 'infinity') > :since
    order by s.from_at, s.id limit 1000
""")
_MARKS = text(f"""
    select at, kind, what from mark where at >= :since and at < :until order by at desc limit {_MARKS_MAX}
""")
