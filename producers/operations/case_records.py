"""Cases as people get them, and one table of advice: by kind, who must do what.  Pure.

Source: domain.md section 0 (a Data Error: correct the data), 1.3 (deleted members stay in CrowdTwist, inactive: L5).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.lifecycle.cases import CaseKind


class Who(StrEnum):
    """Who must do something."""

    SIEBEL = "siebel"
    """Whoever corrects members in Siebel."""
    CROWDTWIST = "crowdtwist"
    """Whoever has CrowdTwist's Member Care."""
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class CaseHolder:
    """Who has the address.

    Shape: *found_by* `ledger` or `crowdtwist`; *active* null: not known; *moves*: it wants another address, and does
    not have it yet.  Units: *age_s* seconds since CrowdTwist showed it.
    """

    member_number: str | None
    ct_user_id: str | None
    in_ledger: bool
    active: bool | None
    moves: bool
    found_by: str
    looked_up_at: datetime | None
    age_s: float | None


@dataclass(frozen=True, slots=True)
class Beside:
    """A field of the member beside the same of who has the address; *same*: both say the same."""

    field: str
    label: str
    member: object
    holder: object
    same: bool


@dataclass(frozen=True, slots=True)
class CaseCycle:
    """The cycle of addresses that the member is in, while it is let loose.

    Shape: *parked_member* has another address meanwhile, from *parked_at* on (null: not yet); *done* of *steps* members
    have what they wanted; *late*: that it was to be over at *deadline_at* has not come true.
    """

    parked_member: str
    parked_at: datetime | None
    deadline_at: datetime
    done: int
    steps: int
    late: bool


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """One case.

    Shape: *path*: who has the address, who has what that one wants, and so on; *unblocks*: how many other cases wait
    for it; *coming_instance_id*: a try that may end it is on its way, or is held; *held_by_guard*: by which guard;
    *cycle*: it is just let loose; *beside* only where one case is asked for.
    """

    case_id: str
    state: str
    member_number: str
    instance_id: str
    kind: str
    field: str | None
    label: str | None
    value: object
    character: str | None
    rule: str | None
    message: str
    refused_by: str | None
    holder: CaseHolder | None
    path: list[str]
    who: str
    what_to_do: str
    unblocks: int
    coming_instance_id: str | None
    looked_up: str | None
    opened_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    note: str | None
    closed_at: datetime | None
    closed_how: str | None
    held_by_guard: str | None = None
    cycle: CaseCycle | None = None
    beside: list[Beside] | None = None


@dataclass(frozen=True, slots=True)
class CasePage:
    """Cases, what unblocks most first; *next* is the cursor of the page after this one, null at the end."""

    items: list[CaseRecord]
    next: str | None


@dataclass(frozen=True, slots=True)
class CaseAnswer:
    """What became of what was asked for a case; *done* False: nothing, *answer* says why."""

    case_id: str
    done: bool
    answer: str
    case: CaseRecord


def advice(one: CaseRecord) -> tuple[Who, str]:
    """Say who must do something about a case, and what, in one sentence."""
    if one.state == "closed":
        return Who.NOBODY, "Nothing: it is closed."
    if one.held_by_guard is not None:
        what = (
            f"Nothing for this member alone: its instance {one.coming_instance_id} is held by guard {one.held_by_guard}"
        )
        return Who.NOBODY, f"{what}; it is released or discarded there, with all who met the same."
    if one.cycle is not None:
        return _of_healing(one, one.cycle)
    if one.coming_instance_id is not None:
        return Who.NOBODY, f"Nothing yet: instance {one.coming_instance_id} of the member is on its way."
    if one.kind == CaseKind.OTHER and one.field == "email_address" and one.looked_up is None:
        return Who.NOBODY, "Nothing yet: CrowdTwist has not been asked who has the address."
    who, say = _ADVICE[CaseKind(one.kind)]
    return who, say(one, _named(one.holder))


def _of_chain(one: CaseRecord, holder: str) -> str:
    what = f"Nothing for member {one.member_number} itself: it is sent again as soon as {holder} has another address"
    return f"{what}; what holds it up is the case of member {one.path[-2]}." if len(one.path) > 1 else f"{what}."


def _of_cycle(one: CaseRecord, _: str) -> str:
    ring = ", ".join((one.member_number, *one.path))
    what = f"Members {ring} want each other's addresses: give one of them another address in Siebel for a while"
    return f"{what}, then its own; the others follow by themselves."


def _of_healing(one: CaseRecord, cycle: CaseCycle) -> tuple[Who, str]:
    is_parked = cycle.parked_at is not None
    itself = cycle.parked_member == one.member_number
    who = "it" if itself else f"member {cycle.parked_member}"
    said = f"{who} is at another address" if is_parked else f"{who} is about to get another address"
    done = f"{cycle.done} of {cycle.steps} members have what they wanted"
    if not cycle.late:
        return Who.NOBODY, f"Nothing yet: the cycle is coming loose by itself; {said} meanwhile, and {done}."
    what = f"The cycle did not come loose in time: {said} still, and {done}"
    correct = "correct the e-mail address of a member that is left, in Siebel"
    return Who.SIEBEL, f"{what}; {correct}: the rest follows by itself."


def _of_outsider(one: CaseRecord, holder: str) -> str:
    if one.holder is None:
        return "Ask CrowdTwist's support: it refuses the address as taken, and shows nobody who has it."
    if one.holder.member_number is None:
        return f"Correct or remove {holder}, who has the address and no Member Number, in CrowdTwist's Member Care."
    what = f"No event of {holder}, who has the address, ever came: correct that user in CrowdTwist's Member Care"
    return f"{what}, or the member in Siebel if there is one."


def _of_format(one: CaseRecord, _: str) -> str:
    wrong = f", and it has {one.character}" if one.character else ""
    return f"Correct {one.label} of member {one.member_number} in Siebel: {one.rule or one.message}{wrong}."


_ADVICE: dict[CaseKind, tuple[Who, Callable[[CaseRecord, str], str]]] = {
    CaseKind.TAKEN_BY_ACTIVE: (
        Who.SIEBEL,
        lambda one, holder: (
            f"Correct the e-mail address of member {one.member_number} or of {holder} in Siebel: "
            "only one of them can have it."
        ),
    ),
    CaseKind.TAKEN_BY_INACTIVE: (
        Who.CROWDTWIST,
        lambda one, holder: (
            f"Give {holder}, who is inactive and keeps the address, another one in CrowdTwist's Member Care, "
            f"or take that membership up again in Siebel instead of member {one.member_number}."
        ),
    ),
    CaseKind.CHAIN: (Who.NOBODY, _of_chain),
    CaseKind.CYCLE: (Who.SIEBEL, _of_cycle),
    CaseKind.OUTSIDE_HOLDER: (Who.CROWDTWIST, _of_outsider),
    CaseKind.FORMAT: (Who.SIEBEL, _of_format),
    CaseKind.MISSING: (
        Who.SIEBEL,
        lambda one, _: f"Fill in {one.label} of member {one.member_number} in Siebel.",
    ),
    CaseKind.OTHER: (
        Who.SIEBEL,
        lambda one, _: f"Read what was said of member {one.member_number}, and correct it in Siebel: {one.message}",
    ),
}


def _named(holder: CaseHolder | None) -> str:
    if holder is None:
        return "somebody"
    if holder.member_number is not None:
        return f"member {holder.member_number}"
    return f"CrowdTwist's user {holder.ct_user_id}"
