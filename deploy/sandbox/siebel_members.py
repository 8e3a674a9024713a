"""The members that the Siebel simulator holds, and the queries that find them.

Source of the query language: facts.md 1.3 (keyset paging, sortspec, ViewMode), domain.md 3.1 (searchspec). (A): a
searchspec is comparisons with AND between them; text is compared by code points, `Updated` as an instant of UTC; a
sortspec names one field; a sales rep does not see some of the members in a list, and finds all of them by key.
"""

import re
import time
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from operator import eq, ge, gt, le, lt, ne
from typing import NamedTuple
from zlib import crc32

Fields = dict[str, object]

STATUS = "CT Sync Status"
ERROR = "CT Sync Error"
MEMBER_NUMBER = "Member Number"
MOD_ID = "Mod Id"
UPDATED = "Updated"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_IN_A_HUNDRED = 100
_IN_NO_ROW_ID = re.compile(r"[\x00-\x20\x7f]")


class QueryError(Exception):
    """A query is not of the language; the text says where."""


@dataclass(slots=True)
class Member:
    """One member: its fields by Siebel's labels, and the writes of its sync status, oldest first."""

    row_id: str
    fields: Fields = field(default_factory=dict)
    history: deque[Fields] = field(default_factory=deque)
    writes: int = 0

    @property
    def member_number(self) -> str | None:
        """The member number, once it is known."""
        number = self.fields.get(MEMBER_NUMBER)
        return None if number is None else str(number)

    def text(self, label: str) -> str:
        """Return the value of a field as it is compared."""
        value = self.row_id if label == "Id" else self.fields.get(label)
        return _comparable(label, "" if value is None else str(value))

    def write(self, fields: Fields, *, history_limit: int, touch: bool) -> None:
        """Write *fields*; remember a write of the sync status, at most *history_limit* of them.

        ``touch`` counts the member's modification number up: what fires the sync workflow again.
        """
        self.fields.update(fields)
        self.fields[UPDATED] = now()
        if touch:
            self.fields[MOD_ID] = str(int(str(self.fields.get(MOD_ID) or 0)) + 1)
        if STATUS not in fields and ERROR not in fields:
            return
        self.writes += 1
        if history_limit:
            shown: Fields = {"at": time.time(), "status": self.fields.get(STATUS), "error": self.fields.get(ERROR)}
            self.history.append(shown)
            while len(self.history) > history_limit:
                self.history.popleft()

    def shown(self) -> Fields:
        """Return all of it as JSON, for the control endpoints and the state file."""
        return {
            "row_id": self.row_id,
            "member_number": self.member_number,
            "status": self.fields.get(STATUS),
            "error": self.fields.get(ERROR),
            "fields": self.fields,
            "writes": self.writes,
            "history": list(self.history),
        }


class MemberStore:
    """Members by ROW_ID and by member number."""

    def __init__(self) -> None:
        self._by_row_id: dict[str, Member] = {}
        self._by_number: dict[str, Member] = {}
        self._serial = count(46_656)
        self._sorted: list[str] | None = None
        """The ROW_IDs in order, None: not since a member came or went."""

    def __len__(self) -> int:
        return len(self._by_row_id)

    def all(self) -> Iterable[Member]:
        """Return every member, oldest first."""
        return self._by_row_id.values()

    def get(self, row_id: str) -> Member | None:
        """Return the member with this ROW_ID."""
        return self._by_row_id.get(row_id)

    def by_number(self, member_number: str) -> Member | None:
        """Return the member with this member number."""
        return self._by_number.get(member_number)

    def add(self, row_id: str | None, fields: Fields) -> Member:
        """Hold the member with this ROW_ID, a new one when None, and write *fields* to it."""
        row_id = row_id or self._new_row_id()
        member = self._by_row_id.get(row_id)
        if member is None:
            member = self._by_row_id[row_id] = Member(row_id)
            if self._sorted is not None:
                insort(self._sorted, row_id)
        member.fields.update({UPDATED: now()} | fields)
        self.renumber(member)
        return member

    def remove(self, member_number: str) -> bool:
        """Forget the member with this member number; return whether there was one."""
        member = self._by_number.pop(member_number, None)
        if member is None:
            return False
        del self._by_row_id[member.row_id]
        self._sorted = None
        return True

    def select(self, query: "Query") -> Iterator[Member]:
        """Yield the members that *query* selects, in its order: as they came where it states none."""
        return self._in_order(query) if query.order_by is None or query.is_by_id else self._sorted_by_field(query)

    def _sorted_by_field(self, query: "Query") -> Iterator[Member]:
        label = str(query.order_by)
        return iter(sorted(self._in_order(query), key=lambda member: member.text(label), reverse=query.descending))

    def _in_order(self, query: "Query") -> Iterator[Member]:
        return (member for member in self._candidates(query) if query.selects(member))

    def _candidates(self, query: "Query") -> Iterable[Member]:
        """Return the members that may be selected: of a hundred thousand, the few that an index leaves."""
        for label, index in ((MEMBER_NUMBER, self._by_number), ("Id", self._by_row_id)):
            if (key := query.key(label)) is not None:
                return [index[key]] if key in index else []
        if not query.is_by_id:
            return self._by_row_id.values()
        if self._sorted is None:
            self._sorted = sorted(self._by_row_id)
        row_ids = self._sorted
        start = bisect_right(row_ids, max((one.value for one in query.where if one[:2] == ("Id", ">")), default=""))
        return (self._by_row_id[row_ids[at]] for at in range(start, len(row_ids)))

    def renumber(self, member: Member) -> None:
        """Let the member be found by its member number."""
        number = member.member_number
        if number:
            self._by_number[number] = member

    def free_row_id(self, member_number: str) -> str | None:
        """Return a ROW_ID made of the member number, which tests can foretell; None where one is taken, or none is."""
        row_id = f"1-{member_number}"
        return row_id if row_id not in self._by_row_id and not _IN_NO_ROW_ID.search(row_id) else None

    def _new_row_id(self) -> str:
        number, digits = next(self._serial), ""
        while number:
            number, digit = divmod(number, len(_DIGITS))
            digits = _DIGITS[digit] + digits
        return f"1-{digits}" if f"1-{digits}" not in self._by_row_id else self._new_row_id()

    def load(self, kept: Iterable[Fields]) -> None:
        """Hold members that were dumped."""
        for shown in kept:
            fields, history = shown["fields"], shown["history"]
            if isinstance(fields, dict) and isinstance(history, list):
                member = self.add(str(shown["row_id"]), fields)
                member.history.extend(history)
                member.writes = int(str(shown["writes"]))


class Comparison(NamedTuple):
    """One comparison of a searchspec; *value* as it is compared."""

    label: str
    operator: str
    value: str

    def holds(self, member: Member) -> bool:
        """Return whether it holds for *member*; a null is in no order."""
        text = member.text(self.label)
        is_order = self.operator not in _EQUALITY
        return not (is_order and not (text and self.value)) and _OPERATORS[self.operator](text, self.value)


_OPERATORS: dict[str, Callable[[str, str], bool]] = {"=": eq, "<>": ne, ">": gt, ">=": ge, "<": lt, "<=": le}
_EQUALITY = frozenset({"=", "<>"})
_COMPARISON = re.compile(
    r"\s*\(?\s*\[(?P<label>[^\]]+)\]\s*(?P<operator>=|<>|>=|<=|>|<)\s*'(?P<value>(?:[^']|'')*)'\s*\)?\s*"
)
_AND = re.compile(r"AND\b", re.IGNORECASE)
_SORTSPEC = re.compile(r"(?P<label>[^:,]+?)\s*(:\s*(?P<order>asc|desc))?", re.IGNORECASE)
_SIEBEL_DATE = re.compile(r"(\d\d?)/(\d\d?)/(\d{4})(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for.

    Shape: *order_by* None: in no order; *seen* of a hundred members, those whom the asker's view shows.
    """

    where: tuple[Comparison, ...] = ()
    order_by: str | None = None
    descending: bool = False
    seen: int = _IN_A_HUNDRED

    @property
    def is_by_id(self) -> bool:
        """Whether the members come in the order of their ROW_IDs."""
        return self.order_by == "Id" and not self.descending

    def key(self, label: str) -> str | None:
        """Return the value that the field *label* must equal, None if it may have any."""
        return next((one.value for one in self.where if (one.label, one.operator) == (label, "=")), None)

    def selects(self, member: Member) -> bool:
        """Return whether it selects *member*, and the asker's view shows that one: always the same ones."""
        is_seen = self.seen >= _IN_A_HUNDRED or crc32(member.row_id.encode()) % _IN_A_HUNDRED < self.seen
        return is_seen and all(one.holds(member) for one in self.where)


def comparisons(searchspec: str) -> tuple[Comparison, ...]:
    """Read a searchspec.

    Raises:
        QueryError: it is none.
    """
    text = searchspec.strip()
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1]
    found: list[Comparison] = []
    at = 0
    while True:
        one = _COMPARISON.match(text, at)
        if one is None:
            raise QueryError("Syntax error in searchspec")
        label = one["label"]
        found.append(Comparison(label, one["operator"], _comparable(label, one["value"].replace("''", "'"))))
        if one.end() == len(text):
            return tuple(found)
        conjunction = _AND.match(text, one.end())
        if conjunction is None:
            raise QueryError("Syntax error in searchspec")
        at = conjunction.end()


def order(sortspec: str) -> tuple[str, bool]:
    """Read a sortspec: the field, and whether it is descending.

    Raises:
        QueryError: it is none.
    """
    found = _SORTSPEC.fullmatch(sortspec.strip())
    if found is None:
        raise QueryError("Syntax error in sortspec")
    return found["label"], (found["order"] or "").lower() == "desc"


def now() -> str:
    """Return the instant as Siebel shows one."""
    return f"{datetime.now(UTC):%m/%d/%Y %H:%M:%S}"


def _comparable(label: str, text: str) -> str:
    """Return a text that is ordered as the values are."""
    found = _SIEBEL_DATE.fullmatch(text) if label == UPDATED else None
    return f"{found[3]}-{found[1]:0>2}-{found[2]:0>2}{found[4]}" if found else text
