"""Outages as incidents see them: a ledger whose CrowdTwist goes down and comes back as the test says."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from producers.dispatch.bookkeeper import Bookkeeper
from shared.ledger import incident_reads
from shared.ledger.connections import gate
from shared.ledger.engine import transaction
from shared.ledger.incident_reads import Incident
from shared.ledger.transitions import outages
from shared.ledger.transitions.outages import Hold
from shared.pipeline import Lane, Stage
from shared.settings import Settings
from tests.mailing import comes_back, goes_down
from tests.road import Road


@dataclass
class Outage:
    """A ledger and who tends it: a worker, a dispatcher that holds and lets go, a bookkeeper."""

    ledger: Engine
    settings: Settings

    @property
    def road(self) -> Road:
        return Road(self.ledger)

    def begins(self, stage: Stage = Stage.CROWDTWIST) -> None:
        goes_down(self.road, stage)

    def holds(self, *numbers: str, minute: int = 0, stage: Stage = Stage.CROWDTWIST) -> None:
        """Accept an event of each, and hold it at *stage*, 300 s after which Siebel is to be told."""
        self.road.accept(*numbers, minute=minute)
        self.road.sql(
            f"update instance set stage = '{stage}', due_stage = '{stage}' where state in ('pending', 'waiting')"
        )
        with transaction(self.ledger) as tx:
            found = gate(tx, stage)
            outages.hold_due(tx, Hold(stage, found.why, 300.0, found.breaker.failing_since), limit=1000)

    def ends(self, stage: Stage = Stage.CROWDTWIST) -> None:
        """Let it serve again, and let go whom it held."""
        comes_back(self.road, stage)
        with transaction(self.ledger) as tx:
            for lane in Lane:
                outages.release(tx, stage, lane, limit=1000)

    def is_over(self) -> None:
        """Let it serve again, and everybody get through."""
        self.ends()
        while self.road.travel():
            pass

    def ages(self, minutes: float) -> None:
        """Let all that has happened lie so many minutes farther back, so that a test need not wait."""
        span = f"interval '{minutes} minutes'"
        for table, columns in _INSTANTS.items():
            moved = ", ".join(f"{column} = {column} - {span}" for column in columns)
            self.road.sql(f"update {table} set {moved}")

    def kept(self) -> None:
        """Let the bookkeeper catch up, with what incidents come to last."""
        one = Bookkeeper(self.settings)
        for _ in range(2):
            while one.turn() | one.turn_incidents():
                pass

    def one(self, number: int = 1) -> Incident:
        with transaction(self.ledger) as tx:
            found = incident_reads.incident(tx, number)
        assert found is not None
        return found

    def all(self) -> list[Incident]:
        with transaction(self.ledger) as tx:
            return incident_reads.incidents(tx, limit=100).items


_INSTANTS: dict[str, tuple[Any, ...]] = {
    "incident": (
        *("opened_at", "resolved_at", "closed_at", "settled_at", "from_at", "counted_upto", "late_from", "late_to"),
        *("told_at", "reminded_at", "acknowledged_at"),
    ),
    "incident_span": ("from_at", "to_at"),
    "incident_event": ("at", "written_at"),
    "connection_change": ("at",),
    "connection": ("opened_at", "failing_since", "healed_at", "probe_at"),
    "activity": ("at",),
    "instance": ("accepted_at", "finished_at"),
    "operator_action": ("at",),
    "cause_count": ("at",),
    "minute": ("at",),
    "wait": ("at",),
    "bookmark": ("upto",),
}
