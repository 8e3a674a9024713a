"""The members that the Siebel simulator holds, and what was written to each of them."""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

Fields = dict[str, object]

STATUS = "CT Sync Status"
ERROR = "CT Sync Error"
MEMBER_NUMBER = "Member Number"
MOD_ID = "Mod Id"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


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

    def write(self, fields: Fields, *, history_limit: int, touch: bool) -> None:
        """Write *fields*; remember a write of the sync status, at most *history_limit* of them.

        ``touch`` counts the member's modification number up: what fires the sync workflow again.
        """
        self.fields.update(fields)
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
        member = self._by_row_id.setdefault(row_id, Member(row_id))
        member.fields.update(fields)
        self.renumber(member)
        return member

    def renumber(self, member: Member) -> None:
        """Let the member be found by its member number."""
        number = member.member_number
        if number:
            self._by_number[number] = member

    def free_row_id(self, member_number: str) -> str | None:
        """Return a ROW_ID made of the member number, None where another member has it: tests can foretell it."""
        row_id = f"1-{member_number}"
        return row_id if row_id not in self._by_row_id else None

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
