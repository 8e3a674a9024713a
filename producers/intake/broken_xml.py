"""XML that is none for a few characters or members in it: they are marked, so that the rest can be read.

A character that XML does not have, or a reference to nothing, stands in the marked text as two characters that nobody
sends, the second of which says which spot it is.

A member whose tags do not fit together is marked only where it is certain where it ends: at its own end tag, or, where
that is missing, before the next member, if nothing of it may hold that one.  Else the whole is refused: what belongs to
one member is never taken for another.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from producers.intake.refused import BodyError
from producers.intake.siebel_message import is_component, is_list_of_members

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
_TAG = re.compile(
    r"<!--(?:(?!--).)*+-->|<!\[CDATA\[(?:(?!\]\]>|<!\[CDATA\[).)*+\]\]>|<\?[^<>]*\?>"
    r"|<(?P<end>/?)(?P<name>(?:[\w.-]+:)?(?P<local>[\w.-]+))(?:\s[^<>]*?)?(?P<empty>/?)>",
    re.DOTALL,
)
_NUMBER = re.compile(r"<(?:[\w.-]+:)?(Member_spcNumber|MemberNumber)\s*>([^<>&\"\U000f0000-\U0010ffff]{1,50})<")
_COMMENT = re.compile(r"<!--(?:(?!--).)*+-->", re.DOTALL)
_HEAD_MAX = 16_000
_BROKEN_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Spot:
    """Something that could not be read.  Shape: *line* and *column* counted from one; *grown* by marking it."""

    what: str
    line: int
    column: int
    grown: int

    @property
    def reason(self) -> str:
        """What it is, in a sentence that does not hold the value."""
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
        """Return the first spot in a piece of the text; None: it is as it came."""
        found = _MARKED.search(value) if _MARK in value else None
        return self.spots[ord(found[1]) - _FIRST] if found else None

    def place(self, line: int, offset: int) -> tuple[int, int]:
        """Return line and column, from one, in the original of what is at *line* and *offset* in the marked text.

        Shape: *offset* counts from zero.
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


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of the text that is a member or stands for one; without an end tag, or without a start tag."""

    begin: int
    end: int
    is_broken: bool = False
    is_unclosed: bool = False
    is_stray: bool = False


@dataclass(slots=True)
class _Names:
    """Takes XML and remembers which elements are open."""

    opened: list[str] = field(default_factory=list)

    def start(self, tag: str, _: dict[str, str]) -> None:
        """Open an element."""
        self.opened.append(tag.rpartition("}")[2])

    def end(self, _: str) -> None:
        """Close it."""
        self.opened.pop()

    def close(self) -> None:
        """Have nothing to give."""


def with_broken_marked(given: Mended) -> Mended | None:
    """Return the text with each broken member as an empty, marked one; None: it is not certain which those are."""
    text = given.text
    tags = [tag for tag in _TAG.finditer(text) if tag["name"]]
    first = next((tag for tag in tags if not tag["end"] and _is_member(tag)), None)
    if first is None or first.start() > _HEAD_MAX:
        return None
    head = text[: first.start()]
    closing = "".join(f"</{name}>" for name in reversed(_open_in(tags, first.start())))
    pieces = list(_pieces(text, [tag for tag in tags if tag.start() >= first.start()]))
    if not pieces or not _is_certain(text, pieces):
        return None
    result = Mended("", list(given.spots))
    texts: list[str] = []
    done = good = broken = 0
    for piece in pieces:
        found = _trouble(head, text[piece.begin : piece.end], closing)
        if found is None and not piece.is_broken:
            good += 1
            continue
        broken += 1
        if broken > _BROKEN_MAX:
            return None
        texts += text[done : piece.begin], _marked(given, result, piece, first["name"], found)
        done = piece.end
    result.text = "".join((*texts, text[done:], closing if pieces[-1].end == len(text) else ""))
    return result if good and broken else None


def _is_member(tag: re.Match[str]) -> bool:
    return is_component(tag["local"].replace("_spc", " "))


def _open_in(tags: list[re.Match[str]], end: int) -> list[str]:
    """Return the names of the elements that are open at *end*; an end tag without a start closes none."""
    opened: list[str] = []
    count: Counter[str] = Counter()  # a search in all that are open, for each end tag, would take hours
    for tag in tags:
        if tag.start() >= end:
            break
        name = tag["name"]
        if not tag["end"] and not tag["empty"]:
            opened.append(name)
            count[name] += 1
        elif tag["end"] and count[name]:
            closed = ""
            while closed != name:
                closed = opened.pop()
                count[closed] -= 1
    return opened


def _pieces(text: str, tags: list[re.Match[str]]) -> Iterator[_Piece]:
    """Part the list into members and what stands between them in place of one, to its end tag or the text's."""
    begin: int | None = None
    done = 0
    for tag in _borders(tags):
        is_end = _is_member(tag) and bool(tag["end"])
        if begin is not None:
            if is_end:
                yield _Piece(begin, tag.end())
            else:
                end = begin + len(text[begin : tag.start()].rstrip())
                yield _Piece(begin, end, is_broken=True, is_unclosed=True)
        elif done and (is_end or "<" in _COMMENT.sub("", text[done : tag.start()])):
            start = tag.start() - len(text[done : tag.start()].lstrip())
            yield _Piece(start, tag.end() if is_end else tag.start(), is_broken=True, is_stray=True)
        begin, done = None, tag.end()
        if tag["empty"]:
            yield _Piece(tag.start(), tag.end())
        elif not tag["end"]:
            begin = tag.start()
    if begin is not None:
        yield _Piece(begin, len(text), is_broken=True, is_unclosed=True)


def _borders(tags: list[re.Match[str]]) -> Iterator[re.Match[str]]:
    """Yield the tags of members, and the one that ends their list."""
    for tag in tags:
        if _is_member(tag):
            yield tag
        elif tag["end"] and is_list_of_members(tag["local"].replace("_spc", " ")):
            yield tag
            return


def _is_certain(text: str, pieces: list[_Piece]) -> bool:
    """Return whether no member can be part of another whose end tag is missing.

    It cannot where that other ends in a text, or with all its elements closed.
    """
    unclosed = [piece for piece in pieces[:-1] if piece.is_unclosed]
    if unclosed and any(piece.is_stray for piece in pieces):
        return False
    for piece in unclosed:
        inside = text[piece.begin : piece.end].rstrip()
        tags = [tag for tag in _TAG.finditer(inside) if tag["name"]]
        if inside.endswith(">") and len(_open_in(tags, len(inside))) != 1:
            return False
    return True


def _trouble(head: str, piece: str, closing: str) -> tuple[int, int, str] | None:
    """Return where *piece* is no XML: lines below its first, column from zero, the element around; None: it is.

    Shape: the column is one of the piece in its first line.
    """
    names = _Names()
    parser = DefusedXMLParser(target=names, encoding="utf-8", forbid_dtd=True)
    try:
        parser.feed((head + piece + closing).encode())
        parser.close()
    except ParseError as error:
        line, column = error.position
        below = line - 1 - head.count("\n")
        last = head.rpartition("\n")[2]
        around = names.opened[-1] if names.opened else ""
        return below, column if below else column - len(last.encode()), around
    except DefusedXmlException:
        return 0, 0, ""
    return None


def _marked(given: Mended, result: Mended, piece: _Piece, tag: str, trouble: tuple[int, int, str] | None) -> str:
    """Return an empty member with the mark of its flaw, as many lines long; the mark has the name of its element."""
    text = given.text[piece.begin : piece.end]
    below, column, around = trouble or (0, 0, "")
    first_line = given.text.count("\n", 0, piece.begin) + 1
    if below > text.count("\n"):  # it was missed only in what comes next
        below, column = text.count("\n"), len(text.rpartition("\n")[2])
    if not below:
        column += piece.begin - (given.text.rfind("\n", 0, piece.begin) + 1)
    line, column = given.place(first_line + below, column)
    mark = result.mark(Spot("is not XML", line, column, 0))
    name = around or tag.rpartition(":")[2]
    number = _NUMBER.search(text)
    known = f' {number[1]}="{number[2]}"' if number and number[1] != name else ""
    return f'<{tag} {name}="{mark}"{known}/>' + "\n" * text.count("\n")
