"""CrowdTwist's files of members: its daily profile file, or any CSV of its users that has a header.

The daily file is a log of a day's changes: a row for each update, also for our own and where only points changed, so
that a member may stand in it many times, in their order; `newest` keeps the last row of each.  Columns are known by
their names, and any may be absent: what a file does not tell is not compared.  `country_code` and `gender` are not what
the user object shows as `country` and `gender_id`, so they are not compared either.

Source: facts.md 1.1 (names, columns, a ZIP that holds one CSV).  (A): the columns `third_party_id`, `is_active`,
`lang_pref` and `date_last_updated`; a timestamp is seconds or milliseconds since 1970, or ISO 8601, UTC where it names
no zone; how a flag is written.
"""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from producers.intake.csv_rows import Table, TableRow, check_cell
from producers.intake.refused import BodyError, RefusedRowError
from shared.errors import InvalidEventError
from shared.systems.crowdtwist import SYNCED

UNPACKED_MAX_BYTES: Final = 8 * 1024**3
"""Of a ZIP; ten million members are about 3 GB."""
_RATIO_MAX = 200
"""How many times larger than the ZIP its contents may be: text of people packs to a fifth, of one letter to a
thousandth."""
_SMALL_BYTES = 16 * 1024 * 1024
_LONGEST_ROW = 64_000
_ENTRIES_MAX = 100
_ZIP = b"PK\x03\x04"
_EMPTY_ZIP = b"PK\x05\x06"
_DIGITS = re.compile(r"-?\d{1,11}", re.ASCII)
_MILLISECONDS = re.compile(r"-?\d{12,14}", re.ASCII)
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_USER_ID = re.compile(r"\d{1,19}", re.ASCII)
_MOST = 2**63 - 1
_FLAGS = {"1": True, "true": True, "t": True, "y": True, "0": False, "false": False, "f": False, "n": False}
_TIMES = frozenset({"date_of_birth", "date_last_updated"})
_READ = SYNCED | {"id", "third_party_id", "date_last_updated"}
_SPECIAL = _TIMES | {"id", "third_party_id", "is_active"}
"""Of all others the text counts as it stands."""
_LONGEST_NUMBER = 50


@dataclass(frozen=True, slots=True)
class Profile:
    """One row of the file.

    Shape: *user* has the synced fields that the file tells, under CrowdTwist's names, and `date_last_updated`, in
    seconds since 1970; null: empty.  *flaw*: it could not be read, and why; then *user* is empty, and who it is about
    is said as far as it can be.
    """

    line: int
    ct_user_id: int | None
    member_number: str | None
    user: Mapping[str, Any]
    flaw: InvalidEventError | None = None


def read_profiles(stream: io.BufferedReader, *, max_bytes: int = UNPACKED_MAX_BYTES) -> Iterator[Profile]:
    """Read a file of members, ZIP or CSV, in its order; blank rows count for nothing.

    Shape: *stream* of a ZIP can be sought in; the flaw of a row is a `RefusedRowError`, which says its line and column.

    Units: *max_bytes* of a ZIP are unpacked.

    Raises:
        BodyError: it is no such file, or cannot be read further.
    """
    head = stream.peek(len(_ZIP))[: len(_ZIP)]
    if head not in (_ZIP, _EMPTY_ZIP):
        yield from _rows(stream)
        return
    with _only_file(stream, max_bytes) as unpacked:
        yield from _rows(unpacked)


def newest(profiles: Iterable[Profile]) -> Iterator[Profile]:
    """Yield the last row of each member, in the order in which they first came; who cannot be told is kept, each row.

    All of them are held in memory: a daily file has the changes of one day.
    """
    last: dict[object, Profile] = {}
    for one in profiles:
        last[one.ct_user_id or one.member_number or ("line", one.line)] = one
    yield from last.values()


def _rows(stream: io.BufferedReader) -> Iterator[Profile]:
    table = Table(stream)
    try:
        names = [name.lower() for name in table.names]
        if not {"id", "third_party_id"}.intersection(names):
            raise BodyError(table.where, "has no column id, or third_party_id")
        read = [(at, name) for at, name in enumerate(names) if name in _READ]
        for row in table.rows(_LONGEST_ROW):
            if row.flaw or not row.is_blank:
                yield _profile(row, table.names, read)
    finally:
        table.leave()


def _profile(row: TableRow, names: Sequence[str], read: Sequence[tuple[int, str]]) -> Profile:
    whose: dict[str, Any] = {}
    try:
        row.check(len(names), exactly=True)
        if "".join(row.cells).isprintable():
            user = {name: row.cells[at].strip() or None for at, name in read}
            user |= {
                name: _read(names[at], name, text) for at, name in read if name in _SPECIAL and (text := user[name])
            }
        else:
            user = {name: _value(names[at], name, row.cells[at]) for at, name in read}
        whose = _named({name: user.pop(name, None) for name in ("id", "third_party_id")})
    except InvalidEventError as flaw:
        whose = whose or _whose(row, len(names), read)
        refusal = RefusedRowError(flaw.field, flaw.reason, row.line, whose.get("third_party_id"))
        return Profile(row.line, whose.get("id"), whose.get("third_party_id"), {}, refusal)
    return Profile(row.line, whose["id"], whose["third_party_id"], user)


def _named(whose: dict[str, Any]) -> dict[str, Any]:
    if not any(whose.values()):
        raise InvalidEventError("id", "is empty, so nobody knows whose row it is")
    return whose


def _whose(row: TableRow, width: int, read: Sequence[tuple[int, str]]) -> dict[str, Any]:
    """Return whose a broken row is, as far as it can be told."""
    told: dict[str, Any] = {}
    if len(row.cells) == width:
        for at, name in read:
            if name in ("id", "third_party_id"):
                try:
                    told[name] = _value(name, name, row.cells[at])
                except InvalidEventError:
                    continue
    return told


def _value(column: str, name: str, cell: str) -> Any:  # noqa: ANN401 - a flag, a number or a text
    """Return what a cell says.

    Raises:
        InvalidEventError: names the column.
    """
    text = cell.strip()
    if not text:
        return None
    if _UNREADABLE.search(text):
        raise InvalidEventError(column, "holds a control character, or is not UTF-8")
    return _read(column, name, text)


def _read(column: str, name: str, text: str) -> Any:  # noqa: ANN401 - a flag, a number or a text
    """Return what the text of a cell says.

    Raises:
        InvalidEventError: names the column.
    """
    if name == "id":
        if not _USER_ID.fullmatch(text) or not 0 < int(text) <= _MOST:
            raise InvalidEventError(column, "must be CrowdTwist's number of a user")
        return int(text)
    if name == "third_party_id":
        check_cell(column, "member_number", text)
        if len(text) > _LONGEST_NUMBER:
            raise InvalidEventError(column, f"is longer than {_LONGEST_NUMBER} characters")
    if name == "is_active":
        if (flag := _FLAGS.get(text.casefold())) is None:
            raise InvalidEventError(column, "must be 1 or 0, true or false")
        return flag
    return _seconds(column, text) if name in _TIMES else text


def _seconds(column: str, text: str) -> int:
    if _DIGITS.fullmatch(text):
        return int(text)
    if _MILLISECONDS.fullmatch(text):
        return int(text) // 1000
    try:
        at = datetime.fromisoformat(text)
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise InvalidEventError(column, "must be a timestamp: seconds since 1970, or ISO 8601") from None


@contextmanager
def _only_file(stream: io.BufferedReader, max_bytes: int) -> Iterator[io.BufferedReader]:
    """Open the one file that a ZIP holds.

    Raises:
        BodyError: it holds none or several, more than may be unpacked, or is broken.
    """
    try:
        with ExitStack() as opened:
            yield _opened(stream, max_bytes, opened)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as broken:
        raise BodyError("", f"is no ZIP that can be read ({type(broken).__name__})") from None


def _opened(stream: io.BufferedReader, max_bytes: int, opened: ExitStack) -> io.BufferedReader:
    try:
        archive = opened.enter_context(zipfile.ZipFile(stream))
        entry = _only_entry(archive)
        packed = max(entry.compress_size, 1)
        limit = min(max_bytes, max(_SMALL_BYTES, packed * _RATIO_MAX))
        if entry.file_size > limit:
            raise BodyError(entry.filename, f"would unpack to more than {limit} bytes")
        unpacked = opened.enter_context(archive.open(entry))
    except (ValueError, LookupError, struct.error):  # an offset before the file, a name in no code: zipfile looks not
        raise BodyError("", "is no ZIP that can be read: what it says of itself is not true") from None
    return io.BufferedReader(_Bounded(unpacked, entry.filename, limit), 256 * 1024)


def _only_entry(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    entries = archive.infolist()
    if len(entries) > _ENTRIES_MAX:
        raise BodyError("", f"is a ZIP of more than {_ENTRIES_MAX} files")
    files = [one for one in entries if not one.is_dir() and not one.filename.startswith("__MACOSX/")]
    if len(files) != 1:
        raise BodyError("", f"is a ZIP of {len(files)} files, and must be of one")
    if files[0].flag_bits & 1:
        raise BodyError(files[0].filename, "is encrypted")
    if files[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BodyError(files[0].filename, "is packed in another way than by deflate")
    return files[0]


class _Bounded(io.RawIOBase):
    """What is unpacked, up to a limit: the size that a ZIP states need not be true."""

    def __init__(self, unpacked: Any, name: str, limit: int) -> None:  # noqa: ANN401 - zipfile's own reader
        self._unpacked = unpacked
        self._name = name
        self._left = limit

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - as the base class has it
        """Unpack more."""
        count = int(self._unpacked.readinto(buffer))
        self._left -= count
        if self._left < 0:
            raise BodyError(self._name, "unpacks to more than its ZIP says, or may")
        return count
