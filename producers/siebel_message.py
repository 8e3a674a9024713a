"""What Siebel sends by itself: a SiebelMessage, as JSON or XML, into member events.

Shape: `SiebelMessage` (IntObjectName `CT LOY Member` or `CT Loyalty Member`) > `ListOf<IO>` > `LOY Member`, one or
many, each with its `Contact`.  Names compare by letters and digits alone: `Member Number`, `MemberNumber` (XML names
without escapes) and `member_number` are one name.  XML becomes the same shape first (`producers/siebel_xml.py`).

Source: domain.md 1.5 (labels of the attributes) and 3.2 (shape).  (A): the labels of Id, Mod Id, Updated, Program Id,
Member Type, Language and Operation; `settings.siebel.field_names` replaces them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from producers.refused import RefusedEvent, refused
from shared.errors import InvalidEventError
from shared.event_values import check_names
from shared.events import Member, MemberEvent, Operation, parse_event
from shared.settings import SiebelSettings

_OBJECTS = {"ctloymember", "ctloyaltymember"}
_COMPONENTS = {"loymember", "loyaltymember", "lwaloymember", *_OBJECTS}
_CONTACTS = {"listofcontact", "contact"}
_PRIMARY = {"isprimarymvg", "ssaprimaryfield", "primarycontactflag"}
_DELETED = "isdeleted"
"""Source: the CSV of Siebel's Data Export; a deleted row may have nothing else but its Row Id."""
_EVENT_FIELDS = ("event_id", "operation", "occurred_at", "modification", "lane", "force")
_MEMBER_LABELS: Final = {
    "operation": ("Operation",),
    "modification": ("Mod Id", "Modification Number"),
    "occurred_at": ("Updated", "Last Updated"),
    "member_number": ("Member Number",),
    "row_id": ("Id", "Row Id"),
    "program_id": ("Program Id",),
    "member_type": ("Member Type",),
    "status": ("Status",),
    "language": ("Language", "<lang>"),
}
_CONTACT_LABELS: Final = {
    "first_name": ("Contact First Name", "First Name"),
    "last_name": ("Contact Last Name", "Last Name"),
    "middle_name": ("Contact Middle Name", "Middle Name"),
    "date_of_birth": ("Date of Birth", "Data of Birth"),
    "email_address": ("Email Address",),
    "postal_code": ("Primary Postal Code", "Postal Code"),
    "city": ("Primary City", "City"),
    "country_code": ("Primary Country Code", "Country Code"),
    "gender": ("M/F", "Gender"),
    "ct_city_id": ("CT City Id",),
}
SIEBEL_LABELS: Final[Mapping[str, tuple[str, ...]]] = {**_MEMBER_LABELS, **_CONTACT_LABELS}
"""What Siebel calls the fields of an event, the usual label first."""
_OPERATIONS = {
    **dict.fromkeys(("", "update", "upsert", "sync", "synchronize", "modify"), Operation.UPDATE),
    **dict.fromkeys(("insert", "create", "new", "enroll", "enrol"), Operation.ENROLL),
    **dict.fromkeys(("delete", "remove"), Operation.DELETE),
}
_SIEBEL_DATE = re.compile(
    r"(?P<date>\d\d?/\d\d?/\d{4})( (?P<time>\d\d?:\d\d:\d\d|\d\d?:\d\d))?( ?(?P<half>[AP]M))?", re.ASCII
)
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII)


class BodyError(InvalidEventError):
    """A whole message, body or file cannot be read: nothing of it is taken."""

    code = "unreadable_body"


class Element(dict[str, Any]):
    """An object that knows on which *line* it began, and its *flaw*: what in it could not be read, if anything.

    Shape: *raw* is the text of one that could not be read at all.
    """

    __slots__ = ("flaw", "line", "raw")

    def __init__(
        self, fields: Mapping[str, Any], line: int, flaw: InvalidEventError | None = None, raw: bytes = b""
    ) -> None:
        super().__init__(fields)
        self.line = line
        self.flaw = flaw
        self.raw = raw


@lru_cache(maxsize=1024)  # a load repeats the same few labels for every member
def fold(name: str) -> str:
    """Reduce a name to what all its spellings share."""
    return "".join(filter(str.isalnum, name)).lower()


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one Siebel writes: the label of each field, and the zone of its dates."""

    zone: ZoneInfo
    labels: Mapping[str, str]
    member: Mapping[str, str] = field(repr=False)
    contact: Mapping[str, str] = field(repr=False)

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
        known = {**SIEBEL_LABELS, **given}
        return cls(
            zone=ZoneInfo(settings.timezone),
            labels={name: labels[0] for name, labels in known.items()},
            member={**canonical, **_folded(known), **_folded(given)},
            contact=_folded({name: known[name] for name in _CONTACT_LABELS}),
        )

    def field_of(self, label: str) -> str | None:
        """Say which field a label means; None: none that we know."""
        return self.member.get(fold(label)) or self.contact.get(fold(label))


def _folded(labels: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {fold(label): name for name, alternatives in labels.items() for label in alternatives}


def is_siebel_message(document: object) -> bool:
    """Tell a SiebelMessage from a canonical event."""
    return isinstance(document, Mapping) and not document.keys().isdisjoint({"SiebelMessage", "IntObjectName"})


def is_list_of_members(label: str) -> bool:
    """Say whether what this label names holds members."""
    return fold(label).removeprefix("listof") in _OBJECTS | _COMPONENTS


def refused_element(refusal: InvalidEventError, element: object) -> RefusedEvent:
    """Give the refusal with what the element of a list tells of it."""
    if not isinstance(element, Element):
        return refused(refusal, element)
    return refused(refusal, element.raw or element, element.line)


def nobody(_: str) -> str | None:
    """Know of no row whose it is."""
    return None


def read_siebel_message(
    document: Mapping[str, Any],
    *,
    dialect: Dialect,
    arrival: datetime,
    max_bytes: int,
    member_of: Callable[[str], str | None] = nobody,
) -> Iterator[MemberEvent | InvalidEventError]:
    """Read the members of one message in order; a broken one is refused alone, its field named by Siebel's label.

    Raises:
        BodyError: the message itself is not of this shape; raised by the call, before the first member.
    """
    members = _members(document)

    def read() -> Iterator[MemberEvent | InvalidEventError]:
        for member in members:
            try:
                yield read_member(member, dialect=dialect, arrival=arrival, max_bytes=max_bytes, member_of=member_of)
            except InvalidEventError as refusal:
                yield refused_element(refusal, member)

    return read()


def read_member(
    record: object,
    *,
    dialect: Dialect,
    arrival: datetime | None,
    max_bytes: int,
    member_of: Callable[[str], str | None] = nobody,
) -> MemberEvent:
    """Read one member.

    Shape: *arrival* is when a member changed that does not say so; None: it must say so, and its operation too.
    *member_of* gives the member number of a ROW_ID, for a deleted row that has nothing else.

    Raises:
        InvalidEventError: its field is the label as the record spells it.
    """
    if not isinstance(record, Mapping):
        raise InvalidEventError("LOY Member", "must be an object")
    if isinstance(record, Element) and record.flaw:
        raise record.flaw
    check_names(record)
    found = _Found()
    contact, contact_label, rest = _split(record)
    if contact is not None:
        unknown = found.take(contact, dialect.contact)
        rest |= {contact_label: unknown} if unknown else {}
    unknown = found.take(rest, dialect.member)
    event = {name: found.values.pop(name) for name in _EVENT_FIELDS if found.values.get(name) not in (None, "")}
    if _is_deleted(unknown):
        event["operation"] = Operation.DELETE.value
        found.name_by_row(member_of)
    try:
        until = _translate(event, dialect.zone, has_default=arrival is not None)
        document = {**event, "member": {**unknown, **found.values}}
        return parse_event(document, max_bytes=max_bytes, arrival=arrival).or_until(until)
    except InvalidEventError as refusal:
        name = refusal.field.removeprefix("member.")
        label = found.labels.get(name) or (dialect.labels.get(name, name) if arrival else name)
        raise InvalidEventError(label, refusal.reason) from None


@dataclass(slots=True)
class _Found:
    """The fields met so far.  A filled one stands; an empty one gives way to a later one of the same meaning."""

    values: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    def take(self, record: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
        """Take what *names* knows; give the rest."""
        unknown = {}
        for label, value in record.items():
            name = names.get(fold(label))
            if name is None:
                unknown[label] = value
            elif self.values.get(name) in (None, ""):
                self.values[name] = value
                self.labels[name] = label
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


def _members(document: Mapping[str, Any]) -> list[Any]:
    message = document.get("SiebelMessage", document)
    if not isinstance(message, Mapping):
        raise BodyError("SiebelMessage", "must be an object")
    name = message.get("IntObjectName", "CT LOY Member")
    if not isinstance(name, str) or fold(name) not in _OBJECTS:
        raise BodyError("IntObjectName", "must be CT LOY Member or CT Loyalty Member")
    for label, content in message.items():
        if fold(label).removeprefix("listof") in _OBJECTS:
            return _listed(content, _COMPONENTS)
    raise BodyError(f"ListOf{name}", "is required")


def _listed(content: object, names: set[str]) -> list[Any]:
    """Give the objects of a `ListOf…`: an array, the object or array under one of *names*, or one bare object."""
    if isinstance(content, Mapping):
        inner = [value for label, value in content.items() if fold(label) in names]
        content = inner[0] if inner else content
    if content is None or content in ("", {}):
        return []
    return content if isinstance(content, list) else [content]


def _split(record: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str, dict[str, Any]]:
    """Part a member from its primary contact: (contact, its label, the member without it)."""
    rest = dict(record)
    for label in record:
        if not isinstance(label, str):
            raise InvalidEventError("LOY Member", "has a name that is not text")
        if fold(label) in _CONTACTS:
            contacts = _listed(rest.pop(label), {"contact"})
            if not all(isinstance(contact, Mapping) for contact in contacts):
                raise InvalidEventError(label, "must be an object")
            primary = [contact for contact in contacts if _is_primary(contact)]
            return next(iter(primary + contacts), None), "Contact", rest
    return None, "", rest


def _is_primary(contact: Mapping[str, Any]) -> bool:
    return any(fold(str(label)) in _PRIMARY and value in ("Y", "true", True) for label, value in contact.items())


def _is_deleted(unknown: dict[str, Any]) -> bool:
    """Take Siebel's own mark of a deleted row out of the fields that are no member's, and say what it says.

    Raises:
        InvalidEventError: it says neither Y nor N: a guess would bring a deleted member back, or lose a living one.
    """
    label = next((label for label in unknown if fold(label) == _DELETED), None)
    if label is None:
        return False
    said = unknown.pop(label)
    said = said.strip() if isinstance(said, str) else said
    if said not in ("Y", "N"):
        raise InvalidEventError(label, "must be Y or N")
    return bool(said == "Y")


def _translate(event: dict[str, Any], zone: ZoneInfo, *, has_default: bool) -> datetime | None:
    """Turn Siebel's words and dates into ours, in place; what is neither is left for `parse_event` to judge.

    Gives the later of the two instants that a date may mean, None where it means one.
    """
    stated = event.get("operation", "" if has_default else None)
    if isinstance(stated, str):
        operation = _OPERATIONS.get(fold(stated))
        if operation is None:
            raise InvalidEventError("operation", "must be insert, update, upsert or delete")
        event["operation"] = operation.value
    if isinstance(event.get("occurred_at"), str):
        earliest, latest = _instants(event["occurred_at"], zone)
        event["occurred_at"] = earliest.isoformat()
        return latest if latest > earliest else None
    return None


def _instants(text: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Give the earliest and the latest instant that a Siebel date means; one without an offset is of *zone*.

    They differ where the zone's clock was changed: an hour that came twice, or one that never was.
    """
    text = text.strip().upper()
    try:
        if found := _SIEBEL_DATE.fullmatch(text):
            time = found["time"] or "00:00"
            clock = ("%I" if found["half"] else "%H") + (":%M:%S" if time.count(":") == len("::") else ":%M")
            stamp = f"{found['date']} {time} {found['half'] or ''}".strip()
            instant = datetime.strptime(stamp, f"%m/%d/%Y {clock}" + (" %p" if found["half"] else ""))  # noqa: DTZ007
        elif _ISO_DATE.fullmatch(text):
            instant = datetime.fromisoformat(text)
        else:
            raise InvalidEventError("occurred_at", "must be MM/DD/YYYY HH:MM:SS or ISO 8601")
        local = instant if instant.tzinfo else instant.replace(tzinfo=zone)
        first, second = sorted(local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    except (ValueError, OverflowError):
        raise InvalidEventError("occurred_at", "is a date or time that does not exist") from None
    return first, second
