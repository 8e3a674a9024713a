"""While no dispatcher runs, a worker sees the ledger's clock go forward and come back, and all moves with it."""

import os
import shutil
from pathlib import Path

import pytest
from sqlalchemy import text

from deploy.sandbox.server import RunningSandbox
from shared.ledger import clock as ledger_clock
from shared.ledger.checkup import migrate
from shared.ledger.engine import engine, transaction
from shared.ledger.transitions import clock_moves
from tests.conftest import emptied
from tests.rig import Pipeline, eventually, flush
from tests.stepped_clock import ledger_with_a_clock

HOUR = 3_600
PROBE = "select extract(epoch from probe_at - clock_timestamp())::float8 from connection where name = 'oic'"


pytestmark = pytest.mark.skipif(
    shutil.which(os.environ.get("CC", "cc")) is None, reason="a clock of its own wants a C compiler"
)


def test_what_is_written_while_it_is_ahead_comes_back_with_it(
    broker_url: str, running_simulators: RunningSandbox, tmp_path: Path
) -> None:
    flush(broker_url)
    with ledger_with_a_clock() as (url, clock):
        migrate(url)
        pipeline = Pipeline(emptied(url), url, broker_url, running_simulators, tmp_path)

        def moved_s() -> float:
            (by_s,) = pipeline.sql("select moved_s from ledger_clock")
            return float(by_s)

        with pipeline.worker():
            eventually(lambda: pipeline.sql("select true from heartbeat") != [], "a beat, and with it the first look")
            clock.step(HOUR)
            eventually(lambda: abs(moved_s() - HOUR) < 1, "the step forward")
            pipeline.sql("update connection set probe_at = now() + interval '20 s' where name = 'oic' returning name")
            clock.step(0)
            eventually(lambda: abs(moved_s()) < 1, "the step back")
            (left_s,) = pipeline.sql(PROBE)
            assert left_s <= 20
        engine(url).dispose()


def test_who_has_just_begun_to_look_believes_who_knew_of_the_step() -> None:
    with ledger_with_a_clock() as (url, clock):
        migrate(url)
        old, new = engine(url), engine(url, durable=False)
        assert old is not new
        with transaction(old) as tx:
            ledger_clock.look(tx)
        clock.step(HOUR)
        with transaction(new) as tx:
            tx.execute(text("update ledger_clock set looked_from = null, ahead_of_wall_s = null"))
            assert ledger_clock.look(tx).step_s == 0
        with transaction(old) as tx:
            assert clock_moves.follow(tx, lease_s=60) == pytest.approx(HOUR, abs=1)
        for one in (new, old, new):
            with transaction(one) as tx:
                assert clock_moves.follow(tx, lease_s=60) == 0
        clock.step(0)
        with transaction(new) as tx:
            assert clock_moves.follow(tx, lease_s=60) == pytest.approx(-HOUR, abs=1)
        with transaction(old) as tx:
            assert clock_moves.follow(tx, lease_s=60) == 0
        for one in (old, new):
            one.dispose()
