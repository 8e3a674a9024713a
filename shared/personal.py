"""Words of other systems that may name the member: Siebel gets them whole, whoever may not see people gets stars.

What CrowdTwist says of a member goes to Siebel as it is.  In the ledger the member's own values in it stand between two
marks, of the code points that Unicode leaves to private use; `mask_text` puts stars in their place.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

OPEN, CLOSE = "\ue000", "\ue001"

_NAMING = ("first_name", "middle_name", "last_name", "postal_code", "date_of_birth")
"""Addresses are told by their form, whoever's they are: `mask_text` finds them."""
_SHORTEST = 2
_MARKED = re.compile(f"{OPEN}([^{CLOSE}]*)(?:{CLOSE}|$)")
_MARKS = str.maketrans("", "", OPEN + CLOSE)


def values_of(member: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Give the values of a member, or of its CrowdTwist user object, that name a person; a date in its usual forms."""
    found = [value for name in _NAMING if (value := (member or {}).get(name))]
    texts = [one for value in found for one in ([value] if isinstance(value, str) else _dates(value))]
    return tuple(text for text in texts if len(text) >= _SHORTEST)


def _dates(epoch_s: object) -> list[str]:
    if not isinstance(epoch_s, int | float):
        return []
    at = datetime.fromtimestamp(epoch_s, UTC)
    return [f"{at:%Y-%m-%d}", f"{at:%m/%d/%Y}", str(epoch_s)]


def marked(text: str, values: Iterable[str]) -> str:
    """Give *text* with each of *values* that stands in it as a word of its own between marks."""
    text = unmarked(text)
    wanted = "|".join(re.escape(value) for value in sorted(set(values), key=len, reverse=True))
    if not wanted:
        return text
    # Not within an address: that is masked as a whole.
    return re.sub(rf"(?<![\w.@+-])(?:{wanted})(?![\w@+-]|\.\w)", rf"{OPEN}\g<0>{CLOSE}", text, flags=re.IGNORECASE)


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
