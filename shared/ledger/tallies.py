"""The roll-up of activity: what each stage came to and how long members waited, counted once, and read again.

Nothing is counted on the hot path.  Activity is only ever added; the bookmark `tally` says up to which instant it has
been read, whoever locks it reads on from there, and counts and bookmark are written by one transaction.  So nothing is
counted twice or missed, whoever dies, and pruning activity takes nothing back.  Nor is what was counted before the
ledger's clock was set back over it (`shared.ledger.clock.counted_sql`).

| outcome | a line of activity that says |
|---|---|
| `accepted` `skipped` `superseded` `unchanged` | stage `intake`: what acceptance made of an event |
| `done` | an attempt succeeded and the instance goes on |
| `completed` `rejected` | an attempt told Siebel, and the instance has ended |
| `data_error` | an attempt was refused for the member's data; Siebel is to be told |
| `waiting` `dead` | an attempt failed: tried again later, given up |
| `held` `superseded` `discarded` | the state it was put in |
| `due_again` | the worker was lost, the budget was spent, or it was requeued |
| `aside` | a report, a read-back, a requeue taken back: the instance stands as it did |

A wait begins with the acceptance of an event and ends with the attempt that told Siebel its outcome; what was requeued
has waited since its acceptance too.  Minutes are kept for days, hours for months, and the sums since the ledger began
for good.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from shared.ledger.clock import counted_sql
from shared.masking import mask_text
from shared.pipeline import Stage

INTAKE = "intake"
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets of durations.  `tally` keeps counts by position: other bounds need an emptied `tally`."""
WAIT_BOUNDS_S = (
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    *(60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0),
)
"""Upper bounds of the buckets.  The tables keep counts by position: other bounds need emptied tables."""
_HOUR = timedelta(hours=1)
_ANY_STAGE = ("waiting", "held", "dead", "superseded", "discarded", "due_again", "aside")
OUTCOMES: Mapping[str, tuple[str, ...]] = {
    INTAKE: ("accepted", "skipped", "superseded", "unchanged"),
    Stage.OIC: ("done", "data_error", *_ANY_STAGE),
    Stage.CROWDTWIST: ("done", "data_error", *_ANY_STAGE),
    Stage.SIEBEL: ("completed", "rejected", *_ANY_STAGE),
}
"""What can come of each stage."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Lines of activity of one stage and outcome whose duration falls in one bucket.

    Shape: *bucket* counts the bounds at or below the duration; -1: the lines have no duration.  Units: *took_s*
    seconds, all of them together.
    """

    stage: str
    outcome: str
    bucket: int
    count: int
    took_s: float


@dataclass(frozen=True, slots=True)
class WaitTotal:
    """All waits of one lane and bucket since the ledger began.  Units: *waited_s* seconds, all of them together."""

    lane: str
    bucket: int
    count: int
    waited_s: float


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
class Percentiles:
    """What half, 95 % and 99 % waited, or took, at most.  Units: seconds; *count* of them."""

    count: int
    p50_s: float
    p95_s: float
    p99_s: float


@dataclass(frozen=True, slots=True)
class MinuteCount:
    """What a stage came to within the minute that begins *at*; outcomes as in `shared.ledger.tallies`."""

    at: datetime
    stage: str
    outcome: str
    count: int


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which nothing went out to a connection.

    Shape: *what* `down` or `paused`; *to_at* None: it still is; *why* masked; *who* paused it, None when it is down.
    """

    name: str
    what: str
    from_at: datetime
    to_at: datetime | None
    why: str | None
    who: str | None


def take_up(tx: Connection) -> datetime | None:
    """Lock the bookmark and return up to when was counted; None: another has it, or there was none until now."""
    upto: datetime | None = tx.execute(_LOCK).scalar_one_or_none()
    if upto is None:
        tx.execute(_OPEN)
    return upto


def horizon(tx: Connection, *, behind_max_s: float) -> datetime:
    """Return the instant before which no more lines can appear.

    Ask before the statement that reads the lines, not in it: that one must see what had committed by now.
    """
    instant: datetime = tx.execute(_HORIZON, {"behind_max_s": behind_max_s}).scalar_one()
    return instant


def count(tx: Connection, *, since: datetime, until: datetime) -> None:
    """Count the lines of [*since*, *until*) and move the bookmark; the caller holds it."""
    bounds_ms = [bound * 1000 for bound in BOUNDS_S]
    tx.execute(_COUNT, {"since": since, "until": until, "bounds": bounds_ms})
    tx.execute(_COUNT_WAITS, {"since": since, "until": until, "bounds": list(WAIT_BOUNDS_S)})


def prune(tx: Connection, *, minutes_days: int, hours_days: int, retention_days: int) -> None:
    """Delete the minutes and the hours that are older than their days; and what else is older than *retention_days*.

    That is changes of connections but the newest of each, ended jobs, stray messages.  What operators did stays for
    good.
    """
    days = {"minutes_days": minutes_days, "hours_days": hours_days, "retention_days": retention_days}
    for statement in _PRUNE:
        tx.execute(statement, days)


def tallies(tx: Connection) -> list[Tally]:
    """Read what was counted since the ledger began."""
    return [Tally(*row) for row in tx.execute(_TALLIES)]


def wait_totals(tx: Connection) -> list[WaitTotal]:
    """Read what was counted since the ledger began."""
    return [WaitTotal(*row) for row in tx.execute(_WAIT_TOTALS)]


def waits(tx: Connection, *, since: datetime, until: datetime, step: timedelta) -> list[Waits]:
    """List the waits that ended in [*since*, *until*), added up by *step*, oldest first."""
    parameters = {"since": since, "until": until, "step": step, "per": "hour" if step >= _HOUR else "minute"}
    return [Waits(*row) for row in tx.execute(_WAITS, parameters)]


def percentiles(counted: Iterable[Waits | WaitTotal]) -> Percentiles | None:
    """Estimate the percentiles of *counted*, each within its bucket by proportion; None: nobody was told.  Pure."""
    by_bucket: dict[int, int] = defaultdict(int)
    for one in counted:
        by_bucket[one.bucket] += one.count
    return percentiles_of(by_bucket, WAIT_BOUNDS_S)


def percentiles_of(by_bucket: Mapping[int, int], bounds_s: Sequence[float]) -> Percentiles | None:
    """Estimate the percentiles of what is counted by bucket; None: there is nothing.  Pure."""
    whole = sum(by_bucket.values())
    if not whole:
        return None
    return Percentiles(whole, *(_quantile(by_bucket, bounds_s, whole * part) for part in (0.5, 0.95, 0.99)))


def _quantile(by_bucket: Mapping[int, int], bounds_s: Sequence[float], rank: float) -> float:
    """Return what the one at *rank* took.  The last bucket has no upper bound: its lower one is returned."""
    below = 0
    for bucket, bound in enumerate(bounds_s):
        inside = by_bucket.get(bucket, 0)
        if inside and below + inside >= rank:
            floor = bounds_s[bucket - 1] if bucket else 0.0
            return floor + (bound - floor) * (rank - below) / inside
        below += inside
    return bounds_s[-1]


def minutes(tx: Connection, *, since: datetime, until: datetime) -> list[MinuteCount]:
    """List the minutes that lie in [*since*, *until*) or reach into it, oldest first; those of nothing are left out."""
    return [MinuteCount(*row) for row in tx.execute(_MINUTES, {"since": since, "until": until})]


def counts(tx: Connection, *, since: datetime, until: datetime, step: timedelta) -> list[MinuteCount]:
    """List what stages came to in [*since*, *until*), added up by *step*, oldest first.

    Shape: each counts the *step* that begins `at`.  Steps of an hour or more are read from the hours, kept for months.
    """
    statement = _COUNTS["hour" if step >= _HOUR else "minute"]
    return [MinuteCount(*row) for row in tx.execute(statement, {"since": since, "until": until, "step": step})]


def happened(tx: Connection, outcomes: Sequence[str], *, since: datetime, until: datetime, limit: int) -> list[int]:
    """Find the newest instances, by id, that came to one of *outcomes* in [*since*, *until*): what a count counted."""
    parameters = {"outcomes": list(outcomes), "since": since, "until": until, "limit": limit}
    return list(tx.execute(_HAPPENED, parameters).scalars())


def decided(tx: Connection, stage: Stage, *, since: datetime, at_least: float) -> int:
    """Count the attempts since *since*, a whole minute, in which *stage* took or refused a member; exact up to now.

    What is counted already is read from the minutes, the rest from activity; where the minutes alone say *at_least*, no
    more is read.
    """
    parameters = {"stage": stage, "since": since}
    counted = int(tx.execute(_DECIDED, parameters).scalar_one())
    return counted if counted >= at_least else counted + int(tx.execute(_DECIDED_SINCE, parameters).scalar_one())


def outages(tx: Connection, *, since: datetime) -> list[Outage]:
    """List the outages and pauses that were not over at *since*, from their beginning on, oldest first."""
    return [
        Outage(row.name, row.what, row.from_at, row.to_at, None if row.why is None else mask_text(row.why), row.who)
        for row in tx.execute(_OUTAGES, {"since": since})
    ]


def outcome_sql(condition: str) -> str:
    """Return the query of activity that meets *condition*, each line with its `outcome` and `of_stage`."""
    return f"select *, coalesce(stage, 'intake') as of_stage, {_OUTCOME} as outcome from activity where {condition}"


_LOCK = text("select upto from bookmark where name = 'tally' for update skip locked")
_OPEN = text("insert into bookmark (name, upto) values ('tally', now()) on conflict do nothing")
# `at` is the clock when the line was written, and the line is seen when its transaction commits.  Every writer of
# activity locks or changes its instances first, so by then it has an xid; and no line is older than the start of its
# transaction.  What begins to write after this look writes later instants than now().  One that stays open for longer
# than behind_max_s is waited for no more: our own statements are ended after 60 s, and a session that somebody forgot
# must not stop the counting.  Other roles' sessions show their xid only to members of pg_read_all_stats.
_HORIZON = text("""
    select greatest(now() - make_interval(secs => :behind_max_s), least(now(), min(xact_start)))
    from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and backend_xid is not null
""")
_OUTCOME = """
    case when stage is null then case state when 'pending' then 'accepted' else state end
         when attempt is null and state <> 'superseded'
          and (took_ms is not null or state in ('waiting', 'completed', 'rejected', 'dead')) then 'aside'
         when state not in ('running', 'pending') then state
         when code = 'data_error' then code
         when code is null and took_ms is not null then 'done'
         else 'due_again' end
"""
_COUNT = text(f"""
    with lines as ({outcome_sql(f"at >= :since and at < :until and not {counted_sql('activity')}")}),
    counted as materialized (
        select of_stage as stage, outcome, coalesce(width_bucket(took_ms, cast(:bounds as float8[])), -1) as bucket,
               date_trunc('minute', at) as at, count(*) as total, coalesce(sum(took_ms), 0) / 1000 as took_s
        from lines group by 1, 2, 3, 4
    ), tallied as (
        insert into tally (stage, outcome, bucket, count, took_s)
        select stage, outcome, bucket, sum(total), sum(took_s) from counted group by stage, outcome, bucket
        on conflict (stage, outcome, bucket)
        do update set count = tally.count + excluded.count, took_s = tally.took_s + excluded.took_s
    ), by_minute as (
        insert into minute (at, stage, outcome, count)
        select at, stage, outcome, sum(total) from counted group by at, stage, outcome
        on conflict (at, stage, outcome) do update set count = minute.count + excluded.count
    ), by_latency as (
        insert into latency (per, at, stage, bucket, count)
        select 'minute', at, stage, bucket, sum(total) from counted where bucket >= 0 group by at, stage, bucket
        union all
        select 'hour', date_trunc('hour', at, 'UTC'), stage, bucket, sum(total)
        from counted where bucket >= 0 group by 2, stage, bucket
        on conflict (per, at, stage, bucket) do update set count = latency.count + excluded.count
    ), by_hour as (
        insert into hour (at, stage, outcome, count)
        select date_trunc('hour', at, 'UTC'), stage, outcome, sum(total) from counted group by 1, 2, 3
        on conflict (at, stage, outcome) do update set count = hour.count + excluded.count
    )
    update bookmark set upto = :until where name = 'tally'
""")
_COUNT_WAITS = text(f"""
    with told as materialized (
        select i.lane, date_trunc('minute', a.at) as at,
               greatest(extract(epoch from a.at - i.accepted_at), 0)::float8 as waited_s
        from activity a join instance i on i.id = a.instance_id
        where a.at >= :since and a.at < :until and a.stage = 'siebel' and a.attempt is not null
          and a.state in ('completed', 'rejected') and not {counted_sql("a")}
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
_PRUNE = (
    text("delete from minute where at < now() - make_interval(days => :minutes_days)"),
    text("delete from hour where at < now() - make_interval(days => :hours_days)"),
    *(
        text(f"""
            delete from {table} where per = 'minute' and at < now() - make_interval(days => :minutes_days)
                                   or per = 'hour' and at < now() - make_interval(days => :hours_days)
        """)
        for table in ("wait", "latency")
    ),
    text("""
        delete from connection_change c
        where at < now() - make_interval(days => :retention_days)
          and exists (select from connection_change n
                      where n.id > c.id and n.name = c.name
                        and (n.what in ('paused', 'resumed')) = (c.what in ('paused', 'resumed')))
    """),
    text("delete from job where ended_at < now() - make_interval(days => :retention_days)"),
    text("delete from stray_message where at < now() - make_interval(days => :retention_days)"),
)
_TALLIES = text("select stage, outcome, bucket, count, took_s from tally order by stage, outcome, bucket")
_WAIT_TOTALS = text("select lane, bucket, count, waited_s from wait_total order by lane, bucket")
_WAITS = text("""
    select date_bin(cast(:step as interval), at, cast(:since as timestamptz)) as at, lane, bucket, sum(count)::bigint
    from wait where per = :per and at >= :since and at < :until group by 1, 2, 3 order by 1, 2, 3
""")
_MINUTES = text("""
    select at, stage, outcome, count from minute
    where at > cast(:since as timestamptz) - interval '1 minute' and at < :until order by at, stage, outcome
""")
_COUNTS = {
    table: text(f"""
        select date_bin(cast(:step as interval), at, cast(:since as timestamptz)) as at, stage, outcome,
               sum(count)::bigint
        from {table} where at >= :since and at < :until group by 1, 2, 3 order by 1, 2, 3
    """)
    for table in ("minute", "hour")
}
_HAPPENED = text(f"""
    select distinct instance_id from ({outcome_sql("at >= :since and at < :until")}) as lines
    where outcome = any(cast(:outcomes as text[])) order by instance_id desc limit :limit
""")
_DECIDED = text("""
    select coalesce(sum(count), 0) from minute
    where at >= :since and stage = :stage and outcome in ('done', 'data_error')
""")
_DECIDED_SINCE = text(f"""
    select count(*) from ({
    outcome_sql(f'''stage = :stage and not {counted_sql("activity")} and at >= greatest(
        cast(:since as timestamptz), (select upto from bookmark where name = 'tally'))''')
}) as lines
    where outcome in ('done', 'data_error')
""")
# Downs and ups alternate, pauses and resumes too: each is written while the connection's row is locked.
_OUTAGES = text("""
    select name, what, at as from_at, to_at, why, who
    from (select c.*, lead(at) over (partition by name, what in ('paused', 'resumed') order by id) as to_at
          from connection_change c) as paired
    where what in ('down', 'paused') and (to_at is null or to_at > :since)
    order by at, id
""")
