r"""The JSON of an answer, read as far as RFC 8259 goes, and bounded by what the ledger and the next system can hold.

orjson takes less than the RFC allows: not half of a surrogate pair (`"\ud83d"`: a text cut by who counts in UTF-16)
and no number of 400 digits.  A create that succeeded and echoes such a name would count as failed for ever, as would
each look for it.  So what orjson does not take is read once more: half of a character, and NUL, become U+FFFD; a number
that no double holds, and `NaN`, which is none, become null.
"""

import codecs
import json
import math
import re
from typing import Any

import orjson

_DEEPEST = 64
_MOST_PARTS = 200_000
"""Objects, arrays and their parts in one document; more would take far more memory than the text of it."""
_LONGEST_WHOLE = 18
"""Digits of a whole number that surely fits into 64 bits."""
_UNSTORED = re.compile("[\0\ud800-\udfff]")
_REPLACED = "\N{REPLACEMENT CHARACTER}"


def document_of(body: bytes) -> tuple[Any, bool]:
    """Give the object or array that *body* is, and whether something in it was replaced.

    Shape: None where it is no such JSON, or too deep or full to be read.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    brackets = body.count(b"{") + body.count(b"[")
    if brackets + body.count(b",") > _MOST_PARTS:
        return None, False
    is_plain = b"\\u0000" not in body
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document, is_plain = _read_again(body), False
    if not isinstance(document, dict | list) or (brackets > _DEEPEST and _is_deeper(document, _DEEPEST)):
        return None, False
    return (document, False) if is_plain else (_stored(document), True)


def _read_again(body: bytes) -> Any:  # noqa: ANN401 - JSON
    text = body.decode("utf-8", "replace")
    try:
        return json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


def _whole(digits: str) -> int | float | None:
    return int(digits) if len(digits) <= _LONGEST_WHOLE else _finite(digits)


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _stored(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Give *value* without what the ledger cannot store."""
    if isinstance(value, str):
        return _UNSTORED.sub(_REPLACED, value)
    if isinstance(value, dict):
        return {_UNSTORED.sub(_REPLACED, name): _stored(part) for name, part in value.items()}
    return [_stored(part) for part in value] if isinstance(value, list) else value


def _is_deeper(document: dict[str, Any] | list[Any], depth: int) -> bool:
    level: list[Any] = [document]
    for _ in range(depth):
        level = [part for whole in level for part in (whole.values() if isinstance(whole, dict) else whole)]
        level = [part for part in level if isinstance(part, dict | list)]
        if not level:
            return False
    return True
