"""From the bytes of a request or a file to events: each position is an event or the refusal of one.

| what | how | memory |
|---|---|---|
| JSON: an event, an array of them, a SiebelMessage | `read_body`, `read_file` | whole |
| SiebelMessage in XML | `read_body`, `read_file` | whole |
| NDJSON | `NdjsonReader` (a request, chunk by chunk), `read_body`, `read_file` | one chunk and one line |
| CSV | `read_file` | one row |

A position counts events from 0.  What cannot be read at all raises `BodyError` (400), more events than allowed
`TooManyEventsError` (413), any other media type `UnsupportedMediaTypeError` (415).
"""

import codecs
import io
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from producers.csv_rows import read_csv
from producers.siebel_message import BodyError, Dialect, is_siebel_message, read_siebel_message
from producers.siebel_xml import ENCODINGS, parse_siebel_xml
from shared.errors import InvalidEventError, MembersyncError
from shared.events import MemberEvent, parse_event
from shared.settings import Settings

Position = tuple[int, MemberEvent | InvalidEventError]
"""Where in the request or file, and what stands there."""

_JSON = {"application/json", "text/json"}
_XML = {"application/xml", "text/xml"}
_NDJSON = {"application/x-ndjson", "application/ndjson", "application/jsonlines", "application/x-jsonlines"}
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE | re.ASCII)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CHUNK_BYTES = 256 * 1024
_SUFFIXES = {".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".xml": "xml"}


class TooManyEventsError(BodyError):
    """More events than one request may bring."""

    code = "too_many_events"


class UnsupportedMediaTypeError(MembersyncError):
    """A media type that is none of ours."""

    code = "unsupported_media_type"


@dataclass(frozen=True, slots=True)
class Terms:
    """What reading depends on.  Units: bytes.  *arrival* is when a change happened that does not say so itself."""

    dialect: Dialect
    arrival: datetime
    max_event_bytes: int = 64_000
    max_events: int = sys.maxsize

    @classmethod
    def of(cls, settings: Settings, arrival: datetime) -> "Terms":
        """Take them from the settings."""
        return cls(
            Dialect.of(settings.siebel), arrival, settings.api.max_event_bytes, max_events=settings.api.max_events
        )


def read_body(content_type: str, body: bytes, terms: Terms) -> Iterator[Position]:
    """Read a request's body.

    Raises:
        BodyError: it cannot be read; by the call, before the first event.
        TooManyEventsError: likewise for JSON; for NDJSON and XML after the last event that is allowed.
        UnsupportedMediaTypeError: by the call.
    """
    charset = found[1] if (found := _CHARSET.search(content_type)) else None
    match _media_type(content_type):
        case media if media in _JSON:
            return _read_json(body, charset, terms)
        case media if media in _XML:
            return _read_xml(body, charset, terms)
        case media if media in _NDJSON:
            return _read_lines([body], terms)
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

    def feed(self, chunk: bytes) -> Iterator[Position]:
        """Give what the lines that end in this chunk hold; consume it before the next call.

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
        """Give what the last line holds, if no line end followed it."""
        yield from self._line(self._rest)
        self._rest = b""

    def _line(self, line: bytes) -> Iterator[Position]:
        if self._is_first:
            line = line.removeprefix(codecs.BOM_UTF8)
        self._is_first = False
        line = line.strip()
        if not line and not self._is_too_long:
            return
        if self._position >= self._terms.max_events:
            raise TooManyEventsError("", f"holds more than {self._terms.max_events} events")
        if self._is_too_long:
            yield self._position, InvalidEventError("", f"is larger than {self._terms.max_event_bytes} bytes")
        else:
            yield self._position, _event(line, self._terms)
        self._is_too_long = False
        self._position += 1


def read_file(source: Path | BinaryIO, name: str, terms: Terms) -> Iterator[Position]:
    """Read a file: NDJSON, JSON, CSV or XML by the suffix of *name*, otherwise by how it begins.

    The limit on events is one of requests, not of files.

    Raises:
        BodyError: it cannot be read, or no further.
        OSError: it cannot be opened.
    """
    terms = replace(terms, max_events=sys.maxsize)
    if isinstance(source, Path):
        with source.open("rb") as opened:
            yield from _read_stream(opened, name, terms)
    else:
        buffered = source if isinstance(source, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", source))
        yield from _read_stream(buffered, name, terms)


def _read_stream(stream: io.BufferedReader, name: str, terms: Terms) -> Iterator[Position]:
    match _SUFFIXES.get(Path(name).suffix.lower()) or _kind(stream.peek(64)):
        case "csv":
            rows = read_csv(stream, terms.dialect, terms.arrival, terms.max_event_bytes)
            return _counted(rows, terms)
        case "xml":
            return _read_xml(stream.read(), None, terms)
        case "ndjson":
            return _read_lines(_chunks(stream), terms)
        case _:
            return _read_json_file(stream, terms)


def _kind(head: bytes) -> str:
    """Tell XML, JSON and CSV apart by the first letter."""
    letter = head.removeprefix(codecs.BOM_UTF8).removeprefix(_UTF16[0]).removeprefix(_UTF16[1]).strip(b"\0 \t\r\n")[:1]
    if letter == b"<":
        return "xml"
    return "json" if letter in (b"{", b"[", b"") else "csv"


def _read_json_file(stream: io.BufferedReader, terms: Terms) -> Iterator[Position]:
    """Read JSON, or NDJSON under another name: its first line is a whole event."""
    first = stream.readline(terms.max_event_bytes + 2)
    try:
        is_line = not is_siebel_message(document := orjson.loads(first.removeprefix(codecs.BOM_UTF8))) and isinstance(
            document, dict
        )
    except ValueError:
        is_line = False
    if is_line:
        return _read_lines(_chunks(stream, first), terms)
    return _read_json(first + stream.read(), None, terms)


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
    try:
        document = orjson.loads(_utf8(body, charset))
    except (ValueError, LookupError):
        raise BodyError("", "is not JSON") from None
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
    """Give JSON in UTF-8 whatever it came in; RFC 8259 wants it so, some senders do not."""
    if body.startswith(_UTF16):
        return body.decode("utf-16").encode()
    encoding = ENCODINGS[charset.lower()] if charset else "utf-8"
    if encoding != "utf-8":
        return body.decode(encoding).encode()
    return body.removeprefix(codecs.BOM_UTF8)


def _event(raw: object, terms: Terms) -> MemberEvent | InvalidEventError:
    if not isinstance(raw, dict | bytes):
        return InvalidEventError("", "must be a JSON object")
    try:
        return parse_event(raw, max_bytes=terms.max_event_bytes)
    except InvalidEventError as refusal:
        return refusal


def _read_xml(body: bytes, charset: str | None, terms: Terms) -> Iterator[Position]:
    return _read_message(parse_siebel_xml(body, charset), terms)


def _read_message(document: Mapping[str, Any], terms: Terms) -> Iterator[Position]:
    if not is_siebel_message(document):
        raise BodyError("", "must be a SiebelMessage")
    limit = terms.max_event_bytes
    members = read_siebel_message(document, dialect=terms.dialect, arrival=terms.arrival, max_bytes=limit)
    return _counted(members, terms)


def _counted(events: Iterable[MemberEvent | InvalidEventError], terms: Terms) -> Iterator[Position]:
    for position, event in enumerate(events):
        if position >= terms.max_events:
            raise TooManyEventsError("", f"holds more than {terms.max_events} events")
        yield position, event


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()
