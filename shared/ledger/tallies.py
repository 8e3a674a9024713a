"""The roll-up of activity: how often each stage came to each outcome, counted once and for good.

Nothing is counted on the hot path.  Activity is only ever added; the bookmark `tally` says up to which instant it has
been read, whoever locks it reads on from there, and counts and bookmark are written by one transaction.  So nothing is
counted twice or missed, whoever dies, and pruning activity takes nothing back.

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
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from shared.ledger import latency
from shared.pipeline import Stage

INTAKE = "intake"
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets of durations.  `tally` keeps counts by position: other bounds need an emptied `tally`."""

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


def tallies(tx: Connection) -> list[Tally]:
    """Read what was counted since the ledger began."""
    return [Tally(row.stage, row.outcome, row.bucket, row.total, row.took_s) for row in tx.execute(_TALLIES).all()]


def take_up(tx: Connection) -> datetime | None:
    """Lock the bookmark and say up to which instant was counted; None: another has it, or there was none until now."""
    upto: datetime | None = tx.execute(_LOCK).scalar_one_or_none()
    if upto is None:
        tx.execute(_OPEN)
    return upto


def horizon(tx: Connection, *, behind_max_s: float) -> datetime:
    """Give the instant before which no more lines can appear.

    Ask before the statement that reads the lines, not in it: that one must see what had committed by now.
    """
    instant: datetime = tx.execute(_HORIZON, {"behind_max_s": behind_max_s}).scalar_one()
    return instant


def count(tx: Connection, *, since: datetime, until: datetime) -> None:
    """Count the lines of [*since*, *until*) and move the bookmark; the caller holds it."""
    bounds_ms = [bound * 1000 for bound in BOUNDS_S]
    tx.execute(_COUNT, {"since": since, "until": until, "bounds": bounds_ms})
    latency.count(tx, since=since, until=until)


def prune(tx: Connection, *, minutes_days: int, hours_days: int) -> None:
    """Delete the minutes and the hours that are older."""
    tx.execute(_PRUNE["minute"], {"days": minutes_days})
    tx.execute(_PRUNE["hour"], {"days": hours_days})


def outcome_sql(condition: str) -> str:
    """Give the query of activity that meets *condition*, each line with its `outcome` and `of_stage`."""
    return f"select *, coalesce(stage, 'intake') as of_stage, {_OUTCOME} as outcome from activity where {condition}"


_TALLIES = text("select stage, outcome, bucket, count as total, took_s from tally order by stage, outcome, bucket")
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
    with lines as ({outcome_sql("at >= :since and at < :until")}), counted as materialized (
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
    ), by_hour as (
        insert into hour (at, stage, outcome, count)
        select date_trunc('hour', at, 'UTC'), stage, outcome, sum(total) from counted group by 1, 2, 3
        on conflict (at, stage, outcome) do update set count = hour.count + excluded.count
    )
    update bookmark set upto = :until where name = 'tally'
""")
_PRUNE = {
    table: text(f"delete from {table} where at < now() - make_interval(days => :days)") for table in ("minute", "hour")
}
