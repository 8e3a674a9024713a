"""How it went: outcomes and waits over an hour to ninety days, and the instances that a bar counts; the audit.

The audit says what operators did, and what they were not allowed to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from producers.console.charts import SERIES, WAITS, Steps, Svg, latency_chart, outcomes_chart, waits_chart
from producers.console.live import AsDrawn, Drawn, Rows, follow
from producers.console.picking import Picker
from producers.console.rendering import page
from producers.console.selection import Piece, Words, cursor_of, job_of, pieces
from producers.console.session import Visitor, typed_into, values_of
from producers.http.request import ledger_of
from producers.operations import reads
from producers.operations.job_control import AskError
from producers.operations.reads import instant_of
from shared.ledger import audit, latencies, tallies, views
from shared.ledger.audit import ActionFilter, ActionRecord
from shared.ledger.engine import Transaction, transaction
from shared.ledger.filters import has_control
from shared.ledger.tallies import Percentiles
from shared.pipeline import SYSTEMS, Stage

router = APIRouter(include_in_schema=False)

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
RANGES: dict[str, tuple[timedelta, timedelta]] = {
    "1h": (_HOUR, timedelta(minutes=1)),
    "6h": (6 * _HOUR, timedelta(minutes=5)),
    "24h": (_DAY, timedelta(minutes=15)),
    "7d": (7 * _DAY, 2 * _HOUR),
    "30d": (30 * _DAY, 8 * _HOUR),
    "90d": (90 * _DAY, _DAY),
}
"""What can be chosen: how long, and the step of its plot."""
_CHOSEN = "chosen"
_LONGEST = RANGES["90d"][0]
_MINUTES_KEPT = timedelta(days=7)
"""Further back there are hours only."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OUTCOMES = dict(SERIES)
_FOUND_MAX = 10_000
_ROWS = 50


@dataclass(frozen=True, slots=True)
class Range:
    """The time that is looked at.  *is_now*: it ends at the newest step.

    Shape: *name* one of `RANGES`, or `chosen` where from and to were: *as_chosen* how long, and the step of its plot.
    """

    name: str
    until: datetime
    is_now: bool
    as_chosen: tuple[timedelta, timedelta] | None = None

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return (self.as_chosen or RANGES[self.name])[0]

    @property
    def step(self) -> timedelta:
        """The step of its plot."""
        return (self.as_chosen or RANGES[self.name])[1]

    @classmethod
    def of(cls, words: Words, now: datetime) -> "Range":
        """Read it from a query: a range, or from and to; without either the last hour.

        Raises:
            AskError: the range is none of ours, from or to is no instant, or they do not fit.
        """
        since, until = _instant(words, "since", now), _instant(words, "until", now)
        name = words.get("range", "") or ("1h" if since is None else _CHOSEN)
        end = min(until or now, now)
        is_now = until is None or until >= now
        if since is None or name in RANGES:
            if name not in RANGES:
                raise AskError("range", f"must be one of {', '.join(RANGES)}")
            return cls(name, end, is_now)
        if since >= end:
            raise AskError("since", "must be before the end, and not ahead of now")
        if end - since > _LONGEST:
            raise AskError("since", f"must be at most {_LONGEST.days} days before the end")
        step = next(step for length, step in RANGES.values() if length >= end - since)
        if since < now - _MINUTES_KEPT:
            step = max(step, _HOUR)
        return cls(_CHOSEN, end, is_now, (step * -((since - end) // step), step))

    @property
    def steps(self) -> Steps:
        """The steps of its plot, the last one the one that its end lies in."""
        end = _EPOCH + self.step * -((_EPOCH - self.until) // self.step)
        return Steps(end - self.length, self.until if self.is_now else end, self.step)

    def lead(self, at: datetime, until: datetime, series: str | None) -> str | None:
        """Return the address of what a bar counts, or of a step drawn larger; None: it cannot be."""
        if series is not None:
            return f"/outcomes?{urlencode({'outcome': series, 'since': _text(at), 'until': _text(until)})}"
        closer = next((name for name, (length, step) in RANGES.items() if length >= until - at), None)
        if closer is None or RANGES[closer][1] >= self.step:
            return None
        return _address(closer, until)

    def moved(self, ranges: int) -> str:
        """Return the address of the same range so many ranges later."""
        until = self.steps.since + (ranges + 1) * self.length
        if self.name == _CHOSEN:
            return f"/history?{urlencode({'since': _text(until - self.length), 'until': _text(until)})}"
        return _address(self.name, until)


@dataclass(frozen=True, slots=True)
class StageChart:
    """What attempts of a stage took, drawn, and in all; *whole* None: there were none."""

    stage: Stage
    plot: Svg
    whole: Percentiles | None


@router.get("/history")
def show_history(request: Request, who: Visitor) -> Response:
    """Show outcomes, waits and outages of the chosen time."""
    now = datetime.now(UTC)
    content: dict[str, Any] = {
        "ranges": list(RANGES),
        "series": [name for name, _ in SERIES],
        "waits": [name for name, _ in WAITS],
        "picker": Picker.of(request, who, "/history", presets=()),
    }
    try:
        chosen = Range.of(request.query_params, now)
    except AskError as mistake:
        return page(request, "history/page.html", status=400, chosen=None, mistake=mistake, **content)
    steps = chosen.steps
    with transaction(ledger_of(request)) as tx:
        counted = tallies.counts(tx, since=steps.since, until=steps.until, step=steps.step)
        waited = tallies.waits(tx, since=steps.since, until=steps.until, step=steps.step)
        away = [one for one in tallies.outages(tx, since=steps.since) if one.from_at < steps.until]
        took = latencies.latencies(tx, since=steps.since, until=steps.until, step=steps.step)
        then = latencies.incidents_then(tx, since=steps.since, until=steps.until)
        marks = latencies.marks_then(tx, since=steps.since, until=steps.until)
    stages = [
        StageChart(
            stage,
            latency_chart(
                [one for one in took.steps if one.stage == stage],
                [one for one in then if one.stage == stage],
                marks,
                steps,
                SYSTEMS[stage],
            ),
            took.whole.get(stage),
        )
        for stage in Stage
    ]
    return page(
        request,
        "history/page.html",
        chosen=chosen,
        steps=steps,
        mistake=None,
        outages=away,
        plot=outcomes_chart(counted, away, steps, chosen.lead),
        wait_plot=waits_chart(waited, steps),
        percentiles=tallies.percentiles(waited),
        stages=stages,
        marks=marks,
        **content,
    )


@router.get("/outcomes")
def list_outcomes(request: Request, _: Visitor) -> Response:
    """List the instances that a bar of the plot counts."""
    words = request.query_params
    content: dict[str, Any] = {"outcome": words.get("outcome", ""), "since": None, "until": None, "found": None}
    try:
        outcomes = _outcomes(content["outcome"])
        now, before = datetime.now(UTC), cursor_of(words)
        since = _instant(words, "since", now) or now - _HOUR
        until = _instant(words, "until", now) or now
    except AskError as mistake:
        return page(request, "history/outcomes.html", status=400, mistake=mistake, **content)
    with transaction(ledger_of(request)) as tx:
        ids = tallies.happened(tx, outcomes, since=since, until=until, limit=_FOUND_MAX)
        found = reads.listed(tx, ids, limit=_ROWS, before=before)
        untold = views.unreported(tx, [int(one.instance_id) for one in found.items])
    content |= {"since": since, "until": until, "found": found, "untold": untold}
    return page(
        request,
        "history/outcomes.html",
        mistake=None,
        count=len(ids),
        more_than=len(ids) == _FOUND_MAX,
        before=before,
        asked={"outcome": content["outcome"], "since": _text(since), "until": _text(until)},
        **content,
    )


def _outcomes(name: str) -> list[str]:
    if name not in _OUTCOMES:
        raise AskError("outcome", f"must be one of {', '.join(_OUTCOMES)}")
    return sorted(_OUTCOMES[name])


def _instant(words: Words, name: str, now: datetime) -> datetime | None:
    try:
        return instant_of(name, words.get(name), now)
    except ValueError as error:
        raise AskError.of(error) from None


def _address(name: str, until: datetime) -> str:
    return f"/history?{urlencode({'range': name, 'until': _text(until)})}"


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


ROWS = 50

_PIECES_MAX = 5
_FIELDS = ("who", "what", "denied", "since", "until")
_DENIED = {"": None, "true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Line:
    """One action, what it was done to, and the address of the job that came of it, if any."""

    action: ActionRecord
    pieces: list[Piece]
    job: str


@router.get("/audit")
def show_audit(request: Request, who: Visitor) -> Response:
    """Show what operators did, newest first."""
    words = request.query_params
    typed = typed_into(words, _FIELDS)
    content: dict[str, Any] = {"typed": typed, "mistake": None, "lines": [], "next": None, "before": None, "follow": ""}
    content["picker"] = Picker.of(request, who, "/audit")
    try:
        where, before = _where(words), cursor_of(words)
    except AskError as mistake:
        return page(request, "audit/page.html", status=400, **content | {"mistake": mistake})
    with transaction(ledger_of(request)) as tx:
        found = audit.actions(tx, where, limit=ROWS, before=before)
    lines = [Line(one, pieces(one.asked, most=_PIECES_MAX), job_of(one.answer)) for one in found.items]
    if before is None:
        drawn = Drawn.of(_rows(found.items))
        content["follow"] = f"/live/audit?{urlencode({**typed, 'after': drawn.after, 'seen': drawn.seen})}"
    return page(request, "audit/page.html", **content | {"lines": lines, "next": found.next, "before": before})


@router.get("/live/audit")
async def follow_audit(request: Request, _: Visitor, drawn: AsDrawn) -> StreamingResponse:
    """Stream what is newer than the list that a page shows.

    Raises:
        AskError: the filter cannot be understood.
    """
    words = request.query_params
    where = _where(words)
    typed = typed_into(words, _FIELDS)

    def listed(tx: Transaction, limit: int, before: int | None) -> Rows:
        return _rows(audit.actions(tx, where, limit=limit, before=before).items)

    return follow(request, drawn, listed, shown=ROWS, address=f"/audit?{urlencode(typed)}" if typed else "/audit")


def _rows(actions: Sequence[ActionRecord]) -> Rows:
    return [(int(one.action_id), (one.answer,)) for one in actions]


def _where(words: Words) -> ActionFilter:
    now = datetime.now(UTC)
    try:
        since, until = (instant_of(name, words.get(name), now) for name in ("since", "until"))
    except ValueError as error:
        raise AskError.of(error) from None
    who, what, denied = values_of(words, "who"), values_of(words, "what"), words.get("denied", "")
    for name, values in (("who", who), ("what", what)):
        if any(map(has_control, values)):
            raise AskError(name, "contains a control character")
    if denied not in _DENIED:
        raise AskError("denied", "must be true or false")
    return ActionFilter(who, what, _DENIED[denied], since, until)
