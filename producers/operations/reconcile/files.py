"""Files that a run is handed: read where they lie, packed for the ledger, unpacked, and joined with our members.

What a row says goes through the ledger, not the row: whoever carries the run on needs no file.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from producers.intake.profiles import Profile, read_profiles
from producers.intake.siebel_rows import RecordReader, SiebelRecord
from producers.operations.reconcile.fields import instant_of
from shared.errors import InvalidEventError
from shared.events import dump_event, restored_event
from shared.settings import Settings

ROWS_PACKED = 1_000
_LEVEL = 1
_CLOCKS = timedelta(seconds=5)
"""How far its clock may be off, and its dates have no parts of a second."""
_INCREMENTAL = "incremental"
"""What Siebel calls a file that has only what changed."""


@dataclass(frozen=True, slots=True)
class HandedOver:
    """A file of one side: its *name*, its rows, and whether it has only what changed."""

    name: str
    rows: Iterable[Mapping[str, Any]]
    is_partial: bool = False


@contextmanager
def siebel_file(path: Path, of: Settings) -> Iterator[HandedOver]:
    """Open an export of Siebel's members, full or incremental.

    Raises:
        OSError: it cannot be opened.
        BodyError: while its rows are taken: it is no such file, or cannot be read further.
    """
    with path.open("rb") as stream:
        records = RecordReader(of, datetime.now(UTC)).read_export(stream)
        yield HandedOver(path.name, map(dumped, records), _INCREMENTAL in path.name.casefold())


@contextmanager
def crowdtwist_file(path: Path) -> Iterator[HandedOver]:
    """Open a file of CrowdTwist's users, its daily profiles or any other, ZIP or CSV.

    Raises:
        OSError: it cannot be opened.
        BodyError: while its rows are taken: it is no such file, or cannot be read further.
    """
    with path.open("rb") as stream:
        yield HandedOver(path.name, map(profile_row, read_profiles(stream)))


def packed(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Pack rows, `ROWS_PACKED` at once."""
    remaining = iter(rows)
    while some := list(islice(remaining, ROWS_PACKED)):
        yield zlib.compress(b"\n".join(map(orjson.dumps, some)), _LEVEL)


def unpacked(some: bytes) -> list[dict[str, Any]]:
    """Return the rows of one piece."""
    return [orjson.loads(line) for line in zlib.decompress(some).splitlines()]


def dumped(record: SiebelRecord) -> dict[str, Any]:
    """Return what a row of Siebel says as JSON; `record_of` reads it back."""
    return {
        "row_id": record.row_id,
        "member_number": record.member_number,
        "event": None if record.event is None else dump_event(record.event),
        "flaw": None if record.flaw is None else [record.flaw.field, record.flaw.reason],
        "sync_status": record.sync_status,
        "sync_error": record.sync_error,
        "untold": sorted(record.untold),
        "is_deleted": record.is_deleted,
        "line": record.line,
    }


def record_of(said: Mapping[str, Any]) -> SiebelRecord:
    """Return what was dumped."""
    event = None if said["event"] is None else restored_event(said["event"])
    flaw = None if said["flaw"] is None else InvalidEventError(*said["flaw"])
    same = {name: said[name] for name in ("row_id", "member_number", "sync_status", "sync_error", "is_deleted", "line")}
    return SiebelRecord(event=event, flaw=flaw, untold=frozenset(said["untold"]), **same)


def by_member(
    users: Sequence[Mapping[str, Any]], members_of: Callable[[list[int]], Mapping[int, str]]
) -> dict[str, Mapping[str, Any]]:
    """Return the last row of each member: by its `third_party_id`, else by the CrowdTwist id that we know it has.

    Who has neither is nobody of ours: whoever it is registered with CrowdTwist itself.  A row that could not be read
    says nothing.
    """
    good = [user for user in users if not user["flaw"]]
    known = members_of([user["id"] for user in good if not user["third_party_id"] and user["id"] is not None])
    found: dict[str, Mapping[str, Any]] = {}
    for user in good:
        if number := user["third_party_id"] or known.get(user["id"]):
            found[number] = user["user"] | {"id": user["id"], "third_party_id": number}
    return found


def is_stale(user: Mapping[str, Any], acknowledged_at: datetime | None) -> bool:
    """Return whether a row is older than what CrowdTwist took last: of yesterday's file, it is no news."""
    updated = instant_of(user.get("date_last_updated"))
    return updated is not None and acknowledged_at is not None and updated < acknowledged_at - _CLOCKS


def profile_row(profile: Profile) -> dict[str, Any]:
    """Return what a row of CrowdTwist's file says as JSON."""
    return {
        "id": profile.ct_user_id,
        "third_party_id": profile.member_number,
        "user": dict(profile.user),
        "flaw": None if profile.flaw is None else [profile.flaw.field, profile.flaw.reason],
    }
