"""`make bench`: the race against every peer and the bound, the scenarios, pages at a million instances; one table.

What is measured and how: `deploy/decisions/0010-bench.md`.  Beside the table, `.artifacts/bench.json` has every figure;
null is one that this run did not measure.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.servers import ServerError, scratch_postgres
from tests.bench import bound, contestants, report, scenarios
from tests.bench.contestants import Who
from tests.bench.pages import GOAL_MS, INSTANCES, page_times
from tests.bench.race import Entrant, Ours, Peer, Servers, Size, servers
from tests.bench.report import BOUND, NEW_MEMBERS, OURS, SAME_CALLS, Result
from tests.bench.rig import Rig, rig
from tests.bench.scenarios import Options
from tests.bench.stub import ARTIFACTS, StubError

_ONE_ROW = {"SIEBEL__ROWS_PER_REQUEST": "1"}


def main() -> int:
    """Run what was asked for; exit 1 when something could not be measured, or a page misses its goal."""
    options = _options()
    began = time.monotonic()
    found: dict[str, float] = {}
    results: list[Result] = []
    missed = 0
    try:
        if options.only in (None, "race"):
            results = _raced(options)
            found |= report.figures(results)
        for name in scenarios.names():
            if options.only == name or (options.only is None and not options.quick):
                found |= _measured(name, options.scale)
        if options.only == "pages" or (options.only is None and not options.quick):
            missed = _paged(options.instances)
    except (ServerError, StubError, TimeoutError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    report.write(ARTIFACTS / "bench.json", report.document(found, results, report.machine()))
    _say(f"\n{ARTIFACTS / 'bench.json'}; {time.monotonic() - began:.0f} s")
    return 1 if missed else 0


def _options() -> argparse.Namespace:
    parts = ["race", "pages", *scenarios.names()]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the ratios alone, in under four minutes")
    parser.add_argument("--only", choices=parts, metavar="PART", help=f"one part: {', '.join(parts)}")
    parser.add_argument("--entrants", nargs="*", metavar="NAME", help="in the race: these alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, help="events of ours in a lap; 20000, with --quick 5000")
    parser.add_argument("--seconds", type=float, help="of a contestant's lap; 6, with --quick 1.5")
    parser.add_argument("--scale", type=float, default=1.0, help="of the scenarios: 0.1 for a try")
    parser.add_argument("--instances", type=int, default=INSTANCES, help="in the ledger while pages are timed")
    options = parser.parse_args()
    options.events = options.events or (5_000 if options.quick else 20_000)
    options.seconds = options.seconds or (1.5 if options.quick else 6.0)
    return options


@contextmanager
def _start() -> Iterator[Rig]:
    with _scratch() as home, rig(home) as on:
        yield on


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="membersync-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _raced(options: argparse.Namespace) -> list[Result]:
    with _start() as on, _scratch() as home, servers(on, home) as theirs:
        entrants = _entrants(on, theirs, options)
        for number in range(1, options.rounds + 1):
            _say(f"round {number} of {options.rounds}")
            for entrant in entrants:
                entrant.run()
                _say(report.shown_lap(entrant.who.title, entrant.laps[-1]))
    results = [report.result(entrant) for entrant in entrants if entrant.laps]
    _say(f"\n{report.table(results)}\n")
    for one in results:
        _say(report.by_process(one))
    _say(f"the stub: {report.Spread.of(one.stub_ms_per_call for one in results).median:.4f} ms CPU per call")
    for name, figure in report.figures(results).items():
        _say(f"{name:<32}{figure:10.4g}")
    return results


def _entrants(on: Rig, theirs: Servers, options: argparse.Namespace) -> list[Entrant]:
    """Return who runs, in the order in which they do."""
    size = Size(options.seconds, options.events)
    entrants: list[Entrant] = [
        Ours(on, Who(OURS, "membersync"), events=options.events, rows_known=True, settings={}),
        Ours(
            on, Who(SAME_CALLS, "membersync, one PUT each"), events=options.events, rows_known=True, settings=_ONE_ROW
        ),
        Peer(on, Who(BOUND, bound.TITLE), theirs, bound, size),
    ]
    if not options.quick:
        who = Who(NEW_MEMBERS, "membersync, a look-up each")
        entrants.append(Ours(on, who, events=options.events, rows_known=False, settings={}))
    for name in contestants.names():
        if (peer := contestants.installed(name)) is None:
            _say(f"{name} is not installed and left out: pip install --editable '.[bench]'")
            continue
        contestant, who = peer
        entrants.append(Peer(on, who, theirs, contestant, size))
    return [entrant for entrant in entrants if not options.entrants or entrant.who.name in options.entrants]


def _measured(name: str, scale: float) -> dict[str, float]:
    scenario = scenarios.scenario(name)
    _say(f"\n{scenario.TITLE}")
    found = scenario.run(_start, Options(scale))
    for key in scenario.KEYS:
        _say(f"  {key:<32}{found[key]:10.4g}")
    return found


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
