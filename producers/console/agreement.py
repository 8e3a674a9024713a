"""Whether Siebel and CrowdTwist show what the newest event of a member came to.  Pure.

Source: promises 2 and 3 of spec section 7.
"""

from dataclasses import dataclass
from typing import Literal

from shared.ledger.records import InstanceRecord, MemberRecord
from shared.pipeline import Stage, State, SyncStatus, is_a, spoken

_UNCHANGED = "the newest event changed nothing that is synced"


@dataclass(frozen=True, slots=True)
class Side:
    """One system.  Shape: *why* one sentence without a full stop."""

    agrees: Literal["Yes", "Not yet", "No"]
    why: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """Both systems beside the newest event."""

    siebel: Side
    crowdtwist: Side


def agreement(member: MemberRecord, newest: InstanceRecord | None, success: str) -> Agreement:
    """Compare; *newest* None: no event was to be sent, or it was pruned; *success* is Siebel's word for it."""
    if newest is None:
        nothing = Side("Not yet", "no event of this member was to be sent, or it was pruned")
        return Agreement(nothing, nothing)
    return Agreement(_siebel(member, newest, success), _crowdtwist(member, newest))


def _siebel(member: MemberRecord, newest: InstanceRecord, success: str) -> Side:
    if newest.state == State.UNCHANGED:
        return Side("Yes" if member.synced else "No", _UNCHANGED)
    outcome = success if newest.status == SyncStatus.SUCCESS else newest.status
    is_told = outcome is not None and (member.told_instance_id, member.told_status) == (newest.instance_id, outcome)
    if newest.finished_at is None:
        at = f"the newest event is {newest.state} at {spoken(newest.stage)}"
        return Side("Yes", f"it shows the failure so far; {at}") if is_told else Side("Not yet", at)
    if is_told:
        return Side("Yes", "it shows the outcome of the newest event")
    if newest.state == State.DEAD and newest.failed_stage != Stage.SIEBEL:
        return Side("Not yet", "the newest event is a dead letter, and Siebel is still to be told")
    if newest.state == State.DEAD:
        return Side("No", "it could not be told of the newest event; requeue the dead letter")
    return Side("No", f"it was told of another event; the newest is {is_a(newest.state)}")


def _crowdtwist(member: MemberRecord, newest: InstanceRecord) -> Side:
    if newest.state == State.UNCHANGED:
        return Side("Yes" if member.synced else "No", _UNCHANGED)
    if member.applied_instance_id == newest.instance_id:
        return Side("Yes", "it accepted the newest event")
    if newest.finished_at is None:
        return Side("Not yet", f"the newest event is {newest.state} at {spoken(newest.stage)}")
    if newest.state == State.REJECTED:
        return Side("No", "the newest event is a Data Error; correct the member in Siebel")
    return Side("No", f"the newest event is {is_a(newest.state)}")
