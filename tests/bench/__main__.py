"""`make bench`: events per second through the whole pipeline against plain Celery, latency when idle, and pages.

Both sides run on this machine in this run, one after the other in each round, in processes of the same number (four
prefork children), against the same simulators at zero latency.  The figure is the ratio of the medians; the absolute
numbers say more about the machine.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from deploy.local.servers import ServerError, scratch_postgres
from producers.intake.accept import IntakeRules, accept
from shared.events import parse_event
from shared.ledger.engine import engine
from shared.ledger.readiness import migrate
from shared.pipeline import Lane
from tests.bench import plain
from tests.bench.latency import idle_latency
from tests.bench.pages import GOAL_MS, INSTANCES, page_times
from tests.bench.rig import Rig, rig, wait_until

GOAL = 8.0
_SLICE = 1_000


def member_event(number: str) -> dict[str, Any]:
    """Return a realistic enrolment of a US member."""
    member = {
        "member_number": number,
        "row_id": f"1-{number}",
        "program_id": "1-PROG",
        "member_type": "Individual",
        "status": "Active",
        "language": "en",
        "first_name": "Andy",
        "last_name": "Cole",
        "middle_name": "",
        "date_of_birth": "1979-11-29",
        "email_address": f"andy.cole.{number.lower()}@example.org",
        "postal_code": "10010",
        "city": "New York",
        "country_code": "US",
        "gender": "M",
    }
    return {"operation": "enroll", "occurred_at": "2026-11-23T08:51:00Z", "modification": 0, "member": member}


class Race:
    """Sends events on either side and times them from the first send to the last status in Siebel."""

    def __init__(self, on: Rig) -> None:
        self._rig = on
        self._sent = 0
        self._ledger = engine(on.ledger_url)

    def run(self, send: Callable[[list[dict[str, Any]]], None], count: int) -> float:
        """Send *count* new members; give events per second."""
        events = [member_event(f"B-{self._sent + index}") for index in range(count)]
        self._sent += count
        began = time.perf_counter()
        send(events)
        wait_until(lambda: self._told() >= self._sent, 600, f"{count} events")
        return count / (time.perf_counter() - began)

    def ours(self, events: list[dict[str, Any]]) -> None:
        """Send through intake, into the ledger."""
        for start in range(0, len(events), _SLICE):
            items = [
                (start + index, parse_event(event, max_bytes=64_000))
                for index, event in enumerate(events[start : start + _SLICE])
            ]
            accept(self._ledger, items, IntakeRules(Lane.BULK))

    def plain(self, events: list[dict[str, Any]]) -> None:
        """Send a chain per event."""
        for event in events:
            plain.send(event)

    def _told(self) -> int:
        return int(self._rig.control.state("siebel")["members"])


def main() -> int:
    """Run the benchmarks; exit 1 when the goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=10_000, help="events of ours per round")
    parser.add_argument("--plain-events", type=int, default=1_500, help="events of plain Celery per round")
    parser.add_argument("--single", type=int, default=100, help="single events for the idle latency")
    parser.add_argument("--instances", type=int, default=INSTANCES, help="in the ledger while pages are timed")
    parser.add_argument("--only", choices=["race", "pages"], help="one part of it")
    options = parser.parse_args()
    missed = 0
    if options.only != "pages":
        missed += _raced(options)
    if options.only != "race":
        missed += _paged(options.instances)
    return 1 if missed else 0


def _raced(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="membersync-bench-") as home:
        try:
            return _race(Path(home), options)
        except (ServerError, TimeoutError) as error:
            sys.stderr.write(f"bench: {error}\n")
            return 1


def _race(home: Path, options: argparse.Namespace) -> int:
    with rig(home) as on, ExitStack() as stack:
        plain.app.conf.update(broker_url=on.plain_broker_url)
        migrate(on.ledger_url)
        celery = ("-m", "celery")
        worker = ("worker", "--concurrency=4", "--loglevel=warning")
        stack.enter_context(on.process("dispatcher", "-m", "producers.cli", "dispatcher"))
        stack.enter_context(on.process("worker", "-m", "producers.cli", "worker", "--concurrency", "4"))
        race = Race(on)
        race.run(race.ours, 200)
        ours: list[float] = []
        theirs: list[float] = []
        for number in range(options.rounds):
            ours.append(race.run(race.ours, options.events))
            with on.process("plain", *celery, "-A", "tests.bench.plain", *worker, "-n", "plain@%h"):
                race.run(race.plain, 50)
                theirs.append(race.run(race.plain, options.plain_events))
            _say(f"round {number + 1}: membersync {ours[-1]:.0f}/s, plain Celery {theirs[-1]:.0f}/s")
        ratio = statistics.median(ours) / statistics.median(theirs)
        _say(f"\nmedian: membersync {statistics.median(ours):.0f}/s, plain Celery {statistics.median(theirs):.0f}/s")
        _say(f"ratio: {ratio:.1f} (goal: at least {GOAL:g})")
        latency = idle_latency(on, options.single)
        _say(f"idle, POST to Siebel status: p50 {latency.p50_ms:.0f} ms, p95 {latency.p95_ms:.0f} ms (goal: p50 < 60)")
    return 0 if ratio >= GOAL else 1


def _paged(instances: int) -> int:
    with scratch_postgres() as url:
        times = page_times(url, instances)
    _say(f"\npages with {instances:,} instances in the ledger, caches cold, median ms (goal: under {GOAL_MS:g})")
    for name, took_ms in times.items():
        _say(f"  {name:<28}{took_ms:7.0f}")
    return sum(took_ms >= GOAL_MS for took_ms in times.values())


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
