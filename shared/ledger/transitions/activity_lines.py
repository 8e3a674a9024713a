"""What an attempt leaves in the activity of its instances, and in which columns."""

import re
from dataclasses import dataclass

from sqlalchemy import text

from shared.ledger import packed_calls
from shared.lifecycle.verdicts import Advanced, Ending, ErrandEnded, Parked
from shared.pipeline import SyncStatus

_GOOD = (None, SyncStatus.SUCCESS)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class EndingLine:
    """An ending as a line of activity.  *id* is the instance's, or the errand's."""

    id: int
    instance_id: int
    member_number: str
    attempt: int
    ending: Ending

    @property
    def may_have_written(self) -> bool:
        """Whether its call may have changed something outside, or may yet."""
        is_unsure = not isinstance(self.ending, Advanced) and self.ending.unsure
        return is_unsure or any(call.method != "GET" for call in self.ending.line.calls)

    def noted(self, state: str) -> dict[str, object]:
        """Return what is noted of it; *state* is the one that the instance is in now."""
        line = self.ending.line
        return {
            "id": self.instance_id,
            "attempt": self.attempt or None,
            "state": state,
            "what": line.what,
            "code": line.code,
            "took_ms": line.took_ms,
            "calls": line.calls or None,
        }


def line_of(ending: Ending) -> EndingLine:
    """Return the line that *ending* is."""
    match ending:
        case Advanced(work=work):
            return EndingLine(work.instance_id, work.instance_id, work.member_number, work.attempt, ending)
        case Parked(instance_id=instance_id, attempt=attempt):
            return EndingLine(instance_id, instance_id, ending.member_number, attempt, ending)
        case ErrandEnded(errand_id=errand_id):
            return EndingLine(errand_id, ending.instance_id, ending.member_number, 0, ending)


def kept_calls(one: Advanced) -> tuple[object, bytes]:
    """Return the calls of an attempt as activity keeps them; packed where nobody else can be named in them."""
    succeeded = one.status in _GOOD and one.line.code is None
    return (succeeded and packed_calls.packed(one.line.calls)) or (one.line.calls or None, b"")


def named(task_id: str) -> dict[str, str | None]:
    """Return the two columns that name a task: as a uuid, which it mostly is, in half the room; or else as it is."""
    is_uuid = _UUID.fullmatch(task_id) is not None
    return {"task_uuid": task_id if is_uuid else None, "task_id": None if is_uuid else task_id or None}


NOTE = text("""
    insert into activity (instance_id, stage, attempt, state, what, code, took_ms, task_id, task_uuid, calls_json)
    select id, :stage, attempt, state, what, code, took_ms, :task_id, cast(:task_uuid as uuid), calls
    from json_to_recordset(cast(:rows as json))
         as r (id bigint, attempt int, state text, what text, code text, took_ms float8, calls json)
""")
"""Add a line to the activity of each."""
