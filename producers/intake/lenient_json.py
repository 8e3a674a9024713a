"""JSON, read so that what is wrong in one event refuses that event and no other.

A value that is no JSON value (`NaN`, `1e400`, half of a character, a byte of another character set, a number of 400
digits, a bare line end, something nested a thousand levels deep) is kept as something that no event may hold, and
`parse_event` names the field.  So is an object that gives one name two values: `Ambiguous`.

What is wrong outside of values (a missing comma or quotation mark) refuses the element of a list that it stands in, but
only where it is certain where that element ends.  It is, where its brackets pair, no text in it runs into the next, and
a comma and an object follow.  Where they do not pair, an object that follows a comma while no list within the element
is open can only be the next element, if everything from there on is sound.  Else somebody would have to guess, and what
belongs to one event might be taken for another: the whole is refused, with the line and the column.
"""

import json
import re
import secrets
from dataclasses import dataclass, field
from typing import Any

from producers.intake.refused import BodyError, Element
from producers.intake.siebel_message import is_list_of_members, is_siebel_message
from shared.errors import InvalidEventError
from shared.event_values import Ambiguous, path_of

_DEEPEST = 64
"""More than any event may have, far fewer than a reader that calls itself can."""
_LONGEST_NUMBER = 100  # digits; all of these are too many
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]|"', re.DOTALL)
_ANYTHING = re.compile(r"[^\n]")
_BLANKS = re.compile(r"[ \t\r\n]*")
_NAMED_LIST = re.compile(r'"([^"\\]{1,80})"\s*:\s*\[')
_NEXT = re.compile(r",\s*(?=\{)")
_VALUE = r'["\[{]|-?\d|(?:true|false|null)\b'
_PLAIN = re.compile(
    rf'"(?:[^"\\]|\\.)*+"(?P<runs_on>\s*+(?!{_VALUE})[^,:\]}}])?|[\[{{]|[\]}}]|,\s*(?=\{{)|"', re.DOTALL
)
"""A text that a bare word follows is none: a quotation mark is missing before it."""
_TOLERANT = re.compile(r'"(?:[^"\\]|\\.|"(?!\s*(?:[:,\]}]|\Z)))*+"|[\[{]|[\]}]|,\s*(?=\{)|"', re.DOTALL)
"""A quotation mark ends a text only where something may follow a text: so one that is missing costs two texts."""
_NAME = re.compile(r'"((?:[^"\\]|\\.)*+)"(\s*:)?|[\[{]|[\]}]|"', re.DOTALL)
_PAIRS = {"]": "[", "}": "{"}
_BROKEN_MAX = 1_000
_HIDDEN_MAX = 20
"""Objects that are sought inside of what looks like a text; each costs a look at the whole."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else Ambiguous.of(pairs)


_DECODER = json.JSONDecoder(
    strict=False, parse_int=lambda digits: int(digits[:_LONGEST_NUMBER]), object_pairs_hook=_object
)


def loads(body: bytes, line: int = 1) -> object:
    """Read one value of JSON in UTF-8 that begins on *line*.

    Raises:
        BodyError: it is no JSON; with line and column, counted from one.
    """
    try:
        return _read(body.decode("utf-8", "surrogateescape"))
    except json.JSONDecodeError as error:
        raise _refusal(error, line) from None


def load_body(body: bytes) -> object:
    """Read a whole body in UTF-8; an element of its list that is no JSON is an `Element` with its flaw.

    Raises:
        BodyError: it is no JSON, and no element of its list is alone to blame.
    """
    text = body.decode("utf-8", "surrogateescape")
    try:
        return _read(text)
    except json.JSONDecodeError as error:
        try:
            found = _with_broken_elements(text, error)
        except RecursionError:
            found = None
        if found is None:
            raise _refusal(error) from None
        return found


def _read(text: str) -> object:
    try:
        document: object = _DECODER.decode(text)
    except RecursionError:
        document = _DECODER.decode(_flattened(text))
    return document


def _refusal(error: json.JSONDecodeError, line: int = 1) -> BodyError:
    return BodyError("", f"is not JSON: line {line + error.lineno - 1}, column {error.colno}")


def _flattened(text: str) -> str:
    """Return *text* with blanks in place of whatever is nested too deep; every line and column stays where it was."""
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


class _UncertainError(Exception):
    """Nobody can tell where an element ends."""


def _with_broken_elements(text: str, error: json.JSONDecodeError) -> object | None:
    """Read *text*, which is no JSON by *error*, with an `Element` in place of each that is broken.

    Return None where no element is to blame (only the list's end is missing), none is good, or it is uncertain where
    one ends.
    """
    start = _past_blanks(text, 0)  # of the list that holds the events, or else of the one that holds members
    if not text.startswith("[", start):
        start = next((found.end() - 1 for found in _NAMED_LIST.finditer(text) if is_list_of_members(found[1])), -1)
    if start < 0 or error.pos < start:
        return None
    reading = _Reading(text, is_ours=not text[:start].strip())
    try:
        end = reading.read(start + 1)
        is_cut_off = end == len(text) and not isinstance(reading.elements[-1], Element)
        return reading.whole(start, end) if reading.has_good and reading.broken and not is_cut_off else None
    except (_UncertainError, json.JSONDecodeError):
        return None


@dataclass(slots=True)
class _Reading:
    """A list read element by element.  Shape: *is_ours* - it holds events, not Siebel's members."""

    text: str
    is_ours: bool
    elements: list[object] = field(default_factory=list)
    has_good: bool = False
    broken: int = 0
    sought: int = 0

    def read(self, at: int) -> int:
        """Read the elements that begin at *at*; return where the list ends, or the text does.

        Raises:
            _UncertainError: nobody can tell where one ends.
        """
        is_last_fault = follows_no_comma = False
        while True:
            begin = _past_blanks(self.text, at)
            try:
                value, end = self._element(begin, is_sound=not follows_no_comma)
                self.elements.append(value)
                self.has_good = True
            except json.JSONDecodeError as error:
                if is_last_fault:
                    raise _UncertainError from None
                paired = _paired_end(self.text, begin)
                is_last_fault = paired is None  # then where it ends is certain only if all after it is sound
                end = self._end_before_next(begin) if paired is None else paired
                self._refuse(begin, end, error)
            follows_no_comma = self.text.startswith("{", end)
            if not follows_no_comma and not self.text.startswith(",", end):
                return end
            at = end if follows_no_comma else end + 1

    def whole(self, start: int, end: int) -> object:
        """Return the document with the elements in the list that begins at *start*; a text that is cut off is closed.

        Raises:
            JSONDecodeError: it is none around the list.
        """
        place = secrets.token_hex()
        tail = self.text[end:] or "".join(
            "]" if one == "[" else "}" for one in reversed(_open_at(self.text, start + 1))
        )
        around = _DECODER.decode(f'{self.text[: start + 1]}"{place}"{tail}')
        if not self.is_ours and not is_siebel_message(around):
            raise json.JSONDecodeError("", self.text, start)
        return _filled(around, [place], self.elements)

    def _element(self, begin: int, *, is_sound: bool = True) -> tuple[object, int]:
        """Read a whole element; return where what follows it stands.  One that is not *is_sound* is none.

        Raises:
            JSONDecodeError: it is none, or nothing follows that may.
        """
        if not is_sound:
            raise json.JSONDecodeError("", self.text, begin)
        value, end = _DECODER.raw_decode(self.text, begin)
        end = _past_blanks(self.text, end)
        if end < len(self.text) and not self.text.startswith((",", "]"), end):
            raise json.JSONDecodeError("", self.text, end)
        return value, end

    def _refuse(self, begin: int, end: int, error: json.JSONDecodeError) -> None:
        if error.pos > end:
            error = json.JSONDecodeError("", self.text, end)  # it was missed only in what comes next
        names = _names_before(self.text, begin, error.pos)
        where = ".".join(names) if self.is_ours else (names or [""])[-1]
        flaw = InvalidEventError(path_of((where,)), f"is not JSON: line {error.lineno}, column {error.colno}")
        line = error.lineno - self.text.count("\n", begin, error.pos)
        self.elements.append(Element({}, line, flaw, self.text[begin:end].encode("utf-8", "replace")))
        self.broken += 1
        if self.broken > _BROKEN_MAX:
            raise _UncertainError  # each costs a look at the whole

    def _end_before_next(self, begin: int) -> int:
        """Return the end of an element whose brackets do not pair: the comma before the next object, or the text's end.

        Raises:
            _UncertainError: nobody can tell.
        """
        lists = _Lists()
        at = begin
        while token := _TOLERANT.search(self.text, at):
            at, sign = token.end(), token[0][0]
            if sign == "," and "[" not in lists.opened:
                if not self._is_element(at):
                    raise _UncertainError
                return token.start()
            if token[0] == '"':
                break  # a text without an end: nothing after it can be an object
            if sign != '"':
                lists.pass_over(sign, at)
            elif self._hides_element(token.start(), at):
                at = token.start() + 1
        if lists.may_hold_elements(self.text):
            raise _UncertainError
        return len(self.text)

    def _is_element(self, begin: int) -> bool:
        try:
            self._element(begin)
        except json.JSONDecodeError:
            return False
        return True

    def _hides_element(self, begin: int, end: int) -> bool:
        """Return whether what looks like a text holds a whole element: then it is none.

        Raises:
            _UncertainError: there is no end of what may be one.
        """
        for found in _NEXT.finditer(self.text, begin, end):
            self.sought += 1
            if self.sought > _HIDDEN_MAX:
                raise _UncertainError
            if self._is_element(found.end()):
                return True
        return False


@dataclass(slots=True)
class _Lists:
    """The brackets of a broken element, as far as they can be told.

    Shape: *passed* has, for each object after a comma that was passed over, how many lists are open around it; *closed*
    is where the list ended that held the last of those whose list did end.
    """

    opened: list[str] = field(default_factory=list)
    passed: list[int] = field(default_factory=list)
    closed: int | None = None

    def pass_over(self, sign: str, end: int) -> None:
        """Take the next sign, which ends at *end*.

        Raises:
            _UncertainError: it is deeper than any event may be.
        """
        if sign == ",":
            self.passed.append(self.opened.count("["))
        elif sign not in _PAIRS:
            self.opened.append(sign)
            if len(self.opened) > _DEEPEST:
                raise _UncertainError
        else:
            while self.opened and self.opened.pop() != _PAIRS[sign]:
                pass
            open_lists = self.opened.count("[")
            if self.passed and open_lists < self.passed[-1]:
                self.closed = end
                self.passed = [lists for lists in self.passed if lists <= open_lists]

    def may_hold_elements(self, text: str) -> bool:
        """Return whether what was passed over may be elements of the list outside, whose end closed one within."""
        return bool(self.passed) or (self.closed is not None and not text[self.closed :].strip(" \t\r\n]}"))


def _paired_end(text: str, begin: int) -> int | None:
    """Return the end of an element whose brackets pair: a comma before an object, an object, or the list's end."""
    opened: list[str] = []
    ends = ",]"
    for token in _PLAIN.finditer(text, begin):
        sign = token[0][0]
        if not opened and sign in ends:
            return token.start()
        if sign == '"':
            is_sound = not token["runs_on"] and token[0] != '"'
        elif sign in _PAIRS:
            is_sound = bool(opened) and opened.pop() == _PAIRS[sign]
            ends = ",]{"
        elif sign == ",":
            is_sound = opened[-1] == "["
        else:
            is_sound = True
            opened.append(sign)
        if not is_sound:
            return None
    return None


def _past_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at


def _open_at(text: str, end: int) -> list[str]:
    """Return the brackets that are open at *end*, of a text that is sound until there."""
    opened: list[str] = []
    for token in _PLAIN.finditer(text, 0, end):
        if token[0] in ("[", "{"):
            opened.append(token[0])
        elif token[0] in ("]", "}"):
            opened.pop()
    return opened


def _names_before(text: str, begin: int, end: int) -> list[str]:
    """Return the names of the objects around *end*, outermost first, and the last name before it."""
    names: list[str] = [""]
    for token in _NAME.finditer(text, begin, min(end + 1, len(text))):
        if token[2]:
            names[-1] = token[1]
        elif token[0] in ("[", "{"):
            names.append("")
        elif token[0] in ("]", "}") and len(names) > 1:
            names.pop()
        elif token[0] == '"':
            break
    return [name for name in names if name]


def _filled(around: object, place: list[str], elements: list[object]) -> object:
    """Return *around* with the elements where their place is kept."""
    if around == place:
        return elements
    if isinstance(around, dict):
        for name, value in around.items():
            around[name] = _filled(value, place, elements)
    return around
