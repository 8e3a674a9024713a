"""The Prometheus metrics of spec section 5, read from the ledger when somebody scrapes.

| metric | kind | from |
|---|---|---|
| `membersync_instances_total{stage,outcome}` | counter | the roll-up of activity; outcomes: `shared.ledger.tallies` |
| `membersync_intake_total{outcome}` | counter | what intake answered to each event, of all that take events |
| `membersync_stage_seconds{stage}` | histogram | the same |
| `membersync_sync_seconds{lane}` | histogram | from acceptance until Siebel was told, by lane |
| `membersync_pending{lane,stage,state}` | gauge | instances that are not finished |
| `membersync_oldest_seconds{lane,state}` | gauge | the same: age of the oldest, s since acceptance; 0: there is none |
| `membersync_connection_up{name}` | gauge | 1: neither paused nor its breaker open |
| `membersync_budget_used_ratio{name}` | gauge | calls paid for in the last minute (62 s), in parts of the budget |
| `membersync_dead_letters{stage,code}` | gauge | dead letters now |
| `membersync_processes{kind,lane,state}` | gauge | dispatchers (no lane) and worker processes, `at_work` or `silent` |
| `membersync_mail_unsent` | gauge | mails that the mail server has not taken yet |
| `membersync_mail_oldest_seconds` | gauge | age of the oldest of them, s; 0: there is none |
| `membersync_ledger_up` | gauge | 0: the ledger does not answer, and the others are missing |

All of it is the ledger's, none of it the process's: every process that is scraped says the same, and counters go on
where they were after a restart.  Queries take the `max by` these labels first, so that two processes are not added up.
What has not happened yet is there as 0, so that nothing is missing from a plot or an alert.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, product

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from producers.intake.accept import Outcome
from producers.operations import at_work
from producers.operations.single_flight import SharedLook
from shared.budgets import budgets
from shared.errors import LedgerError
from shared.ledger import heartbeats, mail, refusals, views
from shared.ledger.connections import connections
from shared.ledger.engine import engine, transaction
from shared.ledger.heartbeats import Kind
from shared.ledger.records import Backlog, ConnectionState, DeadLetters, Process
from shared.ledger.tallies import BOUNDS_S, OUTCOMES, WAIT_BOUNDS_S, Tally, WaitTotal, tallies, wait_totals
from shared.pipeline import QUEUED, Lane, Stage, State
from shared.settings import Settings

_PATIENCE = 10
"""Scrapes are answered from memory for this many times as long as the last look took."""
_HANGS_S = 5.0
"""A ledger that has not answered for so long is away, whatever it told before.  Scrapes mostly wait for 10 s."""
_UNFINISHED = (*QUEUED, State.RUNNING)
_OURS_TO_FIX = ("bug", "worker_lost")
"""Codes of dead letters that say something about membersync, and are alerted on apart."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at the ledger found.  Units: *unsent* count of mails, and the age of the oldest in seconds."""

    tallies: list[Tally]
    waits: list[WaitTotal]
    connections: list[ConnectionState]
    backlog: list[Backlog]
    dead_letters: list[DeadLetters]
    unsent: tuple[int, float]
    processes: list[Process]
    intake: dict[str, int]


class LedgerCollector(Collector):
    """Looks at the ledger at most every *ttl_s* seconds, less often where looking is slow; 0: whenever asked."""

    def __init__(self, settings: Settings, *, ttl_s: float = 3.0) -> None:
        self._settings = settings
        self._ledger = engine(settings.require_ledger())
        self._shared = SharedLook(
            self._look, fresh_s=ttl_s, patience=_PATIENCE, within_s=_HANGS_S, hangs_after_s=_HANGS_S
        )

    def collect(self) -> Iterator[Metric]:
        """Give the metrics."""
        try:
            look = self._shared.get()
        except LedgerError:
            yield GaugeMetricFamily("membersync_ledger_up", "Whether the ledger answers", 0)
            return
        yield GaugeMetricFamily("membersync_ledger_up", "Whether the ledger answers", 1)
        yield _instances(look.tallies)
        yield _intake(look.intake)
        yield _seconds(look.tallies)
        yield _waits(look.waits)
        yield from _backlog(look.backlog)
        yield _dead_letters(look.dead_letters)
        yield _connections(look.connections)
        yield _budgets(look.connections)
        yield from _mail(*look.unsent)
        yield _processes(look.processes)

    def _look(self) -> _Look:
        with transaction(self._ledger) as tx:
            return _Look(
                tallies(tx),
                wait_totals(tx),
                connections(tx, budgets(self._settings)),
                views.backlog(tx),
                views.dead_letters(tx),
                mail.unsent(tx),
                heartbeats.processes(tx),
                refusals.counts(tx),
            )


def registry_of(settings: Settings) -> CollectorRegistry:
    """Give the registry that `/metrics` serves."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LedgerCollector(settings))
    return registry


def _instances(rows: list[Tally]) -> Metric:
    family = CounterMetricFamily(
        "membersync_instances", "What became of instances at each stage", labels=["stage", "outcome"]
    )
    totals = {(str(stage), outcome): 0 for stage, outcomes in OUTCOMES.items() for outcome in outcomes}
    for row in rows:
        totals[row.stage, row.outcome] = totals.get((row.stage, row.outcome), 0) + row.count
    for labels, total in sorted(totals.items()):
        family.add_metric(labels, total)
    return family


def _intake(counts: dict[str, int]) -> Metric:
    family = CounterMetricFamily("membersync_intake", "What intake answered to events", labels=["outcome"])
    for outcome in Outcome:
        family.add_metric([outcome], counts.get(outcome, 0))
    return family


def _seconds(rows: list[Tally]) -> Metric:
    family = HistogramMetricFamily("membersync_stage_seconds", "Duration of an attempt", labels=["stage"])
    counts: dict[str, list[int]] = {stage: [0] * (len(BOUNDS_S) + 1) for stage in Stage}
    took_s: dict[str, float] = defaultdict(float)
    for row in rows:
        if row.bucket >= 0 and row.stage in counts:
            counts[row.stage][row.bucket] += row.count
            took_s[row.stage] += row.took_s
    bounds = [*map(str, BOUNDS_S), "+Inf"]
    for stage, of_stage in counts.items():
        family.add_metric([stage], list(zip(bounds, accumulate(of_stage), strict=True)), took_s[stage])
    return family


def _waits(rows: list[WaitTotal]) -> Metric:
    family = HistogramMetricFamily(
        "membersync_sync_seconds", "From the acceptance of an event until Siebel was told its outcome", labels=["lane"]
    )
    bounds = [*map(str, WAIT_BOUNDS_S), "+Inf"]
    for lane in Lane:
        counts, waited_s = [0] * len(bounds), 0.0
        for row in rows:
            if row.lane == lane:
                counts[row.bucket] += row.count
                waited_s += row.waited_s
        family.add_metric([lane], list(zip(bounds, accumulate(counts), strict=True)), waited_s)
    return family


def _backlog(rows: list[Backlog]) -> Iterator[Metric]:
    counts = {(str(lane), str(stage), str(state)): 0 for lane, stage, state in product(Lane, Stage, _UNFINISHED)}
    ages = {(str(lane), str(state)): 0.0 for lane, state in product(Lane, _UNFINISHED)}
    for row in rows:
        counts[row.lane, row.stage, row.state] = row.count
        ages[row.lane, row.state] = max(ages[row.lane, row.state], row.oldest_s)
    pending = GaugeMetricFamily(
        "membersync_pending", "Instances that are not finished", labels=["lane", "stage", "state"]
    )
    for of_pending, count in counts.items():
        pending.add_metric(of_pending, count)
    yield pending
    oldest = GaugeMetricFamily(
        "membersync_oldest_seconds", "Age of the oldest instance since its acceptance", labels=["lane", "state"]
    )
    for of_oldest, age_s in ages.items():
        oldest.add_metric(of_oldest, age_s)
    yield oldest


def _dead_letters(rows: list[DeadLetters]) -> Metric:
    family = GaugeMetricFamily("membersync_dead_letters", "Dead letters by cause", labels=["stage", "code"])
    counts = {(str(stage), code): 0 for stage, code in product(Stage, _OURS_TO_FIX)}
    counts.update({(row.stage, row.code): row.count for row in rows})
    for labels, count in counts.items():
        family.add_metric(labels, count)
    return family


def _connections(rows: list[ConnectionState]) -> Metric:
    family = GaugeMetricFamily(
        "membersync_connection_up", "Whether calls go out: the connection is neither paused nor down", labels=["name"]
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


def _processes(rows: list[Process]) -> Metric:
    family = GaugeMetricFamily(
        "membersync_processes",
        "Dispatchers and worker processes: at work, or fallen silent with none started in their place",
        labels=["kind", "lane", "state"],
    )
    silent = at_work.silent(rows)
    for kind, lane, some in (
        (Kind.DISPATCHER, "", at_work.dispatchers(rows)),
        *((Kind.WORKER, lane, at_work.workers(rows, lane)) for lane in Lane),
    ):
        family.add_metric([kind, lane, "at_work"], sum(map(at_work.is_at_work, some)))
        family.add_metric([kind, lane, "silent"], sum(one in silent for one in some))
    return family


def _mail(count: int, oldest_s: float) -> Iterator[Metric]:
    yield GaugeMetricFamily("membersync_mail_unsent", "Mails that the mail server has not taken yet", count)
    yield GaugeMetricFamily("membersync_mail_oldest_seconds", "Age of the oldest mail that was not taken yet", oldest_s)
