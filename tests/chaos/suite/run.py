"""One run: the product under a schedule of faults while producers send, then all is mended, drained and judged."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field

import httpx
import psycopg
import redis

from tests.chaos.suite import inside, outside
from tests.chaos.suite.faults import KINDS, Fault, Planned
from tests.chaos.suite.feed import Author, Producers, dice_of
from tests.chaos.suite.house import House
from tests.chaos.suite.outside import Findings, Outside
from tests.chaos.suite.stand import SYSTEMS, Pace, Stand

_LOOK_AGAIN_S = 0.1
_READY_WITHIN_S = 90.0
_BATCH_EVERY_S = 0.4
_STORIES = 5
_AT_ONCE = 12
"""Faults that may be on at the same time."""

Feed = Callable[[Producers, float], None]
"""Sends for about so many seconds."""


@dataclass
class Verdict:
    """What came of a run."""

    seed: int
    events: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    unproduced: list[str] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    ledger: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    longest_recovery_s: float = 0.0
    drained_s: float | None = None
    stories: list[str] = field(default_factory=list)
    """What the ledger has of the members of the first findings."""

    @property
    def holds(self) -> bool:
        """Whether every promise held."""
        return not self.lines()

    def lines(self) -> list[str]:
        """Return what does not hold, a line each."""
        others = [f"ledger: {line}" for line in self.ledger] + [f"answer: {line}" for line in self.answers]
        return self.findings.lines() + others + (["not drained in time"] if self.drained_s is None else [])

    def document(self) -> dict[str, object]:
        """Return it as `.artifacts/chaos.json` has it."""
        counts = self.findings.counts()
        return {
            "events": self.events,
            "faults": dict(sorted(self.faults.items())),
            **counts,
            "longest_recovery_s": self.longest_recovery_s,
            "seed": self.seed,
        }


def everything(seed: int, pace: Pace, is_enough: Callable[[], bool] = lambda: True) -> Feed:
    """Return the feed of a whole run, which goes on until *is_enough*, if that is later."""

    def feed(producers: Producers, seconds: float) -> None:
        author, dice = Author(seed, pace.members, moving=pace.moving), dice_of("pace", seed)
        until = time.monotonic() + seconds
        while (time.monotonic() < until or not is_enough()) and not producers.give_up.is_set():
            others = [author.malformed()] if dice.random() < 0.1 else []
            producers.send(author.batch(max(1, round(pace.rate * _BATCH_EVERY_S))), *others)
            time.sleep(_BATCH_EVERY_S)
        producers.send(author.rest())

    return feed


@dataclass
class Run:
    """A run on a stand, with a house that stands on it."""

    at: Stand
    pace: Pace
    seed: int
    planned: Sequence[Planned]
    feed: Feed
    kinds: Mapping[str, Fault] = field(default_factory=lambda: KINDS)
    say: Callable[[str], None] = lambda _: None
    _troubles: list[tuple[float, float]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def play(self, seconds: float, house: AbstractContextManager[House]) -> Verdict:
        """Play it, and return what came of it.  Units: seconds during which things break."""
        verdict = Verdict(self.seed)
        for system in SYSTEMS:
            self.at.control.set(system, journal=True, latency_jitter_ms=20)
        started = time.monotonic()
        with house as self.at.house:
            self._wait_until_ready()
            self.say(f"ready after {time.monotonic() - started:.1f} s")
            producers = Producers(self.at.api_url)
            with producers.at_work():
                with ThreadPoolExecutor(_AT_ONCE) as faults:
                    try:
                        begun = time.monotonic()
                        jobs = [
                            faults.submit(self._break, index, one, begun, verdict)
                            for index, one in enumerate(self.planned)
                        ]
                        self.feed(producers, seconds)
                        self._stop.wait(max(0.0, seconds - (time.monotonic() - begun)))
                    finally:
                        self._stop.set()
                for job in jobs:
                    job.result()
                self._drain(producers, verdict)
        self._judge(producers, verdict)
        return verdict

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + _READY_WITHIN_S
        with httpx.Client(trust_env=False, timeout=2) as http:
            while True:
                with suppress(httpx.TransportError):
                    if (
                        http.get(f"{self.at.api_url}/readyz").is_success
                        and self.at.house
                        and self.at.house.pids("child")
                    ):
                        return
                if time.monotonic() > until:
                    raise TimeoutError("the product does not get ready")
                time.sleep(_LOOK_AGAIN_S)

    def _break(self, index: int, one: Planned, begun: float, verdict: Verdict) -> None:
        if self._stop.wait(max(0.0, one.at_s - (time.monotonic() - begun))):
            return
        dice = dice_of("target", self.seed, index)
        began = time.time()
        self.say(f"{one.at_s:7.1f} s  {one.kind} for {one.for_s:.1f} s")
        try:
            with self.kinds[one.kind](self.at, self.pace, dice):
                self._stop.wait(one.for_s)
        except (psycopg.Error, redis.RedisError, httpx.HTTPError, OSError, ValueError) as error:
            verdict.unproduced.append(f"{one.kind}: {type(error).__name__}")
            return
        self._troubles.append((began, time.time()))
        verdict.faults[one.kind] += 1

    def _drain(self, producers: Producers, verdict: Verdict) -> None:
        began = time.monotonic()
        for system in SYSTEMS:
            self.at.control.heal(system)
        while time.monotonic() - began < self.pace.drain_s:
            late = sum(self.at.control.state(system)["late_writes_pending"] for system in SYSTEMS)
            if producers.is_done and not late and inside.is_drained(self.at.psql):
                verdict.drained_s = time.monotonic() - began
                return
            time.sleep(_LOOK_AGAIN_S * 2)

    def _judge(self, producers: Producers, verdict: Verdict) -> None:
        accepted, seen = producers.accepted, Outside.of(self.at.control)
        verdict.events = accepted.answers
        verdict.answers = accepted.wrong
        verdict.findings = outside.check(accepted, seen, self.at.frozen)
        verdict.longest_recovery_s = outside.longest_recovery_s(self._troubles, seen.applied_at())
        with self.at.psql() as tx:
            verdict.ledger = inside.check(tx, accepted)
            numbers = dict.fromkeys(line.split(" ", 2)[1].rstrip(":") for line in verdict.findings.lines())
            verdict.stories = [line for number in list(numbers)[:_STORIES] for line in inside.story(tx, number)]


def say(line: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
