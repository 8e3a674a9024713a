"""The ledger's clock was an hour ahead and is set right: what was counted by it is not counted again as it passes."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from producers.operations.verdict import standing
from shared.ledger import clock, tallies
from shared.ledger.engine import transaction
from shared.ledger.transitions import clock_moves
from shared.pipeline import Stage
from shared.settings import Settings
from tests.flooding import numbers
from tests.outages import Outage
from tests.road import ALWAYS_DOWN, ALWAYS_REFUSED

HOUR = 3_600
LINES = "select count(*)::int from activity"
COUNTED = {
    "of stages": (LINES, "select sum(count)::int from tally"),
    "by minute": (LINES, "select sum(count)::int from minute"),
    "by hour": (LINES, "select sum(count)::int from hour"),
    "waits": (f"{LINES} where state in ('completed', 'rejected')", "select sum(count)::int from wait_total"),
    "causes": (f"{LINES} where code = 'data_error' and state = 'running'", "select sum(count)::int from cause_count"),
}


@pytest.fixture
def outage(ledger: Engine, ledger_url: str) -> Iterator[Outage]:
    one = Outage(ledger, Settings(_env_file=None, ledger_url=ledger_url))
    yield one
    one.road.sql("update ledger_clock set counted_id = null, stepped_at = null, step_s = null, pending_until = null")


def set_right(outage: Outage) -> None:
    """Have the clock set back by an hour: it goes on as it does, and its steps forward are said to be one more."""
    outage.road.sql("update ledger_clock set moved_s = moved_s + 3600")
    with transaction(outage.ledger) as tx:
        assert clock_moves.follow(tx, lease_s=60) == pytest.approx(-HOUR, abs=5)


def ages(outage: Outage, minutes: float) -> None:
    outage.ages(minutes)
    span = f"interval '{minutes} minutes'"
    outage.road.sql(
        f"update ledger_clock set counted_from = counted_from - {span}, counted_until = counted_until - {span}"
    )


@pytest.mark.parametrize("steps", [1, 2])
def test_each_line_is_counted_once(outage: Outage, steps: int) -> None:
    with transaction(outage.ledger) as tx:
        for _ in range(2):
            assert clock.look(tx).step_s == 0
    outage.kept()
    outage.begins()
    outage.road.accept("F-1")
    outage.road.travel(ALWAYS_DOWN, attempts_max=9)
    outage.holds(*numbers(3))
    outage.ends()
    outage.road.sql("update instance set due_at = now() where state = 'waiting'")
    outage.is_over()
    outage.road.accept(*numbers(2, "R"))
    outage.road.travel(ALWAYS_REFUSED)
    outage.kept()
    was = outage.one()
    assert was.counts.instances == 4
    for step in range(steps):
        ages(outage, -60)
        set_right(outage)
        outage.road.accept(*numbers(5, f"N{step}"))
        outage.road.travel()
        outage.kept()
    with transaction(outage.ledger) as tx:
        (now,) = tx.execute(text("select date_trunc('minute', now())")).one()
        decided = tallies.decided(tx, Stage.CROWDTWIST, since=now, at_least=1_000)
    for _ in range(steps):
        ages(outage, 61)
    outage.kept()
    told = {what: [outage.road.sql(one)[0] for one in pair] for what, pair in COUNTED.items()}
    assert {what: counted for what, (lines, counted) in told.items() if counted != lines} == {}, told
    assert (outage.one().counts, outage.one().cost) == (was.counts, was.cost)
    assert decided <= outage.road.sql(f"{LINES} where stage = 'crowdtwist'")[0]


def test_while_a_step_is_settled_the_status_says_so_and_then_no_more(outage: Outage) -> None:
    with transaction(outage.ledger) as tx:
        for _ in range(2):
            assert clock.look(tx).step_s == 0
    set_right(outage)
    with transaction(outage.ledger) as tx:
        verdict = standing(tx, outage.settings).verdict
    assert "The ledger's clock was set back by 36" in verdict.sentence
    assert "the ledger's clock" in [one.short for one in verdict.troubles]
    outage.road.sql("update ledger_clock set stepped_at = now() - interval '3 min', pending_until = now()")
    with transaction(outage.ledger) as tx:
        assert "clock" not in standing(tx, outage.settings).verdict.sentence
        step = clock.newest_step(tx)
    assert step is not None, "the doctor still says it"
