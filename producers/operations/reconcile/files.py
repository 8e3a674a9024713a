"""Files that a run is handed: read where they lie, packed for the ledger, unpacked, and joined with our members.

What a row says goes through the ledger, not the row: whoever carries the run on needs no file.  Beside it goes its
digest (`shared.ledger.agreeing`): by it most rows are found to agree without being unpacked.
"""

import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import orjson

from producers.intake.profiles import Profile, read_profiles
from producers.intake.siebel_rows import PlainRecord, RecordReader, SiebelRecord
from producers.operations.reconcile.fields import instant_of
from producers.operations.reconcile.sides import is_individual
from shared.errors import InvalidEventError
from shared.events import Operation, dump_event, hash_of_content, restored_event
from shared.ledger.agreeing import SHOWN
from shared.plain_events import NULL
from shared.settings import Settings

ROWS_PACKED = 2_000
_LEVEL = 1
_CLOCKS = timedelta(seconds=5)
"""How far its clock may be off, and its dates have no parts of a second."""
_LATEST_S = 32_503_680_000
"""The year 3000: what is later is no date that PostgreSQL and Python have in common."""
_INCREMENTAL = "incremental"
"""What Siebel calls a file that has only what changed."""

_is_filled = itemgetter(1)

Digest: TypeAlias = tuple[str | None, ...]
"""Of one row: a value for each column, None: its file does not tell."""


class FileRow(NamedTuple):
    """A row: what it says as JSON, *whose* it is, and its digest, None: only the full comparison will do.

    Shape: *flaw* its column and why it could not be read.
    """

    said: bytes
    whose: str | int | None
    digest: Digest | None
    flaw: tuple[str, str] | None = None


class Piece(NamedTuple):
    """Some rows, packed, and their digests as the ledger takes them; None: compare each in full."""

    rows: bytes
    digest: Sequence[bytes | None] | None


@dataclass(frozen=True, slots=True)
class HandedOver:
    """A file of one side: its *name*, its rows, and whether it has only what changed."""

    name: str
    rows: Iterable[FileRow]
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
        yield HandedOver(path.name, map(row_of, records), _INCREMENTAL in path.name.casefold())


@contextmanager
def crowdtwist_file(path: Path) -> Iterator[HandedOver]:
    """Open a file of CrowdTwist's users, its daily profiles or any other, ZIP or CSV.

    Raises:
        OSError: it cannot be opened.
        BodyError: while its rows are taken: it is no such file, or cannot be read further.
    """
    with path.open("rb") as stream:
        yield HandedOver(path.name, map(row_of_profile, read_profiles(stream)))


def packed(rows: Iterable[FileRow]) -> Iterator[Piece]:
    """Pack rows, `ROWS_PACKED` at once."""
    remaining = iter(rows)
    while some := list(islice(remaining, ROWS_PACKED)):
        said = zlib.compress(b"\n".join([row.said for row in some]), _LEVEL)
        yield Piece(said, _digest(some))


def unpacked(some: bytes, places: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """Return the rows of one piece, those at *places* in it, from 0, None: all."""
    lines = zlib.decompress(some).splitlines()
    return [orjson.loads(line) for line in (lines if places is None else [lines[place] for place in places])]


def _digest(some: Sequence[FileRow]) -> list[bytes | None] | None:
    """Return the digests of a piece, one text for each column; None: it has none.

    Of a member that has several rows in it the order of these counts, which is for the full comparison.
    """
    several = {whose for whose, count in Counter(row.whose for row in some).items() if count > 1}
    rows = [row.digest if row.whose not in several else None for row in some]
    first = next(filter(None, rows), None)
    if first is None:
        return None
    blank = tuple(None if value is None else "" for value in first)
    columns = list(zip(*(row or blank for row in rows), strict=True))
    if any(column.count(None) not in (0, len(some)) for column in columns):
        return None  # rows of one file tell the same columns
    return [None if column[0] is None else "\n".join(map(str, column)).encode() for column in columns]


def row_of(record: SiebelRecord | PlainRecord) -> FileRow:
    """Return a row of Siebel's file."""
    event, digest = record.event, None
    if isinstance(record, PlainRecord):
        digest = _digest_of(record, record.event.operation, record.event.member)
        return FileRow(_dumped_plain(record), record.event.member["member_number"], digest)
    if event is not None and not record.is_deleted:
        digest = _digest_of(record, event.operation, event.member.__dict__)
    flaw = None if record.flaw is None else (record.flaw.field, record.flaw.reason)
    return FileRow(_json(dumped(record)), record.member_number, digest, flaw)


def _digest_of(record: SiebelRecord | PlainRecord, operation: Operation, member: Mapping[str, str]) -> Digest | None:
    """Return the digest of a row that is an Individual's, with these fields of its event."""
    number, program = member["member_number"], member["program_id"]
    status, error = record.sync_status, record.sync_error
    if not is_individual(member["member_type"]) or not f"{record.row_id}{status}{error}{number}{program}".isprintable():
        return None
    return (number, record.row_id, hash_of_content(operation, member).hex(), program, status, error)


def row_of_profile(profile: Profile) -> FileRow:
    """Return a row of CrowdTwist's file."""
    user, digest = profile.user, None
    updated = user.get("date_last_updated")
    if profile.flaw is None and (updated is None or 0 <= updated < _LATEST_S):
        number, user_id = profile.member_number or "", str(profile.ct_user_id or "")
        at = "" if updated is None else str(updated)
        shown = [_word(user[name]) if name in user else None for name in SHOWN]
        if "{" not in (text := "".join(filter(None, shown))) and "[" not in text:
            digest = (number, user_id, at, *shown)
    flaw = None if profile.flaw is None else (profile.flaw.field, profile.flaw.reason)
    return FileRow(_json(profile_row(profile)), profile.member_number or profile.ct_user_id, digest, flaw)


def _json(said: Mapping[str, Any]) -> bytes:
    """Return JSON; what is no character, as of a byte that is not UTF-8, becomes a question mark."""
    try:
        return orjson.dumps(said)
    except TypeError:
        return json.dumps(said, ensure_ascii=False).encode("utf-8", "replace")


def _word(value: object) -> str:
    """Return a value as PostgreSQL writes it in a text; empty: there is none."""
    if isinstance(value, str):
        return value
    return "" if value is None else str(value).lower()


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


def _dumped_plain(record: PlainRecord) -> bytes:
    """Return what `dumped` says of a row, as JSON; fields that are null are left out of its member."""
    event, member = record.event, record.event.member
    return orjson.dumps(
        {
            "row_id": record.row_id,
            "member_number": member["member_number"],
            "event": {
                "operation": event.operation.value,
                "occurred_at": event.occurred_at,
                "modification": event.modification,
                "member": dict(filter(_is_filled, member.items())),
            },
            "flaw": None,
            "sync_status": record.sync_status,
            "sync_error": record.sync_error,
            "untold": record.untold,
            "is_deleted": False,
            "line": record.line,
        },
        option=orjson.OPT_UTC_Z,
    )


def record_of(said: Mapping[str, Any]) -> SiebelRecord:
    """Return what was dumped."""
    event = None
    if said["event"] is not None:
        event = restored_event({**said["event"], "member": {**NULL, **said["event"]["member"]}})
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
