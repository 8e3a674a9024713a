"""One member's fields, side by side: what Siebel and CrowdTwist have now, and what the ledger has of each.  Pure.

Siebel now is compared with the newest accepted event, as far as CrowdTwist would receive another member: any two
statuses other than Active are the same, and of a deletion nothing counts but that the member is inactive.  CrowdTwist
now is compared with what CrowdTwist showed at our last success.  What a side does not tell is not unlike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from producers.intake.siebel_rows import SiebelRecord
from producers.operations.reconcile.causes import Unlike
from shared.errors import DataError
from shared.events import MemberEvent, Operation, dump_event
from shared.fields import OF_CONTENT
from shared.settings import OicSettings
from shared.systems.crowdtwist import is_as_sent, same, shown_as
from shared.systems.oic import map_member

NAMES: Final = ("status", *OF_CONTENT)
"""The fields that are compared, by their names in an event; `status` is Siebel's, and CrowdTwist's `is_active`."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One field on all sides; None: null, or not told.

    Shape: *ledger* the newest accepted event's, *acknowledged* what CrowdTwist showed at our last success; *in_siebel*
    and *in_crowdtwist*: now it is unlike that, None: a side does not tell.
    """

    field: str
    siebel: Any
    crowdtwist: Any
    ledger: Any
    acknowledged: Any
    in_siebel: bool | None
    in_crowdtwist: bool | None

    @property
    def unlike(self) -> Unlike:
        """The field as one that differs."""
        ledger = self.ledger if self.in_siebel or self.acknowledged is None else self.acknowledged
        return Unlike(self.field, self.siebel, self.crowdtwist, ledger)


def compared(
    siebel: SiebelRecord | None,
    accepted: MemberEvent | None,
    crowdtwist: Mapping[str, Any] | None,
    acknowledged: Mapping[str, Any] | None,
) -> list[Compared]:
    """Compare every field.

    Shape: *crowdtwist* and *acknowledged* by CrowdTwist's names, of its user object or a row of its file, with as many
    of the fields as there are.
    """
    event = None if siebel is None else siebel.event
    untold = frozenset() if siebel is None else siebel.untold
    rows = []
    for name in NAMES:
        shown = shown_as(name)
        is_shown = shown is not None and crowdtwist is not None and shown in crowdtwist
        now = crowdtwist[shown] if shown is not None and crowdtwist is not None and is_shown else None
        then = None if acknowledged is None or shown is None else acknowledged.get(shown)
        is_compared = is_shown and acknowledged is not None and shown in acknowledged
        rows.append(
            Compared(
                name,
                None if event is None or name in untold else _value(event, name),
                now,
                None if accepted is None else _value(accepted, name),
                then,
                None if name in untold else _differs(event, accepted, name),
                not same(shown, then, now) if shown is not None and is_compared else None,
            )
        )
    return rows


def agrees(siebel: SiebelRecord | None, crowdtwist: Mapping[str, Any] | None, settings: OicSettings) -> bool | None:
    """Return whether CrowdTwist's user is as we would send Siebel's row, None: that cannot be told.

    It cannot where OIC maps members, where the row cannot be mapped, or leaves out what CrowdTwist has a value of.
    """
    if siebel is None or siebel.event is None or crowdtwist is None or settings.mode != "builtin":
        return None
    if any(crowdtwist.get(shown_as(name) or "") not in (None, "") for name in siebel.untold):
        return None
    try:
        return is_as_sent(map_member(dump_event(siebel.event), settings), crowdtwist)
    except DataError:
        return None


def _value(event: MemberEvent, name: str) -> str | None:
    if event.operation is Operation.DELETE:
        return "(deleted)" if name == "status" else None
    return getattr(event.member, name) or None


def _differs(event: MemberEvent | None, accepted: MemberEvent | None, name: str) -> bool | None:
    if event is None or accepted is None:
        return None
    if name == "status":
        return event.is_active != accepted.is_active
    if Operation.DELETE in (event.operation, accepted.operation):
        return None if event.is_active else False
    return bool(getattr(event.member, name) != getattr(accepted.member, name))
