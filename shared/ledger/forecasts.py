"""What forecasts are made of, and what becomes of them: history, what bounds the pace, and whether they came true.

Live demand is what `wait` counts of the live lane: members told within a minute, for the last hour, and within an hour,
for weeks.  What bounds the bulk lane is read from the budgets, from the limits of calls in flight (times what an answer
takes), and from who is at work.  A job that runs is foreseen anew once a minute, and every forecast is compared with
the job's end; depths of the lanes are kept for an hour.  All instants are the ledger's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import orjson
from sqlalchemy import Connection, Row, text

from shared.ledger import call_limits, heartbeats
from shared.ledger.connections import connections
from shared.ledger.jobs import Job, Plan, Verdict
from shared.ledger.records import ConnectionState, Process
from shared.ledger.spending import Budget
from shared.lifecycle.forecasts import (
    Capacity,
    Conditions,
    Demand,
    Forecast,
    LaneForecast,
    Work,
    departure,
    foresee,
    hour_of_week,
    lane_forecast,
    width_of,
)
from shared.pipeline import SYSTEMS, Lane, Stage

PER_PROCESS = 30_000.0
"""Instances a minute that a worker process takes at most: what `make bench` measured of one on a small machine."""
DEPTH_EVERY_S = 20
KEPT_EVERY_S = 60
_WEEKS = 8
_SCORED = 100
_PACE_OF = 10
_TREND_S = 600


@dataclass(frozen=True, slots=True)
class Terms:
    """What settings say of the pace: the budgets, and how many statuses a call to Siebel tells."""

    budgets: Mapping[Stage, Budget]
    rows_per_call: int


def of_plan(tx: Connection, plan: Plan, terms: Terms, *, per_minute: float | None) -> Forecast:
    """Return when a job of *plan* would end; *per_minute* instances that it would be bound to, None: to no number."""
    return _foreseen(tx, Work(plan.counts.get(Verdict.SEND, 0), ahead=_bulk(tx)), terms, per_minute)


def of_job(tx: Connection, job: Job, terms: Terms) -> Forecast | None:
    """Return when *job* ends; None: it is over."""
    if job.over:
        return None
    sent = job.counts["sent"]
    left = job.counts["planned"] + sent
    pace = _pace(tx.execute(_KEPT, {"job_id": int(job.job_id), "limit": _PACE_OF}).all())
    work = Work(left, ahead=0 if pace else max(0, _bulk(tx) - sent), pace=pace)
    foreseen = _foreseen(tx, work, terms, job.rate_per_minute)
    first = tx.execute(_FIRST, {"job_id": int(job.job_id)}).one_or_none()
    if first is None:
        return foreseen
    return replace(foreseen, departed=departure(Forecast(**first.foreseen), first.ago_s, foreseen))


def of_lanes(tx: Connection, found: Sequence[ConnectionState], processes: Sequence[Process]) -> list[LaneForecast]:
    """Return for each lane whether what waits in it comes to its end, beside the connections and processes *found*."""
    ended = {row.lane: float(row.per_minute) for row in tx.execute(_ENDED)}
    depths: dict[str, list[tuple[float, int]]] = {lane: [] for lane in Lane}
    for lane, at, depth in tx.execute(_DEPTHS, {"since_s": _TREND_S}):
        depths[lane].append((at, int(depth)))
    why = _stalled(found, processes)
    return [lane_forecast(lane, seen, ended_per_minute=ended.get(lane, 0.0), why=why) for lane, seen in depths.items()]


def keep(tx: Connection, jobs: Sequence[Job], terms: Terms) -> None:
    """Keep what is foreseen of *jobs* now; once a minute of each, however many dispatchers ask."""
    for job in jobs:
        foreseen = of_job(tx, job, terms)
        if foreseen is not None:
            values = {"job_id": int(job.job_id), "left": foreseen.left, "every_s": 0.9 * KEPT_EVERY_S}
            tx.execute(_KEEP, values | {"foreseen": orjson.dumps(_kept(foreseen)).decode()})


def _kept(foreseen: Forecast) -> dict[str, Any]:
    """Return what is kept of a forecast: not that it has left another's band, which the version before cannot read."""
    kept = asdict(foreseen)
    del kept["departed"]
    return kept


def turn(tx: Connection) -> list[int]:
    """Note how deep the lanes are, and compare forecasts with the ends of their jobs; return the jobs under way.

    At most one dispatcher does so every `DEPTH_EVERY_S`; for another there is nothing to do.
    """
    if not tx.execute(_TAKE_TURN, {"every_s": 0.9 * DEPTH_EVERY_S}).scalar_one():
        return []
    tx.execute(_NOTE_DEPTHS)
    tx.execute(_FORGET_DEPTHS)
    tx.execute(_SCORE)
    return list(tx.execute(_UNDER_WAY).scalars())


def _foreseen(tx: Connection, work: Work, terms: Terms, per_minute: float | None) -> Forecast:
    seen = int(tx.execute(_CALLS_SEEN).scalar_one())
    processes = heartbeats.processes(tx)
    stalled = _stalled(connections(tx, terms.budgets), processes)
    work = Work(work.left, work.ahead, work.pace, seen, stalled)
    capacities = [
        *_capacities(tx, terms),
        Capacity("the workers", len(_at_work(processes)) * PER_PROCESS),
        *([Capacity("its own rate", per_minute, is_shared=False)] if per_minute else []),
    ]
    outcomes = [(Forecast(**row.foreseen), row.took_s) for row in tx.execute(_OUTCOMES, {"limit": _SCORED})]
    now: datetime = tx.execute(_NOW).scalar_one()
    return foresee(work, Conditions(capacities, _demand(tx, now), now), width=width_of(outcomes))


def _capacities(tx: Connection, terms: Terms) -> list[Capacity]:
    calls = float(tx.execute(_CALLS_EACH).scalar_one() or 1.0)
    each = {Stage.OIC: 1.0, Stage.CROWDTWIST: 1 / calls, Stage.SIEBEL: float(terms.rows_per_call)}
    found = [
        Capacity(f"{SYSTEMS[stage]}'s budget", one.per_minute * each[stage], bulk=1 - one.live_share, is_budget=True)
        for stage, one in terms.budgets.items()
    ]
    return found + [
        Capacity(f"{SYSTEMS[stage]}'s limit of calls in flight", crowd.carried * each[stage], moves=True)
        for stage, crowd in call_limits.crowds(tx, 60.0).items()
    ]


def _demand(tx: Connection, now: datetime) -> Demand:
    recent = [float(count) for count in tx.execute(_RECENT).scalars()]
    by_hour: dict[int, list[float]] = {}
    for at, count in tx.execute(_HOURS, {"since": now - timedelta(weeks=_WEEKS)}):
        by_hour.setdefault(hour_of_week(at), []).append(count / 60)
    return Demand(recent, by_hour)


def _stalled(found: Sequence[ConnectionState], processes: Sequence[Process]) -> str | None:
    """Return why nothing of the bulk lane goes out now, None: nothing keeps it.  Pure."""
    for one in found:
        if one.state == "paused":
            return f"{SYSTEMS[Stage(one.name)]} is paused by {one.paused_by}"
        if one.state != "up":
            return f"{SYSTEMS[Stage(one.name)]} is down"
    return None if _at_work(processes) else "no worker serves the bulk lane"


def _at_work(processes: Sequence[Process]) -> list[Process]:
    return [one for one in heartbeats.workers(processes, Lane.BULK) if heartbeats.is_at_work(one)]


def _bulk(tx: Connection) -> int:
    return int(tx.execute(_BULK).scalar_one())


def _pace(kept: Sequence[Row[tuple[float, int]]]) -> list[float]:
    """Return how many ended in a minute between each two of what was kept, oldest first."""
    return [(one.left_over - two.left_over) / (two.at_s - one.at_s) * 60 for one, two in pairwise(kept)]


_NOW = text("select now()")
_CALLS_SEEN = text("""
    select coalesce(sum(count), 0) from hour
    where at >= now() - interval '7 days' and stage = 'crowdtwist' and outcome in ('done', 'data_error')
""")
# Of the newest that went to CrowdTwist: a member that it does not know yet costs more than one call.
_CALLS_EACH = text("""
    select avg(greatest(1, coalesce(json_array_length(calls_json), jsonb_array_length(calls), 1)))
    from (select calls, calls_json from activity
          where at > now() - interval '1 hour' and stage = 'crowdtwist' and state = 'pending' and took_ms is not null
          order by at desc limit 200) as newest
""")
_RECENT = text("""
    select coalesce(sum(w.count), 0)::float8
    from generate_series(date_trunc('minute', now()) - interval '60 minutes',
                         date_trunc('minute', now()) - interval '2 minutes', '1 minute') as m(at)
    left join wait w on w.per = 'minute' and w.lane = 'live' and w.at = m.at
    group by m.at order by m.at
""")
_HOURS = text("""
    select m.at, coalesce(sum(w.count), 0)::float8
    from generate_series(greatest(cast(:since as timestamptz), (select min(at) from wait where per = 'hour')),
                         now() - interval '1 hour', '1 hour') as m(at)
    left join wait w on w.per = 'hour' and w.lane = 'live' and w.at = m.at
    group by m.at
""")
_BULK = text("select count(*) from instance where state in ('pending', 'waiting', 'held') and lane = 'bulk'")
_KEPT = text("""
    select * from (
        select extract(epoch from at)::float8 as at_s, left_over from forecast where job_id = :job_id
        order by at desc limit :limit
    ) as newest order by at_s
""")
_FIRST = text("""
    select foreseen, extract(epoch from now() - at)::float8 as ago_s from forecast
    where job_id = :job_id and foreseen ->> 'expected_s' is not null order by at limit 1
""")
_KEEP = text("""
    insert into forecast (job_id, left_over, foreseen)
    select :job_id, :left, cast(:foreseen as jsonb)
    where not exists (
        select from forecast where job_id = :job_id and at > now() - make_interval(secs => :every_s))
""")
# What a job came to that was stopped says nothing of when it would have ended.
_SCORE = text("""
    update forecast f set took_s = extract(epoch from j.ended_at - f.at), scored_at = now()
    from job j
    where j.id = f.job_id and f.took_s is null and j.state = 'done' and j.ended_at >= f.at
      and f.foreseen ->> 'expected_s' is not null
""")
_OUTCOMES = text("""
    select foreseen, took_s from forecast where scored_at is not null order by scored_at desc limit :limit
""")
_UNDER_WAY = text("select id from job where ended_at is null and state = 'running'")
_TAKE_TURN = text("""
    select pg_try_advisory_xact_lock(hashtext('membersync forecasts'))
       and not exists (select from lane_depth where at > now() - make_interval(secs => :every_s))
""")
_NOTE_DEPTHS = text("""
    insert into lane_depth (lane, at, depth)
    select l.lane, now(), coalesce(sum(i.total), 0)
    from (values ('live'), ('bulk')) as l(lane)
    left join (
        select lane, count(*) as total from instance where state in ('pending', 'waiting', 'held') group by lane
        union all
        select lane, count(*) from instance where state = 'running' group by lane
    ) as i on i.lane = l.lane
    group by l.lane
""")
_FORGET_DEPTHS = text("delete from lane_depth where at < now() - interval '1 hour'")
_DEPTHS = text("""
    select lane, extract(epoch from at)::float8, depth from lane_depth
    where at > now() - make_interval(secs => :since_s) order by at
""")
_ENDED = text("""
    select lane, sum(count)::float8 / 10 as per_minute from wait
    where per = 'minute' and at > now() - interval '11 minutes' group by lane
""")
