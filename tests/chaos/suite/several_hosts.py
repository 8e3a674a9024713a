"""`make hosts SECONDS=120 SEED=…`: the product on several hosts, whose network is cut, slow and lossy.

| host      | runs                                                          |
|-----------|---------------------------------------------------------------|
| `servers` | broker and ledger                                             |
| `left`    | a dispatcher and a worker                                     |
| `right`   | a dispatcher and a worker                                     |
| `outside` | the outside systems                                           |

The api, to which producers send, stands beside the servers.  The journals of the outside systems judge, as in chaos: a
host that was cut off may have had a call in its socket, which TCP delivers after up to as long again; it may not last.
So SETTLE_S, for which the product reckons with late writes, must be longer than that.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

from shared.ledger.checkup import migrate
from shared.ledger.engine import engine
from tests.chaos.suite.faults import Planned
from tests.chaos.suite.hosts import Host, Network, cannot_be_had, network
from tests.chaos.suite.house import ROOT, ForkedHouse
from tests.chaos.suite.links import links
from tests.chaos.suite.outside import Outside
from tests.chaos.suite.run import Run, Verdict, everything, say
from tests.chaos.suite.stand import SHORT, SYSTEMS, Pace, Stand, stand
from tests.forked import Forked

LEFT, RIGHT = "left", "right"
_POOR_S, _FIRST_S = 3.5, 1.0
_DELAY_S, _LOSS = 0.05, 0.05
_GOES_ON_AFTER_S = 1.0
_LONG_CUT_S = 10.0
_LONGEST_CUT_S = 60.0
_LOOK_AGAIN_S = 0.2
GOES_ON = 10
"""By so many writes the rest shows that it goes on."""
_ON = {"d1": LEFT, "w1": LEFT, "d2": RIGHT, "w2": RIGHT}
_POOR = "slow and lossy"
ROUND = ("left hears nothing", "right is cut off", _POOR)
BACK = ("right hears nothing", "left is cut off", _POOR)
SETTLED = replace(
    SHORT, name="hosts", drain_s=150, settings={**SHORT.settings, "CROWDTWIST__SETTLE_S": 25, "SIEBEL__SETTLE_S": 25}
)
"""For cuts that last longer than a lease."""

Trouble = Callable[[Stand, Pace, Random], AbstractContextManager[None]]


@dataclass(frozen=True)
class Plan:
    """What is to be played.

    Units: seconds during which the network is broken, for which a host is cut off, and between two troubles: after a
    cut TCP may take as long again until it sends anew, so that the other host, if it goes at once, leaves nobody.
    On a slow machine a cut lasts until the rest has shown that it goes on, and the next trouble waits for it.
    """

    seed: int
    seconds: float
    cut_s: float = _LONG_CUT_S
    gap_s: float = _LONG_CUT_S
    pace: Pace = SETTLED


@dataclass
class Outcome:
    """What came of a run.  Shape: *went_on* how many writes were taken during each time that a host was cut off."""

    verdict: Verdict
    went_on: list[int]
    dropped: int


class HostsHouse(ForkedHouse):
    """As `ForkedHouse`, with its dispatchers and workers on two other hosts."""

    def __init__(self, at: Stand, pace: Pace, hosts: Mapping[str, Host], away: Mapping[str, str]) -> None:
        super().__init__(at.environment(pace), at.folder, at.api_port, ())
        self._hosts = hosts
        self._away = {**at.environment(pace), **away}

    def _start(self, name: str) -> None:
        host = self._hosts.get(_ON.get(name, ""))
        if host is None:
            super()._start(name)
            return
        arguments = ("-m", "tests.chaos.suite.on_host", host.path, *self._programs[name][1])
        self._lives[name] = Forked(arguments, self._away, self._folder / f"{name}.log", cwd=ROOT)


def troubles(of: Network, cuts: list[tuple[float, float]]) -> Mapping[str, Trouble]:
    """Return what can happen to a network; when a host was cut off is added to *cuts*, epoch seconds."""
    alone = threading.Lock()

    @contextmanager
    def cut(deaf: frozenset[str], mute: frozenset[str], at: Stand, _: Pace, __: Random) -> Iterator[None]:
        with alone:
            if cuts:
                (before, after) = cuts[-1]
                time.sleep(max(0.0, after + (after - before) - time.time()))
            began = time.time()
            of.deaf, of.mute = deaf, mute
            try:
                yield
                while time.time() < began + _LONGEST_CUT_S and _went_on(at, began) <= GOES_ON:
                    time.sleep(_LOOK_AGAIN_S)
            finally:
                of.deaf = of.mute = frozenset()
                ended = time.time()
                cuts.append((began, ended))
                at.frozen.append((began, ended + (ended - began)))

    @contextmanager
    def poor(_: Stand, __: Pace, ___: Random) -> Iterator[None]:
        with alone:
            of.delay_s, of.loss = _DELAY_S, _LOSS
            try:
                yield
            finally:
                of.delay_s = of.loss = 0.0

    one_way = {f"{name} hears nothing": partial(cut, frozenset({name}), frozenset()) for name in (LEFT, RIGHT)}
    both = {f"{name} is cut off": partial(cut, frozenset({name}), frozenset({name})) for name in (LEFT, RIGHT)}
    return {**one_way, **both, _POOR: poor}


def _went_on(at: Stand, began: float, ended: float | None = None) -> int:
    """Return how many writes were taken while a host was cut off: not what was in its sockets when that began."""
    applied = Outside.of(at.control).applied_at()
    return bisect(applied, ended or time.time()) - bisect(applied, began + _GOES_ON_AFTER_S)


def schedule(plan: Plan) -> list[Planned]:
    """Return what happens when: one trouble after the other, first to one host, then to the other."""
    planned: list[Planned] = []
    at_s = _FIRST_S
    while True:
        for kind in (*ROUND, *BACK):
            for_s = _POOR_S if kind == _POOR else plan.cut_s
            if at_s + for_s > plan.seconds:
                return planned
            planned.append(Planned(at_s, kind, for_s))
            at_s += for_s + plan.gap_s


def play(folder: Path, plan: Plan, told: Callable[[str], None] = lambda _: None) -> Outcome:
    """Play a run in *folder*, and return what came of it."""
    cuts: list[tuple[float, float]] = []
    with stand(folder) as at, network("servers", LEFT, RIGHT, "outside", seed=plan.seed) as made:
        migrate(at.ledger_url)
        hosts = {one.name: one for one in made.hosts}
        urls = {"ledger": at.ledger_url, "broker": at.broker_url} | {one: getattr(at.sandbox, one) for one in SYSTEMS}
        places = {name: urlsplit(url) for name, url in urls.items()}
        homes = {name: hosts["outside" if name in SYSTEMS else "servers"] for name in urls}
        listeners = {name: host.listener() for name, host in homes.items()}
        addresses = {name: "{}:{}".format(*one.getsockname()) for name, one in listeners.items()}
        targets = {name: (place.hostname or "", place.port or 0) for name, place in places.items()}

        def seen(name: str) -> str:
            user = places[name].netloc.rpartition("@")[0]
            return places[name]._replace(netloc=f"{user}@{addresses[name]}".removeprefix("@")).geturl()

        away = {
            "MEMBERSYNC_LEDGER_URL": seen("ledger"),
            "MEMBERSYNC_BROKER_URL": seen("broker"),
            "MEMBERSYNC_OIC__TOKEN_URL": f"{seen('oic')}/oauth2/v1/token",
            **{f"MEMBERSYNC_{name.upper()}__BASE_URL": seen(name) for name in SYSTEMS},
        }
        with links(targets, listeners=listeners):
            planned = schedule(plan)
            to_cut = sum(one.kind != _POOR for one in planned)
            feed = everything(plan.seed, plan.pace, lambda: len(cuts) == to_cut)  # who sends nothing sees nothing go on
            run = Run(at, plan.pace, plan.seed, planned, feed, troubles(made, cuts), told)
            verdict = run.play(plan.seconds, HostsHouse(at, plan.pace, hosts, away).kept())
        went_on = [_went_on(at, began, ended) for began, ended in cuts]
        engine(at.ledger_url).dispose()
    return Outcome(verdict, went_on, made.dropped)


def main() -> int:
    """Run and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.suite.several_hosts", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    if why := cannot_be_had():
        say(f"not run: {why}")
        return 0
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    say(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="membersync-hosts-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        found = play(Path(folder), Plan(seed, options.seconds), say)
    for line in found.verdict.lines():
        say(line)
    drained = "never" if found.verdict.drained_s is None else f"{found.verdict.drained_s:.0f} s after the last"
    say(f"{found.verdict.events} events; {found.dropped} packets lost; drained {drained}")
    say(f"writes that were taken while a host was cut off: {', '.join(map(str, found.went_on))}")
    return 0 if found.verdict.holds and all(found.went_on) else 1


if __name__ == "__main__":
    sys.exit(main())
