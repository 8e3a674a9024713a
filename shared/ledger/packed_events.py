"""Events as the ledger keeps them: packed into a third, or as JSON where older code may have to read them.

A ledger that this version has made packs (`compatibility.packs`): no older code has ever worked on it, and none will,
for it serves from `PACKS_FROM` on.  One that came from an older version goes on with JSON, so that the way back stays
open, until a later release says that nobody reads that any more.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from shared.ledger.packing import Packing

PACKS_FROM = "0053"
"""The first revision whose code reads packed events."""
WORDS = Packing(
    b"\x01",
    b'"primary_organization":"Default Organization","currency_code":"USD","preferred_contact_method":"Email",'
    b'"suppress_all_calls":"N","account_owner":"","household":"","comment":"","last_transaction_channel":"E-Commerce",'
    b'"last_transaction_date":"20","points_lifetime":"0","point_balance_status_value":"0","tier_expires":"20",'
    b'"tier_class":"","tier":"","home_store":"","enrollment_date":"20","enrollment_channel":"","card_number":"",'
    b'"ct_city_id":"","force":true,"lane":"live","operation":"delete","status":"Inactive","gender":"F",'
    b'{"operation":"enroll","occurred_at":"2026-11-23T08:51:00.000000Z","modification":1,"member":{"member_number":"",'
    b'"row_id":"1-","program_id":"1-","member_type":"Individual","status":"Active","language":"en","first_name":"",'
    b'"last_name":"","middle_name":"","date_of_birth":"19","email_address":"@gmail.com","postal_code":"","city":"",'
    b'"country_code":"US","gender":"M","ct_city_id":""},"event_id":"auto-',
)


def packed(lines: Iterable[str]) -> str:
    """Return events, a JSON document each, packed: in hexadecimal, one a line."""
    return "\n".join(WORDS.pack(line.encode()).hex() for line in lines)


def read(kept: bytes) -> dict[str, Any]:
    """Return an event.  Shape: *kept* as `shared.ledger.people.event_sql` has it.

    Raises:
        ValueError: it cannot be read.
    """
    found: dict[str, Any] = orjson.loads(kept if kept.startswith(b"{") else WORDS.unpack(kept))
    return found


def found(kept: bytes | None) -> dict[str, Any] | None:
    """Return an event; None: there is none."""
    return None if kept is None else read(kept)


def member(kept: bytes | None) -> dict[str, Any] | None:
    """Return what an event says of its member; None: there is no event."""
    return (found(kept) or {}).get("member")


class Unread(Mapping[str, object]):
    """An event that is read when somebody looks into it: most are never looked into."""

    __slots__ = ("_kept", "_read")

    def __init__(self, kept: bytes) -> None:
        self._kept = kept
        self._read: dict[str, Any] | None = None

    def __getitem__(self, name: str) -> object:
        """Return a member."""
        return self._document()[name]

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(self._document())

    def __len__(self) -> int:
        """Count the members."""
        return len(self._document())

    def _document(self) -> dict[str, Any]:
        if self._read is None:
            self._read = read(self._kept)
        return self._read
