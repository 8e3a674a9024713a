"""A programme of members that are in sync, with what Siebel sends of some of them now."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Engine

from producers.intake.accept import IntakeRules, Receipt, accept
from shared.events import parse_event
from shared.guard_settings import GuardSettings
from shared.ledger import guards
from shared.ledger.engine import transaction
from shared.ledger.guards import Hold
from shared.ledger.transitions import holds
from shared.pipeline import Lane
from tests.flooding import MOVES, RULES
from tests.road import NOW, Road

FULL = {"last_name": "Lee", "status": "Active", "email_address": "a@example.org", "city": "York"}
GUARDED = IntakeRules(Lane.LIVE, changes=GuardSettings().change_rules)


_IN_SYNC = """
    with done as (
        update instance set state = 'completed', stage = 'siebel', status = 'Success', finished_at = now()
        returning id, member_number, content_hash
    )
    update member m set applied_id = d.id, applied_hash = d.content_hash, told_id = d.id, synced = true
    from done d where d.member_number = m.member_number
"""


class Programme:
    """A ledger whose members are known and in sync; `send` says what Siebel has of some of them now."""

    def __init__(self, ledger: Engine, size: int) -> None:
        self.road = Road(ledger)
        self.ledger = ledger
        self.minute = 0
        self.send(range(size))
        self.road.sql(_IN_SYNC)

    def send(self, which: "range | list[int]", *, operation: str = "update", **member: str) -> list[Receipt]:
        self.minute += 1
        at = (NOW + timedelta(minutes=self.minute)).isoformat()
        raws: list[dict[str, Any]] = [
            {"operation": operation, "occurred_at": at, "member": {"member_number": f"M-{one}", **FULL, **member}}
            for one in which
        ]
        items = [(position, parse_event(raw, max_bytes=64_000)) for position, raw in enumerate(raws)]
        return accept(self.ledger, items, GUARDED)

    def travel(self) -> None:
        """Do what dispatchers and workers do, until nothing moves any more."""
        quiet = 0
        while quiet < 2:
            self.road.travel()
            with transaction(self.ledger) as tx:
                holds.turn(tx, RULES)
            self.road.turn()
            quiet = 0 if self.road.sql(MOVES) else quiet + 1

    @property
    def holds(self) -> list[Hold]:
        with transaction(self.ledger) as tx:
            return guards.holds(tx, limit=10).items

    def reached(self) -> int:
        """Return how many members CrowdTwist has as inactive, or without a city."""
        (count,) = self.road.sql("""
            select count(*) from member m join instance i on i.id = m.applied_id where i.cleared is not null
        """)
        return int(count)
