"""The OIC member sync flow as a function: a member event to a CrowdTwist user object.  Pure.

Source: Siebel Loyalty Administration Guide, Field Mappings (domain.md 1.5, L3) and lookup rows (1.1, L4); CrowdTwist
User Create and Update (2.3, C1, C2, C11).
(A): M is 2 and F is 1; a birth date is that day at `birth_hour_utc`; an enrolment without a status is active; `USA` and
`CAN` are the countries with address rules of their own; a field that the member no longer has, and one of the address
that its country does not take, is null, so that an update empties it (the crowdtwist stage sends no null to create).
"""

import re
import unicodedata
from collections.abc import Mapping
from datetime import date
from typing import Any

from shared.errors import DataError
from shared.settings import OicSettings

_SYSTEM = "OIC"
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAY_S = 86_400
_HOUR_S = 3_600
_NAME_SIGNS = frozenset("-' \u2019_@.,0123456789")
_US_POSTAL = re.compile(r"(\d{5})[- ]?(\d{4})?", re.ASCII)
_CA_POSTAL = re.compile(r"([A-Z]\d[A-Z])[- ]?(\d[A-Z]\d)", re.ASCII)
_CITY_ID_DIGITS = 15
"""Of the longest number that every JSON reader keeps exactly."""
_COUNTRIES = {"USA": "US", "CAN": "CA"}
User = dict[str, Any]


def map_member(event: Mapping[str, Any], settings: OicSettings) -> User:
    """Return the CrowdTwist user of *event*, a member event in canonical JSON.

    Shape: all fields, null where empty; for a deletion only `third_party_id` and `is_active` 0, whatever else is wrong.

    Raises:
        DataError: names the Siebel field and the form it must have, never its value.
    """
    member = event["member"]
    number = _text(member, "member_number")
    if event["operation"] == "delete":
        return {"third_party_id": number, "is_active": 0}
    status = _text(member, "status").casefold()
    return {
        "third_party_id": number,
        "lang_pref": _text(member, "language") or None,
        "is_active": int(status == "active" or (not status and event["operation"] == "enroll")),
        "first_name": _name(member, "first_name", "Contact First Name"),
        "last_name": _name(member, "last_name", "Contact Last Name"),
        "middle_name": _text(member, "middle_name") or None,
        "date_of_birth": _epoch_s(member, settings.birth_hour_utc),
        "email_address": _text(member, "email_address") or f"{number}@{settings.default_email_domain.lstrip('@')}",
        "gender_id": {"M": settings.gender_male_id, "F": settings.gender_female_id}.get(_text(member, "gender")),
        **_address(member, settings),
    }


def _name(member: Mapping[str, Any], field: str, label: str) -> str:
    name = unicodedata.normalize("NFC", _text(member, field))
    if not name:
        raise DataError(_SYSTEM, f"{label} is missing")
    if not (name.isalpha() or all(sign.isalpha() or sign in _NAME_SIGNS for sign in name)):
        raise DataError(_SYSTEM, f"{label} may hold only letters, digits, spaces and - ' _ @ . ,")
    return name


def _epoch_s(member: Mapping[str, Any], hour_utc: int) -> int | None:
    born = _text(member, "date_of_birth")
    if not born:
        return None
    try:
        day = date.fromisoformat(born).toordinal()
    except ValueError:
        raise DataError(_SYSTEM, "Date of Birth is not a date") from None
    return (day - _EPOCH_DAY) * _DAY_S + hour_utc * _HOUR_S


def _address(member: Mapping[str, Any], settings: OicSettings) -> User:
    country = (_text(member, "country_code") or settings.default_country_code).upper()
    country = _COUNTRIES.get(country, country)
    postal_code = _text(member, "postal_code").upper()
    match country:
        case "US":  # "for domestic addresses only postal_code can be provided" (C11)
            found = _US_POSTAL.fullmatch(postal_code or settings.default_postal_code)
            if found is None:
                raise DataError(_SYSTEM, "Primary Postal Code is not a US code of five or nine digits")
            return _sent(postal_code="-".join(filter(None, found.groups())))
        case "CA":
            if not postal_code:
                what = "Primary Postal Code is missing; a Canadian address needs one of the form LXL XLX"
                raise DataError(_SYSTEM, what)
            found = _CA_POSTAL.fullmatch(postal_code)
            if found is None:
                raise DataError(_SYSTEM, "Primary Postal Code is not a Canadian code of the form LXL XLX")
            return _sent(postal_code=f"{found[1]} {found[2]}", country_code=country)
        case _:  # no postal code: with one, CrowdTwist takes the address for a domestic one (C11)
            city_id = _text(member, "ct_city_id") or settings.default_city_id
            if not (city_id.isascii() and city_id.isdecimal()):
                raise DataError(_SYSTEM, "CT City Id is not a number")
            if len(city_id.lstrip("0")) > _CITY_ID_DIGITS:
                raise DataError(_SYSTEM, f"CT City Id has more than {_CITY_ID_DIGITS} digits")
            city = _text(member, "city") or None
            return _sent(country_code=country, city_name=city, city_id=int(city_id.lstrip("0") or "0"))


def _sent(
    *,
    postal_code: str | None = None,
    country_code: str | None = None,
    city_name: str | None = None,
    city_id: int | None = None,
) -> User:
    return {"postal_code": postal_code, "country_code": country_code, "city_name": city_name, "city_id": city_id}


def _text(member: Mapping[str, Any], field: str) -> str:
    value = member.get(field)
    return value.strip() if isinstance(value, str) else ""
