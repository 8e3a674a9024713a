"""How an attempt ended for one member, in the words of logs, traces and Flower: nothing that could be a person's."""

from collections.abc import Sequence

from shared import spans
from shared.instances import Errand, Work
from shared.lifecycle.verdicts import Advanced, Ending, ErrandEnded, Parked
from shared.pipeline import SyncStatus

_ERRANDS = {
    Errand.REPORT: "reported",
    Errand.READ_BACK: "read_back",
    Errand.PROBE: "probed",
    Errand.TELL_AGAIN: "told_again",
    Errand.RESEND: "resent",
    Errand.RECREATE: "recreated",
    Errand.PARK: "parked",
}


def outcome(ending: Ending) -> str:
    """Return the word for an ending."""
    match ending:
        case Advanced(status=SyncStatus.DATA_ERROR):
            return "data_error"
        case Advanced():
            return "done"
        case Parked(state=state):
            return str(state)
        case ErrandEnded(errand=errand):
            return _ERRANDS[errand]


def attributes(work: Work, ending: Ending) -> spans.Attributes:
    """Return what a trace shows of an attempt."""
    line = ending.line
    found: dict[str, str | int | float | Sequence[str]] = {
        "membersync.instance_id": work.instance_id,
        "membersync.attempt": work.attempt,
        "membersync.outcome": outcome(ending),
    }
    if line.took_ms is not None:
        found["membersync.took_ms"] = line.took_ms
    if line.code:
        found["membersync.code"] = line.code
    if line.calls:
        found["membersync.calls"] = " ".join(f"{call.method} {call.http_status or '-'}" for call in line.calls)
    return found
