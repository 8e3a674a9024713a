"""What operators did, and what they were not allowed to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Action:
    """One action of one operator.

    Shape: *what* one word (`requeue`, `discard`, `stop`, `pause`, …); *asked* the ids or filter, or the name of what it
    was done to; *count* how many instances it touched; *answer* one sentence.
    """

    who: str
    role: str
    what: str
    answer: str
    reason: str | None = None
    asked: Mapping[str, Any] | None = None
    count: int = 0
    denied: bool = False


def record(connection: Connection, action: Action) -> None:
    """File *action*, in the transaction of what it did."""
    parameters = {name: getattr(action, name) for name in Action.__dataclass_fields__}
    parameters["asked"] = None if action.asked is None else orjson.dumps(action.asked).decode()
    connection.execute(_RECORD, parameters)


_RECORD = text("""
    insert into operator_action (who, role, what, reason, asked, count, answer, denied)
    values (:who, :role, :what, :reason, cast(:asked as jsonb), :count, :answer, :denied)
""")
