"""Instances: the list and its filter, the same as a CSV file, the search that leads to them, and the page of one.

That page tells what happened to it: the stations of its way, and where the time went.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, pairwise
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import orjson
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from producers.console.live import AsDrawn, Drawn, Rows, follow, instance_rows, stream_parts
from producers.console.picking import Picker
from producers.console.rendering import page
from producers.console.selection import NAMES, FilterBar, TypedSelection, cursor_of, failures
from producers.console.session import Posted, Visitor, unmasker
from producers.http.auth import Right
from producers.http.operating import filed
from producers.http.request import ProblemError, invalid_parameter, ledger_of, settings_of
from producers.operations import advice, job_control, reads
from producers.operations.job_control import Operator
from producers.operations.reads import LIMIT_DEFAULT, LIMIT_MAX, id_of
from producers.operations.spreadsheet import csv_lines
from shared.errors import LedgerError
from shared.ledger import cause_notes, views
from shared.ledger.engine import Ledger, Transaction, transaction
from shared.ledger.filters import CONDITIONS, Filter, suggested
from shared.ledger.jobs import DISCARDED_FROM, REQUEUED_FROM, jobs_of
from shared.ledger.records import ActivityLine, InstanceRecord, Page
from shared.logs import logger
from shared.pipeline import FAILURE_STATUS, STAGES, SYSTEMS, Stage, State

_FAILED = (State.DEAD, State.REJECTED)
_GAPS = {State.HELD: "held", State.WAITING: "waiting to be tried again"}
_BEGINNING, _END = 20, 180


@dataclass(frozen=True, slots=True)
class Station:
    """One system on the way.  Shape: *kind* `done`, `here`, `failed` or `ahead`; *what* says so in words."""

    system: str
    kind: str
    what: str


@dataclass(frozen=True, slots=True)
class Share:
    """What took how much of the time.  Units: *took_ms* milliseconds; *begin* and *part* percent of the whole."""

    name: str
    took_ms: float
    begin: float
    part: float


@dataclass(frozen=True, slots=True)
class Lines:
    """The activity as it is shown: all of it, or its beginning and end, and how many are left out between."""

    first: Sequence[ActivityLine]
    left_out: int
    last: Sequence[ActivityLine]


def stations(record: InstanceRecord, activity: Sequence[ActivityLine]) -> list[Station]:
    """Return how far an instance is between Siebel and Siebel."""
    first = Station("Siebel", "done", f"sent this {record.operation}")
    way = [first, *(Station(SYSTEMS[stage], *_standing(record, stage)) for stage in STAGES)]
    # Siebel is also told that it fails, for now or for good, at a stage before.
    reports = (line for line in activity if line.stage == Stage.SIEBEL and line.took_ms is not None and not line.code)
    if record.status in FAILURE_STATUS.values() and any(reports):
        way[-1] = Station(SYSTEMS[Stage.SIEBEL], "done", f"was told {record.status}")
    return way


def _standing(record: InstanceRecord, stage: Stage) -> tuple[str, str]:
    here, at = STAGES.index(Stage(record.stage)), STAGES.index(stage)
    failed_at = -1 if record.failed_stage is None else STAGES.index(Stage(record.failed_stage))
    if record.state == State.COMPLETED:
        return "done", "was told" if stage is Stage.SIEBEL else "done"
    if record.state in _FAILED and record.failed_stage == stage:
        return "failed", "Data Error" if record.state == State.REJECTED else "given up"
    if record.state == State.REJECTED and at > failed_at:
        return ("done", "was told") if stage is Stage.SIEBEL else ("ahead", "not called")
    if record.state == State.REJECTED or at < here:
        return "done", "done"
    if record.finished_at is not None:
        return "ahead", "not reached"
    return ("here", record.state) if at == here else ("ahead", "not yet")


def shares(record: InstanceRecord, activity: Sequence[ActivityLine], now: datetime) -> list[Share]:
    """Return where the time went from acceptance to the end, or to *now*: at work in each system, and between."""
    spent: dict[str, float] = {}
    for name, took_ms in _spent(activity, None if record.finished_at else now):
        spent[name] = spent.get(name, 0.0) + took_ms
    whole = sum(spent.values())
    found, begin = [], 0.0
    for name, took_ms in spent.items():
        if took_ms > 0:
            part = 100 * took_ms / whole
            found.append(Share(name, took_ms, round(begin, 2), round(part, 2)))
            begin += part
    return found


def _spent(activity: Sequence[ActivityLine], now: datetime | None) -> Iterator[tuple[str, float]]:
    """Return what was done between each two lines; what comes after the end is not counted."""
    for before, line in pairwise(activity):
        if before.state not in {State.PENDING, State.RUNNING, *_GAPS} and line.state == before.state:
            continue  # it had ended, and nobody sent it on
        between_ms = max(0.0, (line.at - before.at).total_seconds() * 1000)
        worked_ms = min(line.took_ms or 0.0, between_ms)
        yield _gap(before), between_ms - worked_ms
        if line.stage:
            yield SYSTEMS[Stage(line.stage)], worked_ms
    if activity and now is not None:
        yield _gap(activity[-1]), max(0.0, (now - activity[-1].at).total_seconds() * 1000)


def _gap(before: ActivityLine) -> str:
    return "waiting for a person" if before.state in _FAILED else _GAPS.get(State(before.state), "queued")


def lines(activity: Sequence[ActivityLine]) -> Lines:
    """Return what of the activity is shown: a long outage leaves thousands of lines that say the same."""
    if len(activity) <= _BEGINNING + _END:
        return Lines(activity, 0, ())
    return Lines(activity[:_BEGINNING], len(activity) - _BEGINNING - _END, activity[-_END:])


log = logger(__name__)
router = APIRouter(include_in_schema=False)

_PATH = "/instances"
_TYPED_MAX = 200
_PARTS = {
    "facts": "instances/facts.html",
    "way": "instances/way.html",
    "activity": "instances/activity.html",
    "carried": "instances/carried.html",
}
Id = Annotated[str, Path()]


@router.get(_PATH)
def list_instances(request: Request, who: Visitor) -> Response:
    """List what matches, or say what of the filter cannot be understood."""
    query = request.query_params
    bar = FilterBar.of(query)
    if any(name in NAMES and not value.strip() for name, value in query.multi_items()):
        # A form sends its empty fields too; the address that people hand on goes without.
        return RedirectResponse(bar.asked.address(_PATH), 303)
    found, untold = None, set[str]()
    if bar.mistake is None:
        with transaction(ledger_of(request)) as tx:
            found = reads.instances(tx, bar.where, limit=LIMIT_DEFAULT, before=bar.before)
            untold = views.unreported(tx, [int(one.instance_id) for one in found.items])
    drawn = Drawn.of(instance_rows(found.items)) if found and not bar.before else None
    return page(
        request,
        "instances/list.html",
        picker=Picker.of(request, who, _PATH),
        status=400 if bar.mistake else 200,
        bar=bar,
        chips=bar.chips(_PATH),
        found=found,
        untold=untold,
        names=NAMES,
        conditions=CONDITIONS,
        follow=bar.asked.address(f"/live{_PATH}", after=str(drawn.after), seen=drawn.seen) if drawn else "",
    )


@router.get(f"/live{_PATH}")
async def follow_instances(request: Request, _: Visitor, drawn: AsDrawn) -> StreamingResponse:
    """Stream what is newer than the list that a page shows.

    Raises:
        AskError: the filter cannot be understood.
    """
    bar = FilterBar.of(request.query_params)
    if bar.mistake:
        raise bar.mistake

    def listed(tx: Transaction, limit: int, before: int | None) -> Rows:
        return instance_rows(reads.instances(tx, bar.where, limit=limit, before=before).items)

    return follow(request, drawn, listed, shown=LIMIT_DEFAULT, address=bar.asked.address(_PATH))


@router.get("/search")
def search(request: Request, who: Visitor, q: str = "") -> Response:
    """Lead to the member, by any of its ids, the instance, or that of the event; else to the instances that say so.

    Who may see people finds them by an exact e-mail address too; that it was done is recorded, the address is not.
    """
    words = "".join(filter(str.isprintable, q)).strip()[:_TYPED_MAX]
    if not words:
        return RedirectResponse("/instances", 303)
    with transaction(ledger_of(request)) as tx:
        meant = views.named(tx, words, id_of(words))
        if "@" in words and who.may(Right.UNMASKED):
            holders = reads.members_of_address(tx, words, unmasked_for=Operator(who.name, who.role))
            meant = replace(meant, members=meant.members or holders)
    if words in meant.members or (len(meant.members) == 1 and not meant.instance_id):
        address = f"/members/{quote(meant.members[0], safe='')}"
    elif meant.instance_id:
        address = f"/instances/{meant.instance_id}"
    elif meant.members:
        address = f"/instances?{urlencode([('member', number) for number in meant.members])}"
    else:
        address = f"/instances?{urlencode({'text': words})}"
    return RedirectResponse(address, 303)


@router.get("/suggestions")
def suggest(
    request: Request, _: Visitor, field: str, beginning: Annotated[str, Query(max_length=_TYPED_MAX)] = ""
) -> Response:
    """Return as JSON what may be meant.

    Raises:
        ProblemError: 400, nothing is suggested for this field.
    """
    words = "".join(filter(str.isprintable, beginning))
    try:
        with transaction(ledger_of(request)) as tx:
            items = suggested(tx, field, words)
    except ValueError as error:
        raise invalid_parameter(error) from None
    return Response(orjson.dumps({"items": items}), media_type="application/json")


@router.get("/instances/{instance_id}")
def show_instance(request: Request, _: Visitor, instance_id: Id) -> Response:
    """Show one instance, people masked."""
    return _page(request, _content(request, instance_id))


@router.get("/live/instances/{instance_id}")
async def follow_instance(request: Request, _: Visitor, instance_id: Id) -> StreamingResponse:
    """Stream the parts of the page as they change."""
    return stream_parts(request, _PARTS, lambda: _content(request, instance_id))


@router.post("/instances/{instance_id}/unmask")
def show_people(request: Request, who: Visitor, _: Posted, instance_id: Id) -> Response:
    """Show one instance with its people as they are, this once; it is recorded before.

    Raises:
        ProblemError: 403, or 404 there is no such instance.
    """
    asked = job_control.instances_asked([filed(instance_id)])
    operator = unmasker(request, who, asked)
    return _page(request, _content(request, instance_id, unmasked_for=operator))


@router.get("/instances/{instance_id}/unmask")
def show_masked(_: Visitor, instance_id: Id) -> Response:
    """Lead whoever opens the address of the unmasked page again to the masked one."""
    return RedirectResponse(f"/instances/{id_of(instance_id) or 0}", 303)


def _page(request: Request, content: dict[str, Any]) -> Response:
    return page(request, "instances/page.html", parts=_PARTS, **content)


def _content(request: Request, instance_id: str, *, unmasked_for: Operator | None = None) -> dict[str, Any]:
    number = id_of(instance_id)
    with transaction(ledger_of(request)) as tx:
        found = None if number is None else reads.instance_and_member(tx, number, unmasked_for=unmasked_for)
        if found is None or number is None:
            raise ProblemError(404, "no_such_instance", "There is no such instance, or it was pruned.")
        shown, member = found.instance, found.member
        neighbours = views.neighbours(tx, shown.member_number, number)
        is_fixed = shown.state in REQUEUED_FROM and bool(views.overtaken(tx, [number]))
        job = jobs_of(tx, [number]).get(shown.instance_id)
        untold = bool(views.unreported(tx, [number]))
        known = cause_notes.notes(tx) if shown.code else []
    now = datetime.now(UTC)
    return {
        "one": shown,
        "address": f"/instances/{shown.instance_id}",
        "member": member,
        "unmasked": unmasked_for is not None,
        "neighbours": neighbours,
        "fixed_by": member.applied_instance_id if is_fixed and member else None,
        "job": job,
        "known": cause_notes.on_cause(known, shown.failed_stage or shown.stage, shown.code, shown.error),
        "untold": untold,
        "trace_page": settings_of(request).tracing.page(shown.trace_id) if shown.trace_id else None,
        "stations": stations(shown, shown.activity),
        "shares": shares(shown, shown.activity, now),
        "systems": SYSTEMS,
        "lines": lines(shown.activity),
        "may_requeue": shown.state in REQUEUED_FROM,
        "may_discard": shown.state in DISCARDED_FROM,
        "may_undo": shown.state == State.DISCARDED
        and shown.finished_at is not None
        and (now - shown.finished_at).total_seconds() < settings_of(request).operations.undo_discard_s,
        "advice": advice,
    }


ROWS_MAX = 1_000_000
"""A file ends here, with a line that says so and how to go on: what opens such files takes no more rows."""

_COLUMNS = tuple(InstanceRecord.__dataclass_fields__)


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
    part, untold = _found(ledger, where, message, before)
    yield csv_lines([(*_COLUMNS, "status_told"), *(_cells(one, untold) for one in part.items)])
    count = len(part.items)
    while part.next:
        if count >= rows_max:
            yield csv_lines(
                [[f"# incomplete: {count} rows are the most; for the rest add cursor={part.next} to the query"]]
            )
            return
        try:
            part, untold = _found(ledger, where, message, int(part.next))
        except LedgerError as error:
            log.error("an export ends early", cause=str(error), rows=count)
            yield csv_lines([[f"# incomplete: the ledger went away; for the rest add cursor={part.next} to the query"]])
            return
        yield csv_lines(_cells(one, untold) for one in part.items)
        count += len(part.items)


def _found(ledger: Ledger, where: Filter, message: str, before: int | None) -> tuple[Page, set[str]]:
    with transaction(ledger) as tx:
        part = reads.failures(tx, where, message, limit=LIMIT_MAX, before=before)
        return part, views.unreported(tx, [int(one.instance_id) for one in part.items])


def _cells(record: InstanceRecord, untold: set[str]) -> list[str]:
    """Return a line's values as text."""
    cells = []
    for name in _COLUMNS:
        value = getattr(record, name)
        words = "" if value is None else str(value)
        if isinstance(value, datetime):
            words = value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        cells.append(words)
    told = "" if record.status is None else "no" if record.instance_id in untold else "yes"
    return [*cells, told]
