"""One member's fields, side by side: what Siebel and CrowdTwist have now, and what the ledger has of each.  Pure.

Siebel now is compared with the newest accepted event, as far as CrowdTwist would receive another member: any two
statuses other than Active are the same, and of a deletion nothing counts but that the member is inactive.  CrowdTwist
now is compared with what CrowdTwist showed at our last success.  What a side does not tell is not unlike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from producers.intake.siebel_rows import SiebelRecord
from producers.operations.reconcile.causes import Unlike
from shared.errors import DataError
from shared.events import MemberEvent, Operation, dump_event
from shared.fields import OF_CONTENT
from shared.settings import OicSettings
from shared.systems.crowdtwist import is_as_sent, same, sent_as, shown_as
from shared.systems.oic import map_member

NAMES: Final = ("status", *OF_CONTENT)
"""The fields that are compared, by their names in an event; `status` is Siebel's, and CrowdTwist's `is_active`."""
_DATE_FORMS = ("%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M:%S")


@dataclass(frozen=True, slots=True)
class Compared:
    """One field on all sides; None: null, or not told.

    Shape: *ledger* the newest accepted event's, *acknowledged* what CrowdTwist showed at our last success, both of
    CrowdTwist in the terms of an event; *in_siebel* and *in_crowdtwist*: now it is unlike that, None: a side does not
    tell.
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
    oic: OicSettings,
) -> list[Compared]:
    """Compare every field; *oic* says by which values CrowdTwist is told what.

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
                _in_terms_of_an_event(name, now, oic),
                None if accepted is None else _value(accepted, name),
                _in_terms_of_an_event(name, then, oic),
                None if name in untold else _differs(event, accepted, name),
                not same(shown, then, now) if shown is not None and is_compared else None,
            )
        )
    return rows


def unsent(accepted: MemberEvent | None, oic: OicSettings) -> frozenset[str]:
    """Return the fields of an event that have a value and of which CrowdTwist is sent none, by a rule of the map.

    Shape: none where that cannot be told: the map runs in OIC, or refuses the member.
    """
    if accepted is None or accepted.operation is Operation.DELETE or oic.mode != "builtin":
        return frozenset()
    try:
        sent = map_member(dump_event(accepted), oic)
    except DataError:
        return frozenset()
    return frozenset(
        name for name in OF_CONTENT if _value(accepted, name) and sent.get(sent_as(name) or "") in (None, "")
    )


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


def _in_terms_of_an_event(name: str, value: Any, oic: OicSettings) -> Any:  # noqa: ANN401  # JSON
    """Return CrowdTwist's *value* as an event would say it; what says nothing in these terms stays as it is."""
    if value is None or value == "":
        return value
    if name == "status":
        return "Active" if value in (True, 1, "1", "true") else "Inactive"
    if name == "gender":
        return {str(oic.gender_male_id): "M", str(oic.gender_female_id): "F"}.get(str(value), value)
    if name == "date_of_birth":
        at = instant_of(value)
        return value if at is None else at.date().isoformat()
    return value


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


def instant_of(value: object) -> datetime | None:
    """Read a date as CrowdTwist writes it, seconds since 1970 or a text; None: it is none."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        if isinstance(value, int | float) or (isinstance(value, str) and value.isdecimal()):
            return datetime.fromtimestamp(float(value), UTC)
        read = datetime.fromisoformat(str(value).strip())
    except (ValueError, OverflowError, OSError):
        return _by_form(str(value).strip())
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)


def _by_form(words: str) -> datetime | None:
    for form in _DATE_FORMS:
        try:
            return datetime.strptime(words, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None
