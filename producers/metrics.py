"""The Prometheus metrics of spec section 5, read from the ledger when somebody scrapes.

| metric | kind | from |
|---|---|---|
| `membersync_instances_total{stage,outcome}` | counter | activity, read on from the last scrape |
| `membersync_stage_seconds{stage}` | histogram | the same |
| `membersync_pending{lane,stage,state}` | gauge | instances that are not finished |
| `membersync_oldest_seconds{lane,state}` | gauge | the same: age of the oldest, s since acceptance |
| `membersync_connection_up{name}` | gauge | 1: neither paused nor its breaker open |
| `membersync_budget_used_ratio{name}` | gauge | calls paid for in the last minute (62 s), in parts of the budget |
| `membersync_dead_letters{stage,code}` | gauge | dead letters now |
| `membersync_ledger_up` | gauge | 0: the ledger does not answer, and the others are missing |

The counters are the pipeline's as this process saw it since it started: several processes count the same thing, so take
one of them or the `max` of them, never their sum.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from producers.connections import budgets
from shared.errors import LedgerError
from shared.ledger import gauges, views
from shared.ledger.connection_views import connections
from shared.ledger.engine import engine, transaction
from shared.ledger.gauges import Tally
from shared.ledger.records import Backlog, ConnectionState, DeadLetters
from shared.pipeline import Stage
from shared.settings import Settings

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_READ_MAX = timedelta(hours=1)
"""Activity that is read at one scrape at most; who scrapes less often than this loses what lies further back."""
_PATIENCE = 10
"""Scrapes are answered from memory for this many times as long as the last look took."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at the ledger found."""

    connections: list[ConnectionState]
    backlog: list[Backlog]
    dead_letters: list[DeadLetters]


class LedgerCollector(Collector):
    """Looks at the ledger at most every *ttl_s* seconds, less often where looking is slow; 0: whenever asked.

    Units: *settle_s* seconds after which every transaction that wrote a line of activity has committed.
    """

    def __init__(self, settings: Settings, *, ttl_s: float = 3.0, settle_s: float = 2.0) -> None:
        self._settings = settings
        self._ledger = engine(settings.require_ledger())
        self._ttl_s = ttl_s
        self._lock = threading.Lock()
        self._settle_s = settle_s
        self._started = time.monotonic()
        self._read_upto: datetime | None = None
        self._counters = _Counters()
        self._fresh_until = float("-inf")
        self._families: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        """Give the metrics."""
        with self._lock:
            if time.monotonic() >= self._fresh_until:
                began = time.monotonic()
                self._families = list(self._read())
                now = time.monotonic()
                self._fresh_until = now + (max(self._ttl_s, _PATIENCE * (now - began)) if self._ttl_s else 0)
            return self._families

    def _read(self) -> Iterator[Metric]:
        try:
            look = self._look()
        except LedgerError:
            yield GaugeMetricFamily("membersync_ledger_up", "Whether the ledger answers", 0)
            return
        yield GaugeMetricFamily("membersync_ledger_up", "Whether the ledger answers", 1)
        yield from _backlog(look.backlog)
        yield _dead_letters(look.dead_letters)
        yield _connections(look.connections)
        yield _budgets(look.connections)
        yield from self._counters.metrics()

    def _look(self) -> _Look:
        with transaction(self._ledger) as connection:
            after = self._read_upto or gauges.ago(connection, time.monotonic() - self._started)
            upto = max(after, gauges.ago(connection, self._settle_s))
            after = max(after, upto - _READ_MAX)
            tallies = gauges.tallies(connection, after=after, upto=upto, bounds_s=BOUNDS_S)
            look = _Look(
                connections(connection, budgets(self._settings)),
                views.backlog(connection),
                views.dead_letters(connection),
            )
        self._read_upto = upto
        self._counters.add(tallies)
        return look


class _Counters:
    """What this process has seen in the activity since it started."""

    def __init__(self) -> None:
        self._outcomes: dict[tuple[str, str], int] = defaultdict(int)
        self._buckets: dict[str, list[int]] = {stage: [0] * (len(BOUNDS_S) + 1) for stage in Stage}
        self._seconds: dict[str, float] = dict.fromkeys(Stage, 0.0)

    def add(self, tallies: Iterable[Tally]) -> None:
        """Count what was read."""
        for tally in tallies:
            self._outcomes[tally.stage, tally.outcome] += tally.count
            if tally.bucket is not None and tally.stage in self._buckets:
                self._buckets[tally.stage][tally.bucket] += tally.count
                self._seconds[tally.stage] += tally.took_s

    def metrics(self) -> Iterator[Metric]:
        """Give the counters as they stand."""
        total = CounterMetricFamily(
            "membersync_instances", "What became of instances at each stage", labels=["stage", "outcome"]
        )
        for (stage, outcome), count in sorted(self._outcomes.items()):
            total.add_metric([stage, outcome], count)
        yield total
        seconds = HistogramMetricFamily("membersync_stage_seconds", "Duration of an attempt", labels=["stage"])
        bounds = [*map(str, BOUNDS_S), "+Inf"]
        for stage, counts in self._buckets.items():
            seconds.add_metric([stage], list(zip(bounds, accumulate(counts), strict=True)), self._seconds[stage])
        yield seconds


def registry_of(settings: Settings) -> CollectorRegistry:
    """Give the registry that `/metrics` serves."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LedgerCollector(settings))
    return registry


def _backlog(rows: list[Backlog]) -> Iterator[Metric]:
    pending = GaugeMetricFamily(
        "membersync_pending", "Instances that are not finished", labels=["lane", "stage", "state"]
    )
    oldest: dict[tuple[str, str], float] = {}
    for row in rows:
        pending.add_metric([row.lane, row.stage, row.state], row.count)
        oldest[row.lane, row.state] = max(oldest.get((row.lane, row.state), 0.0), row.oldest_s)
    yield pending
    ages = GaugeMetricFamily(
        "membersync_oldest_seconds", "Age of the oldest instance since its acceptance", labels=["lane", "state"]
    )
    for labels, age_s in oldest.items():
        ages.add_metric(labels, age_s)
    yield ages


def _dead_letters(rows: list[DeadLetters]) -> Metric:
    family = GaugeMetricFamily("membersync_dead_letters", "Dead letters by cause", labels=["stage", "code"])
    for row in rows:
        family.add_metric([row.stage, row.code], row.count)
    return family


def _connections(rows: list[ConnectionState]) -> Metric:
    family = GaugeMetricFamily(
        "membersync_connection_up", "Whether calls go out: neither paused nor its breaker open", labels=["name"]
    )
    for row in rows:
        family.add_metric([row.name], float(row.state == "up"))
    return family


def _budgets(rows: list[ConnectionState]) -> Metric:
    family = GaugeMetricFamily(
        "membersync_budget_used_ratio", "Calls that count in any 60 s, in parts of the budget", labels=["name"]
    )
    for row in rows:
        if row.budget is not None:
            family.add_metric([row.name], row.budget.used / row.budget.per_minute)
    return family
