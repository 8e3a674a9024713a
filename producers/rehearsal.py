"""What a requeue would send now, beside what was sent when it failed: field by field, people masked, nothing sent."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from shared.ledger import inputs
from shared.ledger.engine import Ledger, transaction
from shared.ledger.inputs import Carried
from shared.masking import mask
from shared.settings import Settings

REHEARSED_MAX = 1_000
"""Instances of one rehearsal; who needs more has seen enough in these."""

_TIMEOUT_S = 60


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
        RehearsalError: the mapping runs in OIC, or could not be run here.
    """
    if settings.oic.mode != "builtin":
        raise RehearsalError("the mapping runs in Oracle Integration (MEMBERSYNC_OIC__MODE=remote), not here")
    with transaction(ledger) as connection:
        found = inputs.carried(connection, sorted(ids)[-REHEARSED_MAX:])
    known = [one for one in found if one.event is not None]
    return [_compared(one, answer) for one, answer in zip(known, _mapped(known), strict=True)]


def _mapped(found: Sequence[Carried]) -> list[dict[str, Any]]:
    """Run today's mapping in a process of the workers' side."""
    if not found:
        return []
    lines = b"\n".join(orjson.dumps(one.event) for one in found)
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "workers.rehearse"], input=lines, capture_output=True, timeout=_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        # Its output may carry a member's data; only the kind of trouble is told.
        raise RehearsalError(f"the mapping could not be run ({type(error).__name__})") from None
    return [orjson.loads(line) for line in ran.stdout.splitlines()]


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
