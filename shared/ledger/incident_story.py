"""The time line of an incident: what happened while it went on, who did what, what people note; and how they put it.

| kind                           | comes from                                                        |
|--------------------------------|-------------------------------------------------------------------|
| `down` `up` `paused` `resumed` | the changes of its connections                                    |
| `probe` `probe_failed`         | the breaker, as it probes                                         |
| `held`                         | the tallies: how many of its stages were held in a minute or hour |
| `job`                          | jobs that began or ended meanwhile                                |
| `operator`                     | the audit, but who was shown whom                                 |
| `deploy` `setting`             | what whoever began to dispatch said that it is, and how it is set |
| `note` `acknowledged` `merged` `split` | what people did to the incident itself                    |

All but the last row is frozen with the incident.  Merging and splitting move spans; what was counted is counted anew,
which is refused where the activity of that time was pruned.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from shared.ledger import tallies
from shared.ledger.incidents import EventKind
from shared.masking import mask_text
from shared.pipeline import SYSTEMS, Stage

_BY_MINUTE = timedelta(hours=3)
_BY_HOUR = timedelta(days=7)
_LINES_MAX = 1_000
"""Of one source; what comes later is left out, and the time line says so."""


@dataclass(frozen=True, slots=True)
class TimeLine:
    """Something that happened.  Shape: *note* the id of a note, whose instant may be changed; else None."""

    at: datetime
    kind: str
    what: str
    who: str | None = None
    stage: str | None = None
    note: str | None = None


def time_line(tx: Connection, incident_id: int) -> list[TimeLine]:
    """Return all that happened, the oldest first; None of it names a member."""
    of = tx.execute(_OF, {"id": incident_id}).one()
    kept = of.frozen["time_line"] if of.frozen else [_stored(one) for one in happened(tx, incident_id)]
    lines = [TimeLine(**one | {"at": datetime.fromisoformat(one["at"])}) for one in kept]
    for row in tx.execute(_NOTED, {"id": incident_id}):
        note = str(row.id) if row.kind == EventKind.NOTE else None
        lines.append(TimeLine(row.at, row.kind, mask_text(row.what), row.who, row.stage, note))
    return sorted(lines, key=lambda line: (line.at, line.kind, line.what, line.note or ""))


def frozen(tx: Connection, incident_id: int) -> list[dict[str, Any]]:
    """Return what of the time line is kept when the incident is settled, as JSON."""
    return [_stored(one) for one in happened(tx, incident_id)]


def happened(tx: Connection, incident_id: int) -> list[TimeLine]:
    """Read what happened, as it is known now, in no order."""
    of = tx.execute(_OF, {"id": incident_id}).one()
    span = {"id": incident_id, "since": of.from_at, "until": of.until, "limit": _LINES_MAX + 1}
    lines = []
    for statement in (_CHANGES, _PROBES, _JOBS, _ACTIONS, _MARKS):
        rows = tx.execute(statement, span).all()
        lines += [TimeLine(row.at, row.kind, mask_text(row.what), row.who, row.stage) for row in rows[:_LINES_MAX]]
        if len(rows) > _LINES_MAX:
            at = rows[_LINES_MAX - 1].at
            lines.append(TimeLine(at, "left_out", f"there is more than {_LINES_MAX} lines of this kind"))
    lasted, age = of.until - of.from_at, of.now - of.from_at
    is_short = lasted <= _BY_MINUTE and age <= _BY_HOUR
    unit, within = (timedelta(minutes=1), "a minute") if is_short else (timedelta(hours=1), "an hour")
    since = of.from_at.replace(minute=of.from_at.minute if is_short else 0, second=0, microsecond=0)
    for one in tallies.counts(tx, since=since, until=of.until, step=unit):
        if one.outcome == "held" and one.stage in of.stages:
            what = f"{one.count} held at {SYSTEMS[Stage(one.stage)]} within {within}"
            lines.append(TimeLine(max(one.at, of.from_at), "held", what, stage=one.stage))
    return lines


def _stored(line: TimeLine) -> dict[str, Any]:
    return asdict(line) | {"at": line.at.isoformat()}


def note(tx: Connection, incident_id: int, *, by: str, words: str, at: datetime | None) -> int | None:
    """Add a note that says *words* of the instant *at*, None: of now; return its id, None: there is no incident."""
    parameters = {"id": incident_id, "kind": EventKind.NOTE, "who": by, "what": words, "at": at}
    found: int | None = tx.execute(_ADD, parameters).scalar_one_or_none()
    return found


def change_note(tx: Connection, incident_id: int, note_id: int, *, words: str | None, at: datetime | None) -> bool:
    """Change what a note says, or of when; None: that stays.  False: there is no such note of the incident."""
    parameters = {"id": incident_id, "note": note_id, "what": words, "at": at}
    return tx.execute(_CHANGE_NOTE, parameters).rowcount == 1


def acknowledge(tx: Connection, incident_id: int, *, by: str) -> bool:
    """Note who has taken the incident up; False: somebody has already, or it was merged."""
    if tx.execute(_ACKNOWLEDGE, {"id": incident_id, "by": by}).rowcount != 1:
        return False
    _event(tx, incident_id, EventKind.ACKNOWLEDGED, by, f"{by} has taken it up")
    return True


def merge(tx: Connection, incident_id: int, into: int, *, by: str, reason: str) -> str:
    """Make one incident a part of another, with all its spans and notes; return what came of it."""
    found = {row.id: row for row in tx.execute(_LOCK, {"ids": [incident_id, into]})}
    if why := _why_not(found, incident_id, into):
        return f"refused: {why}"
    tx.execute(_MOVE_SPANS, {"from": incident_id, "to": into, "at": None})
    tx.execute(_MOVE_EVENTS, {"from": incident_id, "to": into, "at": None})
    tx.execute(_MERGED, {"id": incident_id, "into": into})
    tx.execute(_COUNT_ANEW, {"ids": [into]})
    _event(tx, into, EventKind.MERGED, by, f"incident {incident_id} merged into this: {reason}")
    return f"merged into incident {into}"


def split(tx: Connection, incident_id: int, at: datetime, *, by: str, reason: str) -> tuple[str, int | None]:
    """Make what began at *at* or later an incident of its own; return what came of it, and the new incident."""
    found = {row.id: row for row in tx.execute(_LOCK, {"ids": [incident_id]})}
    why = _why_not(found, incident_id, incident_id)
    parts = tx.execute(_PARTS, {"id": incident_id, "at": at}).one()
    if not why and not (parts.before and parts.after):
        why = "all of it began then or later" if parts.after else "nothing of it began then or later"
    if why:
        return f"refused: {why}", None
    made = int(tx.execute(_SPLIT, {"id": incident_id, "at": at}).scalar_one())
    tx.execute(_MOVE_SPANS, {"from": incident_id, "to": made, "at": at})
    tx.execute(_MOVE_EVENTS, {"from": incident_id, "to": made, "at": at})
    tx.execute(_COUNT_ANEW, {"ids": [incident_id, made]})
    _event(tx, incident_id, EventKind.SPLIT, by, f"incident {made} split off: {reason}")
    _event(tx, made, EventKind.SPLIT, by, f"split off incident {incident_id}: {reason}")
    return f"split off as incident {made}", made


def _why_not(found: Mapping[int, Any], *ids: int) -> str:
    """Say why these incidents cannot be taken apart or together; nothing where they can."""
    for one in ids:
        if one not in found:
            return f"there is no incident {one}"
        if found[one].state == "merged":
            return f"incident {one} is a part of incident {found[one].merged_into}"
        if found[one].pruned:
            return f"the activity of incident {one} was pruned, so that nothing can be counted anew"
    return ""


def _event(tx: Connection, incident_id: int, kind: EventKind, by: str, what: str) -> None:
    tx.execute(_ADD, {"id": incident_id, "kind": kind, "who": by, "what": what, "at": None})


_OF = text("""
    select i.from_at, i.frozen, now() as now, coalesce(i.closed_at, now()) as until,
           array(select distinct stage from incident_span where incident_id = i.id order by stage) as stages
    from incident i where i.id = :id
""")
_WITHIN = "at >= cast(:since as timestamptz) - interval '1 second' and at <= :until"
_CHANGES = text(f"""
    select at, what as kind, who, name as stage,
           case what when 'down' then 'went down: ' || coalesce(why, 'no message') when 'up' then 'is back'
                     when 'paused' then 'paused: ' || coalesce(why, '') else 'resumed' end as what
    from connection_change
    where {_WITHIN} and name in (select stage from incident_span where incident_id = :id) order by at, id limit :limit
""")
_PROBES = text("""
    select at, kind, who, stage, what from incident_event
    where incident_id = :id and kind in ('probe', 'probe_failed') order by at, id limit :limit
""")
_NOTED = text("""
    select * from incident_event where incident_id = :id and kind not in ('probe', 'probe_failed') order by at, id
""")
_JOBS = text("""
    select j.at, 'job' as kind, j.requested_by as who, null as stage,
           j.kind || ' ' || j.id || case when j.ends then ' ended: ' || j.state || coalesce(', ' || j.stopped_why, '')
                                         else ' of ' || j.size || ' was asked for: ' || j.reason end as what
    from (select *, created_at as at, false as ends from job
          union all select *, ended_at, true from job where ended_at is not null) as j
    where j.at >= :since and j.at <= :until order by j.at, j.id, j.ends limit :limit
""")
_ACTIONS = text(f"""
    select at, 'operator' as kind, who, null as stage,
           what || coalesce(': ' || reason, '') || ' (' || answer || ')' as what
    from operator_action
    where {_WITHIN} and what <> 'unmask' and what !~ 'incident|filter' order by at, id limit :limit
""")
_MARKS = text(f"""
    select at, kind, null as who, null as stage, what from mark where {_WITHIN} order by at, id limit :limit
""")
_ADD = text("""
    insert into incident_event (incident_id, kind, who, what, at)
    select id, :kind, :who, :what, coalesce(cast(:at as timestamptz), now()) from incident where id = :id
    returning id
""")
_CHANGE_NOTE = text("""
    update incident_event
    set what = coalesce(cast(:what as text), what), at = coalesce(cast(:at as timestamptz), at)
    where id = :note and incident_id = :id and kind = 'note'
""")
_ACKNOWLEDGE = text("""
    update incident set acknowledged_at = now(), acknowledged_by = :by
    where id = :id and acknowledged_at is null and state <> 'merged'
""")
_LOCK = text("""
    select id, state, merged_into,
           first_id is not null and not exists (select from activity where instance_id = first_id) as pruned
    from incident where id = any(cast(:ids as bigint[])) order by id for update
""")
_MOVE_SPANS = text("""
    update incident_span set incident_id = :to
    where incident_id = :from and from_at >= coalesce(cast(:at as timestamptz), '-infinity')
""")
_MOVE_EVENTS = text("""
    update incident_event set incident_id = :to
    where incident_id = :from and at >= coalesce(cast(:at as timestamptz), '-infinity')
""")
_MERGED = text("""
    update incident
    set state = 'merged', merged_into = :into, resolved_at = coalesce(resolved_at, now()),
        closed_at = coalesce(closed_at, now()), settled_at = coalesce(settled_at, now())
    where id = :id
""")
_PARTS = text("""
    select count(*) filter (where from_at < :at) as before, count(*) filter (where from_at >= :at) as after
    from incident_span where incident_id = :id
""")
_SPLIT = text("""
    insert into incident (kind, state, stage, cause, fingerprint, opened_at, from_at, counted_upto, told, told_at)
    select i.kind, 'open', s.stage, i.cause, i.fingerprint, s.from_at, s.from_at, s.from_at, i.told, i.told_at
    from incident i, lateral (select * from incident_span where incident_id = i.id and from_at >= :at
                              order by from_at, id limit 1) as s
    where i.id = :id returning id
""")
_COUNT_ANEW = text("""
    update incident i
    set from_at = s.from_at, counted_upto = s.from_at, affected = 0, began_s = 0, ended = 0, ended_s = 0, dead = 0,
        statuses_told = 0, wasted_calls = 0, worst_age_s = 0, late_from = null, late_to = null, first_id = null,
        last_id = null, frozen = null, settled_at = null, closed_at = null,
        state = case when s.to_at is null then 'open' else 'resolved' end, resolved_at = s.to_at
    from (select incident_id, min(from_at) as from_at,
                 case when count(*) = count(to_at) then max(to_at) end as to_at
          from incident_span group by incident_id) as s
    where s.incident_id = i.id and i.id = any(cast(:ids as bigint[]))
""")
