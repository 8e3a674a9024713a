"""Incidents: what went wrong for a while, as one object, from its opening until nothing of it changes any more.

| state    | is                                                                 | moved on by                       |
|----------|--------------------------------------------------------------------|-----------------------------------|
| open     | one of its spans is not over: a breaker is open, a cause goes on   | the breaker's transaction, `turn` |
| resolved | all are over; what begins again now belongs to it                  | the breaker's transaction, `turn` |
| closed   | it has been resolved for so long that what begins again is another | `turn`                            |
| merged   | its spans were moved into another                                  | whoever merged it                 |

A breaker opens and ends its span in the transaction in which it opens and closes (`down`, `up`), so that there is no
breaker open without an incident.  A cause, a code with which a stage ends members for good, is looked at once a second
(`turn`): what it came to is counted by minute, as activity is.

A closed one is *settled* once nobody whom it affected is on the way any more: from then on its figures stay, whatever
is pruned.  Whom it affected, and what that cost, is counted by `shared.ledger.incident_counts`.  All instants are the
ledger's.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, text

from shared.ledger import tallies
from shared.ledger.clock import counted_sql
from shared.lifecycle.incidents import IncidentKind, IncidentRules, fingerprint
from shared.messages import normalised
from shared.pipeline import SYSTEMS, Stage

_SAMPLE = 200


class IncidentState(StrEnum):
    """Where an incident is in its life; as in the table above."""

    OPEN = "open"
    RESOLVED = "resolved"
    CLOSED = "closed"
    MERGED = "merged"


class EventKind(StrEnum):
    """What the time line of an incident has from nowhere else."""

    PROBE = "probe"
    PROBE_FAILED = "probe_failed"
    NOTE = "note"
    ACKNOWLEDGED = "acknowledged"
    MERGED = "merged"
    SPLIT = "split"


def down(tx: Connection, stage: Stage, *, since: datetime | None, error: str | None) -> int:
    """Note that a connection went down, by the transaction in which its breaker opens; return the incident.

    It is a new span of the incident that has the connection already and is not closed, or else a new incident.
    """
    cause = normalised(error or "") or "(no message)"
    parameters = {
        "kind": IncidentKind.CONNECTION,
        "stage": stage,
        "code": None,
        "cause": cause,
        "fingerprint": fingerprint(stage, IncidentKind.CONNECTION, cause),
        "from_at": since,
    }
    return _begin(tx, parameters)


def up(tx: Connection, stage: Stage) -> None:
    """Note that a connection came back, by the transaction in which its breaker closes."""
    tx.execute(_END, {"stage": stage, "code": None, "to_at": None})


def probe(tx: Connection, stage: Stage, *, failed: str | None = None) -> None:
    """Note a probe of a connection that is down; *failed*: that it failed, and why."""
    kind = EventKind.PROBE if failed is None else EventKind.PROBE_FAILED
    what = f"{SYSTEMS[stage]} is probed" if failed is None else f"the probe failed: {normalised(failed)}"
    tx.execute(_NOTE_OF_SPAN, {"stage": stage, "kind": kind, "what": what})


def take_turn(tx: Connection) -> bool:
    """Keep all others from `turn` until the end of the transaction; False: another has it."""
    return bool(tx.execute(_TAKE_TURN).scalar_one())


def turn(tx: Connection, rules: IncidentRules) -> None:
    """Look at the causes, and close what has been resolved for long enough."""
    if rules.count:
        _look_at_causes(tx, rules)
    tx.execute(_CLOSE, {"flap_s": rules.flap_s})
    tx.execute(_FORGET_COUNTS, {"window_s": rules.window_s})


def count_causes(tx: Connection, *, since: datetime, until: datetime) -> None:
    """Count by cause who ended for good in [*since*, *until*); the caller holds the bookmark of activity."""
    tx.execute(_COUNT_CAUSES, {"since": since, "until": until})


def _begin(tx: Connection, parameters: Mapping[str, object]) -> int:
    known = tx.execute(_KNOWN, parameters).scalar_one_or_none()
    if known is None:
        known = tx.execute(_OPEN, parameters).scalar_one()
    else:
        tx.execute(_REOPEN, {"id": known})
    tx.execute(_SPAN, {**parameters, "id": known})
    return int(known)


def _look_at_causes(tx: Connection, rules: IncidentRules) -> None:
    """Open an incident of each cause that has passed the rate, and end those of which there is no more."""
    for row in tx.execute(_PASSED, {"window_s": rules.window_s, "count": rules.count}).all():
        went_out = tallies.decided(tx, Stage(row.stage), since=row.since, at_least=row.total / rules.share)
        if row.total <= rules.share * max(went_out, row.total):
            continue
        said = tx.execute(_SAID, {"stage": row.stage, "code": row.code, "sample": _SAMPLE}).scalars()
        messages = [normalised(one or "") for one in said]
        commonest = max(sorted(set(messages)), key=messages.count, default="")
        parameters = {
            "kind": IncidentKind.CAUSE,
            "stage": row.stage,
            "code": row.code,
            "cause": f"{row.code}: {commonest}" if commonest else row.code,
            "fingerprint": fingerprint(row.stage, IncidentKind.CAUSE, row.code),
            "from_at": tx.execute(_FIRST, row._asdict()).scalar_one_or_none(),
        }
        _begin(tx, parameters)
    for row in tx.execute(_OVER, {"window_s": rules.window_s, "count": rules.count}).all():
        last_at = tx.execute(_LAST, row._asdict()).scalar_one_or_none()
        tx.execute(_END, {"stage": row.stage, "code": row.code, "to_at": last_at})


_ENDED_BY_CAUSE = "attempt is not null and (state = 'dead' or code = 'data_error') and code is not null"
# Whoever opens a span of a connection has its row locked; of a cause, `turn` is taken under an advisory lock.
_TAKE_TURN = text("select pg_try_advisory_xact_lock(hashtext('membersync incidents'))")
_KNOWN = text("""
    select i.id from incident i
    where i.state in ('open', 'resolved') and exists (
        select from incident_span s
        where s.incident_id = i.id and s.stage = :stage
          and s.code is not distinct from cast(:code as text))
    order by i.id desc limit 1 for update of i
""")
_OPEN = text("""
    insert into incident (kind, state, stage, cause, fingerprint, opened_at, from_at, counted_upto)
    select :kind, 'open', :stage, :cause, :fingerprint, now(), f.at, f.at
    from (select least(coalesce(cast(:from_at as timestamptz), now()), now()) as at) as f
    returning id
""")
_REOPEN = text("update incident set state = 'open', resolved_at = null where id = :id")
_SPAN = text("""
    insert into incident_span (incident_id, stage, code, from_at)
    values (:id, :stage, :code, least(coalesce(cast(:from_at as timestamptz), now()), now()))
""")
_END = text("""
    with ended as (
        update incident_span
        set to_at = greatest(from_at, coalesce(cast(:to_at as timestamptz), now()))
        where stage = :stage and code is not distinct from cast(:code as text) and to_at is null
        returning id, incident_id
    )
    update incident i set state = 'resolved', resolved_at = now()
    from ended e
    where i.id = e.incident_id and i.state = 'open'
      and not exists (select from incident_span s where s.incident_id = i.id and s.to_at is null and s.id <> e.id)
""")
_NOTE_OF_SPAN = text("""
    insert into incident_event (incident_id, kind, stage, what)
    select incident_id, :kind, :stage, :what from incident_span
    where stage = :stage and to_at is null and code is null
""")
_CLOSE = text("""
    update incident set state = 'closed', closed_at = resolved_at + make_interval(secs => :flap_s)
    where id = any(array(select id from incident where state = 'resolved'
                            and resolved_at <= now() - make_interval(secs => :flap_s) for update skip locked))
""")
_COUNT_CAUSES = text(f"""
    insert into cause_count (stage, code, at, count)
    select stage, code, date_trunc('minute', at), count(*) from activity
    where at >= :since and at < :until and {_ENDED_BY_CAUSE} and not {counted_sql("activity")} group by 1, 2, 3
    on conflict (stage, code, at) do update set count = cause_count.count + excluded.count
""")
_SUMS = """
    select c.stage, c.code, sum(c.count)::bigint as total, w.since
    from (select date_trunc('minute', now() - make_interval(secs => :window_s)) as since) as w, cause_count c
    where c.at >= w.since group by c.stage, c.code, w.since
"""
# While a connection is down, what fails for that is its incident's.
_PASSED = text(f"""
    select * from ({_SUMS}) as p
    where p.total > :count and not exists (
        select from incident_span s where s.stage = p.stage and s.to_at is null and (s.code is null or s.code = p.code))
    order by p.stage, p.code
""")
_OVER = text(f"""
    select s.stage, s.code, s.from_at as since from incident_span s left join ({_SUMS}) as p using (stage, code)
    where s.to_at is null and s.code is not null and coalesce(p.total, 0) <= :count
""")
_SAID = text("""
    select error from instance
    where code = :code and coalesce(failed_stage, stage) = :stage order by id desc limit :sample
""")
_OF_CAUSE = f"from activity where at >= :since and stage = :stage and code = :code and {_ENDED_BY_CAUSE}"
_FIRST = text(f"select at {_OF_CAUSE} order by at limit 1")
_LAST = text(f"select at {_OF_CAUSE} order by at desc limit 1")
_FORGET_COUNTS = text("delete from cause_count where at < now() - 2 * make_interval(secs => :window_s)")
