"""Statements of the connections: switch and breaker."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, text

from shared.breaker import Breaker, Position, Rules, Seen, after
from shared.pipeline import Stage


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

    def admits(self, instance_id: int) -> bool:
        """Say whether a call for this instance may go out."""
        return not self.paused and self.breaker.admits(instance_id)


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


def lock_if_free(connection: Connection, stage: Stage) -> Gate | None:
    """Lock one connection and read it; None: somebody has it locked."""
    row = connection.execute(_LOCK_GATE_IF_FREE, {"name": stage}).one_or_none()
    return None if row is None else _gate(row)


def half_open(connection: Connection, stage: Stage, instance_id: int, *, lease_s: float) -> None:
    """Note that this instance probes; the caller has the connection locked."""
    connection.execute(_HALF_OPEN, {"name": stage, "id": instance_id, "lease_s": lease_s})


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
_HALF_OPEN = text("""
    update connection
    set breaker = 'half_open', probe_instance_id = :id, probes = probes + 1,
        probe_at = now() + make_interval(secs => :lease_s)
    where name = :name
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
