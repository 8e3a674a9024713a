"""What is kept of one member, in every table, and where the rows of others name it.  It names people.

`personal_columns` says where to look.  A member's own rows are found by its number and the ids of its instances.  In
the rows of others what names it is searched for in words: the large tables instance by instance, in pieces that each
are a short transaction of their own, so that nothing is held up; the rest at once.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from shared.ledger import packed_calls, packed_events
from shared.ledger.personal_columns import TABLES, Holds, Table
from shared.traces import Traces

PIECE = 5_000
"""Instances whose words are searched in one transaction: some tens of thousands of lines."""
_SKEW_S = 120
"""How long a transaction may have been under way that began before a search: its lines were not seen.  Units: s."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """A member's own rows by table, none where it has none, each as its columns; and what tells it in others' rows."""

    rows: dict[str, list[Row]]
    traces: Traces

    @property
    def is_nothing(self) -> bool:
        """Whether no table has a row of it."""
        return not self.rows


@dataclass(frozen=True, slots=True)
class Naming:
    """A row of others that names the member: its key, and of its columns those in which it does."""

    table: str
    key: Row
    columns: Row


@dataclass(frozen=True, slots=True)
class Search:
    """What the search of the large tables found.

    Shape: *instance_ids* those whose words may name the member; what came since *began_at* is still to be searched.
    """

    instance_ids: Collection[int]
    began_at: datetime


def kept(tx: Connection, member_number: str) -> Kept:
    """Read a member's own rows."""
    bound = _bound(tx, member_number)
    rows: dict[str, list[Row]] = {}
    for name, table in TABLES.items():
        if table.own:
            statement = f"select to_jsonb(t) from {name} t where {table.own} order by {_key(table)}"
            if some := list(tx.execute(text(statement), bound).scalars()):
                rows[name] = some
    for line in rows.get("activity", ()):
        if rest := line["calls_packed"]:
            line["calls_json"] = packed_calls.whole(line["calls_json"], _bytes(rest))
            line["calls_packed"] = None
    for payload in rows.get("payload", ()):
        if kept := payload["event_packed"]:
            payload["event_json"] = packed_events.read(_bytes(kept))
            payload["event_packed"] = None
    return Kept(rows, _traces(member_number, rows))


def _bytes(shown: str) -> bytes:
    return bytes.fromhex(shown.removeprefix("\\x"))


def begin_search(tx: Connection) -> Search:
    """Begin a search of the large tables now."""
    return Search((), tx.execute(text("select clock_timestamp()")).scalar_one())


def pieces(tx: Connection) -> list[tuple[int, int]]:
    """Return the large tables as ranges of instance ids, the last excluded."""
    first, last = tx.execute(text("select min(id), max(id) from instance")).one()
    return [] if first is None else [(at, at + PIECE) for at in range(first, last + 1, PIECE)]


def search(tx: Connection, traces: Traces, piece: tuple[int, int]) -> list[int]:
    """Return the instances of a piece whose words may name the member."""
    found: set[int] = set()
    bound = {"pattern": traces.pattern, "first": piece[0], "last": piece[1]}
    for name, table in _large():
        by = table.key[0]
        where = f"t.{by} >= :first and t.{by} < :last and {_may_name(table)}"
        found |= set(tx.execute(text(f"select distinct t.{by} from {name} t where {where}"), bound).scalars())
    return sorted(found)


def naming(
    tx: Connection, member_number: str, traces: Traces, found: Search, *, lock: bool = False
) -> Iterator[Naming]:
    """Give the rows of others that name the member; *found* by a search of the large tables; *lock*: to be changed."""
    since = {"since": found.began_at, "skew": _SKEW_S}
    ids = {*found.instance_ids, *tx.execute(_SINCE, since).scalars()}
    bound = _bound(tx, member_number) | {"pattern": traces.pattern, "those": sorted(ids)}
    for name, table in TABLES.items():
        if table.names:
            yield from _naming(tx, name, table, traces, bound, lock=lock)


def _naming(  # noqa: PLR0913  # what is looked for, and where
    tx: Connection, name: str, table: Table, traces: Traces, bound: Row, *, lock: bool
) -> Iterator[Naming]:
    conditions = [_may_name(table)]
    if table.own:
        conditions.append(f"({table.own}) is not true")
    if table.large:
        conditions.append(f"t.{table.key[0]} = any(cast(:those as bigint[]))")
    columns = ", ".join(f"t.{one}" for one in dict.fromkeys((*table.key, *table.names)))
    locked = " for update of t" if lock else ""
    statement = f"select to_jsonb(s) from (select {columns} from {name} t where {' and '.join(conditions)}{locked}) s"
    for row in tx.execute(text(statement), bound).scalars().all():
        named = {one: row[one] for one in table.names if traces.without(row[one], one) != row[one]}
        if named:
            yield Naming(name, {one: row[one] for one in table.key}, named)


def _large() -> list[tuple[str, Table]]:
    return [(name, table) for name, table in TABLES.items() if table.large]


def _may_name(table: Table) -> str:
    return f"({' or '.join(f'cast(t.{one} as text) ~* :pattern' for one in table.names)})"


def _key(table: Table) -> str:
    return ", ".join(f"t.{one}" for one in table.key)


def _bound(tx: Connection, member_number: str) -> Row:
    return {"number": member_number, "ids": list(tx.execute(_IDS, {"number": member_number}).scalars())}


def _traces(member_number: str, rows: dict[str, list[Row]]) -> Traces:
    """Return what names the member, as its own rows say it."""
    ids = [member_number]
    for row in (*rows.get("member", ()), *rows.get("sighting", ())):
        ids += [str(row[one]) for one in ("row_id", "proven_row_id", "ct_user_id") if row.get(one) is not None]
    members = []
    for name, some in rows.items():
        for column, holds in TABLES[name].columns.items():
            if holds is Holds.DOCUMENT:
                members += [said for row in some for said in _people(row[column])]
    ids += [str(one["row_id"]) for one in members if one.get("row_id")]
    return Traces(ids, members)


def _people(document: object) -> Sequence[Row]:
    """Return what in a document of the member's own says who it is: itself, or its part `member`."""
    if not isinstance(document, dict):
        return []
    return [part for part in (document, document.get("member")) if isinstance(part, dict)]


_IDS = text("select id from instance where member_number = :number order by id")
_SINCE = text("""
    select distinct instance_id from activity
    where at > cast(:since as timestamptz) - make_interval(secs => :skew)
""")
