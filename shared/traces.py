"""What names one person beyond doubt, found in the words and documents of others, and taken out of them.  Pure.

That is its Member Number, ROW_ID and CrowdTwist id, its e-mail addresses, and first and last name beside each other.
A first or a last name alone, a street or a birthday may be anybody's, and stays; but of an object in a document that
has one of these ids nothing stays.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import quote

import orjson

from shared.masking import MASK
from shared.personal import CLOSE, OPEN

_DIGITS = 4
"""An id of fewer digits, and nothing else, may be any number: it counts where it is said to be an id."""
_ID_KEYS = frozenset({
    "id", "user_id", "ct_user_id", "third_party_id", "member_number", "member", "members", "row_id", "holder", "Id",
    "Member Number",
})  # fmt: skip
_IS_ITS = frozenset({"third_party_id", "member_number", "row_id", "ct_user_id", "Id", "Member Number"})
_BETWEEN = rf"[{CLOSE}]?,?\s+[{OPEN}]?"
_SAID_BEFORE = r"\b(?:members?|row_id|user|number)[ :=]+"


class Traces:
    """What names one person.

    Args:
        ids: Its Member Number, ROW_IDs and CrowdTwist ids.
        members: It as member events and CrowdTwist's users say it.
    """

    def __init__(self, ids: Iterable[str], members: Iterable[Mapping[str, Any]] = ()) -> None:
        self.ids: Collection[str] = sorted({one for one in ids if one})
        self._words = set(self.ids) | {quote(one, safe="") for one in self.ids}
        self._names: set[tuple[str, str]] = set()
        for member in members:
            first, last, address = (_text(member, name) for name in ("first_name", "last_name", "email_address"))
            self._words |= {address, quote(address, safe="")} if "@" in address else set()
            self._names |= {(first, last), (last, first)} if first and last else set()
        self._whole = {word.casefold() for word in self._words}
        short = sorted(word for word in self._words if len(word) < _DIGITS and (word.isdigit() or len(word) == 1))
        long = sorted(self._words.difference(short), key=len, reverse=True)
        forms = [rf"(?<![\w-]){re.escape(word)}(?![\w-])" for word in long]
        forms += [rf"(?<![\w-]){re.escape(one)}{_BETWEEN}{re.escape(two)}(?![\w-])" for one, two in self._names]
        forms += [rf"(?P<s{at}>{_SAID_BEFORE}){re.escape(word)}(?![\w-])" for at, word in enumerate(short)]
        self._form = re.compile("|".join(forms) or r"(?!)", re.IGNORECASE)

    @property
    def pattern(self) -> str:
        """The regular expression of SQL's `~*` that a text matches which names the person; it may name nobody yet.

        One expression: a list of patterns for `ilike` takes five times as long.
        """
        written = self._words | {orjson.dumps(word).decode()[1:-1] for word in self._words}
        names = {f"{re.escape(one)}.*{re.escape(two)}" for one, two in self._names}
        return "|".join(sorted(map(re.escape, written)) + sorted(names)) or "$^"

    def without(self, value: object, key: str = "") -> object:
        """Return a JSON value without what names the person; the same where nothing does.

        Shape: *key* is the name that the value stands under.
        """
        if isinstance(value, str):
            is_id = key in _ID_KEYS and value.casefold() in self._whole
            return MASK if is_id else self._form.sub(lambda found: f"{_before(found)}{MASK}", value)
        if isinstance(value, int) and not isinstance(value, bool):
            return None if key in _ID_KEYS and str(value) in self._whole else value
        if isinstance(value, Mapping):
            if any(str(part).casefold() in self._whole for name, part in value.items() if name in _IS_ITS):
                return {name: MASK if isinstance(part, str) else None for name, part in value.items()}
            return {str(self.without(name)): self.without(part, name) for name, part in value.items()}
        return [self.without(part, key) for part in value] if isinstance(value, list) else value


def _before(found: "re.Match[str]") -> str:
    return next((said for said in found.groups() if said), "")


def _text(member: Mapping[str, Any], name: str) -> str:
    value = member.get(name)
    return value.strip() if isinstance(value, str) else ""
