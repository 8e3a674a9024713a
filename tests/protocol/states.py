"""The protocol of one member as a model small enough to be explored to its end: `make protocol`.

A state is what the ledger holds of the member, what each worker has in hand, what is still on its way to an outside
system, and what those show.  `steps` gives every state that may come next; `explore` visits all of them, breadth
first, so that a counterexample is as short as can be.  What is taken for one step:

- A transaction.  A claim looks again under the member's lock: any number of dispatchers are one (`looks_again`).
- The broker may lose, double, delay and reorder its messages, so none are kept: whoever is out and not begun may be
  begun by any worker at any time, or never.
- Time is no number.  A retry or a report is due at any time; a lease is over whenever that is a fault, or its worker
  is dead; a check of a lost answer is due once nothing that was given up is on its way any more (that is settling).

What goes wrong - a worker dies or stands still, a message or an answer is lost, a write lands late, a system is away,
an attempt is the last - costs one of so many faults.  After each state nothing of the member is out twice and nothing
older is sent after what is newer; a state in which nothing is left to be done shows what became of the newest event;
and from every state such an end can be reached (spec section 7, promises 1, 2, 3 and 5).

The stage `oic` changes nothing outside and is left out.  Each of `Rules` that is False is a mutant.
"""

from dataclasses import dataclass
from typing import NamedTuple

CT, SIEBEL = "crowdtwist", "siebel"
QUEUED, RUNNING, DONE, REJECTED, DEAD, GONE, SAME = (
    "queued", "running", "completed", "rejected", "dead", "superseded", "unchanged"
)  # fmt: skip
OK, BAD, FAIL = "Success", "Data Error", "CT Failure"
OWN, REPORT, READ_BACK, TELL_AGAIN = "its own way", "report", "read back", "tell again"
WORKERS = 3
UNSET, SET, DUE = range(3)
"""Of the check of a lost answer: there is none, it is set, it has settled."""


@dataclass(frozen=True)
class Rules:
    """What the protocol keeps to; each is what the product does, and which mutant goes without it."""

    orders_events: bool = True  # intake closes what is older than the newest
    one_queued: bool = True  # what would queue again while a newer one does is superseded
    judges_idle: bool = True  # unchanged is never said while something is out
    hands_failure_on: bool = True  # a failure that lasts, and its report, go to the newer event
    waits_its_turn: bool = True  # nothing is claimed of whom something is out
    looks_again: bool = True  # a dispatcher looks again under the lock
    begins_once: bool = True  # a message finds nothing to do where somebody has begun
    keeps_to_lease: bool = True  # a worker sends nothing once its lease is over
    gives_leases_back: bool = True
    fences: bool = True  # who has lost the lease writes nothing
    marks_lost: bool = True  # a call without an answer is remembered
    marks_landed_late: bool = True  # so is one of a worker that had lost its lease
    settles: bool = True  # what follows it is checked only once it has landed
    clears_its_own: bool = True  # a check clears what it was made for, not what was lost meanwhile
    checks_newest_only: bool = True  # nothing is checked while something newer may be out
    drops_pointless_reports: bool = True
    requeue_looks: bool = True  # a dead letter is not sent over what is newer


class Bound(NamedTuple):
    """How far to go.  Shape: the content of each version, in order; versions that are refused; faults; requeues."""

    contents: tuple[int, ...] = (1, 2)
    bad: frozenset[int] = frozenset()
    faults: int = 2
    requeues: int = 1

    def content(self, version: int) -> int:
        """Return what an event says; 0: nothing yet."""
        return self.contents[version - 1] if version else 0


class Instance(NamedTuple):
    """One event that was accepted."""

    version: int
    state: str = QUEUED
    stage: str = CT
    begun: bool = False
    status: str = ""
    failing: bool = False


class Errand(NamedTuple):
    """A call beside the way of instance *of*, that is out."""

    kind: str
    of: int
    begun: bool = False
    anew: bool = False
    """Of a check: what it is about was set anew meanwhile."""


class Member(NamedTuple):
    """What the ledger keeps of the member.  Instances are counted from 1; 0: none."""

    newest: int = 0
    applied: int = 0
    lost_write: int = 0
    read_back: int = UNSET
    told: tuple[str, int] | None = None
    told_id: int = 0
    told_in_time: bool = False
    """Siebel was told something since the failure that lasts began."""
    lost_tell: int = 0
    tell_again: int = UNSET
    synced: bool = False
    reports: frozenset[int] = frozenset()
    out: Errand | None = None


class Hand(NamedTuple):
    """What a worker has in hand; *mine*: its lease is not over; *phase*: begun, sent, or how the call ended."""

    kind: str
    of: int
    stage: str
    phase: str = "begun"
    mine: bool = True
    status: str = ""
    """What Siebel is to show, as it was when it began."""
    known: bool = False
    """Siebel shows that already, as was read when it began."""
    wrote: bool = False


class State(NamedTuple):
    """All there is."""

    instances: tuple[Instance, ...] = ()
    member: Member = Member()
    hands: tuple[Hand, ...] = ()
    late: tuple[tuple[str, int, str], ...] = ()
    """Given up, and still to land: system, instance, status."""
    shown: int = 0
    """The version that CrowdTwist was written last."""
    told: tuple[str, int] = ("", 0)
    sent: int = 0
    """The newest version that was sent under a lease; nothing older may follow."""
    told_newest: int = 0
    arrived: frozenset[int] = frozenset()
    faults: int = 0
    requeues: int = 0
    picked: tuple[tuple[str, int], ...] = ()
    """Whom dispatchers have picked that do not look again."""
    wrong: str = ""

    def of(self, number: int) -> Instance:
        return self.instances[number - 1]

    def put(self, number: int, changed: Instance) -> "State":
        """Return the state with another instance in the place of *number*."""
        return self._replace(instances=(*self.instances[: number - 1], changed, *self.instances[number:]))

    def know(self, member: Member) -> "State":
        """Return the state with the ledger knowing something else of the member."""
        return self._replace(member=member)

    def holding(self, hands: list[Hand]) -> "State":
        """Return the state with other hands, in an order that does not matter."""
        return self._replace(hands=tuple(sorted(hands)))

    @property
    def queued(self) -> list[int]:
        return [at for at, one in enumerate(self.instances, 1) if one.state == QUEUED]

    @property
    def out(self) -> list[int]:
        return [at for at, one in enumerate(self.instances, 1) if one.state == RUNNING]
