"""A mass change: many members deactivated, or blanked, at once look like a broken job or view, not like members.  Pure.

1. What an event shows of its member is kept as bits: whether it is active, and which of the synced fields are filled.
2. It *clears* the bits that its member had and it does not.  What the member had is what its newest event before shows,
   and what one that is still queued was to clear: of that nobody outside knows yet.  A first event clears nothing.
3. Counted are members whose active bit, or any other, was cleared within the window: a deactivation, a blanking.
4. More than `least`, and more than its share of the programme, which are the members that the ledger knows as active:
   a mass change (`is_mass`).  Its members are held before the first stage; everyone else goes on.
5. Held they stay until somebody decides: nothing is tried and nobody is told by itself, for Siebel and CrowdTwist show
   what they showed before, which is true of both.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shared.events import MemberEvent, Operation
from shared.fields import NullPolicy

ACTIVE = 1
PLACES: Mapping[str, int] = {
    name: 1 << place
    for place, name in enumerate(
        (
            "language",
            "first_name",
            "last_name",
            "middle_name",
            "date_of_birth",
            "email_address",
            "postal_code",
            "city",
            "country_code",
            "gender",
            "ct_city_id",
        ),
        start=1,
    )
}
"""The bit of each synced field.  The ledger keeps them: a new field is added at the end, and none is ever moved."""
_FIELDS = tuple(PLACES.items())
_NAMED = 5


class Change(StrEnum):
    """What is taken from many at once; also the kind of the guard's hold."""

    DEACTIVATION = "mass_change"
    BLANKING = "blanking"

    @property
    def mask(self) -> int:
        """The bits that it clears, any of them."""
        return ACTIVE if self is Change.DEACTIVATION else sum(PLACES.values())


@dataclass(frozen=True, slots=True)
class ChangeRules:
    """When a change is a mass change.

    Shape: *shares* of the programme, by change, 1: never; *least* members that are never held.  Units: *window_s*
    seconds.
    """

    shares: Mapping[Change, float]
    least: int
    window_s: float

    @property
    def guarded(self) -> tuple[Change, ...]:
        """The changes that are held at all."""
        return tuple(change for change in Change if self.shares[change] < 1)


def shown(event: MemberEvent, had: int | None) -> int:
    """Return what *event* shows of its member; a deletion says nothing of the fields, which stay as it *had* them."""
    if event.operation is Operation.DELETE:
        return (had or 0) & ~ACTIVE
    member = event.member.__dict__
    bits = ACTIVE if event.is_active else 0
    for name, place in _FIELDS:
        if member[name]:
            bits |= place
    return bits


def shown_of(operation: str | None, member: Mapping[str, Any]) -> int:
    """Return the same of an event that the ledger has, whose payload may be an old one."""
    status = str(member.get("status") or "").casefold()
    is_active = operation != Operation.DELETE and (status == "active" or (not status and operation == Operation.ENROLL))
    filled = sum(place for name, place in _FIELDS if member.get(name))
    return filled | (ACTIVE if is_active else 0)


def spared_by(nulls: Mapping[str, NullPolicy]) -> int:
    """Return the bits of the fields that an empty one does not clear in CrowdTwist, by the null policies."""
    return sum(PLACES[name] for name, policy in nulls.items() if policy is not NullPolicy.CLEAR)


def is_mass(change: Change, members: int, programme: int, rules: ChangeRules) -> bool:
    """Return whether a change of so many *members* within the window, of a *programme* of so many, is to be held."""
    return change in rules.guarded and members > rules.least and members > rules.shares[change] * programme


def words(change: Change, counts: Mapping[int, int]) -> str:
    """Say what happens to the members; *counts* of them by what is cleared.  It names fields, and nobody."""
    if change is Change.DEACTIVATION:
        return "members become inactive"
    fields: Counter[str] = Counter()
    for cleared, count in counts.items():
        fields.update({name: count for name, place in _FIELDS if cleared & place})
    named = [name for name, _ in fields.most_common(_NAMED)]
    more = len(fields) - len(named)
    return f"fields become empty: {', '.join(named)}" + (f" and {more} more" if more else "")
