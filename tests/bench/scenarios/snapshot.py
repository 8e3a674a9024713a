"""What somebody else's open snapshot costs: a dump, a report, or a transaction that was forgotten, for ten minutes.

Backlogs drain one after the other at full speed; the snapshot is opened after some of them and held meanwhile.  What
counts is how it goes in the last third of that time, against before.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import text

from tests.bench.drain import Drained, claim_ms, drained, fresh_events, running, say
from tests.bench.rig import Rig
from tests.bench.scenarios import Options, Start

TITLE = "a snapshot held open by somebody else for 10 minutes at full speed"
KEYS: Sequence[str] = ("held_snapshot_ratio",)
_HELD_S = 600
_BEFORE = 3
_EVENTS = 10_000
_BACK_WITHIN_S = 180
_NORMAL = 0.9


def run(start: Start, options: Options) -> dict[str, float]:
    """Drain before, while it is held, and after it was let go until all is as before."""
    events = options.scaled(_EVENTS, 1_000)
    with start() as on, running(on):
        before = _Part([_lap(on, events, "before") for _ in range(_BEFORE)])
        with _held_snapshot(on):
            until = time.monotonic() + options.scaled(_HELD_S, 20)
            held = _Part(list(_laps(on, events, "held", lambda: time.monotonic() < until)))
            say(f"dead rows: {_dead_rows(on)}")
        let_go = time.monotonic()
        normal = before.events_per_s * _NORMAL
        for lap in _laps(on, events, "after", lambda: time.monotonic() < let_go + _BACK_WITHIN_S):
            if lap[0].events_per_s >= normal:
                break
        say(f"back to {_NORMAL:g} of the rate after {time.monotonic() - let_go:.0f} s; dead rows: {_dead_rows(on)}")
    late = held.last_third()
    say(f"claims, p95: {before.claim_p95_ms:.2f} ms before, {late.claim_p95_ms:.2f} ms held")
    say(f"claim p95: {late.claim_p95_ms / before.claim_p95_ms:.2f} times")
    return {"held_snapshot_ratio": late.events_per_s / before.events_per_s}


Lap = tuple[Drained, list[float]]
"""A backlog drained, and how long claims took after it.  Units: ms."""


class _Part:
    """Laps under one condition."""

    def __init__(self, laps: Sequence[Lap]) -> None:
        self._laps = laps
        self.events_per_s = statistics.median(drain.events_per_s for drain, _ in laps)
        self.claim_p95_ms = statistics.quantiles([ms for _, claims in laps for ms in claims], n=20)[-1]

    def last_third(self) -> "_Part":
        return _Part(self._laps[-max(1, len(self._laps) // 3) :])


def _laps(on: Rig, events: int, what: str, goes_on: Callable[[], bool]) -> Iterator[Lap]:
    while goes_on():
        yield _lap(on, events, what)


def _lap(on: Rig, events: int, what: str) -> Lap:
    drain = drained(on, events, what)
    with on.accounts.frozen("dispatcher"):
        on.feed(fresh_events(on, 400))
        claims = [claim_ms(on) for _ in range(20)]
    return drain, claims


@contextmanager
def _held_snapshot(on: Rig) -> Iterator[None]:
    """Hold a snapshot open for the length of the block, as a report in one transaction does."""
    with on.ledger.connect().execution_options(isolation_level="REPEATABLE READ") as tx:
        tx.execute(text("set local application_name = 'a report'"))
        tx.execute(text("set local idle_in_transaction_session_timeout = 0"))
        tx.execute(text("select count(*) from member"))
        yield


def _dead_rows(on: Rig) -> str:
    with on.ledger.connect() as tx:
        found = tx.execute(_DEAD_ROWS).all()
    return ", ".join(f"{name} {dead:,} ({megabytes:,.0f} MB)" for name, dead, megabytes in found) or "none"


_DEAD_ROWS = text("""
    select relname, n_dead_tup, pg_total_relation_size(relid) / 1e6
    from pg_stat_user_tables where n_dead_tup > 0 order by n_dead_tup desc limit 5
""")
