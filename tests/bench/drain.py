"""Draining a backlog: the one measurement that most scenarios repeat under some condition.

The worker and the dispatcher run and are warm, frozen (SIGSTOP) while the backlog is laid up, and the clock runs from
their release to the last new row that Siebel was told of.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count

from shared.ledger import agenda
from shared.ledger.front import Front
from shared.ledger.transitions import claims
from shared.pipeline import Lane, Stage
from tests.bench.events import Event, member_events
from tests.bench.rig import Rig
from tests.bench.waiting import wait_until
from tests.bench.waits import sampled_waits

_WARM_UP = 100
FROZEN = ("worker", "dispatcher")
_serial = count()


@dataclass(frozen=True, slots=True)
class Drained:
    """What a backlog took.  Units: *cpu_ms* of each kind of process per event."""

    events_per_s: float
    cpu_ms: Mapping[str, float] = field(default_factory=dict)


@contextmanager
def running(on: Rig, *, processes: int | None = None, settings: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run a dispatcher and a worker for the length of the block, warm once it begins.

    Shape: *processes* of the worker, None: as many as it has by default.
    """
    options = [] if processes is None else ["--concurrency", str(processes)]
    with ExitStack() as stack:
        stack.enter_context(on.ours("dispatcher", settings=settings))
        stack.enter_context(on.ours("worker", *options, settings=settings))
        on.stub.reset()
        on.feed(fresh_events(on, _WARM_UP))
        on.wait_for_members(_WARM_UP)
        yield


def drained(on: Rig, events: int, what: str, within_s: float = 600) -> Drained:
    """Lay up *events* of new members whose rows are known, drain them, and say *what* that showed.

    Whatever is on its way ends before.
    """
    wait_until(on.is_quiet, within_s, "what was on its way")
    backlog = fresh_events(on, events)
    on.stub.reset()
    with on.accounts.frozen(*FROZEN):
        on.feed(backlog)
        before = on.accounts.cpu_s()
        began = time.time()
    with sampled_waits(on.ledger) as waits:
        on.wait_for_members(events, within_s)
    used = on.accounts.cpu_s()
    drain = Drained(
        events / (on.stub.counts().last_new_at - began),
        {kind: (used[kind] - before.get(kind, 0.0)) / events * 1e3 for kind in used if kind != "stub"},
    )
    cpu = ", ".join(f"{kind} {ms:.2f}" for kind, ms in sorted(drain.cpu_ms.items()))
    say(f"{what}: {drain.events_per_s:,.0f}/s; CPU ms/event: {cpu}; waits: {waits.top()}")
    return drain


def claim_ms(on: Rig, size: int = 200) -> float:
    """Return how long a claim of *size* of what is due takes a dispatcher at work, undone at once.  Units: ms."""
    limits = {(lane, stage): size for lane in Lane for stage in Stage}
    front = Front()
    for _ in range(2):  # from the beginning, then from there on
        with on.ledger.begin() as tx:
            agenda.look(tx, front)
    with on.ledger.connect() as tx:
        began = time.perf_counter()
        claims.claim(tx, limits, token=1, lease_s=60, front=front)
        took = time.perf_counter() - began
        tx.rollback()
    return took * 1000


def say(line: str) -> None:
    """Write a line below the scenario's title."""
    sys.stdout.write(f"  {line}\n")
    sys.stdout.flush()


def fresh_events(on: Rig, events: int) -> list[Event]:
    """Return events of members that nobody has seen; their rows are known, as after the first status of each."""
    made = list(member_events(f"D{next(_serial)}", events))
    on.know_rows([event["member"]["member_number"] for event in made])
    return made
