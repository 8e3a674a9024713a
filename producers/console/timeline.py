"""What happened to an instance, as its page tells it: the stations of its way, and where the time went.  Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from shared.ledger.records import ActivityLine, InstanceRecord
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
