"""A flood of one Data Error: a ledger with a worker in this process, whose CrowdTwist refuses whom the test says."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from shared.errors import DataError
from shared.instances import Failed, Result, Work
from shared.ledger import guards
from shared.ledger.engine import transaction
from shared.ledger.guards import Hold
from shared.ledger.transitions import holds
from shared.lifecycle.floods import FloodRules
from shared.pipeline import Stage
from tests.inside import MadeUp, travel, well, worker
from tests.road import Road

RULES = FloodRules(count=50, share=0.2, window_s=600, try_s=600, held_max_s=86_400)
BROKEN = DataError("CrowdTwist", "Country Code is invalid", 400)
TOLD = "select count(*) from member where told_status = 'Data Error'"
MOVES = """
    select id from job where ended_at is null
    union all (select id from instance where state in ('pending', 'running') limit 1)
"""


def hold_of(ledger: Engine) -> Hold:
    """Return the one hold that there is."""
    with transaction(ledger) as tx:
        (found,) = guards.holds(tx, limit=10).items
    return found


def numbers(count: int, prefix: str = "M") -> list[str]:
    return [f"{prefix}-{index}" for index in range(count)]


class Flood:
    """A ledger with a worker in this process, whose CrowdTwist refuses some members until it is mended."""

    def __init__(self, ledger: Engine) -> None:
        self.road = Road(ledger)
        self.ledger = ledger
        self.refused: dict[str, DataError] = {}

    def answer(self, work: Work) -> Result:
        refusal = self.refused.get(work.member_number)
        return well(Stage.CROWDTWIST, work) if refusal is None else Failed(refusal)

    def send(self, *numbers: str, minute: int = 0, error: DataError | None = None) -> None:
        """Accept an event of each, which CrowdTwist refuses with *error*, and take them as far as they go."""
        self.refused |= {} if error is None else dict.fromkeys(numbers, error)
        self.road.accept(*numbers, minute=minute)
        self.travel()

    def travel(self, rules: FloodRules = RULES) -> None:
        """Do what dispatchers and workers do, until nothing moves any more."""
        quiet = 0
        while quiet < 3:
            travel(self.ledger)
            with transaction(self.ledger) as tx:
                holds.turn(tx, rules)
            self.road.turn()
            quiet = 0 if self.road.sql(MOVES) else quiet + 1

    @property
    def hold(self) -> Hold:
        return hold_of(self.ledger)

    def told(self) -> int:
        return int(self.road.sql(TOLD)[0])


@pytest.fixture
def made_flood(ledger: Engine, ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flood]:
    made = Flood(ledger)
    with worker(ledger_url, monkeypatch, {Stage.CROWDTWIST: MadeUp(made.answer)}):
        yield made
