"""How many calls a member costs that changes often: 100,000 events over 10,000 members, each ten times.

The figure is of a backlog, as after an outage: accepted while nothing goes out.  The same events sent while all runs
are shown beside it: there a member's calls depend on how far apart its changes are, since nobody waits for the next.
"""

import random
from collections.abc import Sequence

from tests.bench.drain import FROZEN, running, say
from tests.bench.events import member_event
from tests.bench.rig import Rig
from tests.bench.scenarios import Options, Start
from tests.bench.waiting import wait_until

TITLE = "coalescing: 100,000 events over 10,000 members"
KEYS: Sequence[str] = ("calls_per_changed_member",)
_MEMBERS = 10_000
_CHANGES = 10


def run(start: Start, options: Options) -> dict[str, float]:
    """Send them in an order of chance, the same each time, behind frozen processes and to running ones."""
    members = options.scaled(_MEMBERS, 200)
    with start() as on, running(on):
        backlog = _calls(on, "C", members, frozen=True) / members
        meanwhile = _calls(on, "R", members, frozen=False) / members
    say(f"calls per member: {backlog:.3f} of a backlog, {meanwhile:.2f} while all runs")
    return {"calls_per_changed_member": backlog}


def _calls(on: Rig, prefix: str, members: int, *, frozen: bool) -> int:
    on.stub.reset()
    numbers = [f"{prefix}-{number}" for number in range(members)]
    on.know_rows(numbers)
    order = numbers * _CHANGES
    random.Random(1).shuffle(order)  # noqa: S311  # an order, no secret
    seen = dict.fromkeys(numbers, 0)
    events = []
    for number in order:
        seen[number] += 1
        events.append(member_event(number, operation="update", modification=seen[number]))
    with on.accounts.frozen(*(FROZEN if frozen else ())):
        on.feed(events)
    wait_until(on.is_quiet, 600, f"{len(events)} events")
    return on.stub.counts().crowdtwist
