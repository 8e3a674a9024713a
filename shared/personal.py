"""Words of other systems that may name the member: Siebel gets them whole, whoever may not see people gets stars.

What CrowdTwist says of a member goes to Siebel as it is.  In the ledger the member's own values in it stand between two
marks, of the code points that Unicode leaves to private use; `mask_text` puts stars in their place.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import permutations
from typing import Any, overload

from shared.spellings import Folded, Reading, folded, read

OPEN, CLOSE = "\ue000", "\ue001"

_NAMES = ("first_name", "middle_name", "last_name")
_PLACES = ("city", "city_name", "postal_code")
_HINTS = (
    "phone",
    "mobile",
    "fax",
    "street",
    "addr",
    "name",
    "mail",
    "birth",
    "city",
    "town",
    "county",
    "zip",
    "postal",
)
"""Parts of the names of unknown fields whose values name a person."""
_GLUE = "\N{WORD JOINER}"
"""Between names that are glued together; with a blank between them they are found one by one."""
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "Å": "Aa"})
_DATE_FORMS = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y", "%m.%d.%Y",
    "%d.%m.%Y", "%m%d%Y", "%d%m%Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%m-%d-%y", "%d-%m-%y", "%m.%d.%y", "%y-%m-%d",
    "%y/%m/%d", "%y%m%d", "%m%d%y", "%d%m%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y",
    "%b %d %Y", "%B %d %Y", "%Y %b %d", "%Y %B %d", "%d %b %y", "%d %B %y",
)  # fmt: skip
_ORDINALS = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}
_ORDINAL_FORMS = ("{day} %b %Y", "{day} %B %Y", "{day} of %B %Y", "%b {day} %Y", "%B {day} %Y")
_HOUSE = re.compile(r"(?P<before>\d+\w?[,\s]+)?(?P<street>\D{4,}?)(?P<after>[,\s]+\d+\w?)?")
"""A street with its house number before or behind it."""
PERSONAL = (*_NAMES, *_PLACES, "email_address", "date_of_birth")
_KNOWN = frozenset((*PERSONAL, "email_is_verified"))
_LONGEST_STREET = 200
_SHORTEST = 2
_SHORTEST_PART = 3
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PADDED = re.compile(r"(?<!\d)0(?=\d(?:\D|$))")
_MARKED = re.compile(f"{OPEN}([^{CLOSE}]*)(?:{CLOSE}|$)")
_MARKS = str.maketrans("", "", OPEN + CLOSE)
_ADDRESS = r"[^\s@<>\"'(),;:]+@[^\s@<>\"'(),;:]+"  # told by its form, whoever's it is, and masked as a whole
_STAYS = (
    r"SBL-[A-Z]{2,5}-\d+|\[instance \d+\]"
    r"|(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])"  # a host
)
_INSTANT = r"(?<!\d)(?:19|20)\d\d-\d\d-\d\d[T ]\d\d:\d\d[\d:.]*"
_PHONE = (
    r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?)?(?:\(\d{1,5}\)[ .-]?)?\d{2,5}(?:[ .-]\d{2,5}){1,4}(?![\w-]|\.\d)"
    r"|(?<![\w.-])\+\d{7,15}(?!\w)|(?<![\w.+-])\d{10,15}(?![\w-]|\.\d)"
)
_STREET = (
    r"(?<![\w-])\d{1,5}[a-z]?,?\s+(?:[\w'.-]+\s+){1,3}"
    r"(?:street|st|road|rd|avenue|ave|lane|ln|drive|boulevard|blvd|court|terrace|square|crescent)(?!\w)"
)
_PHONE_DIGITS = range(7, 16)


Member = Mapping[str, Any] | None
Persons = tuple[Member, ...]
"""What is known of one person: as member, as CrowdTwist user."""


def values_of(*members: Member) -> tuple[str, ...]:
    """Return what names a person in a member, or in its CrowdTwist user object, in every form that others write it in.

    Shape: names alone, in parts, in either order glued together; the date of birth as the world writes dates; postal
    code with and without what stands between its signs; the city; the e-mail address and the part before its `@`; what
    unknown fields hold that are called a phone, a street and the like.  Case, accents and escapes are for `marked`.
    """
    found = {form for member in members if member for form in _forms(member)}
    return tuple(sorted(form for form in found if len(form) >= _SHORTEST))


class Company:
    """Members who were in one batch, or in one call: each may be named in what is said to another.

    Shape: *members* may be a function that gives them; it is asked once there are words in which they may be named.
    """

    def __init__(self, members: Iterable[Persons] | Callable[[], Iterable[Persons]] = ()) -> None:
        self._given = members
        self._found: dict[str, tuple[str, ...]] = {}

    def values_in(self, text: str) -> tuple[str, ...]:
        """Return the values of those whom *text* may name."""
        if text not in self._found:  # the same cause is told of many
            sought = folded(read(text).signs)
            pairs = zip(self._members, self._words, strict=True)
            named = [one for one, words in pairs if any(word in sought for word in words)]
            self._found[text] = tuple(value for one in named for value in values_of(*one))
        return self._found[text]

    @cached_property
    def _members(self) -> list[Persons]:
        return list(self._given() if callable(self._given) else self._given)

    @cached_property
    def _words(self) -> list[tuple[str, ...]]:
        """Return for each the least that any of its values would show: so the values of hardly any are made."""
        return [tuple({word for member in one if member for word in _least(member)}) for one in self._members]


NOBODY = Company()


def _least(member: Mapping[str, Any]) -> Iterator[str]:
    for text in _named(member):
        yield from (word for part in re.split(r"[\s-]+", text) if len(word := folded(part)) >= _SHORTEST)
    if (day := _day(member.get("date_of_birth"))) is not None:
        yield from (f"{day.year % 100:02}", _seconds(day))
    elif written := str(member.get("date_of_birth") or ""):
        yield folded(written)


def _named(member: Mapping[str, Any]) -> Iterator[str]:
    """Return the texts in a member that name a person, as they are, but for the date of birth."""
    for name in (*_NAMES, *_PLACES, "email_address"):
        yield _text(member, name)
    yield from _hinted({name: value for name, value in member.items() if name not in _KNOWN}, is_personal=False)


def _hinted(value: object, *, is_personal: bool) -> Iterator[str]:
    """Return the texts and numbers below a field whose name says that it holds something personal."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            is_hint = any(hint in str(name).casefold() for hint in _HINTS)
            yield from _hinted(part, is_personal=is_personal or is_hint)
    elif isinstance(value, list):
        for part in value:
            yield from _hinted(part, is_personal=is_personal)
    elif is_personal and isinstance(value, str | int) and not isinstance(value, bool):
        text = str(value).strip()
        yield from (text, folded(text)) if folded(text).isdigit() else (text,)


def _forms(member: Mapping[str, Any]) -> Iterator[str]:
    names = [text for name in _NAMES if (text := _text(member, name))]
    texts = list(_named(member))
    for count in range(2, len(names) + 1):  # written as one word, whole or with the first letter of one of them
        texts += map(_GLUE.join, permutations(names, count))
    for one, other in permutations(names, 2):
        texts += (f"{one[0]}{_GLUE}{other}", f"{other}{_GLUE}{one[0]}")
    for text in texts:
        yield from (text, text.translate(_UMLAUTS))
        yield from _streets(text)
    for name in names:
        yield from (part for part in re.split(r"[\s-]+", name) if len(part) >= _SHORTEST_PART)
    code = _text(member, "postal_code")
    bare = re.sub(r"[\s-]", "", code)  # with and without what stands between its groups
    yield from (bare, *(f"{bare[:at]}{glue}{bare[at:]}" for at in (3, 5) if len(bare) > at for glue in " -"))
    if re.fullmatch(r"\d{5}[\s-]\d{4}", code):
        yield code[:5]
    yield from _dates(member.get("date_of_birth"))
    if len(local := _text(member, "email_address").rpartition("@")[0]) >= _SHORTEST_PART:
        yield local


def _streets(text: str) -> Iterator[str]:
    """Return the street of an address without its house number, and with the number on its other side."""
    found = _HOUSE.fullmatch(text) if len(text) <= _LONGEST_STREET else None  # each blank may end it
    if found is not None and (found["before"] or found["after"]):
        number = (found["before"] or found["after"]).strip(" ,")
        yield from (found["street"], f"{number} {found['street']}", f"{found['street']} {number}")


def _text(member: Mapping[str, Any], name: str) -> str:
    value = member.get(name)
    return value.strip() if isinstance(value, str) else ""


def _dates(value: object) -> Iterator[str]:
    day = _day(value)
    if isinstance(value, str) and value.strip():
        yield value.strip()
    if day is None:
        return
    seconds = _seconds(day)
    yield from (str(value), seconds, f"{seconds}000")
    for form in _DATE_FORMS:
        written = day.strftime(form)
        yield from (written, _PADDED.sub("", written))
    ordinal = f"{day.day}{_ORDINALS.get(day.day, 'th')}"
    yield from (day.strftime(form.format(day=ordinal)) for form in _ORDINAL_FORMS)


def _seconds(day: date) -> str:
    return str(int((datetime(day.year, day.month, day.day, tzinfo=UTC) - _EPOCH).total_seconds()))


def _day(value: object) -> date | None:
    """Read a date of birth as a member event, Siebel or CrowdTwist writes it; None where it is none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return (_EPOCH + timedelta(seconds=value)).date()
        except (OverflowError, ValueError):
            return None
    text = str(value or "").strip()
    for form in ("%Y-%m-%d", "%m/%d/%Y"):
        try:
            return datetime.strptime(text[:10], form).replace(tzinfo=UTC).date()
        except ValueError:
            continue
    return None


def marked(text: str, values: Iterable[str], keep: Iterable[str] = ()) -> str:
    """Return *text* with each of *values* that stands in it as a word of its own, however written, in marks.

    So is what looks like a phone, a street or an address in escapes.  *keep* is what stays readable whatever it looks
    like: a member number, a ROW_ID.
    """
    text = unmarked(text)
    reading = read(text)
    stays, found = _by_form(reading, keep)
    found += [
        one for one in _worded(reading, values) if not any(one[0] < other[1] and other[0] < one[1] for other in stays)
    ]
    merged: list[_Span] = []
    for begin, end in sorted(reading.span(*one) for one in found):
        if merged and begin < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    pieces, end = [], 0
    for begin, stop in merged:
        pieces += [text[end:begin], OPEN, text[begin:stop], CLOSE]
        end = stop
    return "".join((*pieces, text[end:]))


@overload
def marked_in(document: Mapping[str, Any], values: Sequence[str], keep: Sequence[str] = ()) -> dict[str, Any]: ...
@overload
def marked_in(
    document: Mapping[str, Any] | None, values: Sequence[str], keep: Sequence[str] = ()
) -> dict[str, Any] | None: ...
@overload
def marked_in(document: object, values: Sequence[str], keep: Sequence[str] = ()) -> object: ...
def marked_in(document: object, values: Sequence[str], keep: Sequence[str] = ()) -> object:
    """Return a JSON value with its texts, and the names of its fields, `marked`: what slipped stands anywhere."""
    if isinstance(document, str):
        return marked(document, values, keep)
    if isinstance(document, Mapping):
        return {marked(name, values, keep): marked_in(part, values, keep) for name, part in document.items()}
    return [marked_in(part, values, keep) for part in document] if isinstance(document, list) else document


_Span = tuple[int, int]


def _by_form(reading: Reading, keep: Iterable[str]) -> tuple[list[_Span], list[_Span]]:
    """Return what is told by its form alone: what stays, and what is personal whoever's it is."""
    kept = {one for one in keep if one and one in reading.signs}
    stays = "|".join(rf"(?<![\w-]){re.escape(one)}(?![\w-])" for one in kept) or r"(?!)"
    forms = rf"(?P<address>{_ADDRESS})|(?P<stays>{_STAYS}|{stays})|{_INSTANT}|(?P<street>{_STREET})|(?P<phone>{_PHONE})"
    staying: list[_Span] = []
    personal: list[_Span] = []
    for found in re.finditer(forms, reading.signs, re.IGNORECASE):
        begin, end = reading.span(*found.span())
        if found["address"]:
            is_masked_by_form = end - begin == len(found[0])  # as `mask_text` does, unless escapes hide it
            (staying if is_masked_by_form else personal).append(found.span())
        elif found["stays"]:
            staying.append(found.span())
        elif found["street"] or (found["phone"] and sum(map(str.isdigit, found[0])) in _PHONE_DIGITS):
            personal.append(found.span())
    return staying, personal


def _worded(reading: Reading, values: Iterable[str]) -> Iterator[_Span]:
    """Find *values*: by their letters where they have any, else digit by digit with what stands between, and blanks."""
    sought: Folded | None = None
    plain = folded(reading.signs)
    for value in values:
        word = folded(value)
        if len(word) < _SHORTEST or word not in plain:
            continue
        if any(map(str.isalpha, word)):
            sought = sought or Folded(reading)
            yield from sought.find(word, split=_GLUE not in value)
        else:
            between = (re.escape(sign) if sign.isdigit() else rf"\s*{re.escape(sign)}\s*" for sign in value)
            form = rf"(?<!\d){''.join(between)}(?!\d)"  # no digit goes on beside
            yield from (found.span() for found in re.finditer(form, reading.signs))


def in_marks(text: str) -> tuple[str, ...]:
    """Return what is marked in *text*."""
    return tuple(_MARKED.findall(text))


def unmarked(text: str) -> str:
    """Return *text* as it was said."""
    return text.translate(_MARKS) if OPEN in text or CLOSE in text else text


def hidden(text: str, instead: str) -> str:
    """Return *text* with something else *instead* of what is marked."""
    return _MARKED.sub(instead, text) if OPEN in text else text


def cut(text: str, room: int) -> str:
    """Return the beginning of a marked *text*: at most *room* characters, marks not counted."""
    kept, left = [], room
    for letter in text:
        is_mark = letter in {OPEN, CLOSE}
        if not is_mark and not left:
            break
        left -= not is_mark
        kept.append(letter)
    return "".join(kept)
