"""`make bench`: the race against every peer and the bound, the scenarios, pages at a million instances; one table.

What is measured and how: `deploy/decisions/0010-bench.md`.  Beside the table, `.artifacts/bench.json` has every figure;
null is one that this run did not measure.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import httpx

from deploy.local.servers import ServerError, scratch_postgres
from tests.bench import bound, contestants, report, scenarios
from tests.bench.contestants import Who
from tests.bench.pages import GOAL_MS, INSTANCES, page_times
from tests.bench.race import Entrant, Ours, Peer, Servers, Setup, Size, servers
from tests.bench.report import BOUND, BUDGETED, NEW_MEMBERS, OURS, SAME_CALLS, Result
from tests.bench.rig import Rig, scratch_home, scratch_rig
from tests.bench.scenarios import Options
from tests.bench.stub import ARTIFACTS, StubError

Part = Callable[[dict[str, float]], Sequence[Result]]
_BUDGET = {"CROWDTWIST__BUDGET_PER_MINUTE": "100000000"}
"""More than is ever used; the race is without one else, as nobody else has any."""
_ONE_ROW = {"SIEBEL__ROWS_PER_REQUEST": "1"}


class GoalMissedError(Exception):
    """A part was measured, and is not as good as it has to be."""


def main() -> int:
    """Run what was asked for; exit 1 when a part could not be measured, or a page misses its goal."""
    options = _options()
    began = time.monotonic()
    found: dict[str, float] = {}
    results: list[Result] = []
    failed = 0
    for part, measure in _parts(options).items():
        try:
            results += measure(found)
        except (GoalMissedError, ServerError, StubError, TimeoutError, httpx.HTTPError) as error:
            sys.stderr.write(f"bench: {part}: {error}\n")
            failed += 1
        report.write(ARTIFACTS / "bench.json", report.document(found, results, report.machine()))
    _say(f"\n{report.against_goals(found)}")
    _say(f"\n{ARTIFACTS / 'bench.json'}; {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


def _parts(options: argparse.Namespace) -> dict[str, Part]:
    """Return what is measured in this run; each part adds its figures to those it is given."""
    every: dict[str, Part] = {"race": partial(_raced, options)}
    every |= {name: partial(_measured, name, options.scale) for name in scenarios.names()}
    every |= {"pages": partial(_paged, options.instances)}
    only = options.only or ("race" if options.quick else None)
    return {part: measure for part, measure in every.items() if only in (None, part)}


def _options() -> argparse.Namespace:
    parts = ["race", "pages", *scenarios.names()]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the ratios alone, in under four minutes")
    parser.add_argument("--only", choices=parts, metavar="PART", help=f"one part: {', '.join(parts)}")
    parser.add_argument("--entrants", nargs="*", metavar="NAME", help="in the race: these alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, help="events of ours in a lap; 20000, with --quick 8000")
    parser.add_argument("--seconds", type=float, help="of a contestant's lap; 6, with --quick 1.5")
    parser.add_argument("--scale", type=float, default=1.0, help="of the scenarios: 0.1 for a try")
    parser.add_argument("--instances", type=int, default=INSTANCES, help="in the ledger while pages are timed")
    options = parser.parse_args()
    options.events = options.events or (8_000 if options.quick else 20_000)
    options.seconds = options.seconds or (1.5 if options.quick else 6.0)
    return options


def _raced(options: argparse.Namespace, found: dict[str, float]) -> list[Result]:
    with scratch_rig() as on, scratch_home() as home, servers(on, home) as theirs:
        entrants = _entrants(on, theirs, options)
        for number in range(1, options.rounds + 1):
            _say(f"round {number} of {options.rounds}")
            for entrant in [*entrants]:
                try:
                    entrant.run()
                except TimeoutError as error:
                    _say(f"  {entrant.who.title} is left out: {error}")
                    entrants.remove(entrant)
                else:
                    _say(report.shown_lap(entrant.who.title, entrant.laps[-1]))
    results = [report.result(entrant) for entrant in entrants]
    _say(f"\n{report.table(results)}\n")
    for one in results:
        _say(report.by_process(one))
    _say(f"the stub: {report.Spread.of(one.stub_ms_per_call for one in results).median:.4f} ms CPU per call")
    found |= report.figures(results)
    return results


def _entrants(on: Rig, theirs: Servers, options: argparse.Namespace) -> list[Entrant]:
    """Return who runs, in the order in which they do."""
    size = Size(options.seconds, options.events)
    as_it_is = Setup(options.events, {}, commits=not options.quick)
    entrants: list[Entrant] = [
        Ours(on, Who(OURS, "membersync"), as_it_is),
        Ours(on, Who(SAME_CALLS, "membersync, one PUT each"), Setup(options.events, _ONE_ROW)),
        Peer(on, Who(BOUND, bound.TITLE), theirs, bound, size),
    ]
    if not options.quick:
        look_up = Setup(options.events, {}, rows_known=False)
        entrants.append(Ours(on, Who(NEW_MEMBERS, "membersync, a look-up each"), look_up))
        entrants.append(Ours(on, Who(BUDGETED, "membersync, every call paid for"), Setup(options.events, _BUDGET)))
    for name in contestants.names():
        if (peer := contestants.installed(name)) is None:
            _say(f"{name} is not installed and left out: deploy/requirements-bench.lock has it")
            continue
        contestant, who = peer
        entrants.append(Peer(on, who, theirs, contestant, size))
    return [entrant for entrant in entrants if not options.entrants or entrant.who.name in options.entrants]


def _measured(name: str, scale: float, found: dict[str, float]) -> list[Result]:
    scenario = scenarios.scenario(name)
    _say(f"\n{scenario.TITLE}")
    figures = scenario.run(scratch_rig, Options(scale))
    for key in scenario.KEYS:
        _say(f"  {key:<32}{figures[key]:10.4g}")
    found |= figures
    return []


def _paged(instances: int, _: dict[str, float]) -> list[Result]:
    with scratch_postgres() as url:
        times = page_times(url, instances)
    _say(f"\npages with {instances:,} instances in the ledger, caches cold, median ms (goal: under {GOAL_MS:g})")
    for name, took_ms in times.items():
        _say(f"  {name:<28}{took_ms:7.0f}")
    if slow := [name for name, took_ms in times.items() if took_ms >= GOAL_MS]:
        raise GoalMissedError(f"slower than {GOAL_MS:g} ms: {', '.join(slow)}")
    return []


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
