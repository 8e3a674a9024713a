"""Dead letters and Data Errors grouped by cause: stage, code, and the message without what differs from one to another.

In a message, e-mail addresses, quoted values, and every word with a digit in it (ids, numbers, dates) are replaced.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, text

from shared.jobs import REQUEUED_FROM
from shared.ledger.filters import Filter, matching
from shared.masking import mask_text
from shared.pipeline import State

_LOOKED_AT = 100_000
_LONGEST = 1_000
_VARIES = (
    (re.compile(r"[^\s@<>\"'(),;:]+@[^\s@<>\"'(),;:]+"), "<e-mail>"),
    (re.compile(r"""(?<!\w)("[^"]*"|'[^']*'|\u201c[^\u201d]*\u201d|\u2018[^\u2019]*\u2019)(?!\w)"""), "<value>"),
    (re.compile(r"[\w+-]*\d[\w+-]*(?:[.:/][\w+-]*\d[\w+-]*)*"), "#"),
)


@dataclass(frozen=True, slots=True)
class Cause:
    """Instances that failed for the same cause; *message* is normalised and names nobody."""

    stage: str | None
    code: str | None
    message: str
    count: int
    first_at: datetime
    last_at: datetime


def normalised(message: str) -> str:
    """Give *message* without what differs between instances of the same cause.  Pure."""
    message = message[:_LONGEST]
    for varying, name in _VARIES:
        message = varying.sub(name, message)
    return mask_text(message)


def causes(connection: Connection, where: Filter, *, limit: int) -> list[Cause]:
    """Group what matches, the commonest cause first; without a state in *where*, dead letters.

    Raises:
        ValueError: a state that is no failure is asked for.
    """
    states = where.states or (State.DEAD,)
    if not set(states) <= set(REQUEUED_FROM):
        raise ValueError(f"state: must be one of {', '.join(REQUEUED_FROM)}")
    statement, parameters = matching(connection, replace(where, states=states), limit=_LOOKED_AT)
    rows = connection.execute(text(_CAUSES.format(statement.text)), parameters)
    found = _merged(Cause(*row) for row in rows)
    return sorted(found, key=lambda cause: (-cause.count, cause.stage or "", cause.code or "", cause.message))[:limit]


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
        )
    return list(merged.values())


_CAUSES = """
    select failed_stage, code, error, count(*), min(finished_at), max(finished_at)
    from instance where id = any(array({})) group by failed_stage, code, error
"""
