"""The short run of chaos: everything that breaks at any moment, seeded, and every promise still holds at the end."""

from pathlib import Path

from shared.ledger.checkup import migrate
from shared.ledger.engine import engine
from tests.chaos.suite.faults import schedule
from tests.chaos.suite.house import ForkedHouse
from tests.chaos.suite.run import Run, everything
from tests.chaos.suite.stand import SHORT, stand

SEED = 13525
SECONDS = 22
FIGURES = {
    "events",
    "faults",
    "lost",
    "stale_applied",
    "wrong_status",
    "duplicate_effects",
    "longest_recovery_s",
    "seed",
}


def test_whatever_breaks_nothing_is_lost_newest_wins_and_siebel_shows_it(tmp_path: Path) -> None:
    planned = schedule(SEED, SECONDS, SHORT)
    with stand(tmp_path) as at:
        migrate(at.ledger_url)
        house = ForkedHouse(at.environment(SHORT), tmp_path, at.api_port, ())
        verdict = Run(at, SHORT, SEED, planned, everything(SEED, SHORT)).play(SECONDS, house.kept())
        engine(at.ledger_url).dispose()
    assert verdict.lines() == []
    assert verdict.events > 300
    assert len(verdict.faults) > 25
    assert verdict.document().keys() == FIGURES
