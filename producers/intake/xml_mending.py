"""XML that no parser takes for a few characters in it: they are marked, so that the rest can be read.

A marked spot stands in the text as two characters that nobody sends, the second of which says which spot it is.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass, field

from producers.intake.siebel_message import BodyError

_MARK = "\U0010fffe"
_FIRST = 0xF0000
_SPOTS_MAX = 10_000
_NO_CHARACTER = r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010fffd]"
_SPOT = re.compile(
    r"(?P<kept><!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)|<\?.*?(?:\?>|\Z)|&(?:amp|lt|gt|quot|apos);)"
    r"|&\#(?P<decimal>\d{1,9});|&\#x(?P<hexadecimal>[0-9A-Fa-f]{1,8});"
    r"|(?P<entity>&(?:[\w.:-]{1,40};)?)|(?P<end>\]\]>)"
    rf"|(?P<character>{_NO_CHARACTER})",
    re.DOTALL | re.ASCII,
)
_BAD = re.compile(_NO_CHARACTER)
_MARKED = re.compile(f"{_MARK}(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Spot:
    """Something that could not be read.  Shape: *line* and *column* counted from one; *grown* by marking it."""

    what: str
    line: int
    column: int
    grown: int

    @property
    def reason(self) -> str:
        """Say it in a sentence that does not hold the value."""
        return f"{self.what}: line {self.line}, column {self.column}"


@dataclass(slots=True)
class Mended:
    """A text with its spots marked."""

    text: str = ""
    spots: list[Spot] = field(default_factory=list)

    def mark(self, spot: Spot) -> str:
        """Note a spot; give what stands for it.

        Raises:
            BodyError: there is no end of them.
        """
        index = len(self.spots)
        if index == _SPOTS_MAX:
            raise BodyError("", f"is not XML: it has more than {_SPOTS_MAX} characters that XML does not allow")
        self.spots.append(spot)
        return _MARK + chr(_FIRST + index)

    def spot_in(self, value: str) -> Spot | None:
        """Give the first spot in a piece of the text; None: it is as it came."""
        found = _MARKED.search(value) if _MARK in value else None
        return self.spots[ord(found[1]) - _FIRST] if found else None

    def place(self, line: int, offset: int) -> tuple[int, int]:
        """Say where in the original stands what is at *line* and *offset* (from zero) in the marked text.

        Returns line and column, counted from one.
        """
        column = offset + 1
        for spot in self.spots:
            if spot.line == line and spot.column < column:
                column -= spot.grown
        return line, max(column, 1)


def mended(text: str) -> Mended:
    """Mark what is no character of XML, and every reference to something that is none or does not exist.

    Raises:
        BodyError: there is no end of it.
    """
    result = Mended()
    lines = [found.end() for found in re.finditer("\n", text)]

    def mark(what: str, found: re.Match[str], at: int) -> str:
        line = bisect_right(lines, at)
        column = at - (lines[line - 1] if line else 0) + 1
        return result.mark(Spot(what, line + 1, column, 2 - len(found[0])))

    def replace(found: re.Match[str]) -> str:
        if found["kept"]:
            start = found.start()
            return _BAD.sub(lambda bad: mark(_what(bad[0]), bad, start + bad.start()), found["kept"])
        if found["character"]:
            return mark(_what(found[0]), found, found.start())
        if found["end"]:
            return mark("has a ]]> where none may stand", found, found.start())
        if found["entity"]:
            return mark("has an & that begins no known entity", found, found.start())
        code = int(found["decimal"]) if found["decimal"] else int(found["hexadecimal"], 16)
        is_good = code <= ord(_MARK) and not _BAD.match(chr(code))
        return found[0] if is_good else mark("refers to a character that XML does not have", found, found.start())

    result.text = _SPOT.sub(replace, text)
    return result


def _what(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":
        return "has a byte that is none of its character set"
    return "has half of a character" if "\ud800" <= letter <= "\udfff" else "has a character that XML does not allow"
