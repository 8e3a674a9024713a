"""A quick way to an event for what `parse_event` would take as it stands: a row of a file, all of it plain text.

Checking a row word by word takes longer than all else that is done with it.  What can be seen to be plain at one
glance is made an event here; of anything else this says nothing, and `parse_event` judges.  A property test holds both
against each other.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from shared.event_values import MODIFICATION_MAX, birth_date, gender_letter, instant, member_code, whole_number
from shared.events import Member, MemberEvent, Operation, restored

_LONGEST = 255
"""Characters of all fields together; so none is longer than it may be."""
_LONGEST_NUMBER = 50
_SMALLEST_LIMIT = 4_096
"""Bytes that such an event never has, whatever its characters."""
NULL: Final = dict.fromkeys(Member.model_fields, "")
"""A member of whom nothing is stated."""
_OF_CHANGE = frozenset({"operation", "occurred_at", "modification"})


class Plain(NamedTuple):
    """An event that was seen at a glance, as values; *member* has every field of one."""

    operation: Operation
    occurred_at: datetime
    modification: int | None
    member: dict[str, str]


def plain_event(
    stated: Mapping[str, Any], member: Mapping[str, Any], *, max_bytes: int, arrival: datetime
) -> MemberEvent | None:
    """Return what `parse_event` would; None: let it judge.

    Shape: *stated* of the change, our words, *member* by our names, known ones alone.
    """
    plain = plain_values(stated, member, max_bytes=max_bytes, arrival=arrival)
    if plain is None:
        return None
    change = {
        "event_id": None,
        "operation": plain.operation,
        "occurred_at": plain.occurred_at,
        "modification": plain.modification,
        "lane": None,
        "force": False,
        "member": restored(Member, plain.member, {}),
    }
    event = restored(MemberEvent, change, {})
    return event if "occurred_at" in stated else event.on_arrival()


def plain_values(
    stated: Mapping[str, Any], member: Mapping[str, Any], *, max_bytes: int, arrival: datetime
) -> Plain | None:
    """Return the values of the event that `parse_event` would make; None: let it judge."""
    try:
        whole = "".join(member.values())
        number = member["member_number"].strip()
        fields = {**NULL, **member}
        is_plain = whole.isprintable() and len(whole) <= _LONGEST and 0 < len(number) <= _LONGEST_NUMBER
        is_known = len(fields) == len(NULL) and stated.keys() <= _OF_CHANGE
        if not is_plain or not is_known or max_bytes < _SMALLEST_LIMIT:
            return None
        if " " in whole:
            fields = {name: text.strip() for name, text in fields.items()}
        member_code(number)
        fields["date_of_birth"] = birth_date(fields["date_of_birth"])
        fields["gender"] = gender_letter(fields["gender"])
        modification = whole_number(stated["modification"]) if "modification" in stated else None
        if not 0 <= (modification or 0) <= MODIFICATION_MAX:
            return None
        occurred_at = instant(stated.get("occurred_at", arrival))
        return Plain(Operation(stated["operation"]), occurred_at, modification, fields)
    except (TypeError, AttributeError, KeyError, ValueError):
        return None
