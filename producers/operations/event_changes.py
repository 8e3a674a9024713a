"""What changed between two events of a member, field by field.

People are masked by the rules of `reads`, and that a value changed is seen before it is masked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from producers.operations.job_control import AskError, Operator
from producers.operations.reads import id_of, marked_event
from shared.ledger import views
from shared.ledger.audit import Action, record
from shared.ledger.engine import Transaction
from shared.ledger.filters import has_control
from shared.ledger.records import InstanceDetail
from shared.masking import mask


@dataclass(frozen=True, slots=True)
class EventEnd:
    """One of the two events.  Shape: *kept* False: its content is kept no longer, or never was."""

    instance_id: str
    event_id: str
    operation: str
    state: str
    modification: int | None
    occurred_at: datetime
    accepted_at: datetime
    kept: bool


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that differs; null and empty are alike.

    Shape: values as they may be shown; of a person two that differ may be masked alike.
    """

    field: str
    change: Literal["added", "changed", "removed"]
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class EventChanges:
    """What the *newer* event of a member changed.

    Shape: *older* None: the newer one is the only event, and everything in it was added.  *same* how many fields that
    say something are the same in both.
    """

    member_number: str
    older: EventEnd | None
    newer: EventEnd
    changes: list[FieldChange]
    same: int


def changed_pair(older: str, newer: str) -> tuple[int | None, int | None]:
    """Read which two events are meant, by their instances; empty: not said.

    Raises:
        AskError: it is no id.
    """
    pair = []
    for name, words in (("from", older), ("to", newer)):
        number = id_of(words) if words else None
        if words and number is None:
            raise AskError(name, "is no id of an instance")
        pair.append(number)
    return pair[0], pair[1]


class NotOfMemberError(AskError):
    """An instance is none of the member, or it was pruned."""


def changes_between(
    tx: Transaction,
    member_number: str,
    older: int | None = None,
    newer: int | None = None,
    *,
    unmasked_for: Operator | None = None,
) -> EventChanges | None:
    """Compare two events of a member by their instances, without *newer* the newest, without *older* the one before it.

    None: nothing is known of such a member, or of any event of it.

    Raises:
        NotOfMemberError: one of the two is none of this member.
    """
    found = None if has_control(member_number) else views.member(tx, member_number, limit=1)
    if found is None or (newer is None and not found.instances):
        return None
    late = _instance(tx, "to", int(found.instances[0].instance_id) if newer is None else newer, found.member_number)
    early = None
    if older is not None:
        early = _instance(tx, "from", older, found.member_number)
    elif before := views.neighbours(tx, found.member_number, int(late.instance_id)).older_id:
        early = _instance(tx, "from", int(before), found.member_number)
    if early is not None and int(early.instance_id) > int(late.instance_id):
        early, late = late, early
    if unmasked_for is not None:
        ids = [one.instance_id for one in (early, late) if one is not None]
        asked = {"member": found.member_number, "changes": ids}
        record(tx, Action(unmasked_for.name, unmasked_for.role, "unmask", "shown", None, asked, len(ids)))
    return _compared(found.member_number, early, late, masked=unmasked_for is None)


def _instance(tx: Transaction, name: str, instance_id: int, member_number: str) -> InstanceDetail:
    found = views.instance(tx, instance_id)
    if found is None or found.member_number != member_number:
        raise NotOfMemberError(name, "is no instance of this member, or it was pruned")
    return found


def _compared(number: str, early: InstanceDetail | None, late: InstanceDetail, *, masked: bool) -> EventChanges:
    before, after = (_fields(None if one is None else one.event) for one in (early, late))
    is_comparable = late.event is not None and (early is None or early.event is not None)
    names = sorted(before.keys() | after.keys()) if is_comparable else []
    differing = [name for name in names if before.get(name) != after.get(name)]
    if masked:
        before, after = (_masked(one, differing) for one in (early, late))
    changes = [
        FieldChange(
            name,
            "added" if name not in before else "removed" if name not in after else "changed",
            before.get(name),
            after.get(name),
        )
        for name in differing
    ]
    return EventChanges(number, None if early is None else _end(early), _end(late), changes, len(names) - len(changes))


def _fields(event: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what says something in an event, by field: of the member, and what is to be done with it."""
    fields = {} if event is None else {"operation": event.get("operation")} | dict(event.get("member") or {})
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _masked(one: InstanceDetail | None, names: Sequence[str]) -> dict[str, Any]:
    """Return these fields of an event masked; each for itself, for a long event is shown in part."""
    fields = _fields(None if one is None else marked_event(one))
    return {name: mask({name: fields[name]}, words=False)[name] for name in names if name in fields}


def _end(one: InstanceDetail) -> EventEnd:
    return EventEnd(
        one.instance_id,
        one.event_id,
        one.operation,
        one.state,
        one.modification,
        one.occurred_at,
        one.accepted_at,
        one.event is not None,
    )
