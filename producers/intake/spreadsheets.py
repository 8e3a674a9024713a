"""What spreadsheets do to the cells of a table before it gets here, and how to tell.

Excel and its like turn a long number into `1.23457E+11`, a code into a date, and write `="00123"`, `'00123` or `123.0`.
The digits that are gone do not come back, and the same text may stand for many members: such a cell refuses its row.
"""

import re

from shared.event_values import is_rounded

_DAMAGED = "is as a spreadsheet writes it, and not as it was: make the column text, and export again"
_CODES = frozenset({"member_number", "row_id", "program_id", "event_id", "postal_code", "ct_city_id"})
"""Fields whose digits are no number."""
_NAMES = frozenset({"member_number", "row_id", "event_id"})
_FAILED = re.compile(r"#(?:N/A|REF!|VALUE!|NAME\?|NULL!|NUM!|DIV/0!|#+)", re.IGNORECASE)
_POWER = re.compile(r"[+-]?\d+(?:[.,]\d+)?E[+-]?\d+", re.IGNORECASE | re.ASCII)
_DECIMAL = re.compile(r"[+-]?\d+[.,]0*", re.ASCII)
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DATE = re.compile(rf"\d{{1,2}}-(?:{_MONTHS})(?:-\d{{2,4}})?|(?:{_MONTHS})-\d{{2,4}}", re.IGNORECASE | re.ASCII)


def damage(field: str, cell: str) -> str | None:
    """Say what a spreadsheet has done to the *cell* of a field; None: nothing that shows."""
    cell = cell.strip()
    is_gone = cell.startswith("=") or _FAILED.fullmatch(cell) is not None
    if field in _CODES:
        is_gone |= cell.startswith("'") or is_rounded(cell)
        is_gone |= any(pattern.fullmatch(cell) is not None for pattern in (_POWER, _DECIMAL))
    if field in _NAMES:
        is_gone |= _DATE.fullmatch(cell) is not None
    is_gone |= field == "date_of_birth" and cell == "0"  # how it shows a date of nothing
    return _DAMAGED if is_gone else None
