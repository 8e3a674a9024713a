"""What the value of one field may be: dates, instants, numbers, and whatever an unknown field holds.

Every function here is a pydantic validator of `shared.events` or its like: it returns the canonical value, or says in
one plain sentence, without the value, what is wrong with it.
"""

import contextlib
import math
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Self

from pydantic_core import PydanticCustomError

from shared.errors import InvalidEventError

INVISIBLE = r"\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
"""What a page or a file leaves in copied text and nobody sees, byte order mark and marks of direction among it, for a
class of any regular expression."""
BIGGEST = 2**63 - 1  # bigint, and the largest number that every JSON reader on the way keeps exact
EXACT = 2**53 - 1  # a JSON reader that takes numbers for doubles keeps none above it
MODIFICATION_MAX = 9_999_999_999
"""Siebel keeps whole numbers, MODIFICATION_NUM among them, in columns of ten digits (A: in the member's table too).

Source: Configuring Siebel Business Applications, "Physical Type Property of a Table Column".
"""
REFUSED = "refused"
"""The type of our own validation errors, whose message is a sentence of ours."""

_DEEPEST = 32  # levels inside an unknown field; jsonb and orjson have limits of their own further out
_YEARS = range(1800, 2201)
_YEARS_OF_CHANGES = range(1900, 2201)
"""Of what can be written as a date in any time zone; how far ahead a change may lie is for intake to judge."""
_NESTING = (dict, list)  # a union would be built anew at each look
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_TIME = r"([T ]\d{1,2}:\d\d(:\d\d(\.\d+)?)?( ?[AaPp][Mm])?(Z|[+-]\d\d:\d\d)?)?"
_ISO_DATE = re.compile(rf"(?P<year>\d{{4}})-(?P<month>\d\d)-(?P<day>\d\d){_TIME}", re.ASCII)
_SIEBEL_DATE = re.compile(rf"(?P<month>\d\d?)/(?P<day>\d\d?)/(?P<year>\d{{4}}){_TIME}", re.ASCII)
_SECONDS = re.compile(r"[+-]?\d{1,11}", re.ASCII)
_DIGITS = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_EPOCH_UNMISTAKEN = range(100_000_000, 1_900_000_000)
"""Nine and ten digits: longer than any calendar date or day number, and not yet to be born."""
_DAY_S = 86_400
_QUARTER_S = 900  # zones of the world begin their days at quarters of an hour
_RUN_TOGETHER = {8: ("%Y%m%d", "%d%m%Y", "%m%d%Y"), 6: ("%y%m%d", "%d%m%y", "%m%d%y")}
_ROUNDED = re.compile(
    r"=.*|'.*|[+-]?\d+([.,]\d+)?E[+-]\d+|[+-]?\d+[.,]\d+E\d+|[+-]?\d+[.,]0*|#+(N/A|REF!|VALUE!|NAME\?|NUM!)?",
    re.ASCII | re.IGNORECASE,
)
_GENDERS = {"": "", "M": "M", "F": "F", "MALE": "M", "FEMALE": "F"}


class Ambiguous(dict[str, Any]):
    """An object that names something more than once; as a dict it has the last of each.

    Shape: *several* has all values of the names that stand more than once.
    """

    __slots__ = ("several",)

    several: dict[str, list[Any]]

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, Any]]) -> Self:
        """Build it from its names and values in order."""
        values: dict[str, list[Any]] = {}
        for name, value in pairs:
            values.setdefault(name, []).append(value)
        found = cls({name: given[-1] for name, given in values.items()})
        found.several = {name: given for name, given in values.items() if len(given) > 1}
        return found

    @property
    def in_doubt(self) -> str | None:
        """The first name that has two values; None: what is repeated is the same each time."""
        return next((name for name, given in self.several.items() if any(one != given[0] for one in given)), None)


REPEATED = "stands there more than once, with different values"


def check_names(value: object, path: tuple[str, ...] = (), depth: int = 0) -> None:
    """Refuse an object that gives one name two values: nobody can tell which is meant.

    Raises:
        InvalidEventError: with the path of the name.
    """
    if isinstance(value, Ambiguous) and (name := value.in_doubt) is not None:
        raise InvalidEventError(path_of((*path, name)), REPEATED)
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, _NESTING):
                check_names(inner, (*path, str(name)), depth + 1)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            if isinstance(inner, _NESTING):
                check_names(inner, (*path, str(position)), depth + 1)


def birth_date(text: str) -> str:
    """Return a date of birth as `YYYY-MM-DD`; seconds since 1970 stand for their UTC date.

    Digits that may as well be `19791129`, `291179` or a spreadsheet's day number are refused: a guess would be sent,
    and nobody would see that it was one.
    """
    if not text:
        return text
    born: date | None = None
    try:
        if found := _ISO_DATE.fullmatch(text) or _SIEBEL_DATE.fullmatch(text):
            born = date(int(found["year"]), int(found["month"]), int(found["day"]))
        elif _SECONDS.fullmatch(text):
            born = (_EPOCH + timedelta(seconds=int(text))).date()
    except (ValueError, OverflowError):
        raise PydanticCustomError(REFUSED, "is a date that does not exist") from None
    if born is None:
        raise PydanticCustomError(REFUSED, "must be a date: YYYY-MM-DD, MM/DD/YYYY or seconds since 1970")
    if born.year not in _YEARS:
        raise PydanticCustomError(REFUSED, "must lie between the years 1800 and 2200")
    if _SECONDS.fullmatch(text) and not _is_epoch(text):
        raise PydanticCustomError(REFUSED, "may be seconds since 1970 or a date without its signs: write YYYY-MM-DD")
    return born.isoformat()


def _is_epoch(digits: str) -> bool:
    """Return whether digits can be nothing but seconds since 1970."""
    seconds = int(digits)
    if digits != str(seconds):
        return False
    if seconds <= 0 or seconds in _EPOCH_UNMISTAKEN:
        return True
    is_start_of_day = _DAY_S <= seconds < _EPOCH_UNMISTAKEN.start and seconds % _QUARTER_S == 0
    return is_start_of_day and not any(_is_date(digits, length) for length in _RUN_TOGETHER)


def _is_date(digits: str, length: int) -> bool:
    """Return whether digits are a date run together of *length*, of which a leading zero may be lost."""
    padded = digits.zfill(length)
    if not length - 1 <= len(digits) <= length:
        return False
    for form in _RUN_TOGETHER[length]:
        with contextlib.suppress(ValueError):
            datetime.strptime(padded, form).replace(tzinfo=UTC)  # there is such a day
            return True
    return False


def is_rounded(text: str) -> bool:
    """Return whether it is what a spreadsheet makes of a code: `1.23457E+11`, `="00123"`, `'00123`, `123.0`, `#N/A`."""
    return _ROUNDED.fullmatch(text) is not None


def member_code(text: str) -> str:
    """Return a member number as it is."""
    if is_rounded(text):
        raise PydanticCustomError(REFUSED, "is as a spreadsheet writes it, and not as it was: two members may share it")
    return text


def gender_letter(text: str) -> str:
    """Return `M`, `F` or nothing."""
    try:
        return _GENDERS[text.upper()]
    except KeyError:
        raise PydanticCustomError(REFUSED, "must be M, F or empty") from None


def instant(value: object) -> datetime:
    """Return the instant in UTC."""
    at = value
    if isinstance(value, str) and _INSTANT.fullmatch(text := value.strip().upper()):
        try:
            at = datetime.fromisoformat(text)
        except (ValueError, OverflowError):
            raise PydanticCustomError(REFUSED, "is a date or time that does not exist") from None
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise PydanticCustomError(REFUSED, "must be an RFC 3339 instant with an offset, like 2026-11-23T08:51:00Z")
    if at.year not in _YEARS_OF_CHANGES:
        raise PydanticCustomError(REFUSED, "must lie between the years 1900 and 2200")
    return at.astimezone(UTC)


def whole_number(value: object) -> int:
    """Return the number; digits in a string are one, and so is `7.0`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
        return int(value)
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        return int(value)
    raise PydanticCustomError(REFUSED, "must be a whole number")


def path_of(parts: tuple[int | str, ...]) -> str:
    """Return the JSON path, fit to be shown: names of unknown fields may hold anything."""
    path = ".".join(str(part)[:64] for part in parts)
    return "".join(letter if letter.isprintable() else "?" for letter in path)


def check_unknown(value: object, path: tuple[str, ...], depth: int = 0) -> None:
    """Refuse what an unknown field may not hold.

    Raises:
        InvalidEventError: jsonb could not keep it, or a reader would not get it back as it was.
    """
    if depth > _DEEPEST:
        raise InvalidEventError(path_of(path[:3]), f"is nested deeper than {_DEEPEST} levels")
    if isinstance(value, dict):
        for name, inner in value.items():
            here = (*path, str(name))
            check_unknown(name, here, depth + 1)
            check_unknown(inner, here, depth + 1)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            check_unknown(inner, (*path, str(position)), depth + 1)
    elif flaw := _flaw(value):
        raise InvalidEventError(path_of(path), flaw)


def _flaw(value: object) -> str:
    """Return what is wrong with one JSON scalar; nothing: empty."""
    match value:
        case str():
            halved = not value.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in value)
            return "contains a NUL or half of a character" if halved or "\0" in value else ""
        case int():
            return "" if -BIGGEST <= value <= BIGGEST else "is too large a number"
        case float():
            return "" if math.isfinite(value) else "is not a number"
        case None:
            return ""
        case _:
            return "is not JSON data"
