"""A member's row, as Siebel answers or exports it, into what it says: an ordinary event, and how the sync went.

A row is a picture of a member, an event a whole one: what an event does not state is null.  So a row that leaves out
what every member has is no picture to make an event of (a light-weight component has no joined fields, and would blank
a name), and what else a row leaves out is named: `untold`.  A row that makes no event is kept with what is at fault.

The update that a row stands for is as new as its `Updated` and `Mod Id`, which also our own status writes move.

Siebel's Data Export quotes a cell that holds a line end or a quotation mark; of commas its book says nothing.  So a row
of its file counts only if it has exactly as many cells as the header.

Source: facts.md 1.3 (light-weight components), 1.7 (the columns of the export; a deleted row has its Row Id and nothing
else); (A): what every row has, `NEEDED`.
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import itemgetter
from typing import Any, Final, NamedTuple

from producers.intake.csv_rows import CODES, Table, TableRow, check_cell
from producers.intake.refused import BodyError, RefusedRowError
from producers.intake.siebel_message import OF_DELETED, Terms, event_of, is_deleted, translate
from producers.intake.spellings import fold
from shared.errors import InvalidEventError
from shared.events import Member, MemberEvent
from shared.fields import OF_CONTENT
from shared.plain_events import Plain, plain_values
from shared.settings import Settings
from shared.systems.siebel_answers import Row

NEEDED: Final = ("status", "first_name", "last_name", "email_address")
"""Fields that a whole row has, filled or empty."""
_OF_CHANGE = ("operation", "modification", "occurred_at")
_LONGEST_ROW = 64_000
_FORMS_KNOWN = 100
_FORMULA = re.compile(r"\0\s*[=#]")
_NO_PLAIN_CODE = re.compile(r"[.,']|\dE|[a-z]{3}|(?:^|\0)\s*0\s*(?:$|\0)", re.IGNORECASE | re.ASCII)
"""In codes one beside the other: without any of these none of them is a spreadsheet's work."""


@dataclass(frozen=True, slots=True)
class SiebelRecord:
    """What a row says of its member.

    Shape: *event* is the member as the row has it, None: the row makes none, and *flaw* says which field is at fault,
    or it is a deleted row that has its Row Id and nothing else; *sync_status* and *sync_error* as they stand there,
    None: the row does not tell; *untold* the fields of the content that the row leaves out, which the event has as
    null; *line* of its file.
    """

    row_id: str
    member_number: str | None
    event: MemberEvent | None
    flaw: InvalidEventError | None = None
    sync_status: str | None = None
    sync_error: str | None = None
    untold: frozenset[str] = frozenset()
    is_deleted: bool = False
    line: int | None = None


class PlainRecord(NamedTuple):
    """A `SiebelRecord` without a flaw whose event was seen at a glance, as values: what most rows of a file are."""

    row_id: str
    event: Plain
    sync_status: str | None
    sync_error: str | None
    untold: Sequence[str]
    line: int


@dataclass(frozen=True, slots=True)
class _Columns:
    """What the places of a row mean; rows of one reading have the same ones.

    Shape: the places of each field, in the order of preference; *codes* those of fields whose digits are no number;
    *lacks* are the labels that a whole row would have; *names* of the member's fields and their cells by *cells_of*,
    None: some are told twice.
    """

    of_change: tuple[tuple[str, tuple[int, ...]], ...]
    of_member: tuple[tuple[str, tuple[int, ...]], ...]
    spelt: Mapping[str, str]
    labels: tuple[str, ...]
    fields: tuple[str | None, ...]
    codes: tuple[int, ...]
    status: int | None
    error: int | None
    deleted: int | None
    untold: frozenset[str]
    lacks: tuple[str, ...]
    left_out: tuple[str, ...]
    names: tuple[str, ...]
    cells_of: Callable[[Sequence[str]], tuple[str, ...]] | None


class RecordReader:
    """Reads rows under the settings; *arrival* is how new a row is that does not say so itself."""

    def __init__(self, settings: Settings, arrival: datetime) -> None:
        self._terms = Terms.of(settings, arrival)
        self._status = fold(settings.siebel.status_field)
        self._error = fold(settings.siebel.error_field)
        self._known: dict[tuple[str, ...], _Columns] = {}

    def of_row(self, row: Row) -> SiebelRecord:
        """Read a row that Siebel answered."""
        if row.is_altered:
            flaw = InvalidEventError("", "holds something that cannot be stored")
            return SiebelRecord(row.row_id, row.member_number, None, flaw)
        labels = tuple("Row Id" if label == "Id" else label for label in row.fields)
        return self._read(self._columns(labels), tuple(row.fields.values()))

    def read_export(self, stream: io.BufferedReader) -> Iterator[SiebelRecord | PlainRecord]:
        """Read a file of Siebel's Data Export, full or incremental, in its order; blank rows count for nothing.

        Shape: the flaw of a row is a `RefusedRowError`, which says its line and column.

        Raises:
            BodyError: it is no such file, or cannot be read further.
        """
        table = Table(stream)
        try:
            columns = self._columns(tuple(table.names))
            for name in ("row_id", "member_number", *NEEDED):
                if name not in columns.fields:
                    raise BodyError(table.where, f"has no column {self._terms.dialect.labels[name]}")
            for row in table.rows(_LONGEST_ROW):
                if plain := self._plain(columns, row):
                    yield plain
                elif row.flaw or not row.is_blank:
                    yield self._exported(columns, row)
        finally:
            table.leave()

    def _plain(self, columns: _Columns, row: TableRow) -> PlainRecord | None:
        """Read a row at a glance; None: `_exported` reads it.  A property test holds both against each other."""
        cells = row.cells
        if columns.cells_of is None or row.flaw or row.in_doubt or len(cells) != len(columns.labels):
            return None
        if columns.deleted is not None and cells[columns.deleted] != "N":
            return None
        codes = "\0".join([cells[at] for at in columns.codes])
        whole = "\0".join(cells)
        if "=" in whole or "#" in whole or _NO_PLAIN_CODE.search(codes):
            try:
                _check_cells(columns, cells)
            except InvalidEventError:
                return None
        member = dict(zip(columns.names, columns.cells_of(cells), strict=True))
        stated = {name: cell for name, places in columns.of_change if (cell := _first(cells, places))}
        event = self._at_a_glance(stated, member)
        status = None if columns.status is None else cells[columns.status].strip()
        error = None if columns.error is None else cells[columns.error].strip()
        if event is None or not f"{status}{error}".isprintable():
            return None
        return PlainRecord(event.member["row_id"], event, status, error, columns.left_out, row.line)

    def _at_a_glance(self, stated: dict[str, Any], member: Mapping[str, str]) -> Plain | None:
        terms = self._terms
        if terms.arrival is None:
            return None
        try:
            translate(stated, terms.dialect.zone, has_default=True)
        except InvalidEventError:
            return None
        return plain_values(stated, member, max_bytes=terms.max_event_bytes, arrival=terms.arrival)

    def _exported(self, columns: _Columns, row: TableRow) -> SiebelRecord:
        try:
            row.check(len(columns.labels), exactly=True)
            _check_cells(columns, row.cells)
            found = self._read(columns, row.cells, row.line)
        except InvalidEventError as flaw:
            whose = dict(zip(columns.fields, row.cells, strict=True)) if len(row.cells) == len(columns.fields) else {}
            found = SiebelRecord(whose.get("row_id", ""), whose.get("member_number") or None, None, flaw, line=row.line)
        if found.flaw is None:
            return found
        return replace(found, flaw=RefusedRowError(found.flaw.field, found.flaw.reason, row.line, found.member_number))

    def _read(self, columns: _Columns, values: Sequence[Any], line: int | None = None) -> SiebelRecord:
        member = {name: _first(values, places) for name, places in columns.of_member}
        event, flaw, deleted = None, None, False
        try:
            at = columns.deleted
            deleted = at is not None and is_deleted(columns.labels[at], values[at])
            event = self._event(columns, values, member, deleted=deleted)
        except InvalidEventError as error:
            flaw = error
        number = event.member.member_number if event else _text(member.get("member_number"))
        return SiebelRecord(
            _text(member.get("row_id")) or "",
            number or None,
            event,
            flaw,
            None if columns.status is None else _text(values[columns.status]),
            None if columns.error is None else _text(values[columns.error]),
            columns.untold,
            deleted,
            line,
        )

    def _event(
        self, columns: _Columns, values: Sequence[Any], member: dict[str, Any], *, deleted: bool
    ) -> MemberEvent | None:
        stated = {name: value for name, places in columns.of_change if (value := _first(values, places)) != ""}
        if deleted:
            stated["operation"] = "delete"
            if member.get("member_number", "") == "":
                return None
        elif columns.lacks:
            first, *others = columns.lacks
            more = f", nor are {', '.join(others)}" if others else ""
            raise InvalidEventError(first, f"is not among the fields of the row{more}")
        return event_of(stated, member, columns.spelt, self._terms)

    def _columns(self, labels: tuple[str, ...]) -> _Columns:
        known = self._known.get(labels)
        if known is not None:
            return known
        dialect = self._terms.dialect
        folded = {fold(label): at for at, label in enumerate(labels)}
        fields = tuple(dialect.field_of(label) for label in labels)
        places = {name: tuple(at for at, field in enumerate(fields) if field == name) for name in fields if name}
        if len(self._known) >= _FORMS_KNOWN:
            self._known.clear()
        names = tuple(name for name in Member.model_fields if name in places)
        untold = frozenset(OF_CONTENT) - places.keys()
        lacks = tuple(dialect.labels[name] for name in NEEDED if name not in places)
        is_plain = not lacks and all(len(places[name]) == 1 for name in names)
        return self._known.setdefault(
            labels,
            _Columns(
                tuple((name, places[name]) for name in _OF_CHANGE if name in places),
                tuple((name, places[name]) for name in names),
                {name: labels[at[0]] for name, at in places.items()},
                labels,
                fields,
                tuple(at for at, field in enumerate(fields) if field in CODES or field == "date_of_birth"),
                folded.get(self._status),
                folded.get(self._error),
                folded.get(OF_DELETED),
                untold,
                lacks,
                tuple(sorted(untold)),
                names,
                itemgetter(*(places[name][0] for name in names)) if is_plain else None,
            ),
        )


def _check_cells(columns: _Columns, cells: Sequence[str]) -> None:
    """Refuse a row in which a spreadsheet has written."""
    has_formula = _FORMULA.search("\0" + "\0".join(cells)) is not None
    for at in range(len(cells)) if has_formula else columns.codes:
        if (field := columns.fields[at]) is not None:
            check_cell(columns.labels[at], field, cells[at])


def _first(values: Sequence[Any], places: tuple[int, ...]) -> Any:  # noqa: ANN401 - whatever JSON has
    """Return the first filled value, an empty text if all are null."""
    for at in places:
        value = values[at]
        if value is not None and value != "":
            return value
    return ""


def _text(value: object) -> str | None:
    """Return what stands there as text; null is empty, and what is no text tells nothing."""
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else None
