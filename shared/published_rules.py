"""CrowdTwist's published rules for what a user's fields hold, and what of a value breaks one.  Pure.

| field            | rule                                                                                        |
|------------------|---------------------------------------------------------------------------------------------|
| a name           | letters of any script, digits, blanks and `- ' _ @ . ,`                                     |
| `email_address`  | one `@`; before it letters a-z, digits and `. _ % + -`, no dot first, last or doubled;      |
|                  | behind it letters a-z, digits, `-` and dots, no part beginning with `-`, and 2 to 6 letters |
|                  | at the end                                                                                  |
| `postal_code`    | US: five or nine digits; CA: `LXL XLX`                                                      |

Modern addresses break them (`o'brien@`, `.technology`, letters of other scripts), and are refused although they exist.
That the ending must be on a list of CrowdTwist's is not checked: the list is not published.

Source: User Formatting Rules (facts.md 3.1); User Create and Update (domain.md 2.3: C1, C11).  (A): a blank is U+0020.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

NAME_SIGNS = frozenset("-' \u2019_@.,0123456789")
"""What a name may hold beside letters."""

_LOCAL_SIGNS = frozenset("._%+-")
_DOMAIN_SIGNS = frozenset(".-")
_DOMAIN = "behind the @ there are letters a-z, digits, - and dots only"
_TOP = re.compile(r"[a-z]{2,6}", re.IGNORECASE | re.ASCII)
_US_POSTAL = re.compile(r"\d{5}(-?\d{4})?", re.ASCII)
_CA_POSTAL = re.compile(r"[A-Z]\d[A-Z] \d[A-Z]\d", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Broken:
    """A value that breaks a rule.  Shape: *field* in CrowdTwist's words; *character* the first that is not allowed."""

    field: str
    rule: str
    character: str | None = None


def broken(user: Mapping[str, object]) -> list[Broken]:
    """Return what of a CrowdTwist user breaks a rule, a field at most once; what is empty breaks none."""
    found = []
    for field, check in _CHECKS.items():
        value = user.get(field)
        if isinstance(value, str) and value and (flaw := check(value, user)) is not None:
            found.append(Broken(field, *flaw))
    return found


def character_said(character: str) -> str:
    """Return a character as a person finds it: itself where it is to be seen, its name and its code point."""
    seen = f"{character} " if character.isprintable() and not character.isspace() else ""
    name = unicodedata.name(character, "")
    return f"{seen}({f'{name}, ' if name else ''}U+{ord(character):04X})"


_Flaw = tuple[str, str | None]


def _name(value: str, _: Mapping[str, object]) -> _Flaw | None:
    value = unicodedata.normalize("NFC", value)
    wrong = next((sign for sign in value if not (sign.isalpha() or sign in NAME_SIGNS)), None)
    return None if wrong is None else ("a name holds letters, digits, blanks and - ' _ @ . , only", wrong)


def _email(value: str, _: Mapping[str, object]) -> _Flaw | None:
    local, at, domain = value.partition("@")
    if not (local and at and domain):
        return "an address has one @, with something on both sides", None
    return _local(local) or _domain(domain)


def _local(local: str) -> _Flaw | None:
    if (wrong := _foreign(local, _LOCAL_SIGNS)) is not None:
        return "before the @ there are letters a-z, digits and . _ % + - only", wrong
    if local.startswith(".") or local.endswith(".") or ".." in local:
        return "before the @ no dot is first, last or doubled", "."
    return None


def _domain(domain: str) -> _Flaw | None:
    *parts, top = domain.split(".")
    if (wrong := _foreign(domain, _DOMAIN_SIGNS)) is not None:
        return ("an address has one @" if wrong == "@" else _DOMAIN), wrong
    if any(part.startswith("-") for part in parts):
        return "no part behind the @ begins with -", "-"
    if not parts or not all(parts):
        return "behind the @ there are parts with one dot between them", "." if parts else None
    return None if _TOP.fullmatch(top) else ("an address ends with 2 to 6 letters behind its last dot", None)


def _foreign(text: str, signs: frozenset[str]) -> str | None:
    return next((sign for sign in text if not (sign.isascii() and sign.isalnum()) and sign not in signs), None)


def _postal_code(value: str, user: Mapping[str, object]) -> _Flaw | None:
    match str(user.get("country_code") or "US").upper():
        case "US" if not _US_POSTAL.fullmatch(value):
            return "a US postal code has five or nine digits", next((s for s in value if not s.isdecimal()), None)
        case "CA" if not _CA_POSTAL.fullmatch(value):
            return "a Canadian postal code has the form LXL XLX, with a blank", None
    return None


_CHECKS: dict[str, Callable[[str, Mapping[str, object]], _Flaw | None]] = {
    "first_name": _name,
    "last_name": _name,
    "middle_name": _name,
    "email_address": _email,
    "postal_code": _postal_code,
}
