"""Cycles of addresses: how members that want each other's are let loose, and what is done next.  Pure.

Nobody of a cycle can be sent: each wants what another has.  So one is *parked*: CrowdTwist is sent what it acknowledged
of that member last, with an address of its own in which nobody has an interest (`<Member Number>@<Default CT Email
Domain>`).  That frees one address; who waits for it is sent by itself, which frees the next, and at last the parked
member's own event is sent.  A cycle of k members costs k + 1 PUTs.

| state       | what is so                                                  | what ends it                          |
|-------------|-------------------------------------------------------------|---------------------------------------|
| `parking`   | the PUT that parks is due, or out                           | it is answered, or given up           |
| `parked`    | CrowdTwist shows the parked address                         | an event of the member is accepted    |
| `returning` | the PUT that puts the member's old address back is due, out | it is answered, or refused            |
| `ended`     | the member has an address of its own                        |                                       |

Nobody stays parked while it can be helped: where the others do not move any more, or the deadline is over, the old
address is put back as long as nobody has it.  Somebody who is parked, and whose old address is taken, stays in sight.
"""

from dataclasses import dataclass
from enum import StrEnum

STUCK_S = 10.0
"""Nobody of a cycle has been on its way for so long: it does not come loose by itself.  Units: seconds."""
RETURN_EVERY_S = 300.0
"""From one try to put an address back to the next.  Units: seconds."""


class CycleState(StrEnum):
    """Where a cycle is, as the table above says."""

    PARKING = "parking"
    PARKED = "parked"
    RETURNING = "returning"
    ENDED = "ended"


class CycleEnd(StrEnum):
    """How a cycle came to its end."""

    RESOLVED = "resolved"
    """Every member has what it wanted."""
    OVERTAKEN = "overtaken"
    """The parked member has an address of its own by another event, and not everybody has what it wanted."""
    PUT_BACK = "put_back"
    """The parked member has the address that it had before."""
    GIVEN_UP = "given_up"
    """Nobody was parked: the cycle was none any more, or its deadline was over."""
    REFUSED = "refused"
    """Nobody was parked: CrowdTwist does not take the address to park at."""
    GONE = "gone"
    """Nobody was parked: CrowdTwist does not have the member."""


@dataclass(frozen=True, slots=True)
class CycleFacts:
    """What is so of a cycle that has not ended.

    Shape: *is_sending*: the errand that parks, or puts back, is there, *is_out*: on its way just now; *was_tried*: it
    was begun before, so that the member may be parked; *is_own*: an event of the parked member was accepted since;
    *all_moved*: of every member; *is_whole*: each member's newest event is the one it was found with; *is_moving*: one
    of them is on its way; *is_taken*: the ledger knows somebody who has the old address; *is_back*: CrowdTwist has
    acknowledged the old address since it was to be put back.  Units: *still_s* seconds since something went on,
    *late_s* since the deadline, below zero before it; *returned_s* since it was last tried to put the address back.
    """

    state: CycleState
    is_sending: bool
    is_out: bool
    was_tried: bool
    is_own: bool
    all_moved: bool
    is_whole: bool
    is_moving: bool
    is_taken: bool
    is_back: bool
    still_s: float
    late_s: float
    returned_s: float | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is to be done now."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """The member's old address is to be put back."""


@dataclass(frozen=True, slots=True)
class StayParked:
    """It could not be put back: the member stays in sight as parked."""


@dataclass(frozen=True, slots=True)
class End:
    """It is over."""

    how: CycleEnd


def next_step(of: CycleFacts) -> Wait | PutBack | StayParked | End:
    """Say what is done next about a cycle."""
    if of.is_out:
        return Wait()
    if of.is_own:
        return End(CycleEnd.RESOLVED if of.all_moved else CycleEnd.OVERTAKEN)
    match of.state:
        case CycleState.PARKING:
            return _of_parking(of)
        case CycleState.PARKED:
            is_due = of.returned_s is None or of.returned_s >= RETURN_EVERY_S
            is_stuck = not of.is_moving and of.still_s >= STUCK_S
            return PutBack() if is_due and not of.is_taken and (is_stuck or of.late_s >= 0) else Wait()
        case CycleState.RETURNING if of.is_sending:
            return Wait()
        case CycleState.RETURNING:
            return End(CycleEnd.PUT_BACK) if of.is_back else StayParked()
        case CycleState.ENDED:
            raise ValueError("it has ended")


def _of_parking(of: CycleFacts) -> Wait | PutBack | End:
    if of.is_sending and of.is_whole and of.late_s < 0:
        return Wait()
    if of.is_sending and not of.was_tried:
        return End(CycleEnd.GIVEN_UP)
    return PutBack()  # whether CrowdTwist took the parked address is not known
