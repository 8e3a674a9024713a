"""The race: ours, the contestants and the bound, one after the other in each round, on the same events and stub.

Every entrant gets two worker processes, started anew for each lap and warmed with a few events.  Then they are frozen
(SIGSTOP), the backlog is laid up, and the clock runs from their release to the last new row that the stub was told.  So
neither start nor sending counts, and nobody has begun early.
"""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from signal import SIGKILL

import redis
from sqlalchemy import text

from deploy.local.servers import embedded_postgres, embedded_valkey
from shared.ledger.engine import engine
from tests.bench.accounting import ledger_work, used_since
from tests.bench.contestants import Contestant, Who
from tests.bench.events import Event, member_events
from tests.bench.rig import Rig, server_pid

_WARM_UP = 60
_PROBED = 200
_PATIENCE_S = 180.0
_serial = count()


@dataclass(frozen=True, slots=True)
class Lap:
    """One entrant, once.  Units: *cpu_ms* per event, by kind of process; *stub_ms* of the stub per call."""

    events: int
    events_per_s: float
    cpu_ms: Mapping[str, float]
    stub_ms: float
    calls_per_event: float
    wal_bytes_per_event: float | None = None
    commits_per_event: float | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """A contestant's lap: about *seconds* of it, however fast it is, and no more than *most* events."""

    seconds: float
    most: int


class Entrant(ABC):
    """Somebody in the race: the kinds of its *processes*, which are frozen, and of the *servers* that work for it."""

    processes: Sequence[str]
    servers: Sequence[str]

    def __init__(self, on: Rig, who: Who) -> None:
        self.on = on
        self.who = who
        self.laps: list[Lap] = []

    def run(self) -> None:
        """Run a lap."""
        self.laps.append(self._lap())

    @abstractmethod
    def _lap(self) -> Lap: ...

    def _timed(self, lay_up: Callable[[list[Event]], object], events: int) -> Lap:
        """Lay up a backlog while the processes are frozen; release them, and wait until it is done."""
        backlog = new_events(events)
        self.on.stub.reset()
        with self.on.accounts.frozen(*self.processes):
            lay_up(backlog)
            before = self.on.accounts.cpu_s()
            began = time.time()
        self.on.wait_for_members(events, _PATIENCE_S)
        used = used_since(before, self.on.accounts.cpu_s())
        counts = self.on.stub.counts()
        return Lap(
            events,
            events / (counts.last_new_at - began),
            {kind: used[kind] / events * 1e3 for kind in (*self.processes, *self.servers)},
            counts.cpu_s / counts.calls * 1e3,
            counts.calls / events,
        )


@dataclass(frozen=True, slots=True)
class Setup:
    """How we race.

    Shape: *events* of a lap; *settings* by their names after `MEMBERSYNC_`; with *rows_known* the members' rows in
    Siebel are known, as of everybody who has had a status before, else each costs the look-up of it too; *commits* are
    counted, which takes a start more.
    """

    events: int
    settings: Mapping[str, str]
    rows_known: bool = True
    commits: bool = False


class Ours(Entrant):
    """Us, everything on: ledger, dispatcher, leases and tokens, activity, masking."""

    processes = ("worker", "dispatcher")
    servers = ("ledger", "broker")

    def __init__(self, on: Rig, who: Who, setup: Setup) -> None:
        super().__init__(on, who)
        self._setup = setup
        self._commits_beside: int | None = None

    def _lap(self) -> Lap:
        """Run a lap.  For WAL and commits the intake of the backlog counts too, not for time and CPU."""
        events = self._setup.events
        if not self._setup.commits:
            return self._ran(events)[0]
        if self._commits_beside is None:
            self._commits_beside = self._ran(0)[1]
        lap, commits = self._ran(events)
        return replace(lap, commits_per_event=(commits - self._commits_beside) / events)

    def _ran(self, events: int) -> tuple[Lap, int]:
        """Start, warm, run and end; return the commits of all that too: who has hung up has reported all of its own."""
        before = ledger_work(self.on.ledger)
        with self._started():
            self._fed(new_events(_WARM_UP))
            self.on.wait_for_members(_WARM_UP, _PATIENCE_S)
            began = ledger_work(self.on.ledger)
            lap = self._timed(self._fed, events) if events else Lap(0, 0, {}, 0, 0)
            wal_bytes = ledger_work(self.on.ledger).since(began).wal_bytes
        did = ledger_work(self.on.ledger).since(before)
        return replace(lap, wal_bytes_per_event=wal_bytes / max(1, events)), did.commits

    @contextmanager
    def _started(self) -> Iterator[None]:
        self.on.stub.reset()
        worker = self.on.ours("worker", "--concurrency", "2", settings=self._setup.settings)
        with worker, self.on.ours("dispatcher", settings=self._setup.settings):
            yield

    def _fed(self, events: list[Event]) -> None:
        if self._setup.rows_known:
            self.on.know_rows([event["member"]["member_number"] for event in events])
        self.on.feed(events)


class Peer(Entrant):
    """A contestant, or the bound."""

    processes = ("worker",)
    servers = ("redis", "postgres")

    def __init__(self, on: Rig, who: Who, peers: "Servers", contestant: Contestant, size: Size) -> None:
        super().__init__(on, who)
        self._peers = peers
        self._contestant = contestant
        self._size = size
        self._events = 0

    def _lap(self) -> Lap:
        self._peers.empty()
        self.on.stub.reset()
        self._contestant.prepare()
        with ExitStack() as stack:  # its queue is thrown away: nobody waits for an end in order
            for command in self._contestant.workers():
                stack.enter_context(self.on.process("worker", command, dict(os.environ), SIGKILL))
            self._sent_and_done(_WARM_UP)
            self._events = self._events or self._fitting()
            return self._timed(self._contestant.enqueue, self._events)

    def _fitting(self) -> int:
        per_s = self._timed(self._contestant.enqueue, _PROBED).events_per_s
        return max(_PROBED, min(self._size.most, int(per_s * self._size.seconds / 100) * 100))

    def _sent_and_done(self, events: int) -> None:
        self.on.stub.reset()
        self._contestant.enqueue(new_events(events))
        self.on.wait_for_members(events, _PATIENCE_S)


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of the contestants, beside ours.  Their CPU counts as `redis` and `postgres`."""

    redis_url: str
    postgres_url: str
    stub_url: str

    def empty(self) -> None:
        """Forget whatever the contestant before has left."""
        with redis.Redis.from_url(self.redis_url) as client:
            client.flushall()
        with engine(self.postgres_url).begin() as tx:
            tx.execute(text("drop schema public cascade"))
            tx.execute(text("create schema public"))

    @contextmanager
    def announced(self) -> Iterator[None]:
        """Have the addresses in our environment, of this process, which sends, for the length of the block."""
        before = dict(os.environ)
        os.environ |= {
            "BENCH_REDIS_URL": self.redis_url,
            "BENCH_POSTGRES_URL": self.postgres_url,
            "BENCH_CROWDTWIST_URL": self.stub_url,
            "BENCH_SIEBEL_URL": self.stub_url,
        }
        try:
            yield
        finally:
            os.environ.clear()
            os.environ |= before


@contextmanager
def servers(on: Rig, home: Path) -> Iterator[Servers]:
    """Run the contestants' servers on *home*, and announce them."""
    with ExitStack() as stack:
        postgres_url = stack.enter_context(embedded_postgres(home, port=0))
        redis_url = stack.enter_context(embedded_valkey(home, port=0))
        stack.enter_context(on.accounts.of("postgres", server_pid(home, "postgres")))
        stack.enter_context(on.accounts.of("redis", server_pid(home, "valkey")))
        theirs = Servers(redis_url, postgres_url, on.stub.url)
        with theirs.announced():
            yield theirs


def new_events(events: int) -> list[Event]:
    """Return as many enrolments of members that nobody has seen."""
    return list(member_events(f"R{next(_serial)}", events))
