"""What must come of the demo's sample, worked out from the rules of the outside systems, without code of the pipeline.

A misunderstanding in the product cannot hide here: this file knows only what Oracle's pages say of Siebel's fields and
of CrowdTwist's users (`deploy/sandbox` names the sources), and the rules of intake.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from deploy.local.demo_sample import PROGRAM_ID, Request, Told

EMAIL_DOMAIN = "no-email.example.org"
DEFAULT_COUNTRY = "IN"
DEFAULT_US_POSTAL_CODE = "99790"
TAKEN = "Email Address is already taken"
SUCCESS, DATA_ERROR = "Success", "Data Error"

_SYNCED = (
    *("language", "status", "first_name", "last_name", "middle_name", "date_of_birth"),
    *("email_address", "postal_code", "city", "country_code", "gender"),
)
_NAME_SIGNS = "-' _@.,0123456789\N{RIGHT SINGLE QUOTATION MARK}"
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_CA_POSTAL = re.compile(r"[A-Z]\d[A-Z] \d[A-Z]\d", re.ASCII)

User = dict[str, object]


@dataclass(slots=True)
class Expected:
    """Follows the sample event by event.

    Attributes:
        outcomes: What intake must answer, in all.
        users: What CrowdTwist must hold, by member number.
        status: What Siebel must say of each member: status, and words that its error must have.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    users: dict[str, User] = field(default_factory=dict)
    status: dict[str, tuple[str, str]] = field(default_factory=dict)
    _known: dict[str, str] = field(default_factory=dict)
    _newest: dict[str, Told] = field(default_factory=dict)
    _applied: dict[str, tuple[object, ...]] = field(default_factory=dict)

    def take(self, request: Request) -> list[str]:
        """Give the outcomes that intake must answer to *request*."""
        outcomes = [self._judge(told) for told in request.events]
        self.outcomes.update(outcomes)
        return outcomes

    def settle(self) -> None:
        """Let the newest accepted event of each member have its effect: everything sent so far has been worked off."""
        for number, told in self._newest.items():
            fault = self._fault(told)
            self.status[number] = (DATA_ERROR, fault) if fault else (SUCCESS, "")
            if not fault:
                self.users[number] = self._user(told)
                self._applied[number] = _content(told)

    def _judge(self, told: Told) -> str:
        if not told.number or not re.match(r"\d", told.occurred_at):
            return "refused"
        if told.key in self._known:
            return "duplicate" if self._known[told.key] == told.said else "conflict"
        self._known[told.key] = told.said
        if told.member["program_id"] != PROGRAM_ID or told.member["member_type"] != "Individual":
            return "skipped"
        newest = self._newest.get(told.number)
        if newest and (told.modification, told.occurred_at) < (newest.modification, newest.occurred_at):
            return "superseded"
        self._newest[told.number] = told
        synced = self.status.get(told.number, ("", ""))[0] == SUCCESS
        return "unchanged" if synced and self._applied[told.number] == _content(told) else "accepted"

    def _fault(self, told: Told) -> str:
        """Say why CrowdTwist cannot take it, in words that the error must have; empty when it can."""
        member = told.member
        if told.operation == "delete":
            return ""
        for part in ("first_name", "last_name"):
            name = member.get(part, "")
            if not name or not all(unicodedata.category(sign)[0] == "L" or sign in _NAME_SIGNS for sign in name):
                return "Name"
        email = _email(told)
        if not _EMAIL.fullmatch(email):
            return "Email Address is invalid"
        if member.get("country_code") == "CA" and not _CA_POSTAL.fullmatch(member.get("postal_code", "")):
            return "Postal Code"
        holders = (number for number, user in self.users.items() if user["email_address"] == email)
        return TAKEN if any(number != told.number for number in holders) else ""

    def _user(self, told: Told) -> User:
        if told.operation == "delete":
            return {**self.users[told.number], "is_active": False}
        member = told.member
        return {
            "third_party_id": told.number,
            "is_active": member.get("status", "") == "Active",
            "first_name": member["first_name"],
            "last_name": member["last_name"],
            "middle_name": member.get("middle_name") or None,
            "email_address": _email(told),
            "lang_pref": member.get("language") or None,
            "date_of_birth": _epoch_s(member.get("date_of_birth", "")),
            "gender": {"M": "Male", "F": "Female"}.get(member.get("gender", "")),
            **_address(member),
        }


def held(profile: Mapping[str, object]) -> User:
    """Bring a user as CrowdTwist shows it into the form of `Expected.users`."""
    country = profile["country"] or "US"  # no country means a domestic address
    postal = str(profile["postal_code"] or "").replace("-", "")
    same = ("third_party_id", "is_active", "first_name", "last_name", "middle_name", "email_address", "lang_pref")
    return {
        **{name: profile[name] for name in (*same, "date_of_birth", "gender")},
        "country": country,
        "postal_code": postal if country in {"US", "CA"} else None,
        "city": profile["city"] or None,
    }


def differences(expected: Mapping[str, User], profiles: Iterable[Mapping[str, object]]) -> list[str]:
    """Name each field of each user that is not as expected."""
    found = {str(profile["third_party_id"]): held(profile) for profile in profiles}
    wrong = [f"{number}: should not be there" for number in sorted(found.keys() - expected.keys())]
    wrong += [f"{number}: is not there" for number in sorted(expected.keys() - found.keys())]
    for number in sorted(expected.keys() & found.keys()):
        wanted, is_held = expected[number], found[number]
        wrong += [f"{number}: {name} differs" for name in wanted if wanted[name] != is_held[name]]
    return wrong


def _address(member: Mapping[str, str]) -> User:
    country = member.get("country_code") or DEFAULT_COUNTRY
    postal = (member.get("postal_code") or DEFAULT_US_POSTAL_CODE).replace("-", "")
    is_domestic = country in {"US", "CA"}
    return {
        "country": country,
        "postal_code": postal if is_domestic else None,
        "city": None if is_domestic else member.get("city") or None,
    }


def _email(told: Told) -> str:
    return told.member.get("email_address") or f"{told.number}@{EMAIL_DOMAIN}"


def _epoch_s(born: str) -> int | None:
    if not born:
        return None
    form = "%m/%d/%Y" if "/" in born else "%Y-%m-%d"
    return int(datetime.strptime(born, form).replace(tzinfo=UTC).timestamp())


def _content(told: Told) -> tuple[object, ...]:
    return (told.operation == "delete", *(told.member.get(name, "") for name in _SYNCED))
