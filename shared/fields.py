"""THE FIELDS: what Siebel calls a member's data, what the event calls it, and what CrowdTwist is sent of it.

A field that is synced stands here once.  From it follow the labels that JSON, XML and CSV intake take, the message that
is sent to a flow in Oracle Integration, the schemas in `/openapi.json`, and which fields `content_hash` covers.  Beside
it a field has one line in `shared.events.Member`, its type, and one in `shared.systems.oic`, how it is mapped.

Source: Siebel Loyalty Administration Guide, Field Mappings (domain.md 1.5, L3); CrowdTwist User Create and Update (2.3,
C1, C2, C11).  (A): the labels of Id, Mod Id, Updated, Program Id, Member Type, Language and Operation;
`settings.siebel.field_names` replaces any of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Part(StrEnum):
    """Where Siebel's message has a field."""

    EVENT = "event"
    """On the member row, about the change."""
    MEMBER = "member"
    CONTACT = "contact"
    """On the member's primary contact."""


class Rule(StrEnum):
    """What the value may be."""

    TEXT = "text"
    CODE = "text without what is invisible"
    NUMBER = "member number"
    DATE = "date"
    GENDER = "gender"
    OPERATION = "operation"
    MODIFICATION = "modification number"
    INSTANT = "instant"


class NullPolicy(StrEnum):
    """What CrowdTwist is sent of a field that a member does not have."""

    CLEAR = "clear"
    """Null, which empties it there."""
    KEEP = "keep"
    """Nothing: it stays there as it is."""
    DEFAULT = "default"
    """A value of ours."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field.

    Shape: *name* in the event; *labels* of Siebel, the usual one first; *sent_as* the fields of CrowdTwist's user that
    its value decides, none: it is not synced; *default* of `MEMBERSYNC_OIC__DEFAULT_…` stands in when it is empty.
    """

    name: str
    labels: tuple[str, ...]
    part: Part
    rule: Rule = Rule.TEXT
    sent_as: tuple[str, ...] = ()
    default: str = ""
    example: str = ""


_E, _M, _C, _TEXT, _CODE = Part.EVENT, Part.MEMBER, Part.CONTACT, Rule.TEXT, Rule.CODE
_ADDRESS = ("postal_code", "country_code", "city_name", "city_id")
"""The country decides which of these are sent."""
FIELDS: Final[tuple[Field, ...]] = (
    Field("operation", ("Operation",), _E, Rule.OPERATION, ("is_active",), "", "update"),
    Field("modification", ("Mod Id", "Modification Number"), _E, Rule.MODIFICATION, (), "", "7"),
    Field("occurred_at", ("Updated", "Last Updated"), _E, Rule.INSTANT, (), "", "2026-11-23T08:51:00Z"),
    Field("member_number", ("Member Number",), _M, Rule.NUMBER, ("third_party_id",), "", "296-180296399"),
    Field("row_id", ("Id", "Row Id"), _M, _CODE, example="1-2AB3C"),
    Field("program_id", ("Program Id",), _M, _CODE),
    Field("member_type", ("Member Type",), _M, _CODE, example="Individual"),
    Field("status", ("Status",), _M, _CODE, ("is_active",), "", "Active"),
    Field("language", ("Language", "<lang>"), _M, _TEXT, ("lang_pref",), "", "en"),
    Field("first_name", ("Contact First Name", "First Name"), _C, _TEXT, ("first_name",), "", "Ann"),
    Field("last_name", ("Contact Last Name", "Last Name"), _C, _TEXT, ("last_name",), "", "Lee"),
    Field("middle_name", ("Contact Middle Name", "Middle Name"), _C, _TEXT, ("middle_name",)),
    Field("date_of_birth", ("Date of Birth", "Data of Birth"), _C, Rule.DATE, ("date_of_birth",), "", "1979-11-29"),
    Field("email_address", ("Email Address",), _C, _TEXT, ("email_address",), "email_domain", "ann@example.org"),
    Field("postal_code", ("Primary Postal Code", "Postal Code"), _C, _TEXT, ("postal_code",), "postal_code", "10010"),
    Field("city", ("Primary City", "City"), _C, _TEXT, ("city_name",), "", "New York"),
    Field("country_code", ("Primary Country Code", "Country Code"), _C, _CODE, _ADDRESS, "country_code", "US"),
    Field("gender", ("M/F", "Gender"), _C, Rule.GENDER, ("gender_id",), "", "F"),
    Field("ct_city_id", ("CT City Id",), _C, _TEXT, ("city_id",), "city_id"),
)
OF_CONTENT: Final = tuple(
    field.name for field in FIELDS if field.sent_as not in {(), ("third_party_id",), ("is_active",)}
)
"""What CrowdTwist receives of a member, beside whose it is and whether that one is active."""


NULLABLE: Final[Mapping[str, tuple[str, ...]]] = {
    field.name: field.sent_as
    for field in FIELDS
    if field.name in OF_CONTENT and field.name not in {"first_name", "last_name"}
}
"""What a field that a member may be without decides of CrowdTwist's user, by name: those have a null policy."""
WITH_DEFAULT: Final = frozenset(field.name for field in FIELDS if field.default)
"""Fields for which a lookup row stands in where nothing else is said."""


def labels(*parts: Part) -> Mapping[str, tuple[str, ...]]:
    """Return what Siebel calls the fields of these parts, by name; of all when none is given."""
    return {field.name: field.labels for field in FIELDS if field.part in (parts or Part)}
