"""Statements of the connections: switch and breaker, who is held, who probes, who is let go again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, TextClause, text

from shared.breaker import Breaker, Position, Rules, Seen, after
from shared.ledger.dispatching import Claimed
from shared.pipeline import FAILURE_STATUS, Lane, Stage


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether calls of a stage may go out.  *now* is the ledger's clock."""

    stage: Stage
    paused: bool
    breaker: Breaker
    now: datetime

    @property
    def is_open(self) -> bool:
        """Say whether whoever is due may go."""
        return not self.paused and self.breaker.position is Position.CLOSED

    @property
    def is_well(self) -> bool:
        """Say whether nothing has been wrong of late."""
        return self.breaker.position is Position.CLOSED and not self.breaker.failures

    @property
    def wants_probe(self) -> bool:
        """Say whether it is time to send one to see."""
        breaker = self.breaker
        is_down = not self.paused and breaker.position is not Position.CLOSED
        return is_down and breaker.probe_at is not None and breaker.probe_at <= self.now

    @property
    def why(self) -> str:
        """Say why nothing may go out, in one sentence."""
        if self.paused:
            return f"the connection {self.stage} is paused"
        return self.breaker.last_error or f"the connection {self.stage} is down"

    def is_news(self, member_number: str) -> bool:
        """Say whether a member that none of the failures was of could tell more than waiting."""
        return self.breaker.position is Position.OPEN and member_number not in self.breaker.failing_members

    def admits(self, instance_id: int) -> bool:
        """Say whether a call for this instance may go out."""
        return not self.paused and self.breaker.admits(instance_id)


@dataclass(frozen=True, slots=True)
class Hold:
    """Who is to be held at a stage.

    Units: *report_after_s* seconds until Siebel is told that it fails; None: a pause is no failure.
    """

    stage: Stage
    why: str
    report_after_s: float | None


def gates(connection: Connection) -> dict[Stage, Gate]:
    """Read all connections."""
    return {gate.stage: gate for gate in map(_gate, connection.execute(_GATES))}


def gate(connection: Connection, stage: Stage) -> Gate:
    """Read one connection."""
    return _gate(connection.execute(_GATE, {"name": stage}).one())


def observe(connection: Connection, stage: Stage, seen: Seen, rules: Rules) -> tuple[Breaker, Breaker]:
    """Take in what a batch showed; give the breaker before and after.  Costs one look when all is well."""
    found = gate(connection, stage)
    if not seen.failed and found.is_well:
        return found.breaker, found.breaker
    found = _gate(connection.execute(_LOCK_GATE, {"name": stage}).one())
    changed = after(found.breaker, seen, rules, found.now)
    if changed != found.breaker:
        _save(connection, stage, changed)
        _note_change(connection, stage, found.breaker, changed)
    return found.breaker, changed


def how_many_due(connection: Connection, stage: Stage, *, at_most: int) -> int:
    """Count the members that are to be tried at *stage*, up to *at_most*."""
    return int(connection.execute(_HOW_MANY_DUE, {"stage": stage, "at_most": at_most}).scalar_one())


def hold_failed(connection: Connection, stage: Stage, since: datetime, ids: Sequence[int] | None = None) -> int:
    """Hold who failed at *stage* since the connection began to fail, and give their attempts back.

    Whoever became a dead letter by such an attempt is no dead letter: it was not tried against a system that was up.
    *ids*: only these, of a batch that failed after the others were held.
    """
    if ids is None:
        return len(connection.execute(_HOLD_ALL_FAILED, {"stage": stage, "since": since}).all())
    return len(connection.execute(_HOLD_FAILED, {"stage": stage, "since": since, "ids": list(ids)}).all())


def hold_due(connection: Connection, hold: Hold, *, limit: int) -> int:
    """Hold up to *limit* instances that are due at a stage where nothing may go out."""
    parameters = {
        "stage": hold.stage,
        "why": hold.why,
        "report_after_s": hold.report_after_s if hold.stage in FAILURE_STATUS else None,
        "status": FAILURE_STATUS.get(hold.stage),
        "limit": limit,
    }
    return len(connection.execute(_HOLD_DUE, parameters).all())


def claim_probe(connection: Connection, stage: Stage, *, token: int, lease_s: float) -> tuple[Lane, Claimed] | None:
    """Lease one held instance to see whether the connection is back, another one each time; None: there is none.

    Only one dispatcher gets it: the connection's row is locked, and its breaker half open afterwards.
    """
    row = connection.execute(_LOCK_GATE_IF_FREE, {"name": stage}).one_or_none()
    if row is None or not _gate(row).wants_probe:
        return None
    parameters = {"stage": stage, "after": row.probe_instance_id or 0, "token": token, "lease_s": lease_s}
    probe = connection.execute(_CLAIM_PROBE, parameters).one_or_none()
    if probe is None:
        return None
    connection.execute(_HALF_OPEN, {"name": stage, "id": probe.id, "lease_s": lease_s})
    return Lane(probe.lane), Claimed(probe.id, probe.member_number)


def release(connection: Connection, stage: Stage, lane: Lane, *, limit: int) -> int:
    """Make up to *limit* held instances due again, oldest first."""
    return len(connection.execute(_RELEASE, {"stage": stage, "lane": lane, "limit": limit}).all())


def waiting_room(connection: Connection, stage: Stage, lane: Lane, *, at_most: int) -> int:
    """Count those that are due at *stage*, up to *at_most*."""
    return int(connection.execute(_DUE, {"stage": stage, "lane": lane, "at_most": at_most}).scalar_one())


def has_held(connection: Connection, stage: Stage, lane: Lane) -> bool:
    """Say whether anybody of *lane* is held at *stage*."""
    return bool(connection.execute(_HAS_HELD, {"stage": stage, "lane": lane}).scalar())


def probe_now(connection: Connection, stage: Stage) -> None:
    """Let the next probe go at once: somebody came who is not among those that failed."""
    connection.execute(_PROBE_NOW, {"name": stage})


def pause(connection: Connection, stage: Stage, *, by: str, reason: str) -> bool:
    """Switch a connection off; False: it was off already."""
    return connection.execute(_PAUSE, {"name": stage, "by": by, "reason": reason}).rowcount == 1


def resume(connection: Connection, stage: Stage, *, by: str) -> bool:
    """Switch a connection on again; False: it was on.  Who was held goes out by the ramp."""
    return connection.execute(_RESUME, {"name": stage, "by": by}).rowcount == 1


def _gate(row: "Row[tuple[object, ...]]") -> Gate:
    breaker = Breaker(
        position=Position(row.breaker),
        failures=row.failures,
        failing_members=frozenset(_strings(row.failing_members)),
        failing_since=row.failing_since,
        opened_at=row.opened_at,
        probe_at=row.probe_at,
        probes=row.probes,
        probe_instance_id=row.probe_instance_id,
        healed_at=row.healed_at,
        last_error=row.last_error,
    )
    return Gate(Stage(row.name), row.paused, breaker, row.now)


def _strings(values: Iterable[object]) -> list[str]:
    return [str(value) for value in values]


def _save(connection: Connection, stage: Stage, breaker: Breaker) -> None:
    parameters = {name: getattr(breaker, name) for name in Breaker.__dataclass_fields__}
    parameters["failing_members"] = sorted(breaker.failing_members)
    connection.execute(_SAVE, parameters | {"name": stage})


def _note_change(connection: Connection, stage: Stage, before: Breaker, now: Breaker) -> None:
    """Write down that it went down or came back; a probe that fails is no change."""
    was_up, is_up = before.position is Position.CLOSED, now.position is Position.CLOSED
    if was_up != is_up:
        what, why = ("up", None) if is_up else ("down", now.last_error)
        connection.execute(_NOTE_CHANGE, {"name": stage, "what": what, "why": why})


_GATES = text("select c.*, now() as now from connection c")
_GATE = text("select c.*, now() as now from connection c where name = :name")
_LOCK_GATE = text("select c.*, now() as now from connection c where name = :name for update")
_LOCK_GATE_IF_FREE = text("select c.*, now() as now from connection c where name = :name for update skip locked")
_SAVE = text("""
    update connection
    set breaker = :position, failures = :failures, failing_members = cast(:failing_members as text[]),
        failing_since = :failing_since, opened_at = :opened_at, probe_at = :probe_at, probes = :probes,
        probe_instance_id = :probe_instance_id, healed_at = :healed_at, last_error = :last_error
    where name = :name
""")
_HOW_MANY_DUE = text("""
    select (select count(*) from (select from instance
                                  where state in ('pending', 'waiting') and due_stage = :stage limit :at_most) as q)
         + (select count(*) from (select from instance
                                  where state = 'running' and stage = :stage limit :at_most) as r)
""")


def _hold_failed(activity: str) -> TextClause:
    # From their lines since then to the instances, never the other way: the connection's row is locked meanwhile, and a
    # look at all those lines for each instance took 6.7 s for 1,200 of them.
    return text(f"""
        with failed as (
            select instance_id, count(*) as times from {activity} as a
            where stage = :stage and at >= :since and attempt is not null and code is not null group by instance_id
        ), held as (
            update instance i
            set state = 'held', stage = :stage, due_stage = :stage, finished_at = null,
                attempt = greatest(0, i.attempt - f.times)
            from failed f
            where i.id = f.instance_id and i.state in ('waiting', 'dead') and i.failed_stage = :stage
              and i.code in ('unreachable', 'unavailable', 'throttled', 'outcome_unknown', 'unauthorised')
              and (i.state = 'waiting' or i.finished_at >= :since)
              and not exists (select from instance q where q.member_number = i.member_number and q.id <> i.id
                              and (q.state in ('pending', 'waiting', 'held', 'running')
                                   or i.state = 'dead' and q.id > i.id
                                      and q.state not in ('superseded', 'skipped', 'discarded')))
            returning i.id
        )
        insert into activity (instance_id, stage, state, what)
        select id, :stage, 'held', 'held: the connection is down, the attempt is given back' from held
        returning instance_id
    """)


_HOLD_ALL_FAILED = _hold_failed("activity")
# The fence keeps the planner from the index on `at`: in a long outage all the world's lines are since then.
_HOLD_FAILED = _hold_failed("(select * from activity where instance_id = any(cast(:ids as bigint[])) offset 0)")
# In no order: all of them are held in the end, and to sort the backlog for each piece of it is most of the work.
_HOLD_DUE = text("""
    with due as (
        select i.id, h.*, m.told_status = h.status and m.told_at >= i.failing_since as told
        from (select cast(:stage as text) as stage, cast(:why as text) as why, cast(:status as text) as status,
                     cast(:report_after_s as float8) as after_s) as h,
             instance i join member m using (member_number)
        where i.state in ('pending', 'waiting') and i.due_stage = :stage and i.due_at <= now()
        limit :limit for update of i skip locked
    ), held as (
        update instance i
        set state = 'held',
            status = case when d.after_s is null then i.status else d.status end,
            error = case when d.after_s is null or i.error <> '' then i.error else d.why end,
            code = case when d.after_s is null then i.code else coalesce(i.code, 'connection_down') end,
            failed_stage = case when d.after_s is null then i.failed_stage else d.stage end,
            failing_since = case when d.after_s is null then i.failing_since else coalesce(i.failing_since, now()) end,
            errand_at = case when d.after_s is null or d.told then i.errand_at
                             else coalesce(i.failing_since, now()) + make_interval(secs => d.after_s) end
        from due d where i.id = d.id and i.state in ('pending', 'waiting')
        returning i.id
    )
    insert into activity (instance_id, stage, state, what)
    select id, cast(:stage as text), 'held', 'held: ' || cast(:why as text) from held
    returning instance_id
""")
# The next by id, and else the first, of each lane: the index gives it, however many are held.
_HELD = """
    (select id from instance h
     where state = 'held' and due_stage = :stage and lane = '{lane}' and id > {after}
       and not exists (select from instance r where r.member_number = h.member_number and r.state = 'running')
     order by id limit 1)
"""
_NEXT_HELD = " union all ".join(_HELD.format(lane=lane, after=after) for after in (":after", "0") for lane in Lane)
_CLAIM_PROBE = text(f"""
    update instance
    set state = 'running', token = :token, begun = false, lease_until = now() + make_interval(secs => :lease_s)
    where id = (select id from ({_NEXT_HELD}) as next order by id <= :after, id limit 1) and state = 'held'
    returning id, member_number, lane
""")
_HALF_OPEN = text("""
    update connection
    set breaker = 'half_open', probe_instance_id = :id, probes = probes + 1,
        probe_at = now() + make_interval(secs => :lease_s)
    where name = :name
""")
_RELEASE = text("""
    with free as (
        select id from instance where state = 'held' and due_stage = :stage and lane = :lane
        order by id limit :limit for update skip locked
    )
    update instance i set state = 'pending', due_at = now() from free where i.id = free.id and i.state = 'held'
    returning i.id
""")
_HAS_HELD = text("""
    select exists (select from instance where state = 'held' and due_stage = :stage and lane = :lane)
""")
_DUE = text("""
    select count(*) from (select from instance where state in ('pending', 'waiting') and lane = :lane
                                                 and due_stage = :stage and due_at <= now() limit :at_most) as due
""")
_PROBE_NOW = text("update connection set probe_at = now() where name = :name and breaker = 'open' and probe_at > now()")
_PAUSE = text("""
    with paused as (
        update connection set paused = true, paused_by = :by, paused_reason = :reason, paused_at = now()
        where name = :name and not paused returning name
    )
    insert into connection_change (name, what, why, who) select name, 'paused', :reason, :by from paused
""")
_RESUME = text("""
    with resumed as (
        update connection
        set paused = false, paused_by = null, paused_reason = null, paused_at = null, healed_at = now()
        where name = :name and paused returning name
    )
    insert into connection_change (name, what, who) select name, 'resumed', :by from resumed
""")
_NOTE_CHANGE = text("insert into connection_change (name, what, why) values (:name, :what, :why)")
