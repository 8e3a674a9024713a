"""CSV, row by row: the header holds the field names of spec 2.1 or Siebel's labels.

With Siebel's labels the rules of a SiebelMessage apply (no operation: an update; no instant: now); with our own names
`operation` and `occurred_at` are required.  A row is refused alone, with its line and column.

Every line is accounted for.  A quotation mark that is not closed would swallow the lines after it: what does not come
out as one row of as many cells as the header has is taken apart again, its first line refused, and the others read
each for itself, strictly, for they may be the inside of a cell.

Excel and its like turn a long number into `1.23457E+11`, a code into a date, and write `="00123"`, `'00123` or `123.0`.
The digits that are gone do not come back, and the same text may stand for many members: such a cell refuses its row.
"""

import csv
import io
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from producers.intake.charsets import codec_of
from producers.intake.refused import BodyError, RefusedRowError, refused
from producers.intake.siebel_message import Terms, read_member
from producers.intake.spellings import fold
from shared.errors import InvalidEventError
from shared.event_values import is_rounded
from shared.events import MemberEvent

_DAMAGED = "is as a spreadsheet writes it, and not as it was: make the column text, and export again"
CODES = frozenset({"member_number", "row_id", "program_id", "event_id", "postal_code", "ct_city_id"})
"""Fields whose digits are no number."""
_NAMES = frozenset({"member_number", "row_id", "event_id"})
_FAILED = re.compile(r"#(?:N/A|REF!|VALUE!|NAME\?|NULL!|NUM!|DIV/0!|#+)", re.IGNORECASE)
_DOUBTFUL = re.compile(r"[=#'.,]|\dE|[a-z]{3}|^0$", re.IGNORECASE | re.ASCII)
"""Without any of these a cell is no spreadsheet's work: most are not looked at any closer."""
_NO_CODE = re.compile(r"[+-]?\d+(?:(?:[.,]\d+)?E[+-]?\d+|[.,]0*)", re.IGNORECASE | re.ASCII)
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DATE = re.compile(rf"\d{{1,2}}-(?:{_MONTHS})(?:-\d{{2,4}})?|(?:{_MONTHS})-\d{{2,4}}", re.IGNORECASE | re.ASCII)
_LONGEST_LINE = 1024 * 1024  # characters of one that are looked at
_LONGEST_FIELD = csv.field_size_limit()
_DELIMITERS = ",;\t|"
_HEAD_BYTES = 64
_QUOTED = re.compile(r'"[^"]*"')
_SEPARATOR = re.compile(r'"?sep=(\\t|[^\w"])"?\s*', re.IGNORECASE)
_COLUMNS_NAMED = 10
_LONGEST_NAME = 60
_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_NO_UTF8 = re.compile(r"[\udc80-\udcff]")


class Table:
    """A CSV file as far as its header; its rows can be read once.

    Shape: UTF-8, or UTF-16; `,`, `;`, tab or `|` between columns, as a first line `sep=;` says, or whichever the
    header has most of.

    Raises:
        BodyError: it has no header, or one that names a column twice.
    """

    def __init__(self, stream: io.BufferedReader) -> None:
        codec = codec_of(stream.peek(_HEAD_BYTES)[:_HEAD_BYTES], None)
        self._text = io.TextIOWrapper(stream, codec, errors="surrogateescape", newline="")
        try:
            self._lines = _Lines(self._text)
            self._read_header()
        except BodyError:
            self.leave()
            raise

    def _read_header(self) -> None:
        first, delimiter = self._lines.take() or "", None
        if stated := _SEPARATOR.fullmatch(first.removeprefix("\ufeff")):
            first, delimiter = self._lines.take() or "", stated[1].replace("\\t", "\t")
        self._delimiter = delimiter or max(_DELIMITERS, key=_QUOTED.sub("", first).count)
        self.where = f"line {self._lines.number or 1}"
        if _NO_TEXT.search(first):
            raise BodyError("", "is binary data, and no text")
        self.names = [name.strip() for name in _cells(first, self._delimiter)]
        if not any(self.names):
            raise BodyError(self.where, "must be a header with the names of the columns")
        folded = [fold(name) for name in self.names]
        for index, name in enumerate(folded):
            if self.names[index] and name in folded[:index]:  # not which name: without a header it is somebody's
                raise BodyError(self.where, f"names a column twice: {folded.index(name) + 1} and {index + 1}")

    def rows(self, longest: int, *, skips: bool = False) -> Iterator["TableRow"]:
        """Yield each row below the header, blank ones too.  Units: of *longest* characters at most.

        Shape: *skips* a line that is far longer, and yields a row with that flaw; for whom nobody is gone who is not
        in the file.

        Raises:
            BodyError: it cannot be read further.
        """
        self._lines.skips = skips
        return _rows(self._lines, self._delimiter, len(self.names), longest)

    def leave(self) -> None:
        """Leave the stream to the caller, whose it is."""
        self._text.detach()


def read_table(stream: io.BufferedReader, terms: Terms) -> Iterator[MemberEvent | InvalidEventError]:
    """Read the rows below the header; blank ones count for nothing.  A byte that is not UTF-8 refuses its row.

    Raises:
        BodyError: it has no header of ours, or cannot be read further.
    """
    table = Table(stream)
    try:
        _check_header(table, terms)
        header = table.names
        if "member_number" in header:
            terms = replace(terms, arrival=None)
        for row in table.rows(terms.max_event_bytes, skips=True):
            record = {name: cell for name, cell in zip(header, row.cells, strict=False) if name}
            try:
                row.check(len(header))
                if not row.is_blank:
                    yield _event(record, terms)
            except InvalidEventError as refusal:
                yield refused(refusal, record or row.raw, row.line, RefusedRowError)
    finally:
        table.leave()


def _event(record: dict[str, str], terms: Terms) -> MemberEvent:
    """Read one row; refuse it where a spreadsheet has written the cell of a field, as far as it shows."""
    for name, text in record.items():
        if (field := terms.dialect.field_of(name)) is not None:
            check_cell(name, field, text)
    return read_member(record, terms)


def check_cell(name: str, field: str, text: str) -> None:
    """Refuse the cell of a *field*, in the column *name*, where a spreadsheet has written it.

    Raises:
        InvalidEventError: as far as it shows.
    """
    cell = text.strip()
    if not _DOUBTFUL.search(cell):
        return
    is_formula = cell.startswith("=") or _FAILED.fullmatch(cell)
    is_no_code = field in CODES and (cell.startswith("'") or is_rounded(cell) or _NO_CODE.fullmatch(cell))
    is_date = field in _NAMES and _DATE.fullmatch(cell)
    is_no_birth = field == "date_of_birth" and cell == "0"  # how it shows a date of nothing
    if is_formula or is_no_code or is_date or is_no_birth:
        raise InvalidEventError(name, _DAMAGED)


def _check_header(table: Table, terms: Terms) -> None:
    """See whose the rows are; remark on the columns that are not synced: one misspelt would go unnoticed.

    Raises:
        BodyError: it is no header of ours, or leaves open whose the rows are.
    """
    names = table.names
    folded = [fold(name) for name in names]
    known = {name: terms.dialect.field_of(name) for name in names}
    fields, has_deleted = set(known.values()), "isdeleted" in folded
    if "member_number" not in fields and not ("row_id" in fields and has_deleted):
        what = f"has no column {terms.dialect.labels['member_number']}, or member_number"
        if any(map(_NO_UTF8.search, names)):
            what = f"is not UTF-8, or no text at all: as a header of CSV it {what}"
        raise BodyError(table.where, what)
    strangers = [name for name, field in known.items() if field is None and fold(name) != "isdeleted"]
    if "" in strangers:
        terms.remark("columns without a name are left out")
    if shown := [name[:_LONGEST_NAME] for name in strangers if name]:
        more = f" and {len(shown) - _COLUMNS_NAMED} more" if len(shown) > _COLUMNS_NAMED else ""
        terms.remark(f"not known, so kept in the ledger and not synced: {', '.join(shown[:_COLUMNS_NAMED])}{more}")


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row as it stands in the file, or what is no row; *flaw* says why."""

    line: int
    text: str
    cells: list[str]
    flaw: str = ""
    in_doubt: bool = False
    is_cut_off: bool = False

    @property
    def raw(self) -> bytes:
        """The row as it may be shown."""
        return self.text.encode("utf-8", "replace")

    @property
    def is_blank(self) -> bool:
        """Whether nothing stands in it."""
        return not any(map(str.strip, self.cells))

    def check(self, width: int, *, exactly: bool = False) -> None:
        """Hold it against the header's *width*: empty cells may be missing at its end, as Excel leaves them out.

        Shape: *exactly*: none may; for who does not quote a comma, so that one cell too many is one that was split.

        Raises:
            InvalidEventError: it is no row of this table.
        """
        if self.flaw:
            raise InvalidEventError("", self.flaw)
        count = len(self.cells)
        if any(cell.strip() for cell in self.cells[width:]) or (exactly and count != width and not self.is_blank):
            raise InvalidEventError("", f"has {count} columns, the header {width}")
        if self.in_doubt and (count != width or any('"' in cell for cell in self.cells)):
            raise InvalidEventError("", "follows a quotation mark that is never closed, and may belong to it")
        if self.is_cut_off and count < width:
            raise InvalidEventError("", f"has {count} columns, the header {width}, and the file ends within the line")


def _rows(lines: "_Lines", delimiter: str, width: int, longest: int) -> Iterator[TableRow]:
    """Yield each row below the header."""
    while True:
        in_doubt = lines.in_doubt
        first = lines.take()
        if first is None:
            return
        if not in_doubt and len(first) <= longest and '"' not in first:  # csv would make no more of it
            plain = first.rstrip("\r\n")
            yield TableRow(
                lines.number, first, plain.split(delimiter) if plain else [], is_cut_off=len(plain) == len(first)
            )
            continue
        taken: list[str] = []
        flaw, cells = "", []
        try:
            cells = next(
                csv.reader(lines.feed(first, taken, 0 if in_doubt else longest), delimiter=delimiter, strict=True)
            )
        except csv.Error:
            flaw = "is not CSV: a quotation mark stands where none may"
        if any(len(line) >= (_LONGEST_FIELD if flaw else _LONGEST_LINE) for line in taken):
            flaw = f"is longer than {longest} characters"
        number = lines.number - len(taken) + 1
        # Several lines are one row where it fits the header, and not each of the lines after the first does so too.
        is_one = len(taken) == 1 or (
            not flaw and len(cells) == width and any(len(_cells(line, delimiter)) != width for line in taken[1:])
        )
        if not is_one:
            lines.give_back(taken[1:])
            flaw, cells = "opens a quotation mark that is never closed", []
        elif flaw and in_doubt:
            flaw = "follows a quotation mark that is never closed, and may belong to it"
        yield TableRow(
            number,
            taken[0],
            cells,
            flaw,
            in_doubt,
            is_cut_off=not taken[-1].endswith(("\n", "\r")),
        )


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


class _Lines:
    """The lines of a file, none so long that it could fill the memory; some may be given back to be read again."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._again: deque[str] = deque()
        self.number = 0
        self.skips = False
        """Whether a line that is too long is cut, and not the end of the file."""

    @property
    def in_doubt(self) -> bool:
        """Whether the next line was given back."""
        return bool(self._again)

    def take(self) -> str | None:
        """Return the next line; None: there is none.

        Raises:
            BodyError: it is no line of text.
        """
        if self._again:
            self.number += 1
            return self._again.popleft()
        try:
            line = rest = self._text.readline(_LONGEST_LINE)
            while self.skips and len(rest) == _LONGEST_LINE and not rest.endswith(("\n", "\r")):
                rest = self._text.readline(_LONGEST_LINE)
        except UnicodeError:
            raise BodyError(
                f"line {self.number + 1}",
                f"is not in the character set that the file began with ({self._text.encoding})",
            ) from None
        if len(line) == _LONGEST_LINE and not self.skips:
            raise BodyError(f"line {self.number + 1}", "is too long to be CSV")
        self.number += bool(line)
        return line or None

    def give_back(self, lines: list[str]) -> None:
        """Have *lines* read again, each for itself."""
        self._again.extendleft(reversed(lines))
        self.number -= len(lines)

    def feed(self, first: str, taken: list[str], longest: int) -> Iterator[str]:
        """Yield *first* and the lines after it until they have *longest* characters, and note them in *taken*."""
        line: str | None = first
        size = 0
        while line is not None:
            taken.append(line)
            size += len(line)
            yield line
            line = self.take() if size <= longest else None
