"""What Siebel's answers mean; the only place that reads SBL codes and Siebel's texts.  Pure.

Source: domain.md 3.1 (S4 statuses, S5 S6 the form of errors, S17 SBL-DAT-00523).
(A): the text of a 404 tells a missing record from a wrong object name; a 400, 409 or 422 is about the values, a 500 may
pass.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from shared.errors import DataError, StageError, UnavailableError
from workers.transport import Answer

SYSTEM = "Siebel"
MEMBER_NUMBER = "Member Number"
_CHANGED_BY_ANOTHER = "SBL-DAT-00523"
_NO_DATA = "there is no data"
_ABOUT_VALUES = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY})
_LONGEST = 200


def error_of(answer: Answer) -> StageError | None:
    """Say which error an answer is, None if it is a good one."""
    text, status = answer.text("ERROR"), answer.status
    if answer.ok and not text:
        return None
    if is_absent(answer):
        return DataError(SYSTEM, "no member with this Member Number", status)
    said = text[:_LONGEST] or f"answered HTTP {status} without saying why"
    if text and status in _ABOUT_VALUES:
        return DataError(SYSTEM, said, status)
    return UnavailableError(SYSTEM, said, status)


def is_absent(answer: Answer) -> bool:
    """Say whether the record is not there."""
    return answer.status == HTTPStatus.NOT_FOUND and _NO_DATA in answer.text("ERROR").casefold()


def is_conflict(answer: Answer) -> bool:
    """Say whether somebody else changed the record since Siebel read it: read again and repeat (S17)."""
    return _CHANGED_BY_ANOTHER in answer.text("ERROR")


def row_id_of(answer: Answer, member_number: str) -> str:
    """Give the ROW_ID of the one member that a query by member number found.

    Raises:
        DataError: there is none, or more than one.
        UnavailableError: Siebel did not answer the question.
    """
    if answer.status != HTTPStatus.NO_CONTENT and (error := error_of(answer)) is not None:
        raise error
    rows = [row for row in _items(answer) if row.get(MEMBER_NUMBER, member_number) == member_number]
    if not rows:
        raise DataError(SYSTEM, "no member with this Member Number", answer.status)
    if len(rows) > 1:
        raise DataError(SYSTEM, "several members with this Member Number", answer.status)
    row_id = rows[0].get("Id")
    if not isinstance(row_id, str) or not row_id:
        raise UnavailableError(SYSTEM, "found the member but did not give its Id", answer.status)
    return row_id


def _items(answer: Answer) -> list[Mapping[str, Any]]:
    document = answer.document
    items = document.get("items") if isinstance(document, dict) else document
    if isinstance(items, dict):
        items = [items]
    return [item for item in items or [] if isinstance(item, dict)]
