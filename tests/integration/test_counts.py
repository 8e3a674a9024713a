"""What an event costs, in counts that no busy machine changes: round trips, commits, WAL, messages, calls.

Events of 400 members go in and through, in batches of 200, on a real ledger and broker: a dispatcher takes its turns in
here, each stage has a worker process of its own, and all look at the ledger through taps that count what they ask.  The
members are new first, then each of them changes.

A bound is what was measured when it was last lowered; of WAL, a tenth more.  PostgreSQL's own housekeeping is kept out
of it: off for our tables, and of two times the lesser counts.  Who lowers a figure lowers its bound; who has to raise
one says why in the commit.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import pytest
import redis
from sqlalchemy import text

from deploy.local.servers import scratch_postgres
from deploy.sandbox.server import RunningSandbox
from producers.dispatch.dispatcher import Dispatcher
from producers.intake.accept import IntakeRules, accept
from shared.events import parse_event
from shared.ledger.checkup import migrate
from shared.ledger.engine import engine
from shared.pipeline import Lane, Stage
from shared.settings import settings
from tests.rig import WORKER, Pipeline, eventually, flush, member_event, publishing
from tests.tapped import Tap, Transaction, tapped

BATCH, BATCHES = 200, 2
EVENTS = BATCH * BATCHES
WARM_UP = 8
"""Singles before anything is counted: psycopg prepares what it has sent five times, in a round trip of its own."""
BY_THE_CLOCK = ("heartbeat", "call_limit", "call_window", "ledger_clock", "show transaction_read_only")
"""What a process asks once in a while, whatever there is to do, has one of these words."""

BOUNDS = {
    # what: for members that are new, and for those that changed
    "round trips of intake for 200 events": (11, 10),
    "round trips of a dispatcher's turn that finds nothing": (1, 1),
    "round trips of a dispatcher's turn that publishes 2 batches": (4, 4),
    "round trips of a batch at oic": (7, 7),
    "round trips of a batch at crowdtwist": (9, 9),
    "round trips of a batch at siebel": (9, 9),
    "round trips to pay for the calls of a batch": (240, 240),  # who asks while a payment is under way shares the next
    "commits per 100 events, payments aside": (5, 5),  # 10 a batch
    "WAL bytes per event, intake": (2_420, 1_930),
    "WAL bytes per event, dispatcher and workers": (7_100, 4_880),
    "messages per batch": (3, 3),
    "bytes of a batch's first message": (6_600, 6_600),
    "announcements per batch": (10, 10),
    "posts of crowdtwist per 100 events": (100, 0),
    "puts of crowdtwist per 100 events": (0, 100),
    "gets of crowdtwist per 100 events": (0, 0),
    "puts of siebel per 100 events": (1, 0),
    "gets of siebel per 100 events": (100, 0),  # whose row it is, is read before the first status is written
}
"""What each may come to at most."""

_NO_HOUSEKEEPING = text("""do $$ declare one regclass; begin
    for one in select oid from pg_class where relkind = 'r' and relowner = current_user::regrole loop
        execute format('alter table %s set (autovacuum_enabled = false)', one);
    end loop;
end $$""")


class Count(NamedTuple):
    """A figure, and what it is made of."""

    figure: float
    made_of: str


@pytest.mark.parametrize("what", BOUNDS)
@pytest.mark.parametrize("members", ["new", "changed"])
def test_an_event_costs_no_more_than_it_did(counts: Mapping[str, Mapping[str, Count]], members: str, what: str) -> None:
    count, bound = counts[members][what], dict(zip(counts, BOUNDS[what], strict=True))[members]
    assert count.figure <= bound, f"{what}: risen from {bound:g} to {count.figure:g}\n{count.made_of}"


def test_a_tap_counts_what_a_transaction_asks(ledger_url: str) -> None:
    with tapped(ledger_url) as tap:
        with engine(tap.url).begin() as tx:
            tap.clear()
            tx.execute(text("select 1"))
            tx.execute(text("select :two"), {"two": 2})
        with engine(tap.url).connect() as tx:
            tx.execute(text("select 3"))
            tx.rollback()
        with engine(tap.url).connect().execution_options(isolation_level="AUTOCOMMIT") as tx:
            tx.execute(text("select 4"))
        engine(tap.url).dispose()
        seen = tap.transactions()
    assert [(one.asks, one.round_trips, one.commits) for one in seen] == [
        (("select 1", "select $1"), 4, True),  # begin and commit are two of them
        (("select 3",), 3, False),
        (("select 4",), 1, True),
    ]


@pytest.fixture(scope="module")
def counts(
    valkey_url: str, running_simulators: RunningSandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, dict[str, Count]]]:
    """Send everything through once; return every figure, of new members and of changed ones."""
    with ExitStack() as stack:
        ledger_url = stack.enter_context(scratch_postgres())
        migrate(ledger_url)
        with engine(ledger_url).begin() as tx:
            tx.execute(_NO_HOUSEKEEPING)
        flush(valkey_url)
        running_simulators.control.reset()
        logs = tmp_path_factory.mktemp("counts")
        pipeline = Pipeline(engine(ledger_url), ledger_url, valkey_url, running_simulators, logs)
        try:
            yield _Counting(stack, pipeline).counts()
        finally:
            engine(ledger_url).dispose()


class _Counting:
    """A pipeline that is looked at from all sides."""

    def __init__(self, stack: ExitStack, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._stack = stack
        self._intake, self._dispatcher = (stack.enter_context(tapped(pipeline.ledger_url)) for _ in range(2))
        self._workers = {stage: stack.enter_context(tapped(pipeline.ledger_url)) for stage in Stage}
        self._broker = stack.enter_context(redis.Redis.from_url(pipeline.broker_url))
        environment = {
            "MEMBERSYNC_LEDGER_URL": self._dispatcher.url,
            "MEMBERSYNC_BROKER_URL": pipeline.broker_url,
            "MEMBERSYNC_DISPATCHER__TICK_S": "3600",  # no housekeeping after the first turn
            "MEMBERSYNC_DISPATCHER__UNBEGUN_LEASE_S": "600",  # however long workers take to start
        }
        stack.enter_context(publishing(environment))
        self._turns = Dispatcher(settings())

    def counts(self) -> dict[str, dict[str, Count]]:
        """Warm up, then count."""
        self._turns.turn()
        self._send("W", range(BATCH))
        self._turns.turn()
        bytes_ = len(self._broker.lrange(Stage.OIC.queue(Lane.BULK), 0, 0)[0])
        first = {"bytes of a batch's first message": Count(bytes_, "its ids stand in it once a stage")}
        self._start_workers()
        self._until_done()
        for index in range(WARM_UP):
            self._send("W", [BATCH + index])
            self._turns.turn()
            self._until_done()
        counted = [[self._counted(series, minute) for series in "MNO"] for minute in range(2)]
        return {
            members: {what: min(of[what] for of in times) for what in times[0]} | first
            for members, times in zip(("new", "changed"), counted, strict=True)
        }

    def _counted(self, series: str, minute: int) -> dict[str, Count]:
        taps = (self._intake, self._dispatcher, *self._workers.values())
        for tap in taps:
            tap.clear()
        calls = self._calls()
        self._broker.config_resetstat()
        wal = [self._wal()]
        self._send(series, range(EVENTS), minute)
        wal.append(self._wal())
        self._turns.turn()
        busy_turn = _asked(self._dispatcher)
        self._until_done()
        wal.append(self._wal())
        broker = Counter({name: int(stat["calls"]) for name, stat in self._broker.info("commandstats").items()})
        asked = [one for tap in taps for one in _asked(tap)]
        payments = [one for one in self._workers[Stage.CROWDTWIST].transactions() if _pays(one)]
        self._dispatcher.clear()
        self._turns.turn()
        by_part = zip(("intake", "dispatcher and workers"), wal, wal[1:], strict=False)
        return {
            "round trips of intake for 200 events": _round_trips(_asked(self._intake), BATCHES),
            "round trips of a dispatcher's turn that finds nothing": _round_trips(_asked(self._dispatcher)),
            "round trips of a dispatcher's turn that publishes 2 batches": _round_trips(busy_turn),
            **{
                f"round trips of a batch at {stage}": _round_trips(_asked(tap), BATCHES)
                for stage, tap in self._workers.items()
            },
            "round trips to pay for the calls of a batch": _round_trips(payments, BATCHES),
            "commits per 100 events, payments aside": _per_100(sum(one.commits for one in asked), _listed(asked)),
            **{f"WAL bytes per event, {part}": Count((end - start) / EVENTS, "") for part, start, end in by_part},
            "messages per batch": Count(broker["cmdstat_lpush"] / BATCHES, str(broker)),
            "announcements per batch": Count(broker["cmdstat_publish"] / BATCHES, str(broker)),
            **{what: _per_100(now - calls[what], "") for what, now in self._calls().items()},
        }

    def _send(self, series: str, numbers: Sequence[int], minute: int = 0) -> None:
        for start in range(0, len(numbers), BATCH):
            some = numbers[start : start + BATCH]
            events = [member_event(f"{series}-{number}", minute, last_name=f"Lee {minute}") for number in some]
            items = [(position, parse_event(event, max_bytes=64_000)) for position, event in enumerate(events)]
            accept(engine(self._intake.url), items, IntakeRules.of(settings(), Lane.BULK))

    def _start_workers(self) -> None:
        self._pipeline.settings["MEMBERSYNC_WORKER__PATIENCE_S"] = "30"  # no straggler on a busy machine
        for stage, tap in self._workers.items():
            self._pipeline.settings["MEMBERSYNC_LEDGER_URL"] = tap.url
            by_the_clock = "--without-heartbeat"  # an announcement every two seconds, however many events there are
            command = (*WORKER, by_the_clock, "--concurrency=1", "-Q", stage.queue(Lane.BULK), "-n", f"{stage}@counts")
            log = self._pipeline.logs / f"{len(self._pipeline.running)}.log"
            started = self._stack.enter_context(self._pipeline.process(*command))
            eventually(lambda log=log: b" ready." in log.read_bytes(), f"a worker for {stage}")  # type: ignore[misc]
            assert started.poll() is None

    def _until_done(self) -> None:
        """Wait until all has ended and every message was acknowledged, which is the last thing a worker does."""
        eventually(
            lambda: self._pipeline.states().keys() <= {"completed"} and not self._broker.hlen("unacked"),
            "all completed",
        )

    def _wal(self) -> int:
        """Return how far the log has come.  Units: bytes."""
        (written,) = self._pipeline.sql("select (pg_current_wal_insert_lsn() - '0/0')::bigint")
        return int(written)

    def _calls(self) -> dict[str, int]:
        """Count what each system was asked so far."""
        states = {name: self._pipeline.sandbox.control.state(name) for name in ("crowdtwist", "siebel")}
        return {
            f"{method} of {name} per 100 events": int(state[method])
            for name, state in states.items()
            for method in ("posts", "puts", "gets")
        }


def _asked(tap: Tap) -> list[Transaction]:
    """Return what was asked for a reason, payments aside."""
    return [one for one in tap.transactions(but_of=BY_THE_CLOCK) if not _pays(one)]


def _pays(one: Transaction) -> bool:
    """Return whether a transaction is about the budget and nothing else."""
    return any("into spend" in sql for sql in one.asks) and not any("instance" in sql for sql in one.asks)


def _round_trips(asked: Sequence[Transaction], times: int = 1) -> Count:
    return Count(sum(one.round_trips for one in asked) / times, _listed(asked))


def _per_100(count: float, made_of: str) -> Count:
    return Count(count * 100 / EVENTS, made_of)


def _listed(asked: Sequence[Transaction]) -> str:
    """Return the transactions, each with its statements' beginnings, the same ones once."""
    lines = Counter(f"{one.round_trips} round trips: " + "; ".join(sql[:60] for sql in one.statements) for one in asked)
    return "\n".join(f"{count} x {line}" for line, count in lines.items())
