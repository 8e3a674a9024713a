"""From the bytes of a request or a file to events: each position is an event or the refusal of one.

| what | how | memory |
|---|---|---|
| JSON: an event, an array of them, a SiebelMessage | `read_body`, `read_file` | whole |
| SiebelMessage in XML | `read_body`, `read_file` | whole |
| NDJSON | `NdjsonReader` (a request, chunk by chunk), `read_body`, `read_file` | one chunk and one line |
| CSV | `read_file` | one row |

A position counts events from 0, a line from 1.  What cannot be read at all raises `BodyError` (400), more events than
allowed `TooManyEventsError` (413), any other media type `UnsupportedMediaTypeError` (415).
"""

import codecs
import io
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from producers.intake import lenient_json
from producers.intake.charsets import codec_of, refuse_other_formats, text_in
from producers.intake.csv_rows import read_table
from producers.intake.refused import BodyError, Element, refused
from producers.intake.siebel_message import Terms, is_siebel_message, read_siebel_message
from producers.intake.siebel_xml import parse_siebel_xml
from shared.errors import InvalidEventError, MembersyncError
from shared.events import MemberEvent, parse_event

Position = tuple[int, MemberEvent | InvalidEventError]
"""Where in the request or file, and what stands there."""

_JSON = {"application/json", "text/json"}
_XML = {"application/xml", "text/xml"}
_NDJSON = {"application/x-ndjson", "application/ndjson", "application/jsonlines", "application/x-jsonlines"}
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE | re.ASCII)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_HEAD_BYTES = 64
_CHUNK_BYTES = 256 * 1024
_FIRST_LETTERS = {b"<": "xml", b"{": "json", b"[": "json", b"": "json"}
_SUFFIXES = {".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".xml": "xml"}


class TooManyEventsError(BodyError):
    """More events than one request may bring."""

    code = "too_many_events"


class UnsupportedMediaTypeError(MembersyncError):
    """A media type that is none of ours."""

    code = "unsupported_media_type"


def read_body(content_type: str, body: bytes, terms: Terms) -> Iterator[Position]:
    """Read a request's body.

    Raises:
        BodyError: it cannot be read; by the call, before the first event.
        TooManyEventsError: likewise for JSON; for NDJSON and XML after the last event that is allowed.
        UnsupportedMediaTypeError: by the call.
    """
    charset = found[1] if (found := _CHARSET.search(content_type)) else None
    refuse_other_formats(body[:_HEAD_BYTES])
    match content_type.partition(";")[0].strip().lower():
        case media if media in _JSON:
            return _read_json(body, charset, terms)
        case media if media in _XML:
            return _read_message(parse_siebel_xml(body, charset), terms)
        case media if media in _NDJSON:
            return _read_lines([_utf8(body, charset)], terms)
        case media:
            raise UnsupportedMediaTypeError(f"{media or 'no media type'}: send JSON, NDJSON or XML")


class NdjsonReader:
    """NDJSON as it arrives.  Blank lines count for nothing; a line over the limit is refused and never kept."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._position = 0
        self._rest = b""
        self._is_too_long = False
        self._is_first = True
        self._number = 0

    def feed(self, chunk: bytes) -> Iterator[Position]:
        """Yield what the lines that end in this chunk hold; consume it before the next call.

        Raises:
            TooManyEventsError: at the first event too many.
        """
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._rest = b""
        for line in lines:
            yield from self._line(line)
        if len(rest) > self._terms.max_event_bytes + 1:  # a carriage return may still be the last byte
            self._is_too_long = True
        self._rest = b"" if self._is_too_long else rest

    def finish(self) -> Iterator[Position]:
        """Yield what the last line holds, if no line end followed it."""
        yield from self._line(self._rest)
        self._rest = b""

    def _line(self, line: bytes) -> Iterator[Position]:
        if self._is_first:
            line = line.removeprefix(codecs.BOM_UTF8)
        self._is_first = False
        self._number += 1
        line = line.strip()
        if not line and not self._is_too_long:
            return
        if self._position >= self._terms.max_events:
            raise TooManyEventsError("", f"holds more than {self._terms.max_events} events")
        if self._is_too_long:
            yield self._position, refused(_too_large(self._terms), line, self._number)
        else:
            yield self._position, _event(line, self._terms, self._number)
        self._is_too_long = False
        self._position += 1


def read_file(stream: io.BufferedReader, name: str, terms: Terms) -> Iterator[Position]:
    """Read a file: NDJSON, JSON, CSV or XML by the suffix of *name*, otherwise by how it begins.

    The limit on events is one of requests, not of files.

    Raises:
        BodyError: it cannot be read, or no further.
    """
    terms = replace(terms, max_events=sys.maxsize)
    head = stream.peek(_HEAD_BYTES)[:_HEAD_BYTES]
    refuse_other_formats(head)
    unmarked = head.removeprefix(codecs.BOM_UTF8).removeprefix(_UTF16[0]).removeprefix(_UTF16[1])
    letter = unmarked.strip(b"\0 \t\r\n")[:1]
    match _SUFFIXES.get(Path(name).suffix.lower()) or _FIRST_LETTERS.get(letter, "csv"):
        case "csv":
            return _counted(read_table(stream, terms), terms)
        case "xml":
            return _read_message(parse_siebel_xml(stream.read(), None), terms)
        case "ndjson" if codec_of(head, None).startswith("utf-8"):
            return _read_lines(_chunks(stream), terms)
        case "ndjson":
            return _read_lines([_utf8(stream.read(), None)], terms)
        case _:
            return _read_json_file(stream, terms)


def _read_json_file(stream: io.BufferedReader, terms: Terms) -> Iterator[Position]:
    """Read JSON, or NDJSON under another name: its first line, or where that is broken its second, is a whole event."""
    first = stream.readline(terms.max_event_bytes + 2)
    if _is_event_line(first):
        return _read_lines(_chunks(stream, first), terms)
    body = first + stream.read()
    try:
        return _read_json(body, None, terms)
    except BodyError:
        second = body[len(first) :].partition(b"\n")[0]
        if first.lstrip().startswith(b"{") and b"SiebelMessage" not in first and _is_event_line(second):
            return _read_lines([body], terms)
        raise


def _is_event_line(line: bytes) -> bool:
    try:
        document = lenient_json.loads(line.removeprefix(codecs.BOM_UTF8))
    except BodyError:
        return False
    return isinstance(document, dict) and not is_siebel_message(document)


def _chunks(stream: BinaryIO, first: bytes = b"") -> Iterator[bytes]:
    yield first
    while chunk := stream.read(_CHUNK_BYTES):
        yield chunk


def _read_lines(chunks: Iterable[bytes], terms: Terms) -> Iterator[Position]:
    reader = NdjsonReader(terms)
    for chunk in chunks:
        yield from reader.feed(chunk)
    yield from reader.finish()


def _read_json(body: bytes, charset: str | None, terms: Terms) -> Iterator[Position]:
    document = lenient_json.load_body(_utf8(body, charset))
    if isinstance(document, list):
        if len(document) > terms.max_events:
            raise TooManyEventsError("", f"holds more than {terms.max_events} events")
        return _counted((_event(element, terms) for element in document), terms)
    if is_siebel_message(document):
        return _read_message(document, terms)
    if not isinstance(document, dict):
        raise BodyError("", "must be an event, an array of events or a SiebelMessage")
    return _counted([_event(document, terms)], terms)


def _utf8(body: bytes, charset: str | None) -> bytes:
    """Return JSON in UTF-8, whatever it came in; RFC 8259 wants it so, some senders do not."""
    codec = codec_of(body, charset)
    if codec in ("utf-8", "utf-8-sig"):
        return body.removeprefix(codecs.BOM_UTF8)
    return text_in(body, codec).removeprefix("\ufeff").encode("utf-8", "surrogatepass")


def _event(raw: object, terms: Terms, line: int | None = None) -> MemberEvent | InvalidEventError:
    """Read one event, or say why not; *raw* as bytes is a line of NDJSON."""
    if isinstance(raw, Element) and raw.flaw:
        return refused(raw.flaw, raw)
    if isinstance(raw, bytes) and len(raw) > terms.max_event_bytes:
        return refused(_too_large(terms), raw, line)
    read = raw
    try:
        document = lenient_json.loads(raw, line or 1) if isinstance(raw, bytes) else raw
        if isinstance(document, dict):
            read = document
            return parse_event(document, max_bytes=terms.max_event_bytes)
    except InvalidEventError as refusal:
        return refused(refusal, read, line)
    return refused(InvalidEventError("", "must be a JSON object"), raw, line)


def _too_large(terms: Terms) -> InvalidEventError:
    return InvalidEventError("", f"is larger than {terms.max_event_bytes} bytes")


def _read_message(document: object, terms: Terms) -> Iterator[Position]:
    if not is_siebel_message(document):
        raise BodyError("", "must be a SiebelMessage")
    return _counted(read_siebel_message(document, terms), terms)


def _counted(events: Iterable[MemberEvent | InvalidEventError], terms: Terms) -> Iterator[Position]:
    for position, event in enumerate(events):
        if position >= terms.max_events:
            raise TooManyEventsError("", f"holds more than {terms.max_events} events")
        yield position, event
