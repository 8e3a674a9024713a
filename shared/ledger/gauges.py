"""Statements behind the metrics that only ever grow: what was added to the activity since the last look.

Nothing is counted on the hot path.  Activity is only ever added; a process remembers up to which instant it has read
and reads on from there.  So a scrape costs what happened since the one before it, and pruning takes nothing back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Tally:
    """Lines of activity of one stage and outcome whose duration falls in one bucket.

    Shape: *bucket* counts the bounds at or below the duration; None: the line has no duration.  Units: *took_s*
    seconds, all of them together.
    """

    stage: str
    outcome: str
    bucket: int | None
    count: int
    took_s: float


def ago(connection: Connection, age_s: float) -> datetime:
    """Give the instant *age_s* seconds ago, by the ledger's clock."""
    instant: datetime = connection.execute(_AGO, {"age_s": age_s}).scalar_one()
    return instant


def tallies(connection: Connection, *, after: datetime, upto: datetime, bounds_s: Sequence[float]) -> list[Tally]:
    """Count the lines of activity written in (*after*, *upto*].  *bounds_s* ascending, seconds."""
    rows = connection.execute(_TALLIES, {"after": after, "upto": upto, "bounds": [bound * 1000 for bound in bounds_s]})
    return [Tally(row.stage, row.outcome, row.bucket, row.total, row.took_s) for row in rows]


_AGO = text("select now() - make_interval(secs => :age_s)")
_TALLIES = text("""
    select coalesce(stage, 'intake') as stage,
           case when stage is null then case state when 'pending' then 'accepted' else state end
                when state not in ('running', 'pending') then state
                when code = 'data_error' then code
                when code is null and took_ms is not null then 'done'
                else 'due_again' end as outcome,
           width_bucket(took_ms, cast(:bounds as float8[])) as bucket,
           count(*) as total, coalesce(sum(took_ms), 0) / 1000 as took_s
    from activity where at > :after and at <= :upto
    group by 1, 2, 3
""")
