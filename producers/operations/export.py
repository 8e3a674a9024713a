"""Exports: outcomes, attempts or cases, row by row, however many there are.

They are read in pages from the newest id down, each in a transaction of its own, so that no snapshot is held and no
more than a page is in memory; what comes meanwhile is not in it.  Columns never change their sense or place; new ones
come at the end.  People are masked.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import orjson

from producers.operations import cases, reads
from producers.operations.cases import Sees
from producers.operations.spreadsheet import csv_lines
from shared.ledger import case_facts, views
from shared.ledger.engine import Ledger, Transaction, transaction
from shared.ledger.filters import Filter, matching
from shared.ledger.records import ActivityLine, InstanceRecord
from shared.masking import mask_text
from shared.pipeline import QUEUED, State

_PAGE = 500
Row = dict[str, Any]
_Page = tuple[list[Row], int | None]


class What(StrEnum):
    """What is exported."""

    OUTCOMES = "outcomes"
    """What each event came to: instances that have ended, unless the filter names states."""
    ATTEMPTS = "attempts"
    """Each try of a stage, of the instances that match."""
    CASES = "cases"
    """Data Errors as cases, open and closed, whose refused instance matches."""


class Format(StrEnum):
    """How a row is written."""

    NDJSON = "ndjson"
    CSV = "csv"


MEDIA_TYPES = {Format.NDJSON: "application/x-ndjson", Format.CSV: "text/csv; charset=utf-8"}
ENDED = tuple(state for state in State if state not in (*QUEUED, State.RUNNING))
_OUTCOME = (
    *("instance_id", "event_id", "member_number", "operation", "lane", "origin", "state", "status", "code"),
    *("failed_stage", "error", "reason", "modification", "occurred_at", "accepted_at", "finished_at", "resubmits"),
)
_ATTEMPT = (
    *("instance_id", "member_number", "at", "stage", "attempt", "state", "code", "what", "took_ms", "calls"),
    *("http_status", "task_id"),
)
COLUMNS: dict[What, Sequence[str]] = {
    What.OUTCOMES: _OUTCOME,
    What.ATTEMPTS: _ATTEMPT,
    What.CASES: cases.COLUMNS,
}
"""The columns of each, in order."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be exported, and how.

    Shape: *limit* rows at most, None: all; *sees_holders*: who has an address may be told.
    """

    what: What
    where: Filter = field(default_factory=Filter)
    form: Format = Format.NDJSON
    limit: int | None = None
    sees_holders: bool = False


def exported(ledger: Ledger, wanted: Wanted) -> Iterator[str]:
    """Give what matches, newest first, piece by piece; CSV begins with its columns."""
    page, left, before = _PAGES[wanted.what], wanted.limit, None
    if wanted.form is Format.CSV:
        yield csv_lines([COLUMNS[wanted.what]])
    while left is None or left > 0:
        with transaction(ledger) as tx:
            rows, before = page(tx, wanted.where, before, Sees(holder=wanted.sees_holders))
        rows = rows[:left]
        left = None if left is None else left - len(rows)
        if rows:
            yield _written(rows, wanted.form)
        if before is None:
            return


def _written(rows: Sequence[Row], form: Format) -> str:
    if form is Format.CSV:
        return csv_lines([*row.values()] for row in rows)
    return "".join(f"{orjson.dumps(row, option=orjson.OPT_UTC_Z).decode()}\n" for row in rows)


def _outcomes(tx: Transaction, where: Filter, before: int | None, _: Sees) -> _Page:
    ended = where if where.states else replace(where, states=ENDED)
    page = reads.instances(tx, ended, limit=_PAGE, before=before)
    return [_picked(one, _OUTCOME) for one in page.items], _cursor(page.next)


def _attempts(tx: Transaction, where: Filter, before: int | None, _: Sees) -> _Page:
    page = reads.instances(tx, where, limit=_PAGE, before=before)
    lines = views.activity(tx, [int(one.instance_id) for one in page.items])
    rows = [
        _attempt(one, line)
        for one in page.items
        for line in reversed(lines.get(int(one.instance_id), []))
        if line.attempt is not None
    ]
    return rows, _cursor(page.next)


def _attempt(of: InstanceRecord, line: ActivityLine) -> Row:
    more = {
        "instance_id": of.instance_id,
        "member_number": of.member_number,
        "what": mask_text(line.what),
        "calls": len(line.calls),
        "http_status": line.calls[-1].get("http_status") if line.calls else None,
    }
    return {name: more[name] if name in more else getattr(line, name) for name in _ATTEMPT}


def _cases(tx: Transaction, where: Filter, before: int | None, sees: Sees) -> _Page:
    ids = case_facts.newest_ids(tx, limit=_PAGE, before=before)
    kept = ids
    if not where.is_empty:
        among = "id = any(cast(:those as bigint[]))"
        statement, parameters = matching(tx, where, limit=_PAGE, among=among)
        matched = set(tx.execute(statement, parameters | {"those": [one for _, one in ids]}).scalars())
        kept = [one for one in ids if one[1] in matched]
    rows = [cases.row_of(one) for one in cases.records(tx, [one for one, _ in kept], sees)]
    return rows, ids[-1][0] if len(ids) == _PAGE else None


def _picked(record: object, names: Sequence[str]) -> Row:
    return {name: getattr(record, name) for name in names}


def _cursor(following: str | None) -> int | None:
    return None if following is None else int(following)


_PAGES: dict[What, Callable[[Transaction, Filter, int | None, Sees], _Page]] = {
    What.OUTCOMES: _outcomes,
    What.ATTEMPTS: _attempts,
    What.CASES: _cases,
}
