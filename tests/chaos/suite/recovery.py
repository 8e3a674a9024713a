"""`make recovery`: what becomes of a steady load when one thing breaks and is mended, a row of figures for each.

One stand and one house, settings as they are by default, but that Siebel is told of what fails after a minute, not
five: nothing has drained before that is over.  Each trial sends for a while, breaks one thing, mends it, sends on for
as long again as before, and then lets everything drain.  Figures come from the journals of the simulators and, for what
waits and what was tried in vain, from the ledger.  The checker of `outside` judges each trial for losses once it has
drained, and all of them for every promise at the end.

The first five rows are those of hardbyte/postgresql-job-queue-benchmarking (results/2026-05-09-full-sweep): the rate
after the trouble, of the rate before it.  There a producer keeps a queue of jobs of 1 ms full; here events come at a
steady rate and each is a call to CrowdTwist and one to Siebel, so the ratios compare what recovers, not how fast it is.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import psycopg

from shared.ledger.checkup import migrate
from shared.ledger.engine import engine
from tests.chaos.suite.faults import OF_SYSTEMS, Fault, simulated
from tests.chaos.suite.feed import Author, Producers, dice_of
from tests.chaos.suite.house import ROOT, ForkedHouse, forked_bare
from tests.chaos.suite.machine import WITH_UP
from tests.chaos.suite.outside import Outside, check
from tests.chaos.suite.run import Run, say
from tests.chaos.suite.stand import COMMON, SHORT, SYSTEMS, Stand, stand

PACE = replace(SHORT, name="recovery", members=2_000, settings=COMMON | {"SIEBEL__REPORT_AFTER_S": 60}, drain_s=180)
_ARTIFACT = ROOT / ".artifacts" / "recovery.json"
_BATCH_EVERY_S = 0.4
_LOOK_EVERY_S = 0.25
_STAYS_S = 3.0
_DRAINED_WITHIN_S = 180.0
_WAITING = "select count(*) from instance where state in ('pending', 'running', 'waiting', 'held')"
_TRIED = """
    select count(*) filter (where code is not null and state in ('waiting', 'dead')),
           count(*) filter (where state = 'dead')
    from activity where at >= to_timestamp(%s)
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """What breaks, and for how long.  Units: seconds."""

    name: str
    kind: str
    for_s: float
    times: int = 1


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of a trial.

    Units: events that waited at most; seconds after it was mended until the first write was taken, and until no more
    waited than before; attempts that failed; writes per second, before and in as long a time after; events accepted
    until then, in this trial and those before it, and how many of them the outside shows nothing of.
    """

    name: str
    broken_s: float
    held: int
    first_s: float | None
    drained_s: float | None
    attempts: int
    dead: int
    before: float
    after: float
    accepted: int
    lost: int

    @property
    def ratio(self) -> float:
        """The rate after the trouble, of the rate before it."""
        return self.after / self.before if self.before else 0.0


PUBLISHED = (
    Trial("PostgreSQL restarts", "ledger.restarted", 1),
    Trial("its backends are killed", "ledger.cut", 1),
    Trial("its connections are used up", "ledger.used_up", 10),
    Trial("a worker is killed", "worker.killed", 1),
    Trial("workers are killed over and over", "worker.killed", 2, times=5),
)
"""The rows that others have published of themselves, in their order."""
OURS = (
    Trial("PostgreSQL crashes", "ledger.crashed", 1),
    Trial("PostgreSQL hangs", "ledger.frozen", 15),
    Trial("the disk of PostgreSQL is full", "ledger.full", 40),
    Trial("the broker is killed", "broker.killed", 1),
    Trial("the broker is emptied", "broker.flushed", 1),
    Trial("a worker stands still", "worker.frozen", 20),
    Trial("a dispatcher is killed", "dispatcher.killed", 1),
    Trial("the api is killed", "api.killed", 1),
    Trial("CrowdTwist refuses connections", "crowdtwist.refuses", 30),
    Trial("CrowdTwist answers 500", "crowdtwist.fails", 30),
    Trial("CrowdTwist takes, and does not answer", "crowdtwist.hangs", 30),
    Trial("CrowdTwist answers 429", "crowdtwist.throttles", 30),
    Trial("Siebel refuses connections", "siebel.refuses", 30),
    Trial("OIC is in maintenance", "oic.in_maintenance", 30),
)


WHOLLY: Mapping[str, Fault] = {
    f"{system}.{what}": partial(simulated, system, details if what == "refuses" else {**details, "percent": 100})
    for system in SYSTEMS
    for what, details in OF_SYSTEMS.items()
}
"""Systems that fail for all calls, not for a part of them."""


@dataclass
class Course:
    """A load that flows, and how much waited when."""

    at: Stand
    producers: Producers
    rate: float
    waited: list[tuple[float, int]] = field(default_factory=list)
    """When, and how many events waited."""
    flows: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    def send(self) -> None:
        author = Author(1, PACE.members)
        while not self.over.is_set():
            if self.flows.is_set():
                self.producers.send(author.batch(max(1, round(self.rate * _BATCH_EVERY_S))))
            self.over.wait(_BATCH_EVERY_S)
        self.producers.send(author.rest())

    def look(self) -> None:
        while not self.over.wait(_LOOK_EVERY_S):
            with suppress(psycopg.Error), self.at.psql() as tx:
                tx.execute("set statement_timeout = '3s'")
                row = tx.execute(_WAITING).fetchone()
                self.waited.append((time.time(), int(str((row or (0,))[0]))))

    def at_most(self, since: float, until: float) -> int:
        return max((count for when, count in self.waited if since <= when <= until), default=0)

    def tried(self, trial: Trial, window_s: float) -> Figures:
        """Play a trial.  Units: seconds before it, and after it, that are compared."""
        self.flows.set()
        time.sleep(window_s * 1.5)
        broke = time.time()
        usual = self.at_most(broke - window_s, broke)
        for _ in range(trial.times):
            with {**WITH_UP, **WHOLLY}[trial.kind](self.at, PACE, dice_of(trial.name)):
                time.sleep(trial.for_s)
        mended = time.time()
        time.sleep(window_s)
        self.flows.clear()
        while time.time() < mended + _DRAINED_WITHIN_S and (self._waits() or not self.producers.is_done):
            time.sleep(_LOOK_EVERY_S)
        drained = self._drained(mended, usual)
        seen, accepted = Outside.of(self.at.control), self.producers.accepted_by_now()
        applied = seen.applied_at()
        first = bisect_left(applied, mended)
        with self.at.psql() as tx:
            attempts, dead = (int(str(one)) for one in tx.execute(_TRIED, (broke,)).fetchone() or (0, 0))
        return Figures(
            trial.name,
            round(mended - broke, 1),
            self.at_most(broke, time.time()),
            round(applied[first] - mended, 1) if first < len(applied) else None,
            None if drained is None else round(drained - mended, 1),
            attempts,
            dead,
            round((bisect_left(applied, broke) - bisect_left(applied, broke - window_s)) / window_s, 1),
            round((bisect_left(applied, mended + window_s) - first) / window_s, 1),
            len(accepted.instances),
            len(check(accepted, seen, self.at.frozen).lost),
        )

    def _drained(self, mended: float, usual: int) -> float | None:
        """Return when no more waited than usual, and went on not to: who could not send meanwhile sends all at once."""
        for when, count in self.waited:
            soon = max((others for later, others in self.waited if when <= later <= when + _STAYS_S), default=0)
            if when > mended and count <= soon <= usual:
                return when
        return None

    def _waits(self) -> bool:
        return not self.waited or self.waited[-1][1] > 0 or time.time() - self.waited[-1][0] > 2 * _LOOK_EVERY_S + 1


def recovery(folder: Path, trials: Sequence[Trial], rate: float, window_s: float) -> tuple[list[Figures], list[str]]:
    """Play trials one after the other; return their figures, and what does not hold in the end."""
    figures: list[Figures] = []
    with stand(folder, small_disk=True) as at:
        migrate(at.ledger_url)
        house = ForkedHouse(at.environment(PACE), folder, at.api_port, ())

        def feed(producers: Producers, _: float) -> None:
            course = Course(at, producers, rate)
            threads = [threading.Thread(target=work, daemon=True) for work in (course.send, course.look)]
            for thread in threads:
                thread.start()
            try:
                for trial in trials:
                    figures.append(course.tried(trial, window_s))
                    say(line(figures[-1]))
            finally:
                course.over.set()
                for thread in threads:
                    thread.join()

        verdict = Run(at, PACE, 1, (), feed).play(0, house.kept())
        engine(at.ledger_url).dispose()
    return figures, verdict.lines()


HEAD = """| what breaks | for, s | events that waited, at most | first success after, s | drained after, s | attempts \
that failed | dead letters | accepted until then; of these lost | rate after / before |
|---|---|---|---|---|---|---|---|---|"""


def line(one: Figures) -> str:
    """Return a row of the table."""
    shown = ("never" if seconds is None else f"{seconds:.1f}" for seconds in (one.first_s, one.drained_s))
    what = (
        one.name,
        f"{one.broken_s:.0f}",
        str(one.held),
        *shown,
        str(one.attempts),
        str(one.dead),
        f"{one.accepted}; {one.lost}",
    )
    return f"| {' | '.join(what)} | {one.ratio:.0%} |"


def main() -> int:
    """Run, print the table, write `.artifacts/recovery.json`; return 1 where a promise does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.suite.recovery", description=__doc__)
    parser.add_argument("--rate", type=float, default=25, help="events a second")
    parser.add_argument("--window", type=float, default=10, help="seconds that are compared, before and after")
    parser.add_argument("--only", nargs="*", metavar="WORDS", help="rows whose names have these words")
    options = parser.parse_args()
    forked_bare()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    trials = [one for one in (*PUBLISHED, *OURS) if not options.only or any(word in one.name for word in options.only)]
    began, busy = time.monotonic(), os.getloadavg()[2]
    say(HEAD)
    with tempfile.TemporaryDirectory(prefix="membersync-recovery-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        figures, wrong = recovery(Path(folder), trials, options.rate, options.window)
    about = {"rate": options.rate, "cores": os.cpu_count(), "load_before": busy, "load_after": os.getloadavg()[2]}
    _ARTIFACT.parent.mkdir(exist_ok=True)
    rows = [asdict(one) | {"ratio": round(one.ratio, 2)} for one in figures]
    _ARTIFACT.write_text(json.dumps(about | {"rows": rows, "wrong": wrong}, indent=2) + "\n", encoding="utf-8")
    say(f"{options.rate:g} events/s, {os.cpu_count()} cores, load {busy:.1f} before; {time.monotonic() - began:.0f} s")
    for one in wrong:
        say(one)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
