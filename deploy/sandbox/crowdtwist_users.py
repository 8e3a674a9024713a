"""The users that the CrowdTwist simulator holds, and the object it answers with.

Source: domain.md 2.3, the real response object of E5: mixed types (``gender_id`` is a string, ``is_active`` a boolean)
and mixed date formats, kept as they are. ``country`` echoes ``country_code`` and ``city`` echoes ``city_name`` (A).
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

from deploy.sandbox.crowdtwist_rules import ADDRESS, Fields, RefusedError

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
        return self._index.get(id_type, {}).get(value.casefold() if id_type == "email_address" else value)

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
        user = User(user_id, _blank(user_id, now))
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

    def _rekey(self, user: User, key: str, value: object) -> None:
        index, old = self._index[key], user.profile[key]
        for name, is_new in ((old, False), (value, True)):
            if isinstance(name, str) and name:
                name = name.casefold() if key == "email_address" else name  # noqa: PLW2901 - its indexed form
                if is_new:
                    index[name] = user
                else:
                    index.pop(name, None)

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
        self._ids = count(max(self._users, default=_FIRST_ID - 1) + 1)


def _blank(user_id: int, now: int) -> Profile:
    level = {"title": "Member", "min_value": 0, "max_value": 999}
    profile: Profile = dict.fromkeys((*_PERSON, "mobile_phone_number"))
    profile |= {"id": user_id, "third_party_id": None, "is_active": True, "email_is_verified": True}
    profile |= dict.fromkeys(("gender_id", "gender", "extra_data", "continent", "country", "us_region", "ca_province"))
    profile |= dict.fromkeys(("state", "city", "street_address_1", "street_address_2", "postal_code"))
    profile |= {"receive_email_updates": False, "total_points": 0, "redeemable_points": 0, "date_last_login": None}
    profile |= {"date_last_updated": now, "date_created": now, "lang_pref": None, "sign_up_channel_id": "1"}
    profile |= {"fan_level": "Member", "household_id": None, "segments": [], "custom_data": {}}
    profile["tier_info"] = {"current_level": level, "date_expires": "2035-12-31T23:59:59+00:00"}
    return profile
