"""Words of other systems that may name the member: Siebel gets them whole, whoever may not see people gets stars.

What CrowdTwist says of a member goes to Siebel as it is.  In the ledger the member's own values in it stand between two
marks, of the code points that Unicode leaves to private use; `mask_text` puts stars in their place.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import permutations
from typing import Any

OPEN, CLOSE = "\ue000", "\ue001"

_NAMES = ("first_name", "middle_name", "last_name")
_PLACES = ("city", "city_name", "postal_code")
_GLUE = ("", ".", "_", "-")
_DATE_FORMS = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y", "%m.%d.%Y",
    "%d.%m.%Y", "%m%d%Y", "%d%m%Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y",
    "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y",
)  # fmt: skip
_SHORTEST = 2
_SHORTEST_PART = 3
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PADDED = re.compile(r"(?<!\d)0(?=\d(?:\D|$))")
_MARKED = re.compile(f"{OPEN}([^{CLOSE}]*)(?:{CLOSE}|$)")
_MARKS = str.maketrans("", "", OPEN + CLOSE)
_STAYS = (
    r"[^\s@<>\"'(),;:]+@[^\s@<>\"'(),;:]+"  # an address: told by its form, whoever's it is, and masked as a whole
    r"|SBL-[A-Z]{2,5}-\d+|\[instance \d+\]"
    r"|(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])"  # a host
)
_INSTANT = r"(?<!\d)(?:19|20)\d\d-\d\d-\d\d[T ]\d\d:\d\d[\d:.]*"
_PHONE = (
    r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?)?(?:\(\d{1,5}\)[ .-]?)?\d{2,5}(?:[ .-]\d{2,5}){1,4}(?![\w-]|\.\d)"
    r"|(?<![\w.-])\+\d{7,15}(?!\w)|(?<![\w.+-])\d{10,15}(?![\w-]|\.\d)"
)
_PHONE_DIGITS = range(7, 16)


def values_of(*members: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Give what names a person in a member, or in its CrowdTwist user object, in every form that others write it in.

    Shape: names alone, in parts, in either order and glued together, also without accents; the date of birth as the
    world writes dates; postal code and phone number with and without what stands between their signs; the city; the
    part of the address before its `@`.
    """
    found = {form for member in members if member for form in _forms(member)}
    return tuple(sorted(form for form in found if len(form) >= _SHORTEST))


def _forms(member: Mapping[str, Any]) -> Iterator[str]:
    yield from _names([text for name in _NAMES if (text := _text(member, name))])
    for name in _PLACES:
        yield from _spellings(_text(member, name))
    yield from _grouped(_text(member, "postal_code"))
    yield from _dates(member.get("date_of_birth"))
    if len(local := _text(member, "email_address").rpartition("@")[0]) >= _SHORTEST_PART:
        yield local
    yield from (
        str(value) for name, value in member.items() if "phone" in name.lower() and isinstance(value, str | int)
    )


def _text(member: Mapping[str, Any], name: str) -> str:
    value = member.get(name)
    return value.strip() if isinstance(value, str) else ""


def _names(names: list[str]) -> Iterator[str]:
    for name in names:
        yield from _spellings(name)
        yield from (part for part in re.split(r"[\s-]+", name) if len(part) >= _SHORTEST_PART)
    for count in range(2, len(names) + 1):
        for order in permutations(names, count):
            for glue in _GLUE:
                yield from _spellings(glue.join(order))


def _spellings(text: str) -> Iterator[str]:
    text = " ".join(text.split())
    bare = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    yield from (text, unicodedata.normalize("NFC", text), bare, text.casefold(), text.upper())


def _grouped(code: str) -> Iterator[str]:
    """Write a postal code with and without what stands between its groups."""
    bare = re.sub(r"[\s-]", "", code)
    yield from (bare, *(f"{bare[:at]}{glue}{bare[at:]}" for at in (3, 5) if len(bare) > at for glue in " -"))
    if re.fullmatch(r"\d{5}[\s-]\d{4}", code):
        yield code[:5]


def _dates(value: object) -> Iterator[str]:
    day = _day(value)
    if isinstance(value, str) and value.strip():
        yield value.strip()
    if day is None:
        return
    seconds = int((datetime(day.year, day.month, day.day, tzinfo=UTC) - _EPOCH).total_seconds())
    yield from (str(value), str(seconds), str(seconds * 1000))
    for form in _DATE_FORMS:
        written = day.strftime(form)
        yield from (written, _PADDED.sub("", written))


def _day(value: object) -> date | None:
    """Read a date of birth as a member event, Siebel or CrowdTwist writes it; None where it is none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return (_EPOCH + timedelta(seconds=value)).date()
        except (OverflowError, ValueError):
            return None
    text = str(value or "").strip()
    for form, length in (("%Y-%m-%d", 10), ("%m/%d/%Y", 10)):
        try:
            return datetime.strptime(text[:length], form).replace(tzinfo=UTC).date()
        except ValueError:
            continue
    return None


def marked(text: str, values: Iterable[str], keep: Iterable[str] = ()) -> str:
    """Give *text* with each of *values* that stands in it as a word of its own, and what looks like a phone, in marks.

    *keep* is what stays readable whatever it looks like: a member number, a ROW_ID.
    """
    text = unmarked(text)
    kept = {one for one in keep if one and one in text}
    folded = text.casefold()  # hardly any of the forms is there: looked for by itself it costs a hundredth of a match
    there = {value for value in values if value and value.casefold() in folded}
    wanted = [_pattern(value) for value in sorted(there, key=len, reverse=True)]

    def mark(found: re.Match[str]) -> str:
        if found["other"] is not None or found["instant"] is not None or found[0] in kept:
            return found[0]
        if found["phone"] is not None and sum(map(str.isdigit, found[0])) not in _PHONE_DIGITS:
            return found[0]
        return f"{OPEN}{found[0]}{CLOSE}"

    of_the_member = "|".join(wanted) or r"(?!)"
    stays = "|".join(rf"(?<![\w-]){re.escape(one)}(?![\w-])" for one in kept) or r"(?!)"
    sought = rf"(?P<other>{_STAYS}|{stays})|{of_the_member}|(?P<instant>{_INSTANT})|(?P<phone>{_PHONE})"
    return re.sub(sought, mark, text, flags=re.IGNORECASE)


def _pattern(value: str) -> str:
    """Match *value* where no letter goes on beside its letters, and no digit beside its digits."""
    before, after = (r"(?<![^\W\d_])", r"(?![^\W\d_])")
    first = before if not value[0].isdigit() else r"(?<![\d])"
    last = after if not value[-1].isdigit() else r"(?![\d])"
    return rf"{first}{re.escape(value)}{last}"


def in_marks(text: str) -> tuple[str, ...]:
    """Give what is marked in *text*."""
    return tuple(_MARKED.findall(text))


def unmarked(text: str) -> str:
    """Give *text* as it was said."""
    return text.translate(_MARKS)


def hidden(text: str, instead: str) -> str:
    """Give *text* with something else *instead* of what is marked."""
    return _MARKED.sub(instead, text) if OPEN in text else text


def cut(text: str, room: int) -> str:
    """Give the beginning of a marked *text*: at most *room* characters, marks not counted."""
    kept, left = [], room
    for letter in text:
        is_mark = letter in {OPEN, CLOSE}
        if not is_mark and not left:
            break
        left -= not is_mark
        kept.append(letter)
    return "".join(kept)
