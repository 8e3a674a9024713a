"""Two hosts, each cut off once, on a network that is slow and lossy then: nothing is lost, and the rest goes on."""

from pathlib import Path

import pytest

from tests.chaos.suite.hosts import cannot_be_had
from tests.chaos.suite.several_hosts import GOES_ON, ROUND, Plan, play

SEED = 4711
SECONDS, CUT_S, GAP_S = 17, 3, 3


def test_a_host_that_is_cut_off_loses_nothing_doubles_nothing_and_holds_up_nobody(tmp_path: Path) -> None:
    if why := cannot_be_had():
        pytest.skip(why)
    found = play(tmp_path, Plan(SEED, SECONDS, CUT_S, GAP_S))
    assert found.verdict.lines() == []
    assert found.verdict.faults == dict.fromkeys(ROUND, 1)
    assert found.verdict.events > 200
    assert found.dropped > 20
    assert len(found.went_on) == 2
    assert min(found.went_on) > GOES_ON
