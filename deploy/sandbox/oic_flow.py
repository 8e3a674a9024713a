"""The mapping of the member sync flow: a Siebel member to a CrowdTwist user.

Source: domain.md 1.5 (the twelve fields, L3), 1.1 (the lookup, L4), 2.3 (address rules, C1). Assumed (A): a US
member is sent with country_code US and no city; others get the default city id when they have no city; the date of
birth is midnight UTC; M is 2 and F is 1; empty fields are left out (the REST adapter drops nulls, O15); a deletion is
``is_active`` 0; first name, last name and member number must be there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

_LISTS = (("ListOfCT LOY Member", "LOY Member"), ("ListOfCT Loyalty Member", "Loyalty Member"))
_GENDERS = {"M": 2, "F": 1}
_DATE_FORMS = ("%m/%d/%Y", "%m/%d/%Y %H:%M:%S", "%Y-%m-%d")
_US_POSTAL = re.compile(r"[0-9]{5}(-?[0-9]{4})?")
_CA_POSTAL = re.compile(r"[A-Z][0-9][A-Z] [0-9][A-Z][0-9]")

Row = Mapping[str, object]
CtUser = dict[str, object]


class UnmappableError(ValueError):
    """The member cannot become a CrowdTwist user; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """The rows of ORCL-BRT-SIEBEL_LOY_CROWDTWIST_CONFIG_SETTINGS that the mapping uses."""

    country_code: str
    postal_code: str
    city_id: int
    email_domain: str


def find_member(document: object) -> Row:
    """Return the one LOY Member of a SiebelMessage."""
    message = document.get("SiebelMessage") if isinstance(document, dict) else None
    if isinstance(message, dict):
        for outer, inner in _LISTS:
            holder = message.get(outer)
            if isinstance(holder, dict):
                return _only(holder.get(inner) or holder.get("LOY Member"))
    raise UnmappableError("The request is not a SiebelMessage with a CT LOY Member")


def map_member(member: Row, lookup: Lookup) -> CtUser:
    """Return the CrowdTwist user of *member*."""
    holder = member.get("ListOfContact")
    contact = _only(holder.get("Contact")) if isinstance(holder, dict) else {}
    number = _required(member, "Member Number")
    is_active = _text(member, "Status") == "Active" and _text(member, "Operation") != "delete"
    user: CtUser = {
        "third_party_id": number,
        "lang_pref": _text(member, "Language"),
        "is_active": int(is_active),
        "first_name": _required(contact, "Contact First Name"),
        "last_name": _required(contact, "Contact Last Name"),
        "middle_name": _text(contact, "Contact Middle Name"),
        "date_of_birth": _epoch(_text(contact, "Date of Birth")),
        "email_address": _text(contact, "Email Address") or f"{number}@{lookup.email_domain.removeprefix('@')}",
        "gender_id": _GENDERS.get(_text(contact, "M/F")),
        **_address(contact, lookup),
    }
    return {field: value for field, value in user.items() if value not in (None, "")}


def _address(contact: Row, lookup: Lookup) -> CtUser:
    country_code = _text(contact, "Primary Country Code") or lookup.country_code
    postal_code, city = _text(contact, "Primary Postal Code"), _text(contact, "Primary City")
    match country_code:
        case "US":
            postal_code = postal_code or lookup.postal_code
            _check(postal_code, _US_POSTAL)
            return {"country_code": country_code, "postal_code": postal_code}
        case "CA":
            _check(postal_code, _CA_POSTAL)
            return {"country_code": country_code, "postal_code": postal_code}
        case _ if city:
            return {"country_code": country_code, "postal_code": postal_code, "city_name": city}
        case _:
            return {"country_code": country_code, "postal_code": postal_code, "city_id": lookup.city_id}


def _check(postal_code: str, form: re.Pattern[str]) -> None:
    if form.fullmatch(postal_code) is None:
        raise UnmappableError("Primary Postal Code is missing or does not have the form of its country")


def _epoch(text: str) -> int | None:
    if not text:
        return None
    if text.lstrip("-").isdecimal():
        return int(text)
    for form in _DATE_FORMS:
        try:
            return int(datetime.strptime(text, form).replace(hour=0, minute=0, second=0, tzinfo=UTC).timestamp())
        except ValueError:
            continue
    raise UnmappableError("Date of Birth is not a date")


def _required(row: Row, label: str) -> str:
    value = _text(row, label)
    if not value:
        raise UnmappableError(f"{label} is missing")
    return value


def _text(row: Row, label: str) -> str:
    value = row.get(label)
    return "" if value is None else str(value).strip()


def _only(rows: object) -> Row:
    if isinstance(rows, list) and len(rows) == 1:
        rows = rows[0]
    if not isinstance(rows, dict):
        raise UnmappableError("There must be exactly one member with one contact")
    return rows
