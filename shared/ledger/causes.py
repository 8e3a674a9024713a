"""Dead letters and Data Errors grouped by cause: stage, code, and the message without what differs (`messages`)."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, TextClause, text

from shared.jobs import REQUEUED_FROM
from shared.ledger.filters import Filter, matching
from shared.messages import normalised
from shared.pipeline import State

LOOKED_AT = 100_000


@dataclass(frozen=True, slots=True)
class Cause:
    """Instances that failed for the same cause; *message* is normalised and names nobody.

    Shape: of *count*, a newer event of the member *fixed* so many, and is on its way for *coming*.
    """

    stage: str | None
    code: str | None
    message: str
    count: int
    first_at: datetime
    last_at: datetime
    fixed: int
    coming: int


def causes(connection: Connection, where: Filter, *, limit: int, looked_at: int = LOOKED_AT) -> list[Cause]:
    """Group the newest *looked_at* that match, the commonest cause first; without a state in *where*, dead letters.

    Raises:
        ValueError: a state that is no failure is asked for.
    """
    statement, parameters = _failed(connection, where, looked_at)
    rows = connection.execute(text(_CAUSES.format(statement.text)), parameters)
    found = _merged(Cause(*row) for row in rows)
    return sorted(found, key=lambda cause: (-cause.count, cause.stage or "", cause.code or "", cause.message))[:limit]


def instances_of(connection: Connection, where: Filter, message: str) -> list[int]:
    """Give the ids of those that match and whose message is *message* when normalised, newest first.

    Raises:
        ValueError: as `causes`.
    """
    statement, parameters = _failed(connection, where, LOOKED_AT)
    errors = connection.execute(text(_MESSAGES.format(statement.text)), parameters).scalars()
    meant = [error for error in errors if normalised(error) == message]
    return list(
        connection.execute(text(_WITH_MESSAGE.format(statement.text)), {**parameters, "meant": meant}).scalars()
    )


def _failed(connection: Connection, where: Filter, limit: int) -> tuple[TextClause, dict[str, Any]]:
    states = where.states or (State.DEAD,)
    if not set(states) <= set(REQUEUED_FROM):
        raise ValueError(f"state: must be one of {', '.join(REQUEUED_FROM)}")
    return matching(connection, replace(where, states=states), limit=limit)


def _merged(causes: Iterable[Cause]) -> list[Cause]:
    merged: dict[tuple[str | None, str | None, str], Cause] = {}
    for cause in causes:
        message = normalised(cause.message)
        key = (cause.stage, cause.code, message)
        known = merged.get(key)
        merged[key] = replace(
            cause,
            message=message,
            count=cause.count + (known.count if known else 0),
            first_at=min(cause.first_at, known.first_at) if known else cause.first_at,
            last_at=max(cause.last_at, known.last_at) if known else cause.last_at,
            fixed=cause.fixed + (known.fixed if known else 0),
            coming=cause.coming + (known.coming if known else 0),
        )
    return list(merged.values())


_CAUSES = """
    select failed_stage, code, error, count(*), min(finished_at), max(finished_at),
           count(*) filter (where m.newest_id <> i.id and m.synced),
           count(*) filter (where m.newest_id <> i.id and not m.synced and exists (
               select from instance n where n.id = m.newest_id and n.finished_at is null))
    from instance i join member m using (member_number)
    where i.id = any(array({})) group by failed_stage, code, error
"""
_MESSAGES = "select distinct error from instance where id = any(array({}))"
_WITH_MESSAGE = "select id from instance where id = any(array({})) and error = any(:meant) order by id desc"
