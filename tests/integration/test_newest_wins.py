"""CrowdTwist and Siebel end as the newest event says: every order of lost answers, late landings, refusals and checks.

Exhaustive for three versions of a member within the lengths below; `MEMBERSYNC_TEST_DEPTH=1` looks one call further,
which takes an hour.
"""

import os
from itertools import product

import pytest
from sqlalchemy import Engine

from tests.stories import Fate, Play, Story

DEEPER = int(os.environ.get("MEMBERSYNC_TEST_DEPTH", "0"))
ARRIVALS = [(2, 5), (3, 4), (3, 5), (4, 6), (4, 10)] + [(2, 4), (4, 5), (4, 8)] * bool(DEEPER)
"""Of the second and the third version: while the one before is waiting, on its way, done, or checked."""
REFUSED = [frozenset(some) for some in ([], [2], [3], [2, 3])][: 4 if DEEPER else 3]
ALL = tuple(Fate)
LOST = (Fate.ANSWERED, Fate.AT_ONCE, Fate.LATE_1, Fate.LATE_2)


def of_crowdtwist() -> list[Story]:
    return [
        Story(arrivals, refused, fates, (), hurried=hurried)
        for hurried, calls in ((True, 3 + DEEPER), (False, 2 + DEEPER))
        for arrivals, refused, fates in product(ARRIVALS, REFUSED, product(ALL, repeat=calls))
    ]


def of_siebel() -> list[Story]:
    fates = ALL if DEEPER else [fate for fate in ALL if fate is not Fate.NEVER]
    return [
        Story(arrivals, refused, (), tells, hurried=hurried)
        for hurried, calls in ((True, 3 + DEEPER), (False, 2 + DEEPER))
        for arrivals, refused, tells in product(ARRIVALS, REFUSED, product(fates, repeat=calls))
    ]


def of_both() -> list[Story]:
    return [
        Story(arrivals, frozenset(), fates, tells, untold=untold)
        for arrivals, fates, tells, untold in product(
            ARRIVALS, product(LOST, repeat=2 + DEEPER), product(LOST, repeat=2), (False, True)
        )
    ]


def found_deeper() -> list[Story]:
    """What one call more has once shown: two that are out, of which the newer one is refused."""
    lost = (Fate.NEVER, Fate.AT_ONCE, Fate.LATE_1, Fate.DIED, Fate.FROZEN)
    begun = ((Fate.ANSWERED,), (Fate.LATE_1, Fate.ANSWERED))
    return [
        Story((second, third), frozenset({3}), (*first, *fates), (), hurried=hurried)
        for first in begun
        for second, third in ((3, 5), (4, 6), (4, 7), (5, 7), (6, 8))
        for fates in product(lost, (*lost, Fate.ANSWERED), (*lost, Fate.ANSWERED))
        for hurried in (True, False)
    ]


AT_ONCE = 10_000
"""Stories played in one go: the ledger gives a statement about all of them a minute."""


@pytest.mark.timeout(0 if DEEPER else 180)
@pytest.mark.parametrize("stories", [of_crowdtwist, of_siebel, of_both, found_deeper])
def test_both_systems_end_as_the_newest_event_says(ledger: Engine, stories: object) -> None:
    assert callable(stories)
    played: list[Story] = stories()
    wrong: list[str] = []
    for first in range(0, len(played), AT_ONCE):
        wrong += Play(ledger, played[first : first + AT_ONCE], first).run()
    assert not wrong, f"{len(wrong)} of {len(played)}:\n" + "\n".join(wrong[:10])
