"""JSON, read so that what is wrong in one event refuses that event and no other.

A value that is no JSON value (`NaN`, `1e400`, half of a character, a byte of another character set, a number of 400
digits, a bare line end, something nested a thousand levels deep) is kept as something that no event may hold, and
`parse_event` names the field.  So is an object that gives one name two values: `Ambiguous`.  What is wrong outside of
values (a missing comma or quotation mark) refuses the element of a list that it stands in, where it is certain where
that element ends (`producers/intake/json_elements.py`); else the whole, with the line and the column.
"""

import json
import re
from typing import Any

from producers.intake import json_elements
from producers.intake.siebel_message import BodyError
from shared.event_values import Ambiguous

_DEEPEST = 64  # more than any event may have, far fewer than a reader that calls itself can
_LONGEST_NUMBER = 100  # digits; all of these are too many
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]|"', re.DOTALL)
_ANYTHING = re.compile(r"[^\n]")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else Ambiguous.of(pairs)


_DECODER = json.JSONDecoder(
    strict=False, parse_int=lambda digits: int(digits[:_LONGEST_NUMBER]), object_pairs_hook=_object
)


def loads(body: bytes, line: int = 1) -> Any:  # noqa: ANN401  # JSON, and what stands for what is none
    """Read one value of JSON in UTF-8 that begins on *line*.

    Raises:
        BodyError: it is no JSON; with line and column, counted from one.
    """
    try:
        return _read(body.decode("utf-8", "surrogateescape"))
    except json.JSONDecodeError as error:
        raise _refusal(error, line) from None


def load_body(body: bytes) -> Any:  # noqa: ANN401  # likewise
    """Read a whole body in UTF-8; an element of its list that is no JSON is an `Element` with its flaw.

    Raises:
        BodyError: it is no JSON, and no element of its list is alone to blame.
    """
    text = body.decode("utf-8", "surrogateescape")
    try:
        return _read(text)
    except json.JSONDecodeError as error:
        try:
            found = json_elements.mended(text, _DECODER, error)
        except RecursionError:
            found = None
        if found is None:
            raise _refusal(error) from None
        return found


def _read(text: str) -> Any:  # noqa: ANN401  # JSON
    try:
        return _DECODER.decode(text)
    except RecursionError:
        return _DECODER.decode(_flattened(text))


def _refusal(error: json.JSONDecodeError, line: int = 1) -> BodyError:
    return BodyError("", f"is not JSON: line {line + error.lineno - 1}, column {error.colno}")


def _flattened(text: str) -> str:
    """Give *text* with blanks in place of whatever is nested too deep; every line and column stays where it was."""
    pieces: list[str] = []
    depth = done = 0
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "[" | "{":
                depth += 1
                if depth == _DEEPEST:
                    pieces.append(text[done : token.end()])
                    done = token.end()
            case "]" | "}":
                if depth == _DEEPEST:
                    pieces.append(_ANYTHING.sub(" ", text[done : token.start()]))
                    done = token.start()
                depth -= 1
            case '"':
                break  # a text without an end
    rest = text[done:]
    return "".join([*pieces, rest if depth < _DEEPEST else _ANYTHING.sub(" ", rest)])
