"""What Siebel's answers say: which error, which rows, whether a write was ours.  The one place that reads SBL codes.

The words of an error come in the language of the server; its SBL code does not.  A good answer names the rows that it
is about: one that does not name ours, or names an error beside it, is no good word about our member.  A page counts
when its rows stand behind the last one and in order, so that none is read twice and no reading goes on for ever; only
Siebel's own word that there are no more rows is the end.

Source: domain.md 3.1 (one S2, many S3, statuses S4, the form of errors S5 S6, SBL-DAT-00523 S17); facts.md 1.3
(PageSize, Total-Record-Count).
(A): SBL-EAI-04378 means no such record, as does a 404 without a code that says so in English; a 400, 409 or 422 is
about the values, a 500 may pass; ROW_IDs are sorted by code points, none before `0`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, Field

from shared.errors import DataError, OutcomeUnknownError, RowConflictError, StageError, UnavailableError
from shared.systems.answers import STRICT, Answer, Text, Word, fitted

SYSTEM = "Siebel"
MEMBER_NUMBER = "Member Number"
_CODE = re.compile(r"SBL-[A-Z]{3}-\d{5}")
_CHANGED_BY_ANOTHER = "SBL-DAT-00523"
_NO_ROWS = "SBL-EAI-04378"
_NO_DATA = "there is no data"
_ABOUT_VALUES = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY})
_NO_ERROR: tuple[object, ...] = (None, "", [], {}, False)
_REPLACED = "\N{REPLACEMENT CHARACTER}"
_COUNT = re.compile(r"\d{1,12}", re.ASCII)
PAGE_ROWS = 100
"""The most that Siebel answers at once."""
FIRST_ID = "0"
"""Before every ROW_ID.  An empty text would not do: in Oracle's SQL it is null, and nothing is greater."""
_LONGEST = 2000
"""Whoever shows it cuts it, when people are taken out of it: half a name would not be found."""


class _Id(BaseModel):
    """The part of a row by which it is read and written."""

    model_config = STRICT

    id: Word = Field(alias="Id")


class _Row(_Id):
    """The part of a row by which it is known."""

    member_number: Text | None = Field(None, alias=MEMBER_NUMBER)


@dataclass(frozen=True, slots=True)
class Row:
    """A member as Siebel answered it.

    Shape: *fields* by Siebel's labels, as they came; *is_altered*: something in them cannot be stored, and was
    replaced.
    """

    row_id: str
    member_number: str | None
    fields: Mapping[str, Any]
    is_altered: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Members in the order of their ROW_IDs; no rows: there are no more.

    Shape: *total* how many the query selects in all, None: Siebel did not say; *flawed* places from 1 of what has no
    usable ROW_ID, which says nothing of anybody.
    """

    rows: tuple[Row, ...]
    total: int | None
    flawed: tuple[int, ...] = ()

    @property
    def last_id(self) -> str | None:
        """After which ROW_ID the next page begins, None: this was the end."""
        return self.rows[-1].row_id if self.rows else None


def error_of(answer: Answer) -> StageError | None:
    """Return which error an answer is, None if it is a good one."""
    text, status = answer.text("ERROR"), answer.status
    if answer.ok and not _names_error(answer.document):
        return None
    said = text[:_LONGEST] or f"answered HTTP {status} without saying why"
    if is_conflict(answer):
        return RowConflictError(SYSTEM, said, status)
    if text and status in _ABOUT_VALUES:
        return DataError(SYSTEM, said, status)
    return UnavailableError(SYSTEM, said, status)


def _names_error(said: object) -> bool:
    """Return whether an answer, or a row in it, names an error, in whatever form, beside all that looks good."""
    return isinstance(said, dict) and said.get("ERROR") not in _NO_ERROR


def is_absent(answer: Answer) -> bool:
    """Return whether Siebel says that there is no such record."""
    text = answer.text("ERROR")
    if answer.ok or not text:
        return answer.status == HTTPStatus.NO_CONTENT
    codes = _CODE.findall(text)
    return _NO_ROWS in codes or (not codes and answer.status == HTTPStatus.NOT_FOUND and _NO_DATA in text.casefold())


def may_be_gone(answer: Answer) -> bool:
    """Return whether the row that was written to may not be there any more: worth asking, since asking is harmless."""
    is_not_found = answer.status == HTTPStatus.NOT_FOUND and bool(answer.text("ERROR"))
    return is_not_found or (not answer.ok and is_absent(answer))


def is_conflict(answer: Answer) -> bool:
    """Return whether somebody else changed the record since Siebel read it: read again and repeat (S17)."""
    return _CHANGED_BY_ANOTHER in answer.text("ERROR")


def may_be_out(error: StageError, answer: Answer | None) -> bool:
    """Return whether a write that met *error* may have been applied, or may still be; *answer* is what came, if any."""
    if answer is None:
        return isinstance(error, OutcomeUnknownError)
    is_unserved = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status == HTTPStatus.REQUEST_TIMEOUT
    return answer.ok or (is_unserved and not answer.text("ERROR"))


class Written:
    """The answer to a write of one row or of many; read once, however many ask."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._error = error_of(answer)
        self._rows: dict[str, list[dict[str, object]]] = {}
        for item in _items(answer.document) or []:
            if isinstance(item, dict) and isinstance(row_id := item.get("Id"), str):
                self._rows.setdefault(row_id, []).append(item)

    def check(self, row_id: str, member_number: str) -> None:
        """See whether it says that the row *row_id* was written.

        Raises:
            StageError: it is no good answer about this row of this member.
        """
        status = self._answer.status
        if self._error is not None:
            raise self._error
        if status == HTTPStatus.NO_CONTENT:
            return
        fits = (fitted(_Row, item) for item in self._rows.get(row_id, ()))
        ours = [row for row in fits if row is not None]
        if any(map(_names_error, self._rows.get(row_id, ()))):
            raise UnavailableError(SYSTEM, f"answered with the row and an error in it (HTTP {status})", status)
        if not ours:
            raise UnavailableError(SYSTEM, f"did not answer with the row that was written (HTTP {status})")
        if any(row.member_number not in {None, member_number} for row in ours):
            raise UnavailableError(SYSTEM, "answered with the row of another member", status)

    def part(self, row_id: str) -> object:
        """Return what it says of the row *row_id*.

        Shape: the row, or an error without its words, which may name another member; None: nothing.
        """
        document = self._answer.document
        if isinstance(document, dict) and isinstance(text := document.get("ERROR"), str):
            return {"ERROR": " ".join(_CODE.findall(text)) or "(about one of many)"}
        return next(iter(self._rows.get(row_id, ())), None)


def row_id_of(answer: Answer, member_number: str, claimed: str | None = None) -> str:
    """Return the ROW_ID of the one member that a query by member number found; of several the *claimed* one.

    Raises:
        DataError: there is none, or more than one.
        UnavailableError: Siebel did not answer the question.
    """
    row = row_of(answer, member_number, claimed)
    if row is None:
        raise DataError(SYSTEM, "no member with this Member Number", answer.status)
    return row.row_id


def row_of(answer: Answer, member_number: str, claimed: str | None = None) -> Row | None:
    """Return the row of the one member that a query by member number found; of several the *claimed* one; None: none.

    Raises:
        DataError: there is more than one.
        UnavailableError: Siebel did not answer the question.
    """
    rows = found(answer)
    ours = [row for row in rows if row.member_number == member_number]
    if rows and not ours:
        raise UnavailableError(SYSTEM, "answered with members that were not asked for", answer.status)
    if len(ours) > 1:
        ours = [row for row in ours if row.row_id == claimed]
        if len(ours) != 1:
            raise DataError(SYSTEM, "several members with this Member Number", answer.status)
    return ours[0] if ours else None


def page_of(answer: Answer, after: str) -> Page:
    """Return the page that *answer* is, to a query for the members after the ROW_ID *after*.

    One row that cannot be read stops no other; where no row can, it is no page.

    Raises:
        StageError: Siebel did not answer that question.
    """
    items = _answered(answer)
    read = [_row(item, answer) for item in items]
    rows = [row for row in read if row is not None]
    ids = [row.row_id for row in rows]
    if not items and answer.document is not None and answer.ok:
        raise UnavailableError(SYSTEM, "answered no rows, and not that there are no more", answer.status)
    if items and not rows:
        raise _unreadable(items, 0, answer)
    if len(items) > PAGE_ROWS:
        raise UnavailableError(SYSTEM, f"answered {len(items)} rows of {PAGE_ROWS} asked for", answer.status)
    if ids and ids[0] <= after:
        raise UnavailableError(SYSTEM, f"answered with row {ids[0]}, asked for those after {after}", answer.status)
    if (turn := next(((one, other) for one, other in pairwise(ids) if other <= one), None)) is not None:
        raise UnavailableError(SYSTEM, f"answered row {turn[1]} after row {turn[0]}, not in order", answer.status)
    total = answer.total_records
    flawed = tuple(place for place, row in enumerate(read, 1) if row is None)
    return Page(tuple(rows), int(total) if total is not None and _COUNT.fullmatch(total) else None, flawed)


def found(answer: Answer) -> list[Row]:
    """Return the rows that a query found.

    Raises:
        StageError: Siebel did not answer it.
    """
    rows = []
    items = _answered(answer)
    for place, item in enumerate(items):
        row = _row(item, answer)
        if row is None or fitted(_Row, item) is None:
            raise _unreadable(items, place, answer)
        rows.append(row)
    return rows


def _answered(answer: Answer) -> Sequence[object]:
    """Return what stands in place of the rows that a query found.

    Raises:
        StageError: Siebel did not answer it.
    """
    if is_absent(answer):
        return []
    if (error := error_of(answer)) is not None:
        raise error
    items = _items(answer.document)
    if items is None:
        raise UnavailableError(SYSTEM, f"answered something that is not rows (HTTP {answer.status})", answer.status)
    return items


def _row(item: object, answer: Answer) -> Row | None:
    """Return a row as it was answered, without a Member Number of another form; None: nobody can tell which it is."""
    if not isinstance(item, dict) or (known := fitted(_Id, item)) is None:
        return None
    is_altered = answer.is_altered and _REPLACED in str(item)
    if (named := fitted(_Row, item)) is None:
        return Row(known.id, None, {**item, MEMBER_NUMBER: None}, is_altered)
    return Row(named.id, named.member_number, item, is_altered)


def _unreadable(items: Sequence[object], place: int, answer: Answer) -> UnavailableError:
    what = f"answered rows of which number {place + 1} of {len(items)} {_flaw(items[place])} (HTTP {answer.status})"
    return UnavailableError(SYSTEM, what, answer.status)


def _flaw(item: object) -> str:
    """Say why *item* is no row, without what stands in it."""
    if not isinstance(item, dict):
        return "is no object"
    if "Id" not in item:
        return "has no Id"
    return f"has a {MEMBER_NUMBER} of another form" if fitted(_Id, item) is not None else "has an Id that is no ROW_ID"


def _items(document: object) -> Sequence[object] | None:
    """Return the rows of `{"items": [...]}`, where one may be an object, or of a bare array; None: it is neither."""
    items = document.get("items") if isinstance(document, dict) else document
    if isinstance(items, dict):
        return [items]
    return items if isinstance(items, list) else None
