"""The Prometheus metrics of spec section 5, read from the ledger when somebody scrapes, and a server for them alone.

| metric | kind | from |
|---|---|---|
| `membersync_instances_total{stage,outcome}` | counter | the roll-up of activity; outcomes: `shared.ledger.tallies` |
| `membersync_intake_total{outcome}` | counter | what intake answered to each event, of all that take events |
| `membersync_stage_seconds{stage}` | histogram | the same |
| `membersync_sync_seconds{lane}` | histogram | from acceptance until Siebel was told, by lane |
| `membersync_pending{lane,stage,state}` | gauge | instances that are not finished |
| `membersync_oldest_seconds{lane,state}` | gauge | the same: age of the oldest, s since acceptance; 0: there is none |
| `membersync_connection_up{name}` | gauge | 1: neither paused nor its breaker open |
| `membersync_maintenance{name}` | gauge | 1: a planned window lasts, and nobody need be alarmed |
| `membersync_budget_used_ratio{name}` | gauge | calls paid for in the last minute (61 s), in parts of the budget |
| `membersync_call_limit{name}` | gauge | calls in flight that the connection takes, as far as is known |
| `membersync_calls_in_flight{name}` | gauge | calls of all workers in flight at once, at most in the last second |
| `membersync_call_backoffs_total{name}` | counter | how often that limit went down |
| `membersync_dead_letters{stage,code}` | gauge | dead letters now |
| `membersync_processes{kind,lane,state}` | gauge | dispatchers (no lane) and worker processes, `at_work` or `silent` |
| `membersync_mail_unsent` | gauge | mails that the mail server has not taken yet |
| `membersync_mail_oldest_seconds` | gauge | age of the oldest of them, s; 0: there is none |
| `membersync_webhook_messages{state}` | gauge | `waiting` now; `taken` and `given_up` within a day |
| `membersync_webhook_oldest_seconds` | gauge | age of the oldest that waits, s; 0: none does |
| `membersync_webhook_taken_timestamp_seconds` | gauge | when it last took one, Unix time; 0: none that is kept |
| `membersync_snapshot_oldest_seconds` | gauge | age of the oldest snapshot that anybody holds, s |
| `membersync_guard_held{guard,stage}` | gauge | members that a guard holds: `flood`, `mass_change`, `blanking` |
| `membersync_silence_seconds` | gauge | since the newest event from Siebel, s; 0: none yet, or maintenance |
| `membersync_silence_limit_seconds` | gauge | what is too long for that at this hour of the week, s; 0: nothing is |
| `membersync_incidents_open{stage,kind}` | gauge | incidents that go on: of a `connection`, of a `cause` |
| `membersync_cases{kind}` | gauge | open cases: members whose newest event is a Data Error |
| `membersync_members_parked{deadline}` | gauge | members parked at another address, so that a cycle comes loose |
| `membersync_reconcile_age_seconds` | gauge | since a reconciliation of all members came to its end, s |
| `membersync_drift_ratio{class,bound}` | gauge | what it found, in parts of all members: `estimate`, `low`, `high` |
| `membersync_ledger_up` | gauge | 0: the ledger does not answer, and the others are missing |

All of it is the ledger's, none of it the process's: every process that is scraped says the same, and counters go on
where they were after a restart.  Queries take the `max by` these labels first, so that two processes are not added up.
What has not happened yet is there as 0, so that nothing is missing from a plot or an alert; but drift that nobody has
looked for is not there, for 0 would say that there is none.  Its class `any` counts members, whatever differs.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, product
from typing import TypeVar

import anyio.to_thread
import uvicorn
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from producers.http.middleware import Heads
from producers.http.protocol import protocol_of
from producers.intake.accept import Outcome
from producers.operations.reconcile import runs
from producers.operations.single_flight import SharedLook
from shared.budgets import budgets
from shared.errors import OURS, LedgerError
from shared.hosts import listening
from shared.ledger import case_facts, guards, heartbeats, mail, reconciliations, refusals, silence, snapshots, views
from shared.ledger.case_facts import Parked
from shared.ledger.connections import connections
from shared.ledger.engine import engine, transaction
from shared.ledger.guards import Hold
from shared.ledger.heartbeats import Kind
from shared.ledger.reconciliations import Watched
from shared.ledger.records import Backlog, ConnectionState, DeadLetters, Process
from shared.ledger.tallies import BOUNDS_S, OUTCOMES, WAIT_BOUNDS_S, Tally, WaitTotal, tallies, wait_totals
from shared.lifecycle.cases import CaseKind
from shared.lifecycle.incidents import IncidentKind
from shared.lifecycle.mass_changes import Change
from shared.lifecycle.silence import Silence
from shared.pipeline import FAILURE_STATUS, QUEUED, Lane, Stage, State
from shared.settings import Settings

Labels = TypeVar("Labels", bound=tuple[str, ...])
_PATIENCE = 10
"""Scrapes are answered from memory for this many times as long as the last look took."""
_HANGS_S = 5.0
"""A ledger that has not answered for so long is away, whatever it told before.  Scrapes mostly wait for 10 s."""
_UNFINISHED = (*QUEUED, State.RUNNING)


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at the ledger found."""

    tallies: list[Tally]
    waits: list[WaitTotal]
    connections: list[ConnectionState]
    backlog: list[Backlog]
    dead_letters: list[DeadLetters]
    unsent: mail.Unsent
    posting: mail.Posting
    processes: list[Process]
    intake: dict[str, int]
    snapshot_oldest_s: float
    guards: list[Hold]
    silence: Silence
    incidents: dict[tuple[str, str], int]
    cases: dict[str, int]
    parked: Parked
    reconciled: Watched


class LedgerCollector(Collector):
    """Looks at the ledger at most every *ttl_s* seconds, less often where looking is slow; 0: whenever asked."""

    def __init__(self, settings: Settings, *, ttl_s: float = 3.0) -> None:
        self._settings = settings
        self._ledger = engine(settings.require_ledger())
        self._shared = SharedLook(
            self._look, fresh_s=ttl_s, patience=_PATIENCE, within_s=_HANGS_S, hangs_after_s=_HANGS_S
        )

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, in the order of the table above."""
        try:
            look = self._shared.get()
        except LedgerError:
            yield GaugeMetricFamily("membersync_ledger_up", "Whether the ledger answers", 0)
            return
        yield GaugeMetricFamily("membersync_ledger_up", "Whether the ledger answers", 1)
        yield from _throughput(look)
        yield from _durations(look)
        yield from _backlog(look)
        what = "Whether calls go out: the connection is neither paused nor down"
        up = {(row.name,): float(row.state == "up") for row in look.connections}
        yield _family(GaugeMetricFamily, "membersync_connection_up", what, ["name"], up)
        what = "Whether a planned window of the connection lasts"
        lasting = {
            (row.name,): int(bool(row.maintenance and row.maintenance.state == "active")) for row in look.connections
        }
        yield _family(GaugeMetricFamily, "membersync_maintenance", what, ["name"], lasting)
        what = "Calls that count in any 60 s, in parts of the budget"
        used = {(row.name,): row.budget.used / row.budget.per_minute for row in look.connections if row.budget}
        yield _family(GaugeMetricFamily, "membersync_budget_used_ratio", what, ["name"], used)
        yield from _calls(look)
        what = "Mails that the mail server has not taken yet"
        yield GaugeMetricFamily("membersync_mail_unsent", what, look.unsent.count)
        what = "Age of the oldest mail that was not taken yet"
        yield GaugeMetricFamily("membersync_mail_oldest_seconds", what, look.unsent.oldest_s)
        yield from _webhook(look.posting)
        yield _processes(look)
        what = "Age of the oldest snapshot of the ledger that anybody holds"
        yield GaugeMetricFamily("membersync_snapshot_oldest_seconds", what, look.snapshot_oldest_s)
        held = {(guards.FLOOD, str(stage)): 0 for stage in FAILURE_STATUS}
        held |= {(str(change), str(Stage.OIC)): 0 for change in Change}
        for hold in look.guards:
            held[hold.kind, hold.stage] = held.get((hold.kind, hold.stage), 0) + hold.held
        yield _family(
            GaugeMetricFamily, "membersync_guard_held", "Members that a guard holds", ["guard", "stage"], held
        )
        what = "Time since the newest event that Siebel sent"
        quiet = look.silence
        lasts_s = 0.0 if quiet.excused else quiet.lasts_s
        yield GaugeMetricFamily("membersync_silence_seconds", what, lasts_s)
        what = "What is too long for that at this hour of the week"
        yield GaugeMetricFamily("membersync_silence_limit_seconds", what, quiet.limit_s or 0.0)
        what = "Incidents that go on"
        going_on = {(str(stage), str(kind)): 0 for stage, kind in product(Stage, IncidentKind)} | look.incidents
        yield _family(GaugeMetricFamily, "membersync_incidents_open", what, ["stage", "kind"], going_on)
        what = "Members whose newest event is a Data Error"
        cases = {(str(kind),): look.cases.get(kind, 0) for kind in CaseKind}
        yield _family(GaugeMetricFamily, "membersync_cases", what, ["kind"], cases)
        what = "Members parked at another address, so that a cycle of addresses comes loose"
        parked = {("in_time",): look.parked.in_time, ("late",): look.parked.late}
        yield _family(GaugeMetricFamily, "membersync_members_parked", what, ["deadline"], parked)
        yield from _drift(look.reconciled, is_made=runs.why_not_scheduled(self._settings) is None)

    def _look(self) -> _Look:
        with transaction(self._ledger) as tx:
            return _Look(
                tallies(tx),
                wait_totals(tx),
                connections(tx, budgets(self._settings)),
                views.backlog(tx),
                views.dead_letters(tx),
                mail.unsent(tx),
                mail.posting(tx),
                heartbeats.processes(tx),
                refusals.counts(tx),
                max((one.age_s for one in snapshots.holders(tx)), default=0.0),
                guards.open_holds(tx),
                silence.read(tx, self._settings.guard.silence_rules),
                views.open_incidents(tx),
                case_facts.counts(tx),
                case_facts.parked(tx),
                reconciliations.watched(tx),
            )


def registry_of(settings: Settings) -> CollectorRegistry:
    """Return the registry that `/metrics` serves."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LedgerCollector(settings))
    return registry


def _family(
    kind: type[CounterMetricFamily | GaugeMetricFamily],
    name: str,
    what: str,
    labels: Sequence[str],
    values: Mapping[Labels, float],
) -> Metric:
    """Return a family with a sample for each of *values*, which are by the values of *labels*."""
    family = kind(name, what, labels=labels)
    for of_labels, value in values.items():
        family.add_metric(of_labels, value)
    return family


def _histogram(
    name: str, what: str, label: str, bounds: Sequence[float], values: Mapping[str, tuple[list[int], float]]
) -> Metric:
    """Return a histogram by *label*; *values* are what fell into each bucket, not added up yet, and the sum."""
    family = HistogramMetricFamily(name, what, labels=[label])
    names = [*map(str, bounds), "+Inf"]
    for of_label, (counts, total) in values.items():
        family.add_metric([of_label], list(zip(names, accumulate(counts), strict=True)), total)
    return family


def _throughput(look: _Look) -> Iterator[Metric]:
    counts = {(str(stage), outcome): 0 for stage, outcomes in OUTCOMES.items() for outcome in outcomes}
    for row in look.tallies:
        counts[row.stage, row.outcome] = counts.get((row.stage, row.outcome), 0) + row.count
    what = "What became of instances at each stage"
    ordered = dict(sorted(counts.items()))
    yield _family(CounterMetricFamily, "membersync_instances", what, ["stage", "outcome"], ordered)
    answers = {(str(outcome),): look.intake.get(outcome, 0) for outcome in Outcome}
    yield _family(CounterMetricFamily, "membersync_intake", "What intake answered to events", ["outcome"], answers)


def _durations(look: _Look) -> Iterator[Metric]:
    stages = {str(stage): ([0] * (len(BOUNDS_S) + 1), 0.0) for stage in Stage}
    for row in look.tallies:
        if row.bucket >= 0 and row.stage in stages:
            counts, took_s = stages[row.stage]
            counts[row.bucket] += row.count
            stages[row.stage] = counts, took_s + row.took_s
    yield _histogram("membersync_stage_seconds", "Duration of an attempt", "stage", BOUNDS_S, stages)
    lanes = {str(lane): ([0] * (len(WAIT_BOUNDS_S) + 1), 0.0) for lane in Lane}
    for wait in look.waits:
        if wait.lane in lanes:
            counts, waited_s = lanes[wait.lane]
            counts[wait.bucket] += wait.count
            lanes[wait.lane] = counts, waited_s + wait.waited_s
    what = "From the acceptance of an event until Siebel was told its outcome"
    yield _histogram("membersync_sync_seconds", what, "lane", WAIT_BOUNDS_S, lanes)


def _backlog(look: _Look) -> Iterator[Metric]:
    counts = {(str(lane), str(stage), str(state)): 0 for lane, stage, state in product(Lane, Stage, _UNFINISHED)}
    ages_s = {(str(lane), str(state)): 0.0 for lane, state in product(Lane, _UNFINISHED)}
    for row in look.backlog:
        counts[row.lane, row.stage, row.state] = row.count
        ages_s[row.lane, row.state] = max(ages_s[row.lane, row.state], row.oldest_s)
    what = "Instances that are not finished"
    yield _family(GaugeMetricFamily, "membersync_pending", what, ["lane", "stage", "state"], counts)
    what = "Age of the oldest instance since its acceptance"
    yield _family(GaugeMetricFamily, "membersync_oldest_seconds", what, ["lane", "state"], ages_s)
    dead = {(str(stage), code): 0 for stage, code in product(Stage, OURS)}
    dead |= {(row.stage, row.code): row.count for row in look.dead_letters}
    yield _family(GaugeMetricFamily, "membersync_dead_letters", "Dead letters by cause", ["stage", "code"], dead)


def _calls(look: _Look) -> Iterator[Metric]:
    """Yield what is known of how many calls each connection takes at once."""
    calls = {(row.name,): row.calls for row in look.connections if row.calls}
    what = "Calls in flight that the connection takes, as far as is known"
    limits = {name: float(one.limit) for name, one in calls.items()}
    yield _family(GaugeMetricFamily, "membersync_call_limit", what, ["name"], limits)
    what = "Calls of all workers in flight at once, at most in the last second"
    in_flight = {name: float(one.in_flight) for name, one in calls.items()}
    yield _family(GaugeMetricFamily, "membersync_calls_in_flight", what, ["name"], in_flight)
    what = "How often the limit of calls in flight went down"
    backoffs = {name: float(one.backoffs) for name, one in calls.items()}
    yield _family(CounterMetricFamily, "membersync_call_backoffs", what, ["name"], backoffs)


def _webhook(found: mail.Posting) -> Iterator[Metric]:
    """Yield how the webhook fares; a ledger without one has it all at 0."""
    what = "Messages to the webhook: waiting now, taken or given up within a day"
    counts = {("waiting",): found.waiting, ("taken",): found.taken, ("given_up",): found.count}
    yield _family(GaugeMetricFamily, "membersync_webhook_messages", what, ["state"], counts)
    what = "Age of the oldest message that waits for the webhook"
    yield GaugeMetricFamily("membersync_webhook_oldest_seconds", what, found.oldest_s)
    what = "When the webhook last took a message"
    taken_at = found.taken_at.timestamp() if found.taken_at else 0.0
    yield GaugeMetricFamily("membersync_webhook_taken_timestamp_seconds", what, taken_at)


def _drift(found: Watched, *, is_made: bool) -> Iterator[Metric]:
    """Yield what the last reconciliation found, and how old it is, where one ended or they are made by themselves."""
    if found.age_s is not None and (found.done or is_made):
        what = "Since a reconciliation of all members came to its end, or since there are members"
        yield GaugeMetricFamily("membersync_reconcile_age_seconds", what, found.age_s)
    if found.done is None:
        return
    parts = {**found.done.classes, "any": found.done.drift}
    values = {
        (name, bound): part[bound]
        for name, part in parts.items()
        for bound in ("estimate", "low", "high")
        if part.get(bound) is not None
    }
    what = "Part of all members that differs, as the last reconciliation estimates it with 95 % confidence"
    yield _family(GaugeMetricFamily, "membersync_drift_ratio", what, ["class", "bound"], values)


def _processes(look: _Look) -> Metric:
    silent = heartbeats.silent(look.processes)
    counts: dict[tuple[str, ...], int] = {}
    for kind, lane, some in (
        (Kind.DISPATCHER, "", heartbeats.dispatchers(look.processes)),
        *((Kind.WORKER, lane, heartbeats.workers(look.processes, lane)) for lane in Lane),
    ):
        counts[kind, lane, "at_work"] = sum(map(heartbeats.is_at_work, some))
        counts[kind, lane, "silent"] = sum(one in silent for one in some)
    what = "Dispatchers and worker processes: at work, or fallen silent with none started in their place"
    return _family(GaugeMetricFamily, "membersync_processes", what, ["kind", "lane", "state"], counts)


_STOP_WITHIN_S = 2


@contextmanager
def metrics_served(settings: Settings) -> Iterator[None]:
    """Serve the metrics of a process that is no api, in a thread of its own, for the length of the block.

    They are served as the api serves its own, to whoever may reach the port: HEAD is answered as GET is, and whoever
    sends half a head is cut off after the api's `HEAD_WITHIN_S`.

    Raises:
        PortError: its port cannot be listened on.
    """
    of = settings.dispatcher
    config = uvicorn.Config(
        _app(settings),
        log_level="warning",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        http=protocol_of(settings.api),
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=_STOP_WITHIN_S,
    )
    server = uvicorn.Server(config)
    with listening("metrics", of.metrics_host, of.metrics_port, "MEMBERSYNC_DISPATCHER__METRICS_PORT") as listeners:
        thread = threading.Thread(target=server.run, args=(listeners,), name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join(_STOP_WITHIN_S * 2)


def _app(settings: Settings) -> Heads:
    registry = registry_of(settings)

    async def metrics(request: Request) -> Response:
        encode, media_type = exposition.choose_encoder(request.headers.get("accept", ""))
        encoded = await anyio.to_thread.run_sync(encode, registry, abandon_on_cancel=True)
        return Response(encoded, headers={"Content-Type": media_type})

    return Heads(Starlette(routes=[Route(path, metrics, methods=["GET"]) for path in ("/", "/metrics")]))
