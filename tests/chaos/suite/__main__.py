"""`make chaos SECONDS=600 SEED=…`: the whole product under everything that can break, and whether its promises held.

Exit status 0 only if they all did.  `.artifacts/chaos.json` has the figures; a failing seed is printed, and replays the
same schedule of faults and the same events.
"""

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from shared.ledger.checkup import migrate
from tests.chaos.suite.faults import KINDS, schedule
from tests.chaos.suite.house import ROOT, ForkedHouse, UpHouse, forked_bare
from tests.chaos.suite.machine import WITH_UP
from tests.chaos.suite.run import Run, everything, say
from tests.chaos.suite.stand import LONG, SHORT, stand

_ARTIFACT = ROOT / ".artifacts" / "chaos.json"
_STORIES = _ARTIFACT.with_name("chaos-stories.txt")
_SHOWN = 40


def main() -> int:
    """Run, print, write; return the exit status."""
    options = _options()
    forked_bare()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    pace = SHORT if options.short else LONG
    kinds = KINDS if options.short else WITH_UP
    planned = schedule(seed, options.seconds, pace, kinds)
    say(f"seed {seed}: {len(planned)} faults in {options.seconds:g} s, {pace.members} members")
    began = time.monotonic()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="membersync-chaos-", ignore_cleanup_errors=True) as folder,
            stand(Path(folder), options.broker, small_disk=True) as at,
        ):
            Path(folder).chmod(0o755)
            migrate(at.ledger_url)
            environment = at.environment(pace)
            forked = ForkedHouse(environment, at.folder, at.api_port, ())
            house = forked if options.short else UpHouse(at.with_a_clock_of_its_own(environment), at.folder / "up.log")
            run = Run(at, pace, seed, planned, everything(seed, pace), kinds, say)
            verdict = run.play(options.seconds, house.kept())
            if not verdict.holds and options.keep:
                say(f"the logs are in {_kept(at.folder)}")
    except KeyboardInterrupt:
        say("stopped; everything that was started has ended")
        return 130
    _ARTIFACT.parent.mkdir(exist_ok=True)
    _ARTIFACT.write_text(json.dumps(verdict.document(), indent=2) + "\n", encoding="utf-8")
    for line in verdict.unproduced:
        say(f"not produced: {line}")
    lines = verdict.lines()
    for line in lines[:_SHOWN]:
        say(line)
    if verdict.stories:
        _STORIES.write_text("\n".join(verdict.stories) + "\n", encoding="utf-8")
        say(f"what the ledger has of those members: {_STORIES}")
    figures = verdict.document()
    say(json.dumps(figures | {"faults": sum(verdict.faults.values())}))
    drained = "never" if verdict.drained_s is None else f"{verdict.drained_s:.0f} s after the last"
    took_s = time.monotonic() - began
    say(f"{sum(verdict.faults.values())} faults of {len(verdict.faults)} kinds; drained {drained}; {took_s:.0f} s")
    if lines:
        say(f"{len(lines)} violations; again: make chaos SECONDS={options.seconds:g} SEED={seed}")
    return 1 if lines else 0


def _kept(folder: Path) -> Path:
    """Keep the logs of a run whose folder goes."""
    kept = ROOT / ".artifacts" / "chaos-logs"
    kept.mkdir(parents=True, exist_ok=True)
    for log in (*folder.glob("*.log"), *folder.glob("*/logs/*.log")):
        (kept / f"{log.parent.parent.name if log.parent.name == 'logs' else ''}{log.name}").write_bytes(
            log.read_bytes()
        )
    return kept


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.suite", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--broker", choices=("valkey", "rabbitmq"), default="valkey")
    parser.add_argument("--short", action="store_true", help="as CI has it: few members, short leases")
    parser.add_argument("--keep", action="store_true", help="keep the logs of a run that failed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
