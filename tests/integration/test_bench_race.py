"""The race of `make bench`, on a handful of events: what is compared is comparable.

Not collected where there is no C compiler: `tests/conftest.py`.
"""

import os
from pathlib import Path

from tests.bench import bound
from tests.bench.contestants import Who
from tests.bench.race import Lap, Ours, Peer, Setup, Size, servers
from tests.bench.rig import rig

EVENTS = 400


def test_one_put_per_event_makes_exactly_the_calls_of_the_others_and_arrays_make_half(tmp_path: Path) -> None:
    before = dict(os.environ)
    with rig(tmp_path / "ours") as on, servers(on, tmp_path / "theirs") as theirs:
        bare = Peer(on, Who("bound", bound.TITLE), theirs, bound, Size(seconds=0.1, most=EVENTS))
        same = Ours(on, Who("same", "one PUT each"), Setup(EVENTS, {"SIEBEL__ROWS_PER_REQUEST": "1"}))
        as_it_is = Ours(on, Who("ours", "as it is"), Setup(EVENTS, {}))
        for entrant in (bare, same, as_it_is):
            entrant.run()
    assert os.environ == before
    assert (lap(bare).calls_per_event, lap(same).calls_per_event) == (2, 2)
    assert 1 < lap(as_it_is).calls_per_event < 1.1
    assert lap(bare).cpu_ms.keys() == {"worker", "redis", "postgres"}
    assert lap(as_it_is).cpu_ms.keys() == {"worker", "dispatcher", "ledger", "broker"}
    assert min(lap(as_it_is).cpu_ms["worker"], lap(as_it_is).cpu_ms["ledger"], lap(bare).cpu_ms["worker"]) > 0
    assert 1_000 < (lap(as_it_is).wal_bytes_per_event or 0) < 100_000


def lap(entrant: Ours | Peer) -> Lap:
    (only,) = entrant.laps
    return only
