"""`make protocol`: every state of a member's life within a bound, and whether what must hold does, in each."""

import argparse
import sys
import time
from dataclasses import fields
from typing import NamedTuple

from tests.protocol.states import BAD, DEAD, DONE, FAIL, GONE, OK, REJECTED, SAME, SIEBEL, Bound, Rules, State
from tests.protocol.steps import Protocol, Step


def broken(at: State) -> str:
    """Return which invariant a state breaks, or nothing."""
    if at.wrong:
        return at.wrong
    if len(at.out) + (at.member.out is not None) > 1:
        return "two of the member are out at once"
    if len(at.queued) > 1:
        return "two of the member wait at once"
    for number in at.queued if not at.out else ():
        failed = [place for place, one in enumerate(at.instances, 1) if one.state == GONE and one.failing]
        through = [place for place, one in enumerate(at.instances, 1) if one.stage == SIEBEL]
        if max(failed, default=0) > max(through, default=0) and not at.of(number).failing:
            return f"{number} does not know that {max(failed)} failed"
    return ""


def ends_badly(at: State, bound: Bound) -> str:
    """Return what is wrong with an end, in which nothing is left to be done, or nothing."""
    if not at.instances:
        return ""
    newest = max(at.arrived)
    number = max((place for place, one in enumerate(at.instances, 1) if one.version == newest), default=0)
    one, m = at.of(number), at.member
    if one.state == DEAD:
        is_told = one.stage == SIEBEL or at.told == (FAIL, number)
        return "" if is_told else "Siebel was not told of the dead letter"
    is_bad = newest in bound.bad
    if one.state not in ((REJECTED,) if is_bad else (DONE, SAME)):
        return f"the newest event ended {one.state}"
    if at.told != ((BAD, number) if is_bad else (OK, 0)):
        return f"Siebel shows {at.told}"
    believed = at.of(m.applied).version if m.applied and not m.lost_write else at.shown
    wanted = {bound.content(believed)} | (set() if is_bad else {bound.content(newest)})
    return "" if wanted == {bound.content(at.shown)} else f"CrowdTwist shows {at.shown}, the ledger says {believed}"


SMALL = (Bound(faults=1), Bound(bad=frozenset({2}), faults=1), Bound(contents=(1, 2, 1), faults=1))
"""Explored in a second."""
_BACK_AND_FORTH, _TWO_FAULTS = SMALL[2], Bound(faults=2)
MUTANTS = {one.name: SMALL[0] for one in fields(Rules)} | {
    "judges_idle": _BACK_AND_FORTH,
    "drops_pointless_reports": SMALL[1],
    "checks_newest_only": _TWO_FAULTS._replace(requeues=0),
    "requeue_looks": _TWO_FAULTS,
}
"""Each rule, and a bound within which it is missed."""


class Outcome(NamedTuple):
    """What an exploration found: how many states and steps, and the steps to the first that is wrong, if any."""

    states: int
    steps: int
    wrong: str = ""
    trace: tuple[str, ...] = ()


class _Seen:
    """The states that were visited, how each was first come to, and which make progress to it."""

    def __init__(self, first: State) -> None:
        self.states = [first]
        self.steps = 0
        self._numbers = {first: 0}
        self._came: list[tuple[int, str]] = [(0, "")]
        self._before: list[list[int]] = [[]]

    def is_new(self, number: int, step: Step) -> bool:
        """Take in a step from the state of that number; return whether it led to one that is new."""
        what, is_progress, after = step
        self.steps += 1
        place = self._numbers.setdefault(after, len(self.states))
        is_new = place == len(self.states)
        if is_new:
            self.states.append(after)
            self._came.append((number, what))
            self._before.append([])
        if is_progress:
            self._before[place].append(number)
        return is_new

    def stuck(self, ends: list[int]) -> int | None:
        """Return a state from which none of *ends* can be reached by progress alone, if there is one."""
        reached, todo = set(ends), list(ends)
        while todo:
            fresh = set(self._before[todo.pop()]) - reached
            reached |= fresh
            todo += fresh
        return next((number for number in range(len(self.states)) if number not in reached), None)

    def outcome(self, wrong: str = "", number: int = 0) -> Outcome:
        """Return what was found; with what is *wrong* with the state of that number."""
        trace: list[str] = []
        while number:
            number, what = self._came[number]
            trace.insert(0, what)
        return Outcome(len(self.states), self.steps, wrong, tuple(trace))


def explore(rules: Rules, bound: Bound) -> Outcome:
    """Visit every state within *bound*, breadth first; stop at the first that is wrong."""
    protocol, seen, ends = Protocol(rules, bound), _Seen(State()), []
    for number, at in enumerate(seen.states):  # they become more meanwhile
        steps = list(protocol.steps(at))
        for step in steps:
            if seen.is_new(number, step) and (wrong := broken(step[2])):
                return seen.outcome(wrong, len(seen.states) - 1)
        if not any(is_progress for _, is_progress, _ in steps):
            ends.append(number)
            if wrong := ends_badly(at, bound):
                return seen.outcome(wrong, number)
    stuck = seen.stuck(ends)
    return seen.outcome() if stuck is None else seen.outcome("it never drains", stuck)


def main() -> int:
    """Explore, print what was found; return 1 where something does not hold, or a mutant is not noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.protocol.explore", description=__doc__)
    parser.add_argument("--events", type=int, default=2)
    parser.add_argument("--faults", type=int, default=2)
    options = parser.parse_args()
    versions = tuple(range(1, options.events + 1))
    last = versions[-1]
    is_wrong = False
    for contents, bad in ((versions, {0}), (versions, {last}), ((*versions[:-1], 1), {0}), (versions, {last - 1})):
        began = time.process_time()
        found = explore(Rules(), Bound(contents, frozenset(bad), options.faults))
        is_wrong |= bool(found.wrong)
        refused = f", {bad} refused" if bad != {0} else ""
        _say(f"contents {contents}{refused}: {found.states:,} states, {found.steps:,} steps, no more to be found")
        _say("\n".join(filter(None, (*found.trace, found.wrong, f"{time.process_time() - began:.0f} s of CPU"))))
    for name, bound in MUTANTS.items():
        found = explore(Rules(**{name: False}), bound)
        is_wrong |= not found.wrong
        _say(f"without {name}: {f'{found.wrong}, after {len(found.trace)} steps' if found.wrong else 'NOT NOTICED'}")
    return int(is_wrong)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
