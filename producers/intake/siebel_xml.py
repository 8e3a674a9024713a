"""A SiebelMessage in XML, into the shape it has in JSON.

What is no character of XML, and a reference to an entity that does not exist, refuse the member they stand in, with
line and column; so do tags that do not fit together, where it is certain whose they are (`broken_xml.py`).  The
others are read.

Source: XML Reference: Siebel EAI, "Element and Attribute Naming" (the escapes of names) and "Special Characters in XML
Documents" (the encodings).  The number in `_<code>` is read as decimal, after an `x` as hexadecimal (A).
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from producers.intake.broken_xml import Mended, Spot, mended, with_broken_marked
from producers.intake.charsets import codec_of, text_in
from producers.intake.refused import BodyError, Element
from producers.intake.spellings import LABEL_MAX
from shared.errors import InvalidEventError

_DEEPEST = 16  # a message has six levels
_ESCAPES = dict(
    zip(
        ("spc", "und", "dqt", "sqt", "cln", "scn", "lpr", "rpr", "amp", "cma", "pnd", "slh", "qst", "lst", "grt"),
        " _\"':;()&,#/?<>",
        strict=True,
    )
)
_ESCAPE = re.compile(rf"_(?:({'|'.join(_ESCAPES)})|x([0-9A-Fa-f]{{2,4}})|(\d{{2,5}}))", re.ASCII)
_DECLARED = re.compile(rb"\s*<\?xml[^>]{0,200}?\bencoding\s*=\s*[\"']([\w.:-]{1,40})", re.ASCII)
_HEAD_BYTES = 300


def parse_siebel_xml(body: bytes, charset: str | None) -> Mapping[str, Any]:
    """Return `{"SiebelMessage": {…}}`: attributes and elements are fields, a repeated element is a list.

    Shape: objects are `Element`s.  *charset* is the one of the Content-Type; a byte order mark goes before it, the XML
    declaration comes last (RFC 7303).

    Raises:
        BodyError: not XML, not in an encoding that we read, or with a DTD or entities of its own.
    """
    declared = _DECLARED.match(body.removeprefix(b"\xef\xbb\xbf")[:_HEAD_BYTES])
    codec = codec_of(body, charset or (declared[1].decode() if declared else None))
    if codec == "utf-8-sig":
        body, codec = body.removeprefix(b"\xef\xbb\xbf"), "utf-8"
    text = None if codec == "utf-8" else text_in(body, codec).removeprefix("\ufeff")
    try:
        return _parsed(body if text is None else text.encode("utf-8", "surrogatepass"))
    except ParseError:
        repaired = mended(text_in(body, "utf-8") if text is None else text)
    try:
        return _parsed(repaired.text.encode(), repaired)
    except ParseError as error:
        line, column = repaired.place(*error.position)
    marked = with_broken_marked(repaired)
    with suppress(ParseError):
        if marked:
            return _parsed(marked.text.encode(), marked)
    raise BodyError("", f"is not XML: line {line}, column {column}")


def _parsed(body: bytes, repaired: Mended | None = None) -> Mapping[str, Any]:
    """Parse XML in UTF-8, whatever it says of itself."""
    builder = _Builder(lambda: int(parser.parser.CurrentLineNumber), repaired)
    parser = DefusedXMLParser(target=builder, encoding="utf-8", forbid_dtd=True)
    try:
        parser.feed(body)
        parser.close()
    except DefusedXmlException:
        raise BodyError("", "has a document type or entities, which are refused") from None
    return builder.document


def unescape(name: str) -> str:
    """Return the name that Siebel's XML Converter escaped."""
    return _unescaped(name) if len(name) <= LABEL_MAX else _unescaped.__wrapped__(name)


@lru_cache(maxsize=1024)  # a load repeats the same few names for every member
def _unescaped(name: str) -> str:
    return _ESCAPE.sub(_character, name) if "_" in name else name


def _character(escape: re.Match[str]) -> str:
    word, hexadecimal, decimal = escape.groups()
    if word:
        return _ESCAPES[word]
    code = int(hexadecimal, 16) if hexadecimal else int(decimal)
    letter = chr(code)
    return letter if letter.isprintable() and not letter.isalnum() else escape[0]


@dataclass(slots=True)
class _Open:
    """An element that is not closed yet."""

    name: str
    fields: Element
    pieces: list[str] = field(default_factory=list)
    is_leaf: bool = True


class _Builder:
    """Builds the message while it is read, so that neither depth nor a tree of elements costs memory."""

    def __init__(self, line: Callable[[], int], repaired: Mended | None) -> None:
        self.document: dict[str, Any] = {}
        self._line = line
        self._repaired = repaired
        self._open: list[_Open] = []
        self._too_deep = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Open an element."""
        if len(self._open) >= _DEEPEST:
            self._too_deep += 1
            self._fail(InvalidEventError(self._open[-1].name, f"is nested deeper than {_DEEPEST} levels"))
            return
        if self._open:
            self._open[-1].is_leaf = False
        fields = {unescape(name): value for name, value in attributes.items() if not name.startswith("{")}
        self._open.append(_Open(unescape(tag.rpartition("}")[2]), Element(fields, self._line())))
        for name, value in fields.items():
            self._check(name, value)

    def data(self, text: str) -> None:
        """Take a piece of text."""
        if not self._too_deep:
            self._open[-1].pieces.append(text)

    def end(self, _: str) -> None:
        """Close an element: one with elements or nothing but attributes inside is an object, any other its text."""
        if self._too_deep:
            self._too_deep -= 1
            return
        text = "".join(self._open[-1].pieces).strip()
        self._check(self._open[-1].name, text)
        element = self._open.pop()
        value = text if element.is_leaf and (text or not element.fields) else element.fields
        if element.fields.flaw:
            if not self._open and element.is_leaf:
                raise BodyError("", element.fields.flaw.reason)
            if self._open:
                self._fail(element.fields.flaw)
        parent = self._open[-1].fields if self._open else self.document
        if element.name not in parent:
            parent[element.name] = value
        elif isinstance(parent[element.name], list):
            parent[element.name].append(value)
        else:
            parent[element.name] = [parent[element.name], value]

    def close(self) -> dict[str, Any]:
        """Return the document."""
        return self.document

    def _check(self, name: str, value: str) -> None:
        spot: Spot | None = self._repaired.spot_in(value) if self._repaired else None
        if spot:
            self._fail(InvalidEventError(name, spot.reason))

    def _fail(self, flaw: InvalidEventError) -> None:
        """Note what is wrong with the element that is open; the first flaw stands."""
        fields = self._open[-1].fields
        fields.flaw = fields.flaw or flaw
