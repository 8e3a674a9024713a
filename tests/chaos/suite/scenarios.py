"""Short, targeted runs: each shows one kind of trouble on few members, so that what breaks there is seen in seconds."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

import psutil

from tests.chaos.suite.faults import GATEWAY, Fault, Planned, standing_still
from tests.chaos.suite.feed import Author, Producers, Sent
from tests.chaos.suite.run import Feed
from tests.chaos.suite.stand import SHORT, Pace, Stand

Script = Callable[[Author, Producers], None]
FEW = tuple(f"M-{at}" for at in range(4))
SOME = tuple(f"M-{at}" for at in range(24))
_LATE_S = 4.0
_LONG_S = 5.0
"""Long enough that a busy machine has got as far as the call."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is sent, what breaks meanwhile, and with which settings.  Units: seconds."""

    script: Script
    seconds: float
    planned: tuple[Planned, ...] = ()
    kinds: Mapping[str, Fault] = field(default_factory=dict)
    """Those of its own."""
    settings: Mapping[str, object] = field(default_factory=dict)

    def pace(self, drain_s: float) -> Pace:
        """Return how fast everything goes in it."""
        return replace(SHORT, drain_s=drain_s, settings={**SHORT.settings, **self.settings})

    def feed(self, seed: int) -> Feed:
        """Return its feed."""

        def feed(producers: Producers, _: float) -> None:
            self.script(Author(seed, 1), producers)

        return feed


def _each(author: Author, producers: Producers, numbers: tuple[str, ...], what: str = "update") -> list[Sent]:
    events = [author.write(number, what=what) for number in numbers]
    producers.send(events)
    return events


def _nothing_special(author: Author, producers: Producers) -> None:
    for _ in range(3):
        _each(author, producers, SOME)
        time.sleep(0.5)


def _out_of_order(author: Author, producers: Producers) -> None:
    _each(author, producers, SOME)
    time.sleep(1)
    older = [author.write(number) for number in SOME]
    _each(author, producers, SOME)
    time.sleep(2)
    producers.send(older)


def _once(author: Author, producers: Producers) -> None:
    _each(author, producers, SOME)


def _first_and_again(author: Author, producers: Producers, *, after_s: float = 1.5) -> None:
    _each(author, producers, SOME)
    time.sleep(after_s)
    _each(author, producers, SOME)


def _older_in_trouble(author: Author, producers: Producers, *, older: str) -> None:
    """The second event of each meets the trouble, which ends as the third comes."""
    _each(author, producers, (*FEW, *SOME))
    time.sleep(2.0)
    _each(author, producers, FEW, older)
    time.sleep(2.6)
    _each(author, producers, FEW)


def _a_few_each_time(author: Author, producers: Producers) -> None:
    """So many messages that those which idle workers are handed at once are the fewest."""
    for start in range(6):
        _each(author, producers, SOME[start::6])
        time.sleep(0.25)


def _overtaken(author: Author, producers: Producers) -> None:
    """Twice more, so that the third waits while the second is in hand."""
    for pause_s in (2.0, 1.2, 0.0):
        _each(author, producers, SOME)
        time.sleep(pause_s)


def _all_the_time(author: Author, producers: Producers) -> None:
    for _ in range(100):
        _each(author, producers, (SOME[author.chance.randrange(len(SOME))],))
        time.sleep(0.05)


def _deleted(author: Author, producers: Producers) -> None:
    _each(author, producers, SOME)
    time.sleep(1.5)
    _each(author, producers, SOME, "delete")


def _back_and_forth(author: Author, producers: Producers) -> None:
    """Away from a content and back to it, while the call that leads away is in flight, however slow the machine."""
    producers.send([author.write(number, mark="Home") for number in SOME])
    time.sleep(2.5)
    producers.send([author.write(number, mark="Away") for number in SOME])
    for start in range(3):
        time.sleep(0.3)
        producers.send([author.write(number, mark="Home") for number in SOME[start::3]])


def _simulated(system: str, **details: object) -> Fault:
    @contextmanager
    def broken(at: Stand, _: Pace, __: Random) -> Iterator[None]:
        number = at.control.fault(system, **details)  # type: ignore[arg-type]  # its kind is among them
        try:
            yield
        finally:
            at.control.heal(system, number)

    return broken


@contextmanager
def _slow_crowdtwist(at: Stand, _: Pace, __: Random) -> Iterator[None]:
    at.control.set("crowdtwist", latency_ms=700)
    yield
    at.control.set("crowdtwist", latency_ms=0)


@contextmanager
def _one_worker_frozen(at: Stand, _: Pace, __: Random) -> Iterator[None]:
    """One of two workers stands still with what it has in hand, for longer than its lease."""
    assert at.house is not None
    with standing_still(at, [child.pid for child in psutil.Process(at.house.pids("worker")[0]).children()]):
        yield


@contextmanager
def _messages_lost(at: Stand, _: Pace, __: Random) -> Iterator[None]:
    """No worker takes what is on the broker, and then it is gone."""
    assert at.house is not None
    with standing_still(at, at.house.pids("worker")):
        yield
        at.broker.flush()


def _at(kind: str, *at_s: float, for_s: float) -> tuple[Planned, ...]:
    return tuple(Planned(one, kind, for_s) for one in at_s)


_SETTLES = {"CROWDTWIST__SETTLE_S": _LATE_S + 1.5, "SIEBEL__SETTLE_S": _LATE_S + 1.5}
_ANOTHER = {"id": 99, "third_party_id": "somebody-else", "first_name": "Else", "is_active": True}
_NO_ROUTE = {"error": "not_found", "message": ""}

SCENARIOS: Mapping[str, Scenario] = {
    "plain": Scenario(_nothing_special, 2),
    "out of order": Scenario(_out_of_order, 4),
    "ledger crashes": Scenario(_all_the_time, 6, _at("ledger.crashed", 0.8, 2.2, 3.6, 5.0, for_s=0.3)),
    "lost creations": Scenario(
        _once, 6, _at("x", 0.0, for_s=_LONG_S), {"x": _simulated("crowdtwist", kind="drop_after", method="POST")}
    ),
    "late write": Scenario(
        partial(_older_in_trouble, older="update"),
        5,
        _at("x", 1.8, for_s=2.6),
        {"x": _simulated("crowdtwist", kind="apply_late", seconds=_LATE_S, method="PUT", hang=True, member=FEW)},
        _SETTLES,
    ),
    "late status": Scenario(
        partial(_older_in_trouble, older="refused"),
        5,
        _at("x", 1.8, for_s=2.6),
        {"x": _simulated("siebel", kind="apply_late", seconds=_LATE_S, method="PUT", hang=True, member=FEW)},
        _SETTLES,
    ),
    "outage": Scenario(
        partial(_first_and_again, after_s=2),
        9,
        _at("crowdtwist.refuses", 1.8, for_s=7),
        settings={"CROWDTWIST__MAX_ATTEMPTS": 4},
    ),
    "crowdtwist fails": Scenario(
        _once, 6, _at("x", 0.0, for_s=_LONG_S), {"x": _simulated("crowdtwist", kind="status", status=503, body="oops")}
    ),
    "siebel fails": Scenario(
        _once, 6, _at("x", 0.0, for_s=_LONG_S), {"x": _simulated("siebel", kind="status", status=503, body="oops")}
    ),
    "answers of another": Scenario(
        _once,
        6,
        _at("x", 0.0, for_s=_LONG_S),
        {"x": _simulated("crowdtwist", kind="status", status=200, body=_ANOTHER)},
    ),
    "gateway": Scenario(
        _once, 6, _at("x", 0.0, for_s=_LONG_S), {"x": _simulated("crowdtwist", kind="status", status=400, body=GATEWAY)}
    ),
    "deletions": Scenario(
        _deleted,
        4,
        _at("x", 1.4, for_s=2),
        {"x": _simulated("crowdtwist", kind="status", status=404, body=_NO_ROUTE, method="PUT")},
    ),
    "workers killed": Scenario(
        partial(_first_and_again, after_s=1),
        3,
        (*_at("slow", 0.0, for_s=3), *_at("worker.killed", 0.4, 0.6, 1.4, 1.6, for_s=0.1)),
        {"slow": _slow_crowdtwist},
    ),
    "messages lost": Scenario(_a_few_each_time, 3, _at("x", 0.0, for_s=2), {"x": _messages_lost}),
    "slow calls": Scenario(
        partial(_first_and_again, after_s=1), 3, _at("slow", 0.0, for_s=3), {"slow": _slow_crowdtwist}
    ),
    "frozen": Scenario(
        _overtaken,
        13,
        (*_at("slow", 1.8, for_s=1.5), *_at("x", 2.4, for_s=9.5)),
        {"slow": _slow_crowdtwist, "x": _one_worker_frozen},
    ),
    "few fail": Scenario(
        _once,
        6,
        _at("x", 0.0, for_s=_LONG_S),
        {"x": _simulated("crowdtwist", kind="status", status=503, body="oops", member=FEW)},
    ),
    "back and forth": Scenario(_back_and_forth, 5, _at("slow", 2.4, for_s=2.4), {"slow": _slow_crowdtwist}),
}
