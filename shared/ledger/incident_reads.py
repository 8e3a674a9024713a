"""Incidents as people read them: windows, cause, counts and cost, listed and one by one; settled once they are final.

Nothing here names a member.  What is counted is read as it is now, or as it was when the incident was settled.
"""

from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import orjson
from sqlalchemy import Connection, Row, text

from shared.ledger import incident_counts, incident_story, tallies
from shared.ledger.cause_notes import CauseNote, notes, on_incident
from shared.ledger.incident_counts import Counted
from shared.ledger.incident_story import TimeLine
from shared.ledger.incidents import IncidentState
from shared.pipeline import Lane

_WEEK = timedelta(days=7)
_HOUR = timedelta(hours=1)
_MINUTES_KEPT = timedelta(days=7)
_SETTLED_AT_LAST_DAYS = 7
"""What waits for longer, for a person mostly, keeps an incident from being settled no more."""


@dataclass(frozen=True, slots=True)
class Window:
    """A time; *to_at* None: it is not over."""

    from_at: datetime | None
    to_at: datetime | None


@dataclass(frozen=True, slots=True)
class Windows:
    """Two facts: how long it failed, and how long that was felt.

    Shape: *connection* from the first failure to the closing of the breaker (of a cause, to its last); *impact* from
    the first late event to the last one told, None while somebody is still to be told.
    """

    connection: Window
    impact: Window


@dataclass(frozen=True, slots=True)
class Counts:
    """Whom it affected, by predicate and range.

    Shape: *instances* affected, of which *waiting* are not at their end; *openings* of the breaker, *flaps* those after
    the first; all of them lie between the two ids and match *filter*, as api, console and command line take it.
    """

    instances: int
    waiting: int
    openings: int
    flaps: int
    first_instance_id: str | None
    last_instance_id: str | None
    filter: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What it cost, in our own units; as in the table of `shared.ledger.incident_counts`.

    Units: minutes of members whose newest event had not ended, seconds.  Shape: *live_p95_s* waits of the live lane
    told in the window of the impact, and in the same one a week before; None: nobody was told, or it is not known.
    """

    late_events: int
    member_minutes_stale: float
    worst_age_s: float
    wasted_calls: int
    statuses_told: int
    dead_letters: int
    live_p95_s: float | None
    live_p95_week_before_s: float | None


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident.  Shape: *counted_at* up to when its counts and cost are; *systems* the stages it is about."""

    id: str
    state: str
    kind: str
    stage: str
    fingerprint: str
    cause: str
    opened_at: datetime
    resolved_at: datetime | None
    closed_at: datetime | None
    windows: Windows
    counts: Counts
    cost: Cost
    counted_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    merged_into: str | None
    same_before: list[str] = field(default_factory=list)
    """Earlier incidents of the same fingerprint, the newest first."""
    cause_notes: list[CauseNote] = field(default_factory=list)
    """What people know of its cause."""

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.state == IncidentState.OPEN


@dataclass(frozen=True, slots=True)
class IncidentPage:
    """Incidents, newest first; *next* is the cursor of the page after this one, None at the end."""

    items: list[Incident]
    next: str | None


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which it went on.  Shape: *code* of a cause, None: the connection was down."""

    stage: str
    code: str | None
    from_at: datetime
    to_at: datetime | None


@dataclass(frozen=True, slots=True)
class IncidentDetail(Incident):
    """An incident with all that happened."""

    spans: list[Span] = field(default_factory=list)
    time_line: list[TimeLine] = field(default_factory=list)


def incidents(tx: Connection, *, limit: int, before: int | None = None, within: Window | None = None) -> IncidentPage:
    """List incidents, newest first; those that were merged into others are left out.

    *within*: those that went on in this time, which is open where it has no end.
    """
    bounds = {"since": within and within.from_at, "until": within and within.to_at}
    rows = tx.execute(_LIST, {"limit": limit + 1, "before": before, **bounds}).all()
    items = [_incident(tx, row) for row in rows[:limit]]
    return IncidentPage(items, items[-1].id if len(rows) > limit else None)


def live(tx: Connection) -> list[Incident]:
    """List what is open or may begin again, the oldest first."""
    return [_incident(tx, row) for row in tx.execute(_LIVE).all()]


def incident(tx: Connection, incident_id: int) -> Incident | None:
    """Read one; None: there is none."""
    row = tx.execute(_ONE, {"id": incident_id}).one_or_none()
    return None if row is None else _incident(tx, row)


def detail(tx: Connection, incident_id: int) -> IncidentDetail | None:
    """Read one with its spans and its time line; None: there is none."""
    found = incident(tx, incident_id)
    if found is None:
        return None
    spans = [Span(*row) for row in tx.execute(_SPANS, {"id": incident_id})]
    known = {one.name: getattr(found, one.name) for one in fields(found)}
    return IncidentDetail(**known, spans=spans, time_line=incident_story.time_line(tx, incident_id))


class News(StrEnum):
    """What mail tells of an incident."""

    OPENED = "opened"
    STILL_OPEN = "still open"
    RESOLVED = "resolved"


def take_news(tx: Connection, *, still_open_s: float) -> list[tuple[News, Incident]]:
    """Take what mail has not told yet of incidents, but that a connection is down or back: the changes say that."""
    told = [(News(row.news), row.id) for row in tx.execute(_TAKE_NEWS, {"still_open_s": still_open_s})]
    found = [(news, incident(tx, one)) for news, one in sorted(told, key=lambda one: one[1])]
    return [(news, one) for news, one in found if one is not None]


def settle(tx: Connection) -> None:
    """Freeze the figures of whatever is closed and counted, and of which nobody is on the way any more."""
    for row in tx.execute(_TO_SETTLE, {"days": _SETTLED_AT_LAST_DAYS}).all():
        impact = Window(row.late_from, row.late_to)
        p95_s, before_s = (_live_p95(tx, impact, row.now, ago=ago) for ago in (timedelta(), _WEEK))
        frozen = {
            "live_p95_s": p95_s,
            "live_p95_week_before_s": before_s,
            "time_line": incident_story.frozen(tx, row.id),
        }
        tx.execute(_SETTLE, {"id": row.id, "frozen": orjson.dumps(frozen).decode()})


def _incident(tx: Connection, row: Row[Any]) -> Incident:
    counted = incident_counts.up_to_now(tx, row)
    waiting = max(0, counted.affected - counted.ended)
    is_over = row.state != IncidentState.OPEN and not waiting
    impact = Window(counted.late_from, counted.late_to if is_over else None)
    known = set(Incident.__dataclass_fields__) & set(row._fields) - {"id", "merged_into"}
    return Incident(
        id=str(row.id),
        merged_into=None if row.merged_into is None else str(row.merged_into),
        windows=Windows(Window(row.from_at, row.to_at), impact),
        counts=Counts(
            instances=counted.affected,
            waiting=waiting,
            openings=row.spans,
            flaps=max(0, row.spans - 1),
            first_instance_id=None if counted.first_id is None else str(counted.first_id),
            last_instance_id=None if counted.last_id is None else str(counted.last_id),
            filter=f"incident={row.id}",
        ),
        cost=_cost(tx, row, counted, impact),
        counted_at=counted.upto,
        same_before=[str(one) for one in row.same],
        cause_notes=on_incident(notes(tx), row.fingerprint),
        **{name: getattr(row, name) for name in known if name != "same_before"},
    )


def _cost(tx: Connection, row: Row[Any], counted: Counted, impact: Window) -> Cost:
    waiting = max(0, counted.affected - counted.ended)
    upto_s = (counted.upto - row.from_at).total_seconds()
    stale_s = max(0.0, counted.ended_s + waiting * upto_s - counted.began_s)
    oldest_s = 0.0
    if waiting and row.settled_at is None:
        oldest_s = float(tx.execute(_OLDEST_HELD, {"id": row.id}).scalar_one() or 0)
    if row.frozen is None:
        p95_s, before_s = (_live_p95(tx, impact, row.now, ago=ago) for ago in (timedelta(), _WEEK))
    else:
        p95_s, before_s = row.frozen["live_p95_s"], row.frozen["live_p95_week_before_s"]
    return Cost(
        late_events=counted.affected,
        member_minutes_stale=round(stale_s / 60, 2),
        worst_age_s=round(max(counted.worst_age_s, oldest_s), 3),
        wasted_calls=counted.wasted_calls,
        statuses_told=counted.statuses_told,
        dead_letters=counted.dead,
        live_p95_s=p95_s,
        live_p95_week_before_s=before_s,
    )


def _live_p95(tx: Connection, impact: Window, now: datetime, *, ago: timedelta) -> float | None:
    """Estimate what 95 % of the live lane's waits were at most, by the minutes of *impact*, *ago* before."""
    if impact.from_at is None:
        return None
    since, until = impact.from_at - ago, (impact.to_at or now) - ago
    is_long = until - since > _HOUR or now - since > _MINUTES_KEPT + _HOUR
    step = _HOUR if is_long else _HOUR - timedelta(minutes=1)
    since = since.replace(minute=0 if is_long else since.minute, second=0, microsecond=0)
    waited = tallies.waits(tx, since=since, until=until + timedelta(microseconds=1), step=step)
    found = tallies.percentiles(one for one in waited if one.lane == Lane.LIVE)
    return None if found is None else round(found.p95_s, 3)


_READ = """
    select i.*, now() as now, s.spans, case when i.state <> 'open' then s.to_at end as to_at,
           array(select b.id from incident b where b.fingerprint = i.fingerprint and b.id < i.id
                 and b.state <> 'merged' order by b.id desc limit 5) as same
    from incident i,
         lateral (select count(*) as spans, max(to_at) as to_at from incident_span where incident_id = i.id) as s
"""
_LIST = text(f"""
    {_READ} where i.id < coalesce(cast(:before as bigint), 9223372036854775807) and i.state <> 'merged'
      and i.from_at < coalesce(cast(:until as timestamptz), 'infinity')
      and (i.state = 'open'
           or coalesce(s.to_at, i.resolved_at, i.from_at) >= coalesce(cast(:since as timestamptz), '-infinity'))
    order by i.id desc limit :limit
""")
_LIVE = text(f"{_READ} where i.state in ('open', 'resolved') order by i.id")
_ONE = text(f"{_READ} where i.id = :id")
_SPANS = text("""
    select stage, code, from_at, to_at from incident_span where incident_id = :id order by from_at, id
""")
# By the index of who is held: with the lane left open, the planner walks all instances where a lane holds nobody.
_OLDEST = " union all ".join(
    f"""
    (select accepted_at from instance
     where state = 'held' and hold_id is null and due_stage = s.stage and lane = '{lane}' order by id limit 1)
    """
    for lane in Lane
)
_OLDEST_HELD = text(f"""
    select max(extract(epoch from now() - o.accepted_at))
    from (select distinct stage from incident_span where incident_id = :id) as s, lateral ({_OLDEST}) as o
""")
# A connection that is down as planned is no news.
_TAKE_NEWS = text("""
    with fresh as (
        select id, case when state = 'open' and told is null and kind = 'cause' then 'opened'
                        when state <> 'open' and told = 'open' and kind = 'cause' then 'resolved'
                        when state = 'open' and reminded_at is null
                             and opened_at < now() - make_interval(secs => :still_open_s) then 'still open' end as news
        from incident i
        where settled_at is null and state <> 'merged' and not exists (
            select from maintenance m
            where m.name = i.stage and m.began_at is not null and m.ended_at is null and i.state = 'open')
        for no key update skip locked
    )
    update incident i
    set told = case f.news when 'opened' then 'open' when 'resolved' then 'resolved' else i.told end, told_at = now(),
        reminded_at = case f.news when 'still open' then now() else i.reminded_at end
    from fresh f where i.id = f.id and f.news is not null
    returning i.id, f.news
""")
_TO_SETTLE = text("""
    select *, now() as now from incident
    where state = 'closed' and settled_at is null and counted_upto >= closed_at
      and (ended >= affected or closed_at < now() - make_interval(days => :days))
    order by id for no key update skip locked
""")
_SETTLE = text("update incident set settled_at = now(), frozen = cast(:frozen as jsonb) where id = :id")
