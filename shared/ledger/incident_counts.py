"""Whom an incident affected, by predicate and range, and what that cost: counted once, piece by piece, never copied.

An instance is *affected* by a span in which it was held at the span's stage, or an attempt of it failed there in a way
that counts against a connection; by a cause, if an attempt ended by its code.  Its lines of activity say so
(`touched_sql`), for the filter `incident` too.

What an instance adds to the figures follows from its lines up to an instant.  A piece of activity is counted by adding,
for each instance that has a line in it, what it adds up to the end of the piece less what it did up to the beginning.
So a dead letter that is sent again is none any more, nobody is counted twice however often held, and a merge or a split
counts anew from the beginning.  The bookkeeper counts up to where no more lines can appear; whoever reads adds the few
seconds since then.

| figure         | is                                                                                           |
|----------------|----------------------------------------------------------------------------------------------|
| affected       | instances, each once: the late events                                                        |
| ended          | of them, how many have ended; a dead letter has, until it is sent again                      |
| began, ended s | from its acceptance, or the incident's beginning if that is later, to its end: a stale member |
| statuses told  | how often Siebel was written for one of them, a failure or an outcome                        |
| wasted calls   | calls that failed, of attempts and probes in a span; tests of the connection are none        |
| late from, to  | when the first of them began to be late, when the last one was told                          |
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Row, text

from shared.errors import codes_that_count
from shared.ledger.clock import counted_sql
from shared.pipeline import QUEUED, State

_COUNTING = ", ".join(f"'{code}'" for code in codes_that_count())
_FINAL = ", ".join(f"'{state}'" for state in State if state not in (*QUEUED, State.RUNNING))
_PIECE = timedelta(minutes=1)
_LINES_MAX = 50_000
"""Most lines in a piece, unless they have one instant."""
_TAIL_MAX = 20_000
"""Whoever reads counts no more lines than this by itself."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted of an incident up to *upto*.  Units: `_s` seconds since the incident's beginning, summed up.

    Shape: *worst_age_s* from acceptance to the end of those that have ended.
    """

    upto: datetime
    affected: int
    began_s: float
    ended: int
    ended_s: float
    dead: int
    statuses_told: int
    wasted_calls: int
    worst_age_s: float
    late_from: datetime | None
    late_to: datetime | None
    first_id: int | None
    last_id: int | None


def touched_sql(line: str, spans: str) -> str:
    """Return the condition that a *line* of activity shows its instance affected by one of *spans*."""
    return f"""
        (({line}.state = 'held' and {line}.took_ms is null) or {line}.code is not null and {line}.attempt is not null)
        and exists (
            select from {spans} as s
            where s.stage = {line}.stage and {line}.at >= s.from_at and {line}.at <= coalesce(s.to_at, 'infinity')
              and case when s.code is not null then {line}.attempt is not null and {line}.code = s.code
                       when {line}.state = 'held' and {line}.took_ms is null then true
                       else {line}.attempt is not null and {line}.code in ({_COUNTING}) end)
    """


_MEANT = """
    select coalesce(merged_into, id) from incident
    where fingerprint = any(cast(:incidents as text[])) or cast(id as text) = any(cast(:incidents as text[]))
"""
INCIDENT_SPANS = f"(select * from incident_span where incident_id = any(array({_MEANT})))"
"""The spans of the incidents that a filter's `:incidents` means, each an id or a fingerprint."""
INCIDENT_BOUND = f"""
    select {{0}}({{1}}(n.{{2}}), (select {{1}}(a.id) from (
        select instance_id as id from activity
        where at >= (select min(u.counted_upto) from incident u
                     where u.settled_at is null and u.id = any(array({_MEANT}))) offset 0) as a))
    from incident n where n.id = any(array({_MEANT}))
"""
"""The first, or last, instance that may be affected by them: counted, or with a line since then.

The fence keeps the planner from a walk by instance, along which there is no such line for as long as there is a past.
"""


def take_up(tx: Connection) -> int | None:
    """Lock an incident that is to be counted on, the one that is farthest behind first; None: there is none free."""
    found: int | None = tx.execute(_TAKE_UP).scalar_one_or_none()
    return found


def count_on(tx: Connection, incident_id: int, *, horizon: datetime) -> bool:
    """Count the next piece of a locked incident, up to *horizon* at most; say whether there is more at once."""
    since: datetime = tx.execute(_UPTO, {"id": incident_id}).scalar_one()
    if since >= horizon:
        return False
    until = min(horizon, since + _PIECE)
    crowded = tx.execute(_CROWDED, {"since": since, "until": until, "lines": _LINES_MAX}).scalar_one_or_none()
    if crowded is not None:
        until = crowded if crowded > since else min(until, since + timedelta(microseconds=1))
    added = tx.execute(_ADDED, {"id": incident_id, "since": since, "until": until}).one()
    tx.execute(_ADD, {"id": incident_id, "until": until, **added._asdict()})
    return until < horizon


def up_to_now(tx: Connection, row: Row[tuple[object, ...]]) -> Counted:
    """Return what was counted of an incident, and what has come since, unless that is too much to be read now."""
    known = Counted(row.counted_upto, *(getattr(row, name) for name in list(Counted.__dataclass_fields__)[1:]))
    if row.settled_at is not None:
        return known
    since, until = row.counted_upto, row.now
    bounds = {"since": since, "until": until, "lines": _TAIL_MAX}
    if since >= until or tx.execute(_CROWDED, bounds).scalar_one_or_none() is not None:
        return known
    added = tx.execute(_ADDED, {"id": row.id, "since": since, "until": until}).one()
    return Counted(
        upto=until,
        affected=known.affected + added.affected,
        began_s=known.began_s + added.began_s,
        ended=known.ended + added.ended,
        ended_s=known.ended_s + added.ended_s,
        dead=known.dead + added.dead,
        statuses_told=known.statuses_told + added.statuses_told,
        wasted_calls=known.wasted_calls + added.wasted_calls,
        worst_age_s=max(known.worst_age_s, added.worst_age_s),
        late_from=min(filter(None, (known.late_from, added.late_from)), default=None),
        late_to=max(filter(None, (known.late_to, added.late_to)), default=None),
        first_id=min(filter(None, (known.first_id, added.first_id)), default=None),
        last_id=max(filter(None, (known.last_id, added.last_id)), default=None),
    )


_TAKE_UP = text("""
    select id from incident where settled_at is null and state <> 'merged'
    order by counted_upto, id limit 1 for no key update skip locked
""")
_UPTO = text("select counted_upto from incident where id = :id")
_CROWDED = text("""
    select at from activity where at >= :since and at < :until order by at offset :lines limit 1
""")
# What moves an instance on is told from what is done beside its way, which says the state that it is in already.
_LINES = f"""
    select a.id, a.at, a.state, {touched_sql("a", "spans")} as touches,
           a.at < :since or {counted_sql("a")} as was,
           a.attempt is not null or a.took_ms is null as moves,
           a.stage = 'siebel' and a.code is null and a.took_ms is not null
           and exists (select from json_array_elements(coalesce(a.calls_json, cast(a.calls as json))) as c
                       where c->>'method' <> 'GET') as tells
    from activity a where a.instance_id = t.instance_id and a.at >= i.from_at
      and (a.at < :until or {counted_sql("a")})
"""
_STORY = f"""
    select min(l.at) filter (where l.touches) as touched_at,
           coalesce(bool_or(l.touches and l.was), false) as was,
           (array_agg(l.state order by l.id desc) filter (where l.moves))[1] as state,
           (array_agg(l.at order by l.id desc) filter (where l.moves))[1] as moved_at,
           (array_agg(l.state order by l.id desc) filter (where l.moves and l.was))[1] as was_state,
           (array_agg(l.at order by l.id desc) filter (where l.moves and l.was))[1] as was_moved_at,
           count(*) filter (where l.tells) as tells,
           count(*) filter (where l.tells and l.was) as was_tells
    from ({_LINES}) as l
"""
_SHARES = f"""
    select n.id, n.accepted_at, s.touched_at, s.moved_at, s.state,
           greatest(n.accepted_at, i.from_at) as began_at,
           1 - cast(s.was as int) as is_new,
           cast(s.state in ({_FINAL}) as int) as ended,
           cast(s.was and s.was_state in ({_FINAL}) as int) as was_ended,
           extract(epoch from s.moved_at - i.from_at) as moved_s,
           extract(epoch from s.was_moved_at - i.from_at) as was_moved_s,
           extract(epoch from greatest(n.accepted_at, i.from_at) - i.from_at) as began_s,
           cast(s.state = 'dead' as int) - cast(s.was and s.was_state = 'dead' as int) as dead,
           s.tells - case when s.was then s.was_tells else 0 end as tells
    from (select * from incident where id = :id) as i,
         (select distinct instance_id from activity
          where at >= :since and at < :until and not {counted_sql("activity")} offset 0) as t,
         lateral ({_STORY}) as s,
         lateral (select id, accepted_at from instance where id = t.instance_id) as n
    where s.touched_at is not null
"""
# The last call of an attempt that failed is the one that did; an answer to one before it was none in vain.
_WRITTEN_WITHIN = "interval '5 seconds'"  # a call that failed as a span ended is written when its batch is
_WASTED = f"""
    select coalesce(sum((
        select count(*)
        from json_array_elements(coalesce(a.calls_json, cast(a.calls as json))) with ordinality as c (call, place)
        where c.place = json_array_length(coalesce(a.calls_json, cast(a.calls as json)))
           or coalesce(cast(c.call->>'http_status' as int), 599) in (401, 403, 407, 408, 429)
           or coalesce(cast(c.call->>'http_status' as int), 599) >= 500)), 0)
    from activity a
    where a.at >= :since and a.at < :until and not {counted_sql("a")} and a.code is not null and exists (
        select from spans s
        where s.stage = a.stage and a.at >= s.from_at and a.at <= coalesce(s.to_at + {_WRITTEN_WITHIN}, 'infinity')
          and case when s.code is null then a.code in ({_COUNTING}) else a.code = s.code end)
"""
_ADDED = text(f"""
    with spans as materialized (
        select stage, code, from_at, to_at from incident_span where incident_id = :id
    ), shares as ({_SHARES})
    select coalesce(sum(is_new), 0)::bigint as affected,
           coalesce(sum(began_s * is_new), 0)::float8 as began_s,
           coalesce(sum(ended - was_ended), 0)::bigint as ended,
           coalesce(sum(ended * coalesce(moved_s, 0) - was_ended * coalesce(was_moved_s, 0)), 0)::float8 as ended_s,
           coalesce(sum(dead), 0)::bigint as dead,
           coalesce(sum(tells), 0)::bigint as statuses_told,
           ({_WASTED})::bigint as wasted_calls,
           coalesce(max(extract(epoch from moved_at - accepted_at)) filter (where ended = 1), 0)::float8 as worst_age_s,
           min(began_at) as late_from, max(moved_at) filter (where state in ('completed', 'rejected')) as late_to,
           min(id) as first_id, max(id) as last_id
    from shares
""")
_ADD = text("""
    update incident
    set counted_upto = :until, affected = affected + :affected, began_s = began_s + :began_s, ended = ended + :ended,
        ended_s = ended_s + :ended_s, dead = dead + :dead, statuses_told = statuses_told + :statuses_told,
        wasted_calls = wasted_calls + :wasted_calls, worst_age_s = greatest(worst_age_s, :worst_age_s),
        late_from = least(late_from, :late_from), late_to = greatest(late_to, :late_to),
        first_id = least(first_id, :first_id), last_id = greatest(last_id, :last_id)
    where id = :id
""")
