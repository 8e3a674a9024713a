"""Which contact of a member is the member's own, whose name and address are synced.

Siebel marks the primary one of a group with IsPrimaryMVG="Y", and there need not be one (Integration Platform
Technologies, "About Multivalue Groups in the EAI Siebel Adapter Business Service").  What the flow of Oracle's package
takes then is not on record.  To take any would give one person's data to another's member, so such an event is refused
unless `siebel.several_contacts` says otherwise (A); one that deletes the member needs none of them.
"""

from collections.abc import Mapping
from typing import Any

from producers.intake.spellings import as_list, fold
from shared.errors import InvalidEventError

CONTACTS = {"listofcontact", "contact"}
_PRIMARY = {"isprimarymvg", "ssaprimaryfield", "primarycontactflag"}
_YES = ("Y", "true", True)


def part_contact(
    record: Mapping[Any, Any], names: Mapping[str, str], *, takes_first: bool
) -> tuple[Mapping[str, Any] | None, dict[str, Any], InvalidEventError | None]:
    """Part a member from its own contact: (contact, the member without any, why it cannot be told which).

    Shape: *names* are the fields of a contact by their folded labels; of contacts that say the same in them any is as
    good.

    Raises:
        InvalidEventError: a name is no text, or what stands for a contact is no object.
    """
    rest = dict(record)
    contacts: list[Any] = []
    place = ""
    for label in record:
        if not isinstance(label, str):
            raise InvalidEventError("LOY Member", "has a name that is not text")
        if fold(label) not in CONTACTS:
            continue
        found = _contacts_in(rest.pop(label))
        if not all(isinstance(contact, Mapping) for contact in found):
            raise InvalidEventError(label, "must be an object")
        contacts += found
        place = place or label
    primary = [contact for contact in contacts if _is_primary(contact)]
    own = primary or contacts
    if takes_first or not own or all(_known(one, names) == _known(own[0], names) for one in own[1:]):
        return next(iter(own), None), rest, None
    which = "more than one of them is" if primary else "none of them is"
    flaw = (
        f"has {len(own)} contacts that differ, and {which} primary (IsPrimaryMVG): which is the member cannot be told"
    )
    return None, rest, InvalidEventError(place, flaw)


def _contacts_in(value: object) -> list[Any]:
    contacts: list[Any] = []
    for part in as_list(value):
        inner = [one for name, one in part.items() if fold(name) == "contact"] if isinstance(part, Mapping) else []
        for one in inner or [part]:
            contacts += as_list(one)
    return contacts


def _is_primary(contact: Mapping[str, Any]) -> bool:
    return any(fold(str(name)) in _PRIMARY and flag in _YES for name, flag in contact.items())


def _known(contact: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    found = {names.get(fold(str(label))): value for label, value in contact.items() if value not in (None, "")}
    return {name: value for name, value in found.items() if name is not None}
