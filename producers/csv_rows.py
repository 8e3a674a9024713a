"""CSV, row by row: the header holds the field names of spec 2.1 or Siebel's labels.

With Siebel's labels the rules of a SiebelMessage apply (no operation: an update; no instant: now); with our own names
`operation` and `occurred_at` are required.  A row is refused alone, with its line and column.
"""

import codecs
import csv
import io
from collections.abc import Iterator
from datetime import datetime

from producers.siebel_message import BodyError, Dialect, fold, read_member
from shared.errors import InvalidEventError
from shared.events import MemberEvent

_LONGEST_LINE = 1024 * 1024  # characters; csv itself stops at 128 Ki in one field
_DELIMITERS = ",;\t|"


def read_csv(
    stream: io.BufferedReader, dialect: Dialect, arrival: datetime, max_bytes: int
) -> Iterator[MemberEvent | InvalidEventError]:
    """Read the rows below the header; blank ones count for nothing.

    Shape: UTF-8 with or without a mark, or UTF-16 with one; `,`, `;`, tab or `|` between columns, whichever the header
    has most of.  A byte that is not UTF-8 refuses its row.

    Raises:
        BodyError: it has no header, or cannot be read further.
    """
    encoding = "utf-16" if stream.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    text = io.TextIOWrapper(stream, encoding, errors="surrogateescape", newline="")
    try:
        yield from _events(_lines(text), dialect, arrival, max_bytes)
    finally:
        text.detach()  # the stream is the caller's


def _events(
    lines: Iterator[str], dialect: Dialect, arrival: datetime | None, max_bytes: int
) -> Iterator[MemberEvent | InvalidEventError]:
    first = next(lines, "")
    delimiter = max(_DELIMITERS, key=first.count)
    header = _header(first, delimiter)
    if "member_number" not in map(dialect.field_of, header):
        raise BodyError("line 1", f"has no column {dialect.labels['member_number']}, or member_number")
    since = None if "member_number" in header else arrival
    for line, row in _rows(lines, delimiter):
        try:
            if row is None:
                yield InvalidEventError(f"line {line}", "is not CSV")
            elif any(cell.strip() for cell in row):
                yield _event(header, row, dialect, since, max_bytes)
        except InvalidEventError as refusal:
            where = f", column {refusal.field}" if refusal.field else ""
            yield InvalidEventError(f"line {line}{where}", refusal.reason)


def _header(line: str, delimiter: str) -> list[str]:
    try:
        names = [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        names = []
    if not any(names):
        raise BodyError("line 1", "must be a header with the names of the columns")
    if len({fold(name) for name in names if name}) < len([name for name in names if name]):
        raise BodyError("line 1", "names a column twice")
    return names


def _rows(lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, list[str] | None]]:
    """Give each row below the header with the line it begins on; None: it is not CSV."""
    rows = csv.reader(lines, delimiter=delimiter)
    while True:
        line = rows.line_num + 2
        try:
            yield line, next(rows)
        except StopIteration:
            return
        except csv.Error:
            yield line, None


def _event(header: list[str], row: list[str], dialect: Dialect, since: datetime | None, max_bytes: int) -> MemberEvent:
    if len(row) != len(header):
        raise InvalidEventError("", f"has {len(row)} columns, the header {len(header)}")
    record = {name: cell for name, cell in zip(header, row, strict=True) if name}
    return read_member(record, dialect=dialect, arrival=since, max_bytes=max_bytes)


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Give the lines, none so long that it could fill the memory."""
    number = 0
    try:
        while line := text.readline(_LONGEST_LINE):
            number += 1
            if len(line) == _LONGEST_LINE:
                raise BodyError(f"line {number}", "is too long to be CSV")
            yield line
    except UnicodeError:
        raise BodyError(f"line {number + 1}", "is not in the encoding that the file began with") from None
