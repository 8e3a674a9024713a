"""What a requeue would send now, beside what was sent when it failed: field by field, people masked, nothing sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shared.errors import DataError
from shared.ledger import inputs
from shared.ledger.engine import Ledger, transaction
from shared.ledger.inputs import Carried
from shared.masking import mask
from shared.settings import OicSettings, Settings
from shared.systems.oic_mapping import map_member

REHEARSED_MAX = 1_000
"""Instances of one rehearsal; who needs more has seen enough in these."""


class RehearsalError(Exception):
    """Today's mapping cannot be asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Change:
    """One field of the request that would differ.  Shape: values as they may be shown."""

    field: str
    change: Literal["added", "changed", "removed"]
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """One instance: *outcome* `same`, `differs`, or `refused` with the *error* of today's mapping."""

    instance_id: str
    member_number: str
    outcome: Literal["same", "differs", "refused"]
    error: str
    changes: Sequence[Change]


def rehearse(ledger: Ledger, ids: Sequence[int], settings: Settings) -> list[Rehearsal]:
    """Map the newest `REHEARSED_MAX` of *ids* with today's settings and compare.

    Raises:
        RehearsalError: the mapping runs in OIC.
    """
    if settings.oic.mode != "builtin":
        raise RehearsalError("the mapping runs in Oracle Integration (MEMBERSYNC_OIC__MODE=remote), not here")
    with transaction(ledger) as tx:
        found = inputs.carried(tx, sorted(ids)[-REHEARSED_MAX:])
    return [_compared(one, _mapped(one, settings.oic)) for one in found if one.event is not None]


def _mapped(one: Carried, settings: OicSettings) -> dict[str, Any]:
    """Map the event as the oic stage would now."""
    try:
        return {"user": map_member(one.event or {}, settings)}
    except DataError as error:
        return {"error": error.what}


def _compared(one: Carried, answer: Mapping[str, Any]) -> Rehearsal:
    number = str(one.instance_id)
    if "error" in answer:
        return Rehearsal(number, one.member_number, "refused", answer["error"], [])
    changes = compare(one.user or {}, answer["user"])
    return Rehearsal(number, one.member_number, "differs" if changes else "same", "", changes)


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Say in which fields two requests differ, null being none; masked.  Pure."""
    changes = []
    for field in sorted(before.keys() | after.keys()):
        old, new = before.get(field), after.get(field)
        if old != new:
            change: Literal["added", "changed", "removed"] = (
                "added" if old is None else "removed" if new is None else "changed"
            )
            changes.append(Change(field, change, _shown(field, old), _shown(field, new)))
    return changes


def _shown(field: str, value: object) -> object:
    masked: dict[str, object] = mask({field: value})
    return masked[field]
