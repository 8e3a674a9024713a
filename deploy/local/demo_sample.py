"""The demo's sample: what Siebel sends in it, read without any code of the pipeline.

``sample/``: invented members of a dozen countries.  ``members.ndjson`` and ``siebel_messages.xml`` enrol them,
``changes.json`` is the next day, ``again.ndjson`` brings nothing new.  Known to be in there: members without city,
e-mail, postal code or country, Households and a Corporate, another programme, names and addresses that are refused, an
e-mail address that somebody else has, corrections, deletions, moves to another country, repeats, old news, and two
events of no use.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Told:
    """One change as Siebel tells it; *key* is the same for the same change told again, *said* is all of it."""

    key: str
    said: str
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
    """One request to the api, and what it tells, in order."""

    content_type: str
    body: bytes
    events: tuple[Told, ...]


def ndjson(name: str, size: int) -> Iterator[Request]:
    """Give the requests that send a file of NDJSON, *size* lines each."""
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    for start in range(0, len(lines), size):
        yield _ndjson(lines[start : start + size])


def json_array(name: str) -> Request:
    """Give the request that sends a file of one JSON array."""
    body = (FOLDER / name).read_bytes()
    return Request("application/json", body, tuple(_told(document) for document in json.loads(body)))


def siebel_xml(name: str) -> Request:
    """Give the request that sends a SiebelMessage in XML."""
    body = (FOLDER / name).read_bytes()
    members = ElementTree.fromstring(body).iter("LOY_spcMember")
    return Request(
        "application/xml", body, tuple(_told_in_xml({e.tag: e.text or "" for e in m.iter()}) for m in members)
    )


def _ndjson(lines: list[str]) -> Request:
    events = tuple(_told(json.loads(line)) for line in lines)
    return Request("application/x-ndjson", "\n".join(lines).encode(), events)


def _told(document: Mapping[str, object]) -> Told:
    member = document["member"]
    modification = document.get("modification", 0)
    return Told(
        key=str(document["event_id"]),
        said=json.dumps(document, sort_keys=True),
        operation=str(document["operation"]),
        occurred_at=str(document["occurred_at"]),
        modification=modification if isinstance(modification, int) else 0,
        member={name: str(value) for name, value in member.items()} if isinstance(member, Mapping) else {},
    )


def _told_in_xml(texts: Mapping[str, str]) -> Told:
    said = json.dumps(texts, sort_keys=True)
    return Told(
        key=said,
        said=said,
        operation="enroll" if texts["Operation"] == "Insert" else "update",
        occurred_at=texts["Updated"],
        modification=int(texts["Mod_spcId"]),
        member={name: texts[label].strip() for label, name in _LABELS.items()},
    )
