"""The users that the CrowdTwist simulator holds: what it accepts as one, and the object it answers with.

Source of the rules (required fields, forms, addresses): domain.md 2.3 (C1, C2, C11). The codes and sentences of
refusals are (A) but for ``param_error`` "Missing the ... parameter", whose form is documented (domain.md 2.4).

Source of the object: domain.md 2.3, the real response object of E5: mixed types (``gender_id`` is a string,
``is_active`` a boolean) and mixed date formats, kept as they are. ``country`` echoes ``country_code`` and ``city``
echoes ``city_name`` (A).
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from itertools import count

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


def _is_number(value: object, among: tuple[int, ...] = ()) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and (not among or value in among)


_is_flag = partial(_is_number, among=(0, 1))

_FORMS: dict[str, tuple[Callable[[object], bool], str]] = {
    "first_name": (_is_name, "First Name"),
    "last_name": (_is_name, "Last Name"),
    "middle_name": (_is_text, "Middle Name"),
    "email_address": (lambda value: isinstance(value, str) and _EMAIL.fullmatch(value) is not None, "Email Address"),
    "date_of_birth": (_is_number, "Date Of Birth"),
    "third_party_id": (_is_text, "Third Party Id"),
    "username": (_is_text, "Username"),
    "mobile_phone_number": (_is_text, "Mobile Phone Number"),
    "lang_pref": (_is_text, "Language Preference"),
    "gender_id": (partial(_is_number, among=(1, 2)), "Gender"),
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
    for name in REQUIRED:
        if body.get(name) in (None, ""):
            raise missing(name)


def check_forms(body: Fields) -> None:
    """Refuse a field of the wrong form; null clears a field that is not required, unknown fields are ignored (A)."""
    for name, value in body.items():
        form = _FORMS.get(name)
        if form is None or (value is None and name not in REQUIRED):
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
            _check_postal(merged, _US_POSTAL)
            if body.get("city_id") or body.get("city_name"):
                raise RefusedError("input_error", "City is not allowed with a US Postal Code")
        case "CA":
            _check_postal(merged, _CA_POSTAL)
        case _:
            if not merged.get("city_id") and not merged.get("city_name"):
                raise missing("city_id")


def _check_postal(merged: Fields, form: re.Pattern[str]) -> None:
    postal_code = merged.get("postal_code")
    if not isinstance(postal_code, str) or not postal_code:
        raise missing("postal_code")
    found = form.fullmatch(postal_code)
    if found is None or found.groupdict().get("validated") == _NO_SUCH_US_POSTAL:
        raise RefusedError("input_error", "Postal Code is invalid")


_UNIQUE = {"email_address": "Email Address", "third_party_id": "Third Party Id", "username": "Username"}
_KEYS = (*_UNIQUE, "mobile_phone_number")
_FLAGS = ("is_active", "email_is_verified", "receive_email_updates")
_SHOWN_AS = {"country_code": "country", "city_name": "city"}
_GENDERS = {"1": "Female", "2": "Male"}
_KEPT = frozenset({*_KEYS, *_FLAGS, *ADDRESS, "first_name", "middle_name", "last_name", "date_of_birth", "gender_id"})
_KEPT |= {"lang_pref", "extra_data", "custom_data"}
_PERSON = ("first_name", "middle_name", "last_name", "date_of_birth", "email_address", "username")
_PII = (*_PERSON, "mobile_phone_number", "gender_id", "gender", "city", "postal_code")
_FIRST_ID = 10_000_001

_NEVER = object()

Profile = dict[str, object]


@dataclass(slots=True)
class User:
    """A user: the object as answered, and the fields as they were given in requests."""

    id: int
    profile: Profile
    given: Profile = field(default_factory=dict)

    def changes(self, body: Fields) -> Profile:
        """Return what of *body* is not so already."""
        given = self.given
        return {name: value for name, value in body.items() if given.get(name, _NEVER) != value}

    def without_pii(self) -> Profile:
        """Return the object with personal fields emptied (A)."""
        return {**self.profile, **dict.fromkeys(_PII)}


class UserStore:
    """Users by each of their keys; e-mail addresses whatever their case."""

    def __init__(self) -> None:
        self._users: dict[int, User] = {}
        self._index: dict[str, dict[str, User]] = {key: {} for key in _KEYS}
        self._ids = count(_FIRST_ID)

    def __len__(self) -> int:
        return len(self._users)

    def all(self) -> Iterable[User]:
        """Return every user, oldest first."""
        return self._users.values()

    def find(self, id_type: str, value: str) -> User | None:
        """Return the user whose key *id_type* is *value*; nobody has a social network's key here (A)."""
        if id_type == "id":
            return self._users.get(int(value)) if value.isdecimal() else None
        return self._index.get(id_type, {}).get(_indexed(id_type, value))

    def check_unique(self, body: Fields, user: User | None = None) -> None:
        """Refuse values that another user has, inactive ones included (A)."""
        for key, label in _UNIQUE.items():
            value = body.get(key)
            if isinstance(value, str) and value:
                holder = self.find(key, value)
                if holder is not None and holder is not user:
                    raise RefusedError("input_error", f"{label} is already taken")

    def create(self, body: Fields) -> User:
        """Hold a new user; the defaults are the documented ones."""
        now = int(time.time())
        user_id = next(self._ids)
        level = {"title": "Member", "min_value": 0, "max_value": 999}
        profile: Profile = dict.fromkeys((*_PERSON, "mobile_phone_number"))
        profile |= {"id": user_id, "third_party_id": None, "is_active": True, "email_is_verified": True}
        profile |= dict.fromkeys(
            ("gender_id", "gender", "extra_data", "continent", "country", "us_region", "ca_province")
        )
        profile |= dict.fromkeys(("state", "city", "street_address_1", "street_address_2", "postal_code"))
        profile |= {"receive_email_updates": False, "total_points": 0, "redeemable_points": 0, "date_last_login": None}
        profile |= {"date_last_updated": now, "date_created": now, "lang_pref": None, "sign_up_channel_id": "1"}
        profile |= {"fan_level": "Member", "household_id": None, "segments": [], "custom_data": {}}
        profile["tier_info"] = {"current_level": level, "date_expires": "2035-12-31T23:59:59+00:00"}
        user = User(user_id, profile)
        self._users[user_id] = user
        self.update(user, body)
        return user

    def update(self, user: User, changes: Fields) -> None:
        """Write those *changes* that a user has a field for; others are ignored."""
        profile = user.profile
        for name, value in changes.items():
            if name not in _KEPT:
                continue
            if name in self._index:
                self._rekey(user, name, value)
            user.given[name] = value
            if name in _FLAGS:
                profile[name] = bool(value)
            elif name == "gender_id":
                profile["gender_id"] = None if value is None else str(value)
                profile["gender"] = _GENDERS.get(str(value))
            elif name != "city_id":
                profile[_SHOWN_AS.get(name, name)] = value
        if profile["city"] is not None and str(profile["country"] or "US").upper() in ("US", "CA"):
            profile["city"] = None
        profile["date_last_updated"] = int(time.time())

    def plant(self, fields: Fields) -> bool:
        """Let the user of *fields*' ``third_party_id`` be so, new or known, by no rule: an agent, or a restore.

        What they say goes into the object as it is, the date of its last change included.
        """
        number = fields.get("third_party_id")
        if not isinstance(number, str) or not number:
            return False
        user = self.find("third_party_id", number) or self.create({"third_party_id": number})
        self.update(user, {name: value for name, value in fields.items() if name in self._index})
        user.profile |= {name: value for name, value in fields.items() if name in user.profile}
        user.given |= {name: value for name, value in fields.items() if name in user.given}
        return True

    def _rekey(self, user: User, key: str, value: object) -> None:
        old = user.profile[key]
        if isinstance(old, str):
            self._index[key].pop(_indexed(key, old), None)
        if isinstance(value, str) and value:
            self._index[key][_indexed(key, value)] = user

    def remove(self, user: User) -> None:
        """Forget the user."""
        for key in _KEYS:
            self._rekey(user, key, None)
        del self._users[user.id]

    def load(self, kept: list[tuple[Profile, Profile]]) -> None:
        """Hold users that were dumped."""
        for profile, given in kept:
            user_id = int(str(profile["id"]))
            user = User(user_id, {**profile, **dict.fromkeys(_KEYS)})
            self._users[user_id] = user
            self.update(user, given)
            user.profile["date_last_updated"] = profile["date_last_updated"]
        self._ids = count(max(self._users, default=_FIRST_ID - 1) + 1)


def _indexed(key: str, value: str) -> str:
    return value.casefold() if key == "email_address" else value
