"""JSON, read strictly and fast; read once more and leniently where that fails.

One value that is no JSON value (`NaN`, `1e400`, half of a character, a byte of another character set, a number of 400
digits, a bare line end, something nested a thousand levels deep) must refuse the event that holds it and no other.  So
the lenient reading keeps such a value as something that no event may hold, and `parse_event` names the field.  What is
wrong outside of values (a missing comma, an end that never came) leaves nothing to trust: the whole is refused, with
the line and the column.
"""

import json
import re
from typing import Any

import orjson

from producers.siebel_message import BodyError

_DEEPEST = 64  # more than any event may have, far fewer than a reader that calls itself can
_LONGEST_NUMBER = 100  # digits; all of these are too many
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
_ANYTHING = re.compile(r"[^\n]")


def loads(body: bytes, line: int = 1) -> Any:  # noqa: ANN401  # JSON, and what stands for what is none
    """Read JSON in UTF-8 that begins on *line*.

    Raises:
        BodyError: it is no JSON; with line and column, counted from one.
    """
    try:
        return orjson.loads(body)
    except ValueError:
        pass
    text = body.decode("utf-8", "surrogateescape")
    try:
        try:
            return _read(text)
        except RecursionError:
            return _read(_flattened(text))
    except json.JSONDecodeError as error:
        raise BodyError("", f"is not JSON: line {line + error.lineno - 1}, column {error.colno}") from None


def _read(text: str) -> Any:  # noqa: ANN401  # JSON
    return json.loads(text, strict=False, parse_int=lambda digits: int(digits[:_LONGEST_NUMBER]))


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
    rest = text[done:]
    return "".join([*pieces, rest if depth < _DEEPEST else _ANYTHING.sub(" ", rest)])
