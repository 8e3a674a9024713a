"""The connections: switch and breaker, as calls meet them and as people read them, with budget and who is held."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.ledger import budget
from shared.ledger.budget import Budget
from shared.ledger.records import BudgetState, ConnectionState
from shared.lifecycle.breaker import Breaker, Position, Rules, Seen, after, after_test, is_in_question
from shared.masking import mask_text
from shared.pipeline import SYSTEMS, Lane, Stage


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
        return not self.paused and not self.must_wait and self.breaker.position is Position.CLOSED

    @property
    def must_wait(self) -> bool:
        """Say whether they asked for patience that is not over yet."""
        return self.breaker.wait_until is not None and self.breaker.wait_until > self.now

    @property
    def well_since(self) -> datetime | None:
        """Since when whoever was held may go out, None: nobody was."""
        return max(filter(None, (self.breaker.healed_at, self.breaker.wait_until)), default=None)

    @property
    def is_well(self) -> bool:
        """Say whether nothing has been wrong of late."""
        return self.is_open and not self.breaker.failures and self.breaker.verify_at is None

    @property
    def wants_probe(self) -> bool:
        """Say whether it is time to send one to see."""
        breaker = self.breaker
        is_down = not self.paused and not self.must_wait and breaker.position is not Position.CLOSED
        return is_down and breaker.probe_at is not None and breaker.probe_at <= self.now

    @property
    def wants_verdict(self) -> bool:
        """Say whether it is time to ask a known good member whether the system fails, or others."""
        return self.is_open and self.breaker.verify_at is not None and self.breaker.verify_at <= self.now

    @property
    def why(self) -> str:
        """Say why nothing may go out, in one sentence."""
        if self.paused:
            return f"the connection {SYSTEMS[self.stage]} is paused"
        if self.must_wait and self.breaker.wait_until is not None:
            until = self.breaker.wait_until.astimezone(UTC)
            return f"{SYSTEMS[self.stage]} asked us to wait until {until:%H:%M:%S} UTC"
        return self.breaker.last_error or f"the connection {SYSTEMS[self.stage]} is down"

    def admits(self, instance_id: int) -> bool:
        """Say whether a call for this instance may go out."""
        return not self.paused and not self.must_wait and self.breaker.admits(instance_id)


def gates(tx: Connection) -> dict[Stage, Gate]:
    """Read all connections."""
    return {gate.stage: gate for gate in map(_gate, tx.execute(_GATES))}


def gate(tx: Connection, stage: Stage) -> Gate:
    """Read one connection."""
    return _gate(tx.execute(_GATE, {"name": stage}).one())


def observe(tx: Connection, stage: Stage, seen: Seen, rules: Rules) -> tuple[Breaker, Breaker]:
    """Take in what a batch showed; give the breaker before and after.  Costs one look when all is well."""
    found = gate(tx, stage)
    if not seen.failed and found.is_well:
        return found.breaker, found.breaker
    found = _gate(tx.execute(_LOCK_GATE, {"name": stage}).one())
    return found.breaker, save(tx, found, after(found.breaker, seen, rules, found.now))


def judge(tx: Connection, stage: Stage, rules: Rules, *, passed: bool) -> tuple[Breaker, Breaker]:
    """Take in what came of a connection's own test, if it is still in question; give the breaker before and after."""
    found = _gate(tx.execute(_LOCK_GATE, {"name": stage}).one())
    if not is_in_question(found.breaker, rules, found.now, due=how_many_due(tx, stage, at_most=rules.members)):
        return found.breaker, found.breaker
    return found.breaker, save(tx, found, after_test(found.breaker, rules, found.now, passed=passed))


def in_question(tx: Connection, stage: Stage, rules: Rules, *, due: int) -> bool:
    """Say whether the connection's own test is to be asked; *due* as in `Seen`."""
    found = gate(tx, stage)
    return is_in_question(found.breaker, rules, found.now, due=due)


def doubt(tx: Connection, stage: Stage) -> None:
    """Let a known good member decide, the next time that a dispatcher looks, whether the system serves."""
    tx.execute(_DOUBT, {"name": stage})


def save(tx: Connection, found: Gate, changed: Breaker) -> Breaker:
    """Write where the breaker stands now, if anything changed; the caller has the connection locked."""
    if changed != found.breaker:
        _save(tx, found.stage, changed)
        _note_change(tx, found.stage, found.breaker, changed)
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


def verifying(tx: Connection, stage: Stage, instance_id: int, *, lease_s: float) -> None:
    """Note that this instance is out to decide; the caller has the connection locked."""
    tx.execute(_VERIFYING, {"name": stage, "id": instance_id, "lease_s": lease_s})


def served(tx: Connection, stage: Stage, *, within_s: float) -> bool:
    """Say whether a call at *stage* was answered well within the last *within_s*, as far as one look tells."""
    return bool(tx.execute(_SERVED, {"stage": stage, "within_s": within_s}).scalar())


def pause(tx: Connection, stage: Stage, *, by: str, reason: str) -> bool:
    """Switch a connection off; False: it was off already."""
    return tx.execute(_PAUSE, {"name": stage, "by": by, "reason": reason}).rowcount == 1


def resume(tx: Connection, stage: Stage, *, by: str) -> bool:
    """Switch a connection on again; False: it was on.  Who was held goes out by the ramp."""
    return tx.execute(_RESUME, {"name": stage, "by": by}).rowcount == 1


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
        verify_at=row.verify_at,
        vouched_at=row.vouched_at,
        wait_until=row.wait_until,
        unproven=row.unproven,
    )
    return Gate(Stage(row.name), row.paused, breaker, row.now)


def _strings(values: Iterable[object]) -> list[str]:
    return [str(value) for value in values]


def _save(tx: Connection, stage: Stage, breaker: Breaker) -> None:
    parameters = {name: getattr(breaker, name) for name in Breaker.__dataclass_fields__}
    parameters["failing_members"] = sorted(breaker.failing_members)
    tx.execute(_SAVE, parameters | {"name": stage})


def _note_change(tx: Connection, stage: Stage, before: Breaker, now: Breaker) -> None:
    """Write down that it went down or came back; a probe that fails is no change."""
    was_up, is_up = before.position is Position.CLOSED, now.position is Position.CLOSED
    if was_up != is_up:
        what, why = ("up", None) if is_up else ("down", now.last_error)
        tx.execute(_NOTE_CHANGE, {"name": stage, "what": what, "why": why})


_GATES = text("select c.*, now() as now from connection c")
_GATE = text("select c.*, now() as now from connection c where name = :name")
_LOCK_GATE = text("select c.*, now() as now from connection c where name = :name for update")
_LOCK_GATE_IF_FREE = text("select c.*, now() as now from connection c where name = :name for update skip locked")
_SAVE = text("""
    update connection
    set breaker = :position, failures = :failures, failing_members = cast(:failing_members as text[]),
        failing_since = :failing_since, opened_at = :opened_at, probe_at = :probe_at, probes = :probes,
        probe_instance_id = :probe_instance_id, healed_at = :healed_at, last_error = :last_error,
        verify_at = :verify_at, vouched_at = :vouched_at, wait_until = :wait_until, unproven = :unproven
    where name = :name
""")
_HOW_MANY_DUE = text("""
    select (select count(*) from (select from instance
                                  where state in ('pending', 'waiting') and due_stage = :stage limit :at_most) as q)
         + (select count(*) from (select from instance
                                  where state = 'running' and stage = :stage limit :at_most) as r)
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
        select from (select code, calls from activity
                     where stage = :stage and at >= now() - make_interval(secs => :within_s)
                     order by at desc limit 2000) as a
        where code is null and calls is not null
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
        set paused = false, paused_by = null, paused_reason = null, paused_at = null, healed_at = now()
        where name = :name and paused returning name
    )
    insert into connection_change (name, what, who) select name, 'resumed', :by from resumed
""")
_NOTE_CHANGE = text("insert into connection_change (name, what, why) values (:name, :what, :why)")


def connections(tx: Connection, budgets: Mapping[Stage, Budget]) -> list[ConnectionState]:
    """Read every connection, in the order of the pipeline; *budgets* of those that have one."""
    held = {row.due_stage: int(row.total) for row in tx.execute(_HELD)}
    suspects = {row.failed_stage: row for row in tx.execute(_SUSPECTS)}
    rows = tx.execute(_CONNECTIONS).all()
    return [
        replace(
            _state(row, held.get(row.name, 0), _budget(tx, Stage(row.name), budgets.get(Stage(row.name)))),
            suspects=int(suspects[row.name].total) if row.name in suspects else 0,
            suspects_given_up=int(suspects[row.name].given_up) if row.name in suspects else 0,
        )
        for row in rows
    ]


def _state(row: Row[Any], held: int, of_budget: BudgetState | None) -> ConnectionState:
    return ConnectionState(
        name=row.name,
        state="paused" if row.paused else "up" if row.breaker == "closed" else row.breaker,
        since=_since(row),
        breaker=row.breaker,
        failures=row.failures,
        last_error=None if row.last_error is None else mask_text(row.last_error),
        opened_at=row.opened_at,
        probes=row.probes,
        probe_at=row.probe_at,
        next_probe_in_s=_next_probe_in_s(row),
        healed_at=row.healed_at,
        paused_by=row.paused_by,
        paused_reason=row.paused_reason,
        paused_at=row.paused_at,
        held=held,
        budget=of_budget,
        wait_until=row.wait_until,
    )


def _next_probe_in_s(row: Row[Any]) -> float | None:
    """Give the time to the next probe; None: there is none to come, or one is out."""
    return round(row.next_probe_in_s, 1) if row.breaker == "open" and not row.paused else None


def _since(row: Row[Any]) -> datetime | None:
    """Say since when it stands as it does; None: it was up ever since it is known."""
    if row.paused:
        return row.paused_at  # type: ignore[no-any-return]  # a column
    return row.healed_at if row.breaker == "closed" else row.failing_since  # type: ignore[no-any-return]  # columns


def _budget(tx: Connection, stage: Stage, limit: Budget | None) -> BudgetState | None:
    if limit is None:
        return None
    used = budget.used(tx, stage)
    return BudgetState(
        per_minute=limit.per_minute,
        used=sum(used.values()),
        used_live=used.get(Lane.LIVE, 0),
        used_bulk=used.get(Lane.BULK, 0),
        free_live=limit.free(Lane.LIVE, used),
        free_bulk=limit.free(Lane.BULK, used),
    )


_CONNECTIONS = text("""
    select name, paused, paused_by, paused_reason, paused_at, breaker, failures, failing_since, last_error, opened_at,
           probes, probe_at, healed_at, case when wait_until > now() then wait_until end as wait_until,
           greatest(0, extract(epoch from probe_at - now()))::float8 as next_probe_in_s
    from connection order by array_position(array['oic', 'crowdtwist', 'siebel'], name)
""")
_HELD = text("select due_stage, count(*) as total from instance where state = 'held' group by due_stage")
# Those that wait or were given up by an index of theirs, those that are just being tried among the few that run.
_SUSPECTS = text("""
    select failed_stage, count(*) as total, count(*) filter (where state = 'dead') as given_up from (
        select failed_stage, state from instance where suspect and state in ('waiting', 'dead')
        union all
        select failed_stage, state from instance where suspect and state = 'running'
    ) as s group by failed_stage
""")
