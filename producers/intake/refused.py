"""What cannot be taken in, so that it can be accounted for: a whole body, an element of a list, one event.

A refusal says where the event stood and whose it is, and gives a glimpse of it that names nobody.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from shared.errors import InvalidEventError
from shared.fields import FIELDS
from shared.masking import MASK, mask
from shared.personal import PERSONAL, marked_in, values_of

EXCERPT_MAX = 500
"""Characters of a refused event that are kept: enough to recognise it, too few to fill a ledger."""

_NUMBER_MAX = 50
_LOOKED_AT = 4_000
_FIELDS_SHOWN = 50
_BITS_MAX = 64
_TEXT_MAX = 200
"""What is longer is hidden as a whole: looking for people in megabytes would hold up every other request."""
_NUMBER_LABELS = {"membernumber"}
_NUMBER = re.compile(r'"(?:member_number|Member Number)"\s*:\s*"([^"\\]{1,50})"')
_LETTERS = re.compile(r"[^\W\d_]")
_DIGITS = re.compile(r"\d")
_WORDS = re.compile(r"[A-Z]?[a-z]+(?![^\W\d_])|[A-Z]?[a-z]+(?=[A-Z])|[^\W\d_]+")
_OF_NAMES = (
    "event force lane siebel message int object format list loy contact phone mobile street address remark title"
)
_KNOWN_WORDS = frozenset(
    word.lower()
    for name in (_OF_NAMES, *(name for field in FIELDS for name in (field.name, *field.labels)))
    for word in _WORDS.findall(name)
)


class BodyError(InvalidEventError):
    """A whole message, body or file cannot be read: nothing of it is taken."""

    code = "unreadable_body"


class Element(dict[str, Any]):
    """An object that knows on which *line* it began, and its *flaw*: what in it could not be read, if anything.

    Shape: *raw* is the text of one that could not be read at all.
    """

    __slots__ = ("flaw", "line", "raw")

    def __init__(
        self, fields: Mapping[str, Any], line: int | None, flaw: InvalidEventError | None = None, raw: bytes = b""
    ) -> None:
        super().__init__(fields)
        self.line = line
        self.flaw = flaw
        self.raw = raw


class RefusedEventError(InvalidEventError):
    """The refusal of one event.

    Shape: *line* of its file or message, counted from one; *member_number* as far as it could be read; *excerpt*
    masked.
    """

    def __init__(
        self,
        field: str,
        reason: str,
        line: int | None = None,
        member_number: str | None = None,
        excerpt: str | None = None,
    ) -> None:
        super().__init__(field, reason)
        self.args = (field, reason, line, member_number, excerpt)
        self.line = line
        self.member_number = member_number
        self.excerpt = excerpt


class RefusedRowError(RefusedEventError):
    """The refusal of one row of a table: its field is the name of a column."""

    def __str__(self) -> str:
        return f"line {self.line}{f', column {self.field}' if self.field else ''}: {self.reason}"


def refused(
    error: InvalidEventError,
    raw: object,
    line: int | None = None,
    kind: type[RefusedEventError] = RefusedEventError,
) -> RefusedEventError:
    """Return *error* with what *raw*, the event as it came, tells of it; an `Element` tells its line itself."""
    if isinstance(raw, Element):
        line = raw.line
        raw = raw.raw or raw
    return kind(error.field, error.reason, line, member_number_in(raw), excerpt_of(raw))


def where_of(position: int | None, line: int | None) -> str:
    """Return where in its request or file an event stood, in words."""
    if line is not None:
        return f"line {line}"
    return "" if position is None else f"event {position}"


def member_number_in(raw: object) -> str | None:
    """Return the member number that a broken event states, as far as one can be read."""
    if isinstance(raw, bytes):
        found = _NUMBER.search(raw[:_LOOKED_AT].decode(errors="replace"))
        return _plain(found[1], _NUMBER_MAX) if found else None
    if not isinstance(raw, Mapping):
        return None
    inner = raw.get("member")
    for name, value in (inner if isinstance(inner, Mapping) else raw).items():
        is_number = "".join(filter(str.isalnum, str(name))).lower() in _NUMBER_LABELS
        if is_number and isinstance(value, str | int) and not isinstance(value, bool):
            return _plain(_shortened(value), _NUMBER_MAX) or None
    return None


def excerpt_of(raw: object) -> str:
    """Return a glimpse of a broken event that names nobody, at most `EXCERPT_MAX` characters.

    Of JSON the values are masked and the names stay, word by word as far as fields have such names; of any other word,
    and of text that is no JSON, only its shape stays: whoever sent it may have put a person in the place of a name.
    """
    if isinstance(raw, bytes):
        text = raw[:_LOOKED_AT].decode(errors="replace")
        return _plain(_DIGITS.sub("9", _LETTERS.sub("x", text)), EXCERPT_MAX)
    if isinstance(raw, Mapping):
        inner = raw.get("member")
        member = inner if isinstance(inner, Mapping) else raw
        few = _first_fields({name: member[name] for name in PERSONAL if name in member} | dict(member))
        marked = marked_in(_first_fields(raw), values_of(few), (member_number_in(raw) or "",))
        shown = _with_plain_names(mask(marked, words=False))
        return _plain(json.dumps(shown, ensure_ascii=False, default=str), EXCERPT_MAX)
    return MASK


def _with_plain_names(value: object) -> object:
    """Return JSON with no more than the shape of each word, or number, in a name that is in no name we know."""

    def plain(found: re.Match[str]) -> str:
        return found[0] if found[0].lower() in _KNOWN_WORDS else _LETTERS.sub("x", found[0])

    if isinstance(value, Mapping):
        return {_DIGITS.sub("9", _WORDS.sub(plain, name)): _with_plain_names(part) for name, part in value.items()}
    return [_with_plain_names(part) for part in value] if isinstance(value, list) else value


def _first_fields(fields: Mapping[Any, object], left: Iterator[int] | None = None) -> dict[str, object]:
    """Return as much of *fields* as an excerpt may show: the first, without texts and numbers that are too long."""
    left = iter(range(_FIELDS_SHOWN)) if left is None else left
    first = [(str(name), part) for name, part in fields.items() if next(left, None) is not None]
    return {name if len(name) <= _TEXT_MAX else MASK: _short(part, left) for name, part in first}


def _short(value: object, left: Iterator[int]) -> object:
    if isinstance(value, Mapping):
        return _first_fields(value, left)
    if isinstance(value, list):
        return [_short(part, left) for part in value if next(left, None) is not None]
    return MASK if isinstance(value, str) and len(value) > _TEXT_MAX else _shortened(value)


def _shortened(value: object) -> object:
    return MASK if isinstance(value, int) and value.bit_length() > _BITS_MAX else value


def _plain(value: object, longest: int) -> str:
    """Return text that a ledger and a terminal can hold."""
    text = str(value)[: longest + 1]
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
