"""A SiebelMessage in XML, into the shape it has in JSON.

Source: XML Reference: Siebel EAI, "Element and Attribute Naming" (the escapes of names) and "Special Characters in XML
Documents" (the encodings).  The number in `_<code>` is read as decimal, after an `x` as hexadecimal (A).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from producers.siebel_message import BodyError

_DEEPEST = 16  # a message has six levels
_ESCAPES = dict(
    zip(
        ("spc", "und", "dqt", "sqt", "cln", "scn", "lpr", "rpr", "amp", "cma", "pnd", "slh", "qst", "lst", "grt"),
        " _\"':;()&,#/?<>",
        strict=True,
    )
)
_ESCAPE = re.compile(rf"_(?:({'|'.join(_ESCAPES)})|x([0-9A-Fa-f]{{2,4}})|(\d{{2,5}}))", re.ASCII)
ENCODINGS = {
    **dict.fromkeys(("utf-8", "utf8"), "utf-8"),
    **dict.fromkeys(("utf-16", "utf16"), "utf-16"),
    "utf-16le": "utf-16le",
    "utf-16be": "utf-16be",
    **dict.fromkeys(("iso-8859-1", "iso8859-1", "latin1", "latin-1"), "iso-8859-1"),
    **dict.fromkeys(("windows-1252", "cp1252"), "windows-1252"),
    **dict.fromkeys(("us-ascii", "ascii"), "us-ascii"),
}
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def parse_siebel_xml(body: bytes, charset: str | None) -> Mapping[str, Any]:
    """Give `{"SiebelMessage": {…}}`: attributes and elements are fields, a repeated element is a list.

    Shape: *charset* is the one of the Content-Type; a byte order mark goes before it, the XML declaration comes last
    (RFC 7303).

    Raises:
        BodyError: not XML, not in an encoding that we read, or with a DTD or entities of its own.
    """
    encoding = None
    if charset and not body.startswith(_MARKS):
        encoding = ENCODINGS.get(charset.strip().lower())
        if encoding is None:
            raise BodyError("", "is in a character set that is not taken here")
    builder = _Builder()
    try:
        parser = DefusedXMLParser(target=builder, encoding=encoding, forbid_dtd=True)
        parser.feed(body)
        parser.close()
    except DefusedXmlException:
        raise BodyError("", "has a document type or entities, which are refused") from None
    except ParseError as error:
        line, column = error.position
        raise BodyError("", f"is not XML: line {line}, column {column}") from None
    except (ValueError, LookupError):  # an encoding that the declaration names and Python lacks
        raise BodyError("", "is in a character set that is not taken here") from None
    return builder.document


@lru_cache(maxsize=1024)  # a load repeats the same few names for every member
def unescape(name: str) -> str:
    """Give back the name that Siebel's XML Converter escaped."""
    return _ESCAPE.sub(_character, name) if "_" in name else name


def _character(escape: re.Match[str]) -> str:
    word, hexadecimal, decimal = escape.groups()
    if word:
        return _ESCAPES[word]
    code = int(hexadecimal, 16) if hexadecimal else int(decimal)
    letter = chr(code)
    return letter if letter.isprintable() and not letter.isalnum() else escape[0]


@dataclass(slots=True)
class _Element:
    name: str
    fields: dict[str, Any]
    pieces: list[str] = field(default_factory=list)
    is_leaf: bool = True


class _Builder:
    """Builds the message while it is read, so that neither depth nor a tree of elements costs memory."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {}
        self._open: list[_Element] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Open an element."""
        if len(self._open) >= _DEEPEST:
            raise BodyError("", f"is nested deeper than {_DEEPEST} levels")
        if self._open:
            self._open[-1].is_leaf = False
        fields: dict[str, Any] = {
            unescape(name): value for name, value in attributes.items() if not name.startswith("{")
        }
        self._open.append(_Element(unescape(tag.rpartition("}")[2]), fields))

    def data(self, text: str) -> None:
        """Take a piece of text."""
        self._open[-1].pieces.append(text)

    def end(self, tag: str) -> None:  # noqa: ARG002  # expat names what it closes
        """Close an element: one with elements or nothing but attributes inside is an object, any other its text."""
        element = self._open.pop()
        text = "".join(element.pieces).strip()
        value = text if element.is_leaf and (text or not element.fields) else element.fields
        parent = self._open[-1].fields if self._open else self.document
        if element.name not in parent:
            parent[element.name] = value
        elif isinstance(parent[element.name], list):
            parent[element.name].append(value)
        else:
            parent[element.name] = [parent[element.name], value]

    def close(self) -> dict[str, Any]:
        """Give the document."""
        return self.document
