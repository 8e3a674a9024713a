"""The demo's sample: what Siebel sends in it, and what must come of it, without any code of the pipeline.

``sample/``: invented members of a dozen countries.  ``members.ndjson`` and ``siebel_messages.xml`` enrol them,
``changes.json`` is the next day, ``again.ndjson`` brings nothing new.  Known to be in there: members without city,
e-mail, postal code or country, Households and a Corporate, another programme, names and addresses that are refused, an
e-mail address that somebody else has, corrections, deletions, moves to another country, repeats, old news, and two
events of no use.

A misunderstanding in the product cannot hide here: this file knows only what Oracle's pages say of Siebel's fields and
of CrowdTwist's users (`deploy/sandbox` names the sources), and the rules of intake.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from defusedxml import ElementTree

FOLDER = Path(__file__).with_name("sample")
PROGRAM_ID = "1-4CTPRG"

_LABELS = {
    "Id": "row_id",
    "Member_spcNumber": "member_number",
    "Program_spcId": "program_id",
    "Member_spcType": "member_type",
    "Status": "status",
    "Language": "language",
    "Contact_spcFirst_spcName": "first_name",
    "Contact_spcLast_spcName": "last_name",
    "Contact_spcMiddle_spcName": "middle_name",
    "Date_spcof_spcBirth": "date_of_birth",
    "Email_spcAddress": "email_address",
    "Primary_spcPostal_spcCode": "postal_code",
    "Primary_spcCity": "city",
    "Primary_spcCountry_spcCode": "country_code",
    "M_slhF": "gender",
}

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


@dataclass(frozen=True, slots=True)
class Change:
    """One change as Siebel sends it; *key* is the same for the same change sent again, *content* is all of it."""

    key: str
    content: str
    operation: str
    occurred_at: str
    modification: int
    member: Mapping[str, str]

    @property
    def number(self) -> str:
        """The member number; empty where Siebel forgot it."""
        return self.member.get("member_number", "")


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the api, and the changes in it, in order."""

    content_type: str
    body: bytes
    events: tuple[Change, ...]


def ndjson(name: str, size: int) -> Iterator[Request]:
    """Return the requests that send a file of NDJSON, *size* lines each."""
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    for start in range(0, len(lines), size):
        sent = lines[start : start + size]
        events = tuple(_change(json.loads(line)) for line in sent)
        yield Request("application/x-ndjson", "\n".join(sent).encode(), events)


def json_array(name: str) -> Request:
    """Return the request that sends a file of one JSON array."""
    body = (FOLDER / name).read_bytes()
    return Request("application/json", body, tuple(_change(document) for document in json.loads(body)))


def siebel_xml(name: str) -> Request:
    """Return the request that sends a SiebelMessage in XML."""
    body, events = (FOLDER / name).read_bytes(), []
    for member in ElementTree.fromstring(body).iter("LOY_spcMember"):
        texts = {element.tag: element.text or "" for element in member.iter()}
        content = json.dumps(texts, sort_keys=True)
        change = Change(
            key=content,
            content=content,
            operation="enroll" if texts["Operation"] == "Insert" else "update",
            occurred_at=texts["Updated"],
            modification=int(texts["Mod_spcId"]),
            member={name: texts[label].strip() for label, name in _LABELS.items()},
        )
        events.append(change)
    return Request("application/xml", body, tuple(events))


def _change(document: Mapping[str, object]) -> Change:
    member = document["member"]
    modification = document.get("modification", 0)
    return Change(
        key=str(document["event_id"]),
        content=json.dumps(document, sort_keys=True),
        operation=str(document["operation"]),
        occurred_at=str(document["occurred_at"]),
        modification=modification if isinstance(modification, int) else 0,
        member={name: str(value) for name, value in member.items()} if isinstance(member, Mapping) else {},
    )


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
    _newest: dict[str, Change] = field(default_factory=dict)
    _applied: dict[str, tuple[object, ...]] = field(default_factory=dict)

    def take(self, request: Request) -> list[str]:
        """Return the outcomes that intake must answer to *request*."""
        outcomes = [self._judge(change) for change in request.events]
        self.outcomes.update(outcomes)
        return outcomes

    def settle(self) -> None:
        """Let the newest accepted event of each member have its effect: everything sent so far has been worked off."""
        for number, change in self._newest.items():
            fault = self._fault(change)
            self.status[number] = (DATA_ERROR, fault) if fault else (SUCCESS, "")
            if not fault:
                self.users[number] = self._user(change)
                self._applied[number] = _content(change)

    def _judge(self, change: Change) -> str:
        if not change.number or not re.match(r"\d", change.occurred_at):
            return "refused"
        if change.key in self._known:
            return "duplicate" if self._known[change.key] == change.content else "conflict"
        self._known[change.key] = change.content
        if change.member["program_id"] != PROGRAM_ID or change.member["member_type"] != "Individual":
            return "skipped"
        newest = self._newest.get(change.number)
        if newest and (change.modification, change.occurred_at) < (newest.modification, newest.occurred_at):
            return "superseded"
        self._newest[change.number] = change
        synced = self.status.get(change.number, ("", ""))[0] == SUCCESS
        return "unchanged" if synced and self._applied[change.number] == _content(change) else "accepted"

    def _fault(self, change: Change) -> str:
        """Say why CrowdTwist cannot take it, in words that the error must have; empty when it can."""
        member = change.member
        if change.operation == "delete":
            return ""
        for part in ("first_name", "last_name"):
            name = member.get(part, "")
            if not name or not all(unicodedata.category(sign)[0] == "L" or sign in _NAME_SIGNS for sign in name):
                return "Name"
        email = _email(change)
        if not _EMAIL.fullmatch(email):
            return "Email Address is invalid"
        if member.get("country_code") == "CA" and not _CA_POSTAL.fullmatch(member.get("postal_code", "")):
            return "Postal Code"
        holders = (number for number, user in self.users.items() if user["email_address"] == email)
        return TAKEN if any(number != change.number for number in holders) else ""

    def _user(self, change: Change) -> User:
        if change.operation == "delete":
            return {**self.users[change.number], "is_active": False}
        member, born = change.member, None
        if text := member.get("date_of_birth"):
            form = "%m/%d/%Y" if "/" in text else "%Y-%m-%d"
            born = int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())
        country = member.get("country_code") or DEFAULT_COUNTRY
        is_domestic = country in {"US", "CA"}
        postal_code = (member.get("postal_code") or DEFAULT_US_POSTAL_CODE).replace("-", "")
        return {
            "third_party_id": change.number,
            "is_active": member.get("status", "") == "Active",
            "first_name": member["first_name"],
            "last_name": member["last_name"],
            "middle_name": member.get("middle_name") or None,
            "email_address": _email(change),
            "lang_pref": member.get("language") or None,
            "date_of_birth": born,
            "gender": {"M": "Male", "F": "Female"}.get(member.get("gender", "")),
            "country": country,
            "postal_code": postal_code if is_domestic else None,
            "city": None if is_domestic else member.get("city") or None,
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


def _email(change: Change) -> str:
    return change.member.get("email_address") or f"{change.number}@{EMAIL_DOMAIN}"


def _content(change: Change) -> tuple[object, ...]:
    return (change.operation == "delete", *(change.member.get(name, "") for name in _SYNCED))
