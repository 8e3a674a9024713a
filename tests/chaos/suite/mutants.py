"""`make chaos-mutants`: break the product on purpose, one way after the other; each has to be noticed.

First every scenario is played on the product as it is, and has to hold; then on each mutant, and must not.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

from shared.ledger.checkup import migrate
from tests.chaos.suite.broken import MUTANTS
from tests.chaos.suite.faults import KINDS
from tests.chaos.suite.house import ROOT, ForkedHouse, forked_bare
from tests.chaos.suite.run import Run, Verdict, say
from tests.chaos.suite.scenarios import SCENARIOS
from tests.chaos.suite.stand import Stand, stand
from tests.conftest import emptied
from tests.rig import flush

_ARTIFACT = ROOT / ".artifacts" / "chaos-mutants.json"
_SEED = 7
_DRAIN_S = 45.0
_DRAIN_BROKEN_S = 14.0
"""A mutant that loses something never drains."""


def main() -> int:
    """Play all; return 0 only if every scenario holds and every mutant is caught."""
    options = _options()
    forked_bare()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = [one for one in MUTANTS if not options.only or any(word in one.name for word in options.only)]
    began, wrong, rows = time.monotonic(), 0, []
    try:
        with tempfile.TemporaryDirectory(prefix="membersync-chaos-", ignore_cleanup_errors=True) as folder:
            Path(folder).chmod(0o755)
            with stand(Path(folder)) as at:
                migrate(at.ledger_url)
                for scenario in [] if options.only_mutants else dict.fromkeys(one.scenario for one in chosen):
                    verdict, took_s = _played(at, scenario, "")
                    wrong += not verdict.holds
                    rows.append(_row(f"(none: {scenario})", verdict, took_s))
                for mutant in chosen:
                    verdict, took_s = _played(at, mutant.scenario, mutant.name)
                    wrong += verdict.holds
                    rows.append(_row(mutant.name, verdict, took_s))
    except KeyboardInterrupt:
        say("stopped; everything that was started has ended")
        return 130
    _ARTIFACT.parent.mkdir(exist_ok=True)
    _ARTIFACT.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    say(f"{len(chosen)} mutants, {wrong} not as they should be; {time.monotonic() - began:.0f} s; {_ARTIFACT}")
    return 1 if wrong else 0


def _played(at: Stand, scenario: str, mutant: str) -> tuple[Verdict, float]:
    """Play a scenario on a mutant, or on the product as it is, from an empty ledger."""
    emptied(at.ledger_url)
    flush(at.broker_url)
    at.control.reset()
    at.frozen.clear()
    began = time.monotonic()
    played = SCENARIOS[scenario]
    pace = played.pace(_DRAIN_BROKEN_S if mutant else _DRAIN_S)
    through = ("tests.chaos.suite.mutate", mutant) if mutant else ()
    house = ForkedHouse(at.environment(pace), at.folder, at.api_port, through)
    run = Run(at, pace, _SEED, played.planned, played.feed(_SEED), {**KINDS, **played.kinds})
    return run.play(played.seconds, house.kept()), time.monotonic() - began


def _row(name: str, verdict: Verdict, took_s: float) -> dict[str, object]:
    """Print a line of the table, and return it."""
    by = [name for name, count in verdict.findings.counts().items() if count]
    by += [name for name, found in (("ledger", verdict.ledger), ("answers", verdict.answers)) if found]
    by += [] if verdict.drained_s is not None else ["not drained"]
    say(f"{name:<52} {', '.join(by) or 'holds':<60} {took_s:5.0f} s")
    first = verdict.lines()[:1]
    return {"mutant": name, "caught_by": by, "first": first, "seconds": round(took_s, 1)}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.suite.mutants", description=__doc__)
    parser.add_argument("--only", nargs="*", metavar="WORDS", help="mutants whose names have these words")
    parser.add_argument("--only-mutants", action="store_true", help="do not play the scenarios on the product as it is")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
