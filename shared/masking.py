"""Take people out of what we keep and show: names, addresses, birth dates and the like become stars.

Whatever is not known to be harmless is masked: a new field of CrowdTwist or Siebel is hidden until it is listed here.
Member numbers, ids, ROW_IDs, country, language and flags stay, because operators search by them.
"""

import re
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, overload

from shared.fields import FIELDS
from shared.personal import OPEN, hidden, unmarked

MASK = "***"

LONGEST_TEXT = 300
MOST_ENTRIES = 40
DEEPEST = 10
_PLAIN = frozenset({str, int, float, bool, type(None)})

# Looking behind, a match begins at the beginning of a word only: a long one is read once, not once from each letter.
_EMAIL = re.compile(r"(?<![^\s@<>\"'(),;:])[^\s@<>\"'(),;:]+@[^\s@<>\"'(),;:]+")
# fmt: off
_HARMLESS = frozenset({
    "id", "user_id", "ct_user_id", "third_party_id", "member_number", "row_id", "program_id", "member_type",
    "status", "operation", "event_id", "instance_id", "oic_instance_id", "instanceId", "occurred_at",
    "modification", "lane", "language", "lang_pref", "country", "country_code", "is_active", "email_is_verified",
    "date_created", "date_last_updated", "code", "errorCode", "o:errorCode", "type", "MessageId", "MessageType",
    "IntObjectName", "IntObjectFormat", "Id", "Operation", "Mod Id", "Modification Number", "Updated",
    "Last Updated", "Member Number", "Program Id", "Member Type", "Status", "Language", "Primary Country Code",
    "CT Sync Status",
})
"""Keys whose plain values are kept, in CrowdTwist's, Siebel's, OIC's and our own words."""
_TEXT = frozenset({
    "error", "message", "title", "detail", "description", "reason", "error_description", "ERROR", "o:title",
    "o:detail", "CT Sync Error",
})
"""Keys whose sentences are kept, without the e-mail addresses in them."""
_CODES = frozenset({"code", "errorCode", "o:errorCode", "type", "status"})
"""Of the harmless, those whose words the other side chooses."""
_NAMES = frozenset({
    "first_name", "middle_name", "last_name", "Contact First Name", "Contact Last Name", "Contact Middle Name",
})
# fmt: on
_EMAILS = frozenset({"email_address", "email", "Email Address"})
_SAY_NOTHING = _HARMLESS.union(
    _TEXT,
    _NAMES,
    _EMAILS,
    *(field.sent_as for field in FIELDS),
    *(field.labels for field in FIELDS),
    ("user", "users", "items", "Link", "rel", "href", "name", "oicInstanceId"),
)
"""Names of fields that answers have, and that say nothing themselves: any other may be somebody's."""


@overload
def mask(value: Mapping[str, Any], *, words: bool = True) -> dict[str, Any]: ...
@overload
def mask(value: Mapping[str, Any] | None, *, words: bool = True) -> dict[str, Any] | None: ...
@overload
def mask(value: object, *, words: bool = True) -> object: ...
def mask(value: object, *, words: bool = True) -> object:
    """Return a copy of a JSON value that names nobody.  Pure; masking twice changes nothing.

    Shape: texts are cut to `LONGEST_TEXT` characters and containers to `MOST_ENTRIES`, so that the copy stays small.
    Sentences are for *words* of a system; in what a member is said to be, such a field is one that is not known.
    """
    return _masked("", value, DEEPEST, words=words)


def has_words(value: object) -> bool:
    """Return whether `mask` may leave words of others readable in a JSON value: a sentence, a code, a field's name."""
    if isinstance(value, list | tuple):
        return any(map(has_words, value))
    if not isinstance(value, Mapping):
        return False
    for name, part in value.items():
        if name not in _SAY_NOTHING:
            return True
        if part and (name in _TEXT or (name in _CODES and isinstance(part, str))):
            return True
        if type(part) not in _PLAIN and has_words(part):  # most are plain: told here, it costs no call for each
            return True
    return False


def mask_text(text: str) -> str:
    """Return a sentence without addresses and what is marked as personal in it, cut to `LONGEST_TEXT` characters."""
    text = hidden(text, MASK)
    return _cut(_EMAIL.sub(lambda found: mask_email(found[0]), text) if "@" in text else text)


def mask_email(address: str) -> str:
    """Return `a***@e***.org` for `andy.cole@example.org`."""
    local, at, domain = address.rpartition("@")
    host, _, top = domain.rpartition(".")
    if not (local and at and host and top.isalpha()):
        return MASK
    return f"{local[0]}{MASK}@{host[0]}{MASK}.{top}"


def _masked(key: str, value: object, depth: int, *, words: bool) -> object:
    if isinstance(value, str):
        return _masked_text(key, value, words=words) if value else value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):  # before what costs more to tell
        return value if key in _HARMLESS else MASK
    if isinstance(value, Mapping) and depth:
        shown: dict[str, object] = {}
        for name, part in islice(value.items(), MOST_ENTRIES) if len(value) > MOST_ENTRIES else value.items():
            known = _MASKS.get(name)
            if part is None or part == "":
                masked: object = part
            elif isinstance(part, str):  # as most are: told here, it costs no call for each
                masked = MASK if known is None or (name in _TEXT and not words) else known(part)
            else:
                masked = _masked(name, part, depth - 1, words=words)
            shown[hidden(name, MASK) if known is None else name] = masked
        return shown
    if isinstance(value, list | tuple) and depth:
        return [_masked(key, part, depth - 1, words=words) for part in islice(value, MOST_ENTRIES)]
    return MASK


def _masked_text(key: str, text: str, *, words: bool) -> str:
    mask_it = _MASKS.get(key)
    return MASK if mask_it is None or (key in _TEXT and not words) else mask_it(text)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _harmless(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT and OPEN not in text else _cut(hidden(text, MASK))


def _initial(text: str) -> str:
    return f"{unmarked(text)[:1]}{MASK}"


def _address(text: str) -> str:
    return mask_email(unmarked(text))


_MASKS: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(_TEXT, mask_text),
    **dict.fromkeys(_EMAILS, _address),
    **dict.fromkeys(_NAMES, _initial),
    **dict.fromkeys(_HARMLESS, _harmless),
}
"""How the text of a field is masked; of any other field nothing is left."""
