"""A member's row, as Siebel answers or exports it, into what it says: an ordinary event, and how the sync went.

A row is a picture of a member, an event a whole one: what an event does not state is null.  So a row that leaves out
what every member has is no picture to make an event of (a light-weight component has no joined fields, and would blank
a name), and what else a row leaves out is named: `untold`.  A row that makes no event is kept with what is at fault.

The update that a row stands for is as new as its `Updated` and `Mod Id`, which also our own status writes move.

Source: facts.md 1.3 (light-weight components), 1.7 (a deleted row has its Row Id and nothing else); (A): what every
row has, `NEEDED`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from producers.intake.siebel_message import OF_DELETED, Terms, event_of, fold, is_deleted
from shared.errors import InvalidEventError
from shared.events import Member, MemberEvent
from shared.fields import OF_CONTENT
from shared.settings import Settings
from shared.systems.siebel import Row

NEEDED: Final = ("status", "first_name", "last_name", "email_address")
"""Fields that a whole row has, filled or empty."""
_OF_CHANGE = ("operation", "modification", "occurred_at")


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


@dataclass(frozen=True, slots=True)
class _Columns:
    """What the labels of a row mean; rows of one reading have the same ones.

    Shape: labels by field, in the order of preference; *lacks* is the label that a whole row would have.
    """

    of_change: tuple[tuple[str, tuple[str, ...]], ...]
    of_member: tuple[tuple[str, tuple[str, ...]], ...]
    spelt: Mapping[str, str]
    status: str | None
    error: str | None
    deleted: str | None
    untold: frozenset[str]
    lacks: str | None


class RecordReader:
    """Reads rows under the settings; *arrival* is how new a row is that does not say so itself."""

    def __init__(self, settings: Settings, arrival: datetime) -> None:
        self._terms = Terms.of(settings, arrival)
        self._status = fold(settings.siebel.status_field)
        self._error = fold(settings.siebel.error_field)
        self._known: dict[tuple[str, ...], _Columns] = {}

    def of_row(self, row: Row) -> SiebelRecord:
        """Read a row that Siebel answered."""
        fields = {label: value for label, value in row.fields.items() if label != "Id"} | {"row_id": row.row_id}
        if row.is_altered:
            flaw = InvalidEventError("", "holds something that cannot be stored")
            return SiebelRecord(row.row_id, row.member_number, None, flaw)
        return self.read(fields)

    def read(self, fields: Mapping[str, Any], line: int | None = None) -> SiebelRecord:
        """Read a row by its labels; *line*: of its file."""
        labels = tuple(fields)
        columns = self._known.get(labels)
        if columns is None:
            columns = self._known[labels] = self._columns(labels)
        member = {name: _first(fields, spelt) for name, spelt in columns.of_member}
        event, flaw, deleted = None, None, False
        try:
            deleted = columns.deleted is not None and is_deleted(columns.deleted, fields[columns.deleted])
            event = self._event(fields, member, columns, deleted=deleted)
        except InvalidEventError as error:
            flaw = error
        number = event.member.member_number if event else _text(member.get("member_number"))
        return SiebelRecord(
            _text(member.get("row_id")) or "",
            number or None,
            event,
            flaw,
            None if columns.status is None else _text(fields[columns.status]),
            None if columns.error is None else _text(fields[columns.error]),
            columns.untold,
            deleted,
            line,
        )

    def _event(
        self, fields: Mapping[str, Any], member: dict[str, Any], columns: _Columns, *, deleted: bool
    ) -> MemberEvent | None:
        stated = {name: value for name, spelt in columns.of_change if (value := _first(fields, spelt)) != ""}
        if deleted:
            stated["operation"] = "delete"
            if member.get("member_number", "") == "":
                return None
        elif columns.lacks is not None:
            raise InvalidEventError(columns.lacks, "is not among the fields of the row")
        return event_of(stated, member, columns.spelt, self._terms)

    def _columns(self, labels: tuple[str, ...]) -> _Columns:
        dialect = self._terms.dialect
        meant: dict[str, list[str]] = {}
        folded = {fold(label): label for label in labels}
        for label in labels:
            if (name := dialect.field_of(label)) is not None:
                meant.setdefault(name, []).append(label)
        lacking = next((name for name in NEEDED if name not in meant), None)
        return _Columns(
            tuple((name, tuple(meant[name])) for name in _OF_CHANGE if name in meant),
            tuple((name, tuple(meant[name])) for name in Member.model_fields if name in meant),
            {name: spelt[0] for name, spelt in meant.items()},
            folded.get(self._status),
            folded.get(self._error),
            folded.get(OF_DELETED),
            frozenset(OF_CONTENT) - meant.keys(),
            lacking and dialect.labels[lacking],
        )


def _first(fields: Mapping[str, Any], labels: tuple[str, ...]) -> Any:  # noqa: ANN401 - whatever JSON has
    """Return the first filled value, an empty text if all are null."""
    for label in labels:
        if (value := fields[label]) not in (None, ""):
            return value
    return ""


def _text(value: object) -> str | None:
    """Return what stands there as text; null is empty, and what is no text tells nothing."""
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else None
