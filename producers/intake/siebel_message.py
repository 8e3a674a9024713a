"""What Siebel sends by itself: a SiebelMessage, as JSON or XML, into member events.

Shape: `SiebelMessage` (IntObjectName `CT LOY Member` or `CT Loyalty Member`) > `ListOf<IO>` > `LOY Member`, one or
many, each with its `Contact`.  Names compare by letters and digits alone: `Member Number`, `MemberNumber` (XML names
without escapes) and `member_number` are one name.  XML becomes the same shape first (`producers/intake/siebel_xml.py`).

Siebel's dates are `MM/DD/YYYY [HH:MM[:SS]] [AM|PM]` or ISO 8601, mostly without an offset.

Source: domain.md 3.2 (shape); the labels stand in `shared.fields`.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeGuard
from zoneinfo import ZoneInfo

from producers.intake.contacts import CONTACTS, part_contact
from producers.intake.refused import BodyError, Element, refused
from producers.intake.spellings import as_list, fold
from shared.errors import InvalidEventError
from shared.event_values import REPEATED, Ambiguous, check_names, path_of
from shared.events import Member, MemberEvent, Operation, parse_event
from shared.fields import Part, labels
from shared.plain_events import plain_event
from shared.settings import Settings, SiebelSettings

_OBJECTS = {"ctloymember", "ctloyaltymember"}
_COMPONENTS = {"loymember", "loyaltymember", "lwaloymember", *_OBJECTS}
_NAMED_MAX = 5
OF_DELETED = "isdeleted"
"""Source: the CSV of Siebel's Data Export; a deleted row may have nothing else but its Row Id."""
_EVENT_FIELDS = ("event_id", "operation", "occurred_at", "modification", "lane", "force")
OPERATIONS = {
    **dict.fromkeys(("", "update", "upsert", "sync", "synchronize", "modify"), Operation.UPDATE),
    **dict.fromkeys(("insert", "create", "new", "enroll", "enrol"), Operation.ENROLL),
    **dict.fromkeys(("delete", "remove"), Operation.DELETE),
}
_SIEBEL_DATE = re.compile(r"(\d\d?)/(\d\d?)/(\d{4})(?: (\d\d?):(\d\d)(?::(\d\d))?)?(?: ?(?P<half>[AP]M))?", re.ASCII)
_HALF_DAY_H = 12
_NO_SUCH_TIME = "is a date or time that does not exist"
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one Siebel writes: the label of each field, the zone of its dates, whether of contacts the first is it."""

    zone: ZoneInfo
    labels: Mapping[str, str]
    member: Mapping[str, str] = field(repr=False)
    contact: Mapping[str, str] = field(repr=False)
    takes_first_contact: bool = False

    @classmethod
    def of(cls, settings: SiebelSettings) -> "Dialect":
        """Build it from the settings; a label given there replaces ours.

        Raises:
            ValueError: a label is given for a field that does not exist.
        """
        given = {name: (label,) for name, label in settings.field_names.items()}
        canonical = {fold(name): name for name in (*_EVENT_FIELDS, *Member.model_fields)}
        if strangers := given.keys() - set(canonical.values()):
            raise ValueError(f"siebel.field_names: no such field: {', '.join(sorted(strangers))}")
        known = {**labels(), **given}
        return cls(
            zone=ZoneInfo(settings.timezone),
            labels={name: labels[0] for name, labels in known.items()},
            member={**canonical, **_folded(known), **_folded(given)},
            contact=_folded({name: known[name] for name in labels(Part.CONTACT)}),
            takes_first_contact=settings.several_contacts == "first",
        )

    def field_of(self, label: str) -> str | None:
        """Return the field that a label means; None: none that we know."""
        return self.member.get(fold(label)) or self.contact.get(fold(label))


def _folded(labels: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {fold(label): name for name, alternatives in labels.items() for label in alternatives}


def nobody(_: str) -> str | None:
    """Know of no row whose it is."""
    return None


@dataclass(frozen=True, slots=True)
class Terms:
    """What reading depends on.  Units: bytes.

    Shape: *arrival* is when a change happened that does not say so itself, None: it must say so, and its operation too;
    *member_of* knows whose a ROW_ID is, for a deleted row that has nothing else; *remark* takes what is worth saying of
    a file that is read all the same.
    """

    dialect: Dialect
    arrival: datetime | None
    max_event_bytes: int = 64_000
    max_events: int = sys.maxsize
    member_of: Callable[[str], str | None] = nobody
    remark: Callable[[str], None] = lambda _: None

    @classmethod
    def of(cls, settings: Settings, arrival: datetime) -> "Terms":
        """Take them from the settings."""
        return cls(Dialect.of(settings.siebel), arrival, settings.api.max_event_bytes, settings.api.max_events)


def is_siebel_message(document: object) -> TypeGuard[Mapping[str, Any]]:
    """Tell a SiebelMessage from a canonical event."""
    return isinstance(document, Mapping) and not document.keys().isdisjoint({"SiebelMessage", "IntObjectName"})


def is_component(label: str) -> bool:
    """Return whether this is a name of the component that is a member."""
    return fold(label) in _COMPONENTS


def is_list_of_members(label: str) -> bool:
    """Return whether this names what holds members."""
    return fold(label).removeprefix("listof") in _OBJECTS | _COMPONENTS


def read_siebel_message(document: Mapping[str, Any], terms: Terms) -> Iterator[MemberEvent | InvalidEventError]:
    """Read the members of one message in order; a broken one is refused alone, its field named by Siebel's label.

    Raises:
        BodyError: the message itself is not of this shape; raised by the call, before the first member.
    """
    members = _members(document, terms.dialect)

    def read() -> Iterator[MemberEvent | InvalidEventError]:
        for member in members:
            try:
                yield read_member(member, terms)
            except InvalidEventError as refusal:
                yield refused(refusal, member)

    return read()


def read_member(record: object, terms: Terms) -> MemberEvent:
    """Read one member.

    Raises:
        InvalidEventError: its field is the label as the record spells it.
    """
    if not isinstance(record, Mapping):
        raise InvalidEventError("LOY Member", "must be an object")
    if isinstance(record, Element) and record.flaw:
        raise record.flaw
    check_names(record)
    dialect, is_xml = terms.dialect, isinstance(record, Element)
    found = _Found()
    contact, rest, flaw = part_contact(record, dialect.contact, takes_first=dialect.takes_first_contact)
    if contact is not None:
        unknown = found.take(contact, dialect.contact, repeats=is_xml)
        rest |= {"Contact": unknown} if unknown else {}
    unknown = found.take(rest, dialect.member, repeats=is_xml)
    event = {name: found.values.pop(name) for name in _EVENT_FIELDS if found.values.get(name) not in (None, "")}
    if _is_deleted(unknown):
        event["operation"] = Operation.DELETE.value
        found.name_by_row(terms.member_of)
    if flaw and OPERATIONS.get(fold(str(event.get("operation", "")))) is not Operation.DELETE:
        raise flaw
    return event_of(event, {**unknown, **found.values}, found.labels, terms)


def event_of(stated: dict[str, Any], member: Mapping[str, Any], spelt: Mapping[str, str], terms: Terms) -> MemberEvent:
    """Read an event whose fields have our names and Siebel's values.

    Shape: *stated* of the change; *member* of the member; *spelt* by which label each of them came.

    Raises:
        InvalidEventError: its field is the label.
    """
    dialect, arrival = terms.dialect, terms.arrival
    try:
        until = translate(stated, dialect.zone, has_default=arrival is not None)
        if arrival and (plain := plain_event(stated, member, max_bytes=terms.max_event_bytes, arrival=arrival)):
            return plain.or_until(until)
        document = {**stated, "member": member}
        return parse_event(document, max_bytes=terms.max_event_bytes, arrival=arrival).or_until(until)
    except InvalidEventError as refusal:
        name = refusal.field.removeprefix("member.")
        label = spelt.get(name) or (dialect.labels.get(name, name) if arrival else name)
        raise InvalidEventError(label, refusal.reason) from None


@dataclass(slots=True)
class _Found:
    """The fields met so far.  A filled one stands; an empty one gives way to a later one of the same meaning."""

    values: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    def take(self, record: Mapping[str, Any], names: Mapping[str, str], *, repeats: bool) -> dict[str, Any]:
        """Take what *names* knows; return the rest.  Where a list is how something *repeats*, it must say one thing.

        Raises:
            InvalidEventError: a label, in all its spellings and places, has two values.
        """
        unknown = {}
        spelt: dict[str, Any] = {}
        for label, given in record.items():
            folded = fold(label)
            name = names.get(folded)
            if name is None:
                unknown[label] = given
                continue
            values = given if repeats and isinstance(given, list) else [given]
            known = [value for value in (spelt.get(folded), *values) if value not in (None, "")]
            if any(value != known[0] for value in known):
                raise InvalidEventError(label, REPEATED)
            value = spelt[folded] = known[0] if known else values[-1] if values else None
            if self.values.get(name) in (None, ""):
                self.values[name], self.labels[name] = value, label
        return unknown

    def name_by_row(self, member_of: Callable[[str], str | None]) -> None:
        """Fill in whose row it is, where only its ROW_ID says so.

        Raises:
            InvalidEventError: nobody knows.
        """
        row_id = self.values.get("row_id")
        if self.values.get("member_number") in (None, "") and isinstance(row_id, str) and row_id.strip():
            self.values["member_number"] = member_of(row_id.strip())
            if self.values["member_number"] is None:
                raise InvalidEventError(
                    self.labels["row_id"], "is of no member known here, and the deleted row names none"
                )


def _members(document: Mapping[str, Any], dialect: Dialect) -> list[object]:
    """Return what stands in the place of a member, in order.

    Raises:
        BodyError: there is no such place.
    """
    members: list[object] = []
    for message in [value for label, value in _items(document) if label == "SiebelMessage"] or [document]:
        if not isinstance(message, Mapping):
            raise BodyError("SiebelMessage", "must be an object")
        names = [value for label, value in _items(message) if label == "IntObjectName"] or ["CT LOY Member"]
        if not all(isinstance(name, str) and fold(name) in _OBJECTS for name in names):
            raise BodyError("IntObjectName", "must be CT LOY Member or CT Loyalty Member")
        contents = [content for label, content in _items(message) if is_list_of_members(label)]
        if not contents:
            found = [path_of((label,)) for label, content in _items(message) if isinstance(content, Mapping | list)]
            has = f"; the message has {', '.join(found[:_NAMED_MAX])}" if found else ""
            raise BodyError(f"ListOf{names[0]}", f"is required{has}")
        for part in [part for content in contents for part in as_list(content)]:
            members += _components(part, dialect)
    return members


def _components(part: object, dialect: Dialect) -> list[object]:
    """Return the members of a part of a `ListOf…`: one bare object, or what is under the names of the component.

    Shape: what is under another name stands among them with that as its flaw, so that nothing goes unsaid.
    """
    if not isinstance(part, Mapping) or (isinstance(part, Element) and part.flaw and part.raw):
        return [part]
    is_bare = not any(fold(label) in _COMPONENTS for label in part) and (
        any(dialect.field_of(label) and not isinstance(value, Mapping | list) for label, value in part.items())
        or not any(isinstance(value, Mapping | list) and fold(label) not in CONTACTS for label, value in part.items())
    )
    if is_bare:
        return [part]
    members: list[object] = []
    for label, value in _items(part):
        if fold(label) in _COMPONENTS:
            members += as_list(value)
        else:
            flaw = InvalidEventError(path_of((label,)), "is no component of a member: LOY Member is expected")
            found = [one for one in as_list(value) if isinstance(one, Mapping)]
            members += [Element(one, one.line if isinstance(one, Element) else None, flaw) for one in found]
    return members


def _items(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield all names and values of an object, those of a name that is repeated too."""
    several = record.several if isinstance(record, Ambiguous) else {}
    for label, value in record.items():
        for one in several.get(label, [value]):
            yield label, one


def _is_deleted(unknown: dict[str, Any]) -> bool:
    """Take Siebel's own mark of a deleted row out of the fields that are no member's, and return what it says."""
    label = next((label for label in unknown if fold(label) == OF_DELETED), None)
    return label is not None and is_deleted(label, unknown.pop(label))


def is_deleted(label: str, said: object) -> bool:
    """Return what Siebel's own mark of a deleted row says.

    Raises:
        InvalidEventError: it says neither Y nor N: a guess would bring a deleted member back, or lose a living one.
    """
    said = said.strip() if isinstance(said, str) else said
    if said not in ("Y", "N"):
        raise InvalidEventError(label, "must be Y or N")
    return bool(said == "Y")


def translate(event: dict[str, Any], zone: ZoneInfo, *, has_default: bool) -> datetime | None:
    """Turn Siebel's words and dates into ours, in place; what is neither is left for `parse_event` to judge.

    Returns:
        The later of the two instants that a date may mean, None where it means one.
    """
    stated = event.get("operation", "" if has_default else None)
    if isinstance(stated, str):
        operation = OPERATIONS.get(fold(stated))
        if operation is None:
            raise InvalidEventError("operation", "must be insert, update, upsert or delete")
        event["operation"] = operation.value
    if isinstance(event.get("occurred_at"), str):
        earliest, latest = instants(event["occurred_at"], zone)
        event["occurred_at"] = earliest
        return latest if latest > earliest else None
    return None


def instants(text: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return the earliest and the latest instant that a Siebel date means; one without an offset is of *zone*.

    They differ where the zone's clock was changed: an hour that came twice, or one that never was.
    """
    text = text.strip().upper()
    try:
        if found := _SIEBEL_DATE.fullmatch(text):
            month, day, year, hour, minute, seconds = (int(digits or 0) for digits in found.groups()[:6])
            if found["half"] and not 1 <= hour <= _HALF_DAY_H:
                raise InvalidEventError("occurred_at", _NO_SUCH_TIME)
            if found["half"]:
                hour = hour % _HALF_DAY_H + (_HALF_DAY_H if found["half"] == "PM" else 0)
            instant = datetime(year, month, day, hour, minute, seconds, tzinfo=zone)
        elif _ISO_DATE.fullmatch(text):
            stated = datetime.fromisoformat(text)
            instant = stated if stated.tzinfo else stated.replace(tzinfo=zone)
        else:
            raise InvalidEventError("occurred_at", "must be MM/DD/YYYY HH:MM:SS or ISO 8601")
        first, second = instant.astimezone(UTC), instant.replace(fold=1).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidEventError("occurred_at", _NO_SUCH_TIME) from None
    return min(first, second), max(first, second)
