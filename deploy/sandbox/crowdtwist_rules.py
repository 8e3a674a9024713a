"""What CrowdTwist accepts as a user: required fields, forms, and the address rules.

Source: domain.md 2.3 (C1, C2, C11). The codes and sentences of refusals are (A) but for ``param_error`` "Missing the
... parameter", whose form is documented (domain.md 2.4).
"""

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus

Fields = Mapping[str, object]

REQUIRED = ("first_name", "last_name", "email_address")
ADDRESS = ("country_code", "postal_code", "city_name", "city_id")
_NAME_SIGNS = frozenset("-'\u2019 _@.,0123456789")
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_US_POSTAL = re.compile(r"(?P<validated>[0-9]{5})(-?[0-9]{4})?")
_CA_POSTAL = re.compile(r"[A-Za-z][0-9][A-Za-z] [0-9][A-Za-z][0-9]")
_NO_SUCH_US_POSTAL = "00000"


class RefusedError(Exception):
    """CrowdTwist refuses the call.

    Args:
        error: the machine code of the answer.
        message: its sentence.
        status: its HTTP status.
    """

    def __init__(self, error: str, message: str, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(error, message, status)
        self.error = error
        self.message = message
        self.status = status


def missing(parameter: str) -> RefusedError:
    """Return the refusal of a call without *parameter*."""
    return RefusedError("param_error", f"Missing the {parameter} parameter")


def _is_name(value: object) -> bool:
    if not isinstance(value, str) or not value:
        return False
    return value.isalpha() or all(sign.isalpha() or sign in _NAME_SIGNS for sign in value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_flag(value: object) -> bool:
    return _is_number(value) and value in (0, 1)


def _is_gender(value: object) -> bool:
    return _is_number(value) and value in (1, 2)


def _is_email(value: object) -> bool:
    return isinstance(value, str) and _EMAIL.fullmatch(value) is not None


_FORMS: dict[str, tuple[Callable[[object], bool], str]] = {
    "first_name": (_is_name, "First Name"),
    "last_name": (_is_name, "Last Name"),
    "middle_name": (_is_text, "Middle Name"),
    "email_address": (_is_email, "Email Address"),
    "date_of_birth": (_is_number, "Date Of Birth"),
    "third_party_id": (_is_text, "Third Party Id"),
    "username": (_is_text, "Username"),
    "mobile_phone_number": (_is_text, "Mobile Phone Number"),
    "lang_pref": (_is_text, "Language Preference"),
    "gender_id": (_is_gender, "Gender"),
    "is_active": (_is_flag, "Is Active"),
    "email_is_verified": (_is_flag, "Email Is Verified"),
    "receive_email_updates": (_is_flag, "Receive Email Updates"),
    "postal_code": (_is_text, "Postal Code"),
    "city_name": (_is_text, "City Name"),
    "country_code": (_is_text, "Country Code"),
    "city_id": (_is_number, "City Id"),
}


def check_required(body: Fields) -> None:
    """Refuse a creation that lacks a required field; the postal code is asked for by the address rules."""
    for field in REQUIRED:
        if body.get(field) in (None, ""):
            raise missing(field)


def check_forms(body: Fields) -> None:
    """Refuse a field of the wrong form; null clears a field that is not required, unknown fields are ignored (A)."""
    for field, value in body.items():
        form = _FORMS.get(field)
        if form is None or (value is None and field not in REQUIRED):
            continue
        is_right, label = form
        if not is_right(value):
            raise RefusedError("input_error", f"{label} is invalid")


def check_address(body: Fields, merged: Fields) -> None:
    """Refuse an address that does not suit its country.

    What is required is asked of *merged*, the user as it would be; what is forbidden, of *body* alone, so that a
    member who moves to the US need not first clear the city of the old address (A). No country means US (A).
    """
    match str(merged.get("country_code") or "US").upper():
        case "US":
            _check_us(body, merged)
        case "CA":
            _check_postal(merged, _CA_POSTAL)
        case _:
            if not merged.get("city_id") and not merged.get("city_name"):
                raise missing("city_id")


def _check_us(body: Fields, merged: Fields) -> None:
    _check_postal(merged, _US_POSTAL)
    if body.get("city_id") or body.get("city_name"):
        raise RefusedError("input_error", "City is not allowed with a US Postal Code")


def _check_postal(merged: Fields, form: re.Pattern[str]) -> None:
    postal_code = merged.get("postal_code")
    if not isinstance(postal_code, str) or not postal_code:
        raise missing("postal_code")
    found = form.fullmatch(postal_code)
    if found is None or found.groupdict().get("validated") == _NO_SUCH_US_POSTAL:
        raise RefusedError("input_error", "Postal Code is invalid")
