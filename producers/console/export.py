"""The list of instances as a CSV file: everything that matches, page by page, as it is read."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from io import StringIO
from itertools import chain

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from producers.console.selection import FilterBar, TypedSelection, cursor_of, failures
from producers.console.session import Visitor
from producers.http.request import ledger_of
from producers.operations import reads
from producers.operations.filtering import LIMIT_MAX
from shared.errors import LedgerError
from shared.ledger import views
from shared.ledger.engine import Ledger, transaction
from shared.ledger.filters import Filter
from shared.ledger.records import InstanceRecord, Page
from shared.logs import logger
from shared.pipeline import State

log = logger(__name__)
router = APIRouter()

ROWS_MAX = 1_000_000
"""A file ends here, with a line that says so and how to go on: what opens such files takes no more rows."""

_COLUMNS = tuple(InstanceRecord.__dataclass_fields__)
_TOLD = "status_told"
"""The last column: whether Siebel has been told the status."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What makes a spreadsheet calculate a cell instead of showing it."""


@router.get("/instances.csv")
def export_instances(request: Request, _: Visitor) -> StreamingResponse:
    """Return the instances that match, people masked, newest first.

    Raises:
        AskError: the filter or the cursor cannot be understood.
    """
    bar = FilterBar.of(request.query_params)
    if bar.mistake:
        raise bar.mistake
    return _file("instances", exported(ledger_of(request), bar.where, bar.before))


@router.get("/dead-letters.csv")
def export_letters(request: Request, _: Visitor) -> StreamingResponse:
    """Return the dead letters or Data Errors that match, of one cause where a message is given.

    Raises:
        AskError: the filter or the cursor cannot be understood.
    """
    asked = TypedSelection.of(request.query_params)
    asked = asked if asked.one("state") else asked.narrowed(state=State.DEAD)
    where, message = failures(asked.where()), asked.message()
    before = cursor_of(request.query_params)
    return _file("dead-letters", exported(ledger_of(request), where, before, message=message))


def _file(of: str, parts: Iterator[str]) -> StreamingResponse:
    first = next(parts)  # before the answer begins: a ledger that is away is an error, not a file
    name = f"membersync-{of}-{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(chain([first], parts), media_type="text/csv; header=present", headers=headers)


def exported(
    ledger: Ledger, where: Filter, before: int | None = None, *, message: str = "", rows_max: int = ROWS_MAX
) -> Iterator[str]:
    """Return the file in parts, a page and a transaction each; when the ledger goes away, its last line says so.

    Shape: *message* is that of a cause, where only its instances are wanted.

    Raises:
        LedgerError: it is away from the start.
    """
    page, untold = _page(ledger, where, message, before)
    yield _lines([(*_COLUMNS, _TOLD), *(_cells(one, untold) for one in page.items)])
    count = len(page.items)
    while page.next:
        if count >= rows_max:
            yield _lines(
                [[f"# incomplete: {count} rows are the most; for the rest add cursor={page.next} to the query"]]
            )
            return
        try:
            page, untold = _page(ledger, where, message, int(page.next))
        except LedgerError as error:
            log.error("an export ends early", cause=str(error), rows=count)
            yield _lines([[f"# incomplete: the ledger went away; for the rest add cursor={page.next} to the query"]])
            return
        yield _lines(_cells(one, untold) for one in page.items)
        count += len(page.items)


def _page(ledger: Ledger, where: Filter, message: str, before: int | None) -> tuple[Page, set[str]]:
    with transaction(ledger) as tx:
        page = reads.failures(tx, where, message, limit=LIMIT_MAX, before=before)
        return page, views.unreported(tx, [int(one.instance_id) for one in page.items])


def _cells(record: InstanceRecord, untold: set[str]) -> list[str]:
    """Return a line's values as text that a spreadsheet shows as it is."""
    cells = []
    for name in _COLUMNS:
        value = getattr(record, name)
        words = "" if value is None else str(value)
        if isinstance(value, datetime):
            words = value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        cells.append(f"'{words}" if words.startswith(_FORMULA) else words)
    told = "" if record.status is None else "no" if record.instance_id in untold else "yes"
    return [*cells, told]


def _lines(rows: Iterable[Sequence[str]]) -> str:
    written = StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue()
