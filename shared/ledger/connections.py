"""The connections: switch and breaker, as calls meet them and as people read them, with budget and who is held."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, Row, text

from shared.ledger import call_limits, incidents, spending
from shared.ledger.records import BudgetState, ConnectionState, MaintenanceWindow
from shared.ledger.spending import Budget
from shared.lifecycle.breaker import Breaker, Position, Rules, Seen, after, after_test, is_in_question
from shared.masking import mask_text
from shared.pipeline import STAGES, SYSTEMS, Lane, Stage


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether calls of a stage may go out.  *now* is the ledger's clock."""

    stage: Stage
    paused: bool
    breaker: Breaker
    now: datetime

    @property
    def is_open(self) -> bool:
        """Return whether whoever is due may go."""
        return not self.paused and not self.must_wait and self.breaker.position is Position.CLOSED

    @property
    def must_wait(self) -> bool:
        """Return whether they asked for patience that is not over yet."""
        return self.breaker.wait_until is not None and self.breaker.wait_until > self.now

    @property
    def well_since(self) -> datetime | None:
        """When whoever was held may go out, None: nobody was."""
        return max(filter(None, (self.breaker.healed_at, self.breaker.wait_until)), default=None)

    @property
    def is_well(self) -> bool:
        """Return whether nothing has been wrong of late."""
        return self.is_open and not self.breaker.failures and self.breaker.verify_at is None

    @property
    def wants_probe(self) -> bool:
        """Return whether it is time to send one to see."""
        breaker = self.breaker
        is_down = not self.paused and not self.must_wait and breaker.position is not Position.CLOSED
        return is_down and breaker.probe_at is not None and breaker.probe_at <= self.now

    @property
    def wants_verdict(self) -> bool:
        """Return whether it is time to ask a known good member whether the system fails, or others."""
        return self.is_open and self.breaker.verify_at is not None and self.breaker.verify_at <= self.now

    @property
    def why(self) -> str:
        """Return why nothing may go out, in one sentence."""
        if self.paused:
            return f"the connection {SYSTEMS[self.stage]} is paused"
        if self.must_wait and self.breaker.wait_until is not None:
            until = self.breaker.wait_until.astimezone(UTC)
            return f"{SYSTEMS[self.stage]} asked us to wait until {until:%H:%M:%S} UTC"
        return self.breaker.last_error or f"the connection {SYSTEMS[self.stage]} is down"

    def admits(self, instance_id: int) -> bool:
        """Return whether a call for this instance may go out."""
        return not self.paused and not self.must_wait and self.breaker.admits(instance_id)


def gates(tx: Connection) -> dict[Stage, Gate]:
    """Read all connections."""
    return {gate.stage: gate for gate in map(_gate, tx.execute(_GATES))}


def gate(tx: Connection, stage: Stage) -> Gate:
    """Read one connection."""
    return _gate(tx.execute(_GATE, {"name": stage}).one())


class Observed(NamedTuple):
    """A breaker before and after a batch; *in_question*: so many failed that its own test is to be asked."""

    was: Breaker
    now: Breaker
    in_question: bool


def observe(tx: Connection, stage: Stage, seen: Seen, rules: Rules) -> Observed:
    """Take in what a batch showed.  Costs one look when all is well."""
    if not seen.failed and (found := gate(tx, stage)).is_well:
        return Observed(found.breaker, found.breaker, in_question=False)
    found = _gate(tx.execute(_LOCK_GATE, {"name": stage}).one())
    now = save(tx, found, after(found.breaker, seen, rules, found.now))
    in_question = bool(seen.failed) and is_in_question(now, rules, found.now, due=seen.due)
    return Observed(found.breaker, now, in_question)


def judge(tx: Connection, stage: Stage, rules: Rules, *, passed: bool) -> tuple[Breaker, Breaker]:
    """Take in what came of a connection's own test, if it is still in question; return the breaker before and after."""
    found = _gate(tx.execute(_LOCK_GATE, {"name": stage}).one())
    if not is_in_question(found.breaker, rules, found.now, due=how_many_due(tx, stage, at_most=rules.members)):
        return found.breaker, found.breaker
    return found.breaker, save(tx, found, after_test(found.breaker, rules, found.now, passed=passed))


def doubt(tx: Connection, stage: Stage) -> None:
    """Let a known good member decide, the next time that a dispatcher looks, whether the system serves."""
    tx.execute(_DOUBT, {"name": stage})


def save(tx: Connection, found: Gate, changed: Breaker) -> Breaker:
    """Write where the breaker stands now, if anything changed; the caller has the connection locked.

    That it went down or came back is written down, and is an incident's; a probe that fails is no change.
    """
    if changed != found.breaker:
        values = {name: getattr(changed, name) for name in Breaker.__dataclass_fields__}
        tx.execute(_SAVE, values | {"failing_members": sorted(changed.failing_members), "name": found.stage})
        is_up = changed.position is Position.CLOSED
        if is_up != (found.breaker.position is Position.CLOSED):
            what, why = ("up", None) if is_up else ("down", changed.last_error)
            tx.execute(_NOTE_CHANGE, {"name": found.stage, "what": what, "why": why})
            if is_up:
                incidents.up(tx, found.stage)
            else:
                incidents.down(tx, found.stage, since=changed.failing_since, error=changed.last_error)
        elif found.breaker.position is Position.HALF_OPEN and changed.position is Position.OPEN:
            incidents.probe(tx, found.stage, failed=changed.last_error or "")
    return changed


def how_many_due(tx: Connection, stage: Stage, *, at_most: int) -> int:
    """Count the members that are to be tried at *stage*, up to *at_most*."""
    return int(tx.execute(_HOW_MANY_DUE, {"stage": stage, "at_most": at_most}).scalar_one())


def lock_if_free(tx: Connection, stage: Stage) -> Gate | None:
    """Lock one connection and read it; None: somebody has it locked."""
    row = tx.execute(_LOCK_GATE_IF_FREE, {"name": stage}).one_or_none()
    return None if row is None else _gate(row)


def half_open(tx: Connection, stage: Stage, instance_id: int, *, lease_s: float) -> None:
    """Note that this instance probes; the caller has the connection locked."""
    tx.execute(_HALF_OPEN, {"name": stage, "id": instance_id, "lease_s": lease_s})
    incidents.probe(tx, stage)


def verifying(tx: Connection, stage: Stage, instance_id: int, *, lease_s: float) -> None:
    """Note that this instance is out to decide; the caller has the connection locked."""
    tx.execute(_VERIFYING, {"name": stage, "id": instance_id, "lease_s": lease_s})


def served(tx: Connection, stage: Stage, *, within_s: float) -> bool:
    """Return whether a call at *stage* was answered well within the last *within_s*, as far as one look tells."""
    return bool(tx.execute(_SERVED, {"stage": stage, "within_s": within_s}).scalar())


def pause(tx: Connection, stage: Stage, *, by: str, reason: str) -> bool:
    """Switch a connection off; False: it was off already."""
    return tx.execute(_PAUSE, {"name": stage, "by": by, "reason": reason}).rowcount == 1


def resume(tx: Connection, stage: Stage, *, by: str) -> bool:
    """Switch a connection on again; False: it was on.  Who was held goes out by the ramp."""
    return tx.execute(_RESUME, {"name": stage, "by": by}).rowcount == 1


def connections(tx: Connection, budgets: Mapping[Stage, Budget]) -> list[ConnectionState]:
    """Read every connection, in the order of the pipeline; *budgets* of those that have one."""
    rows = {row.name: row for row in tx.execute(_CONNECTIONS)}
    held = {row.due_stage: row.total for row in tx.execute(_HELD)}
    calls = call_limits.states(tx)
    planned = {row.name: MaintenanceWindow(**row._asdict()) for row in tx.execute(_PLANNED)}
    suspects = {row.failed_stage: (row.total, row.given_up) for row in tx.execute(_SUSPECTS)}
    found = []
    for stage in STAGES:
        budget = None
        if limit := budgets.get(stage):
            used = spending.used(tx, stage)
            budget = BudgetState(
                per_minute=limit.per_minute,
                used=sum(used.values()),
                used_live=used.get(Lane.LIVE, 0),
                used_bulk=used.get(Lane.BULK, 0),
                free_live=limit.free(Lane.LIVE, used),
                free_bulk=limit.free(Lane.BULK, used),
            )
        last_error = rows[stage].last_error
        waiting, given_up = suspects.get(stage, (0, 0))
        found.append(
            ConnectionState(
                **rows[stage]._asdict() | {"last_error": None if last_error is None else mask_text(last_error)},
                held=held.get(stage, 0),
                budget=budget,
                suspects=waiting,
                suspects_given_up=given_up,
                calls=calls.get(stage),
                maintenance=planned.get(stage),
            )
        )
    return found


def _gate(row: "Row[tuple[object, ...]]") -> Gate:
    breaker = Breaker(
        position=Position(row.breaker),
        failing_members=frozenset(row.failing_members),
        **{name: getattr(row, name) for name in _AS_IT_IS},
    )
    return Gate(Stage(row.name), row.paused, breaker, row.now)


_AS_IT_IS = [name for name in Breaker.__dataclass_fields__ if name not in {"position", "failing_members"}]
"""The fields of a breaker that are columns of the same name and kind."""
IS_WELL = """exists (
    select from connection c where c.name = :stage and not c.paused and c.breaker = 'closed' and c.failures = 0
                               and c.verify_at is null and (c.wait_until is null or c.wait_until <= now()))"""
"""Whether nothing has been wrong with the connection of a stage of late, as `Gate.is_well` says."""
_GATES = text("select c.*, now() as now from connection c")
_GATE = text("select c.*, now() as now from connection c where name = :name")
_LOCK_GATE = text("select c.*, now() as now from connection c where name = :name for update")
_LOCK_GATE_IF_FREE = text("select c.*, now() as now from connection c where name = :name for update skip locked")
_SAVE = text(f"""
    update connection
    set breaker = :position, failing_members = cast(:failing_members as text[]),
        {", ".join(f"{name} = :{name}" for name in _AS_IT_IS)}
    where name = :name
""")
_HOW_MANY_DUE = text("""
    select (select count(*) from (select from instance
                                  where state in ('pending', 'waiting') and due_stage = :stage limit :at_most) as q)
         + (select count(*) from (select from instance
                                  where state = 'running' and stage = :stage limit :at_most) as r)
         + (select count(*) from (select from errand where token <> 0 and stage = :stage limit :at_most) as e)
""")
_HALF_OPEN = text("""
    update connection
    set breaker = 'half_open', probe_instance_id = :id, probes = probes + 1,
        probe_at = now() + make_interval(secs => :lease_s)
    where name = :name
""")
_VERIFYING = text("""
    update connection set probe_instance_id = :id, verify_at = now() + make_interval(secs => :lease_s)
    where name = :name
""")
_DOUBT = text("""
    update connection set verify_at = now() where name = :name and breaker = 'closed' and verify_at is null
""")
# The newest lines only: while many are held, their lines are the newest, and the answer is then "not as far as I see".
_SERVED = text("""
    select exists (
        select from (select code, calls, calls_json from activity
                     where stage = :stage and at >= now() - make_interval(secs => :within_s)
                     order by at desc limit 2000) as a
        where code is null and num_nonnulls(calls, calls_json) > 0
    )
""")
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
        set paused = false, paused_by = null, paused_reason = null, paused_at = null, healed_at = now(),
            window_id = null
        where name = :name and paused returning name
    )
    insert into connection_change (name, what, who) select name, 'resumed', :by from resumed
""")
_NOTE_CHANGE = text("insert into connection_change (name, what, why) values (:name, :what, :why)")


_CONNECTIONS = text("""
    select name, case when paused then 'paused' when breaker = 'closed' then 'up' else breaker end as state,
           case when paused then paused_at when breaker = 'closed' then healed_at else failing_since end as since,
           paused_by, paused_reason, paused_at, breaker, failures, last_error, opened_at, probes, probe_at, healed_at,
           case when wait_until > now() then wait_until end as wait_until,
           case when breaker = 'open' and not paused
                then round(greatest(0, extract(epoch from probe_at - now()))::numeric, 1)::float8
           end as next_probe_in_s
    from connection
""")
_PLANNED = text("""
    select distinct on (name) id::text, name, case when began_at is null then 'planned' else 'active' end as state,
           from_at, until_at, reason, added_by, added_at, began_at, ended_at, removed_by
    from maintenance where ended_at is null and removed_at is null and until_at > now() order by name, from_at
""")
_HELD = text(
    "select due_stage, count(*) as total from instance where state = 'held' and hold_id is null group by due_stage"
)
# Those that wait or were given up by an index of theirs, those that are just being tried among the few that run.
_SUSPECTS = text("""
    select failed_stage, count(*) as total, count(*) filter (where state = 'dead') as given_up from (
        select failed_stage, state from instance where suspect and state in ('waiting', 'dead')
        union all
        select failed_stage, state from instance where suspect and state = 'running'
    ) as s group by failed_stage
""")
