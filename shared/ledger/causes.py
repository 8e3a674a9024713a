"""Dead letters and Data Errors grouped by cause: stage, code, and the message without what differs (`messages`)."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, TextClause, text

from shared.ledger.filters import Filter, matching
from shared.ledger.jobs import REQUEUED_FROM
from shared.messages import normalised

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


@dataclass(frozen=True, slots=True)
class Alike:
    """How many instances failed alike, in few words for whoever advises.

    Shape: *message* as the ledger keeps it, "" where it was not asked for; *apart*: the system served others meanwhile.
    """

    stage: str | None
    code: str | None
    message: str
    count: int
    apart: bool


def causes(tx: Connection, where: Filter, *, limit: int, looked_at: int = LOOKED_AT) -> list[Cause]:
    """Group the newest *looked_at* that match, the commonest cause first; without a state in *where*, dead letters.

    Raises:
        ValueError: a state that is no failure is asked for.
    """
    statement, parameters = _failed(tx, where, looked_at)
    rows = tx.execute(text(_CAUSES.format(statement.text)), parameters)
    found = _merged(Cause(*row) for row in rows)
    return sorted(found, key=lambda cause: (-cause.count, cause.stage or "", cause.code or "", cause.message))[:limit]


def instances_of(tx: Connection, where: Filter, message: str) -> list[int]:
    """Give the ids of those that match and whose message is *message* when normalised, newest first.

    Raises:
        ValueError: as `causes`.
    """
    statement, parameters = _failed(tx, where, LOOKED_AT)
    errors = tx.execute(text(_MESSAGES.format(statement.text)), parameters).scalars()
    meant = [error for error in errors if normalised(error) == message]
    return list(tx.execute(text(_WITH_MESSAGE.format(statement.text)), {**parameters, "meant": meant}).scalars())


def dead_alike(tx: Connection, told_apart: Iterable[str]) -> list[Alike]:
    """Count the dead letters that are alike, the most first; messages are read of the codes in *told_apart* only."""
    return [Alike(*row) for row in tx.execute(_DEAD_ALIKE, {"codes": list(told_apart)})]


def failed_again(tx: Connection, job_id: int) -> list[Alike]:
    """Count what failed again in a job and has not been put right since, the most first."""
    return [Alike(*row) for row in tx.execute(_FAILED_AGAIN, {"job": job_id})]


def _failed(tx: Connection, where: Filter, limit: int) -> tuple[TextClause, dict[str, Any]]:
    if not set(where.states) <= set(REQUEUED_FROM):
        raise ValueError(f"state: must be one of {', '.join(REQUEUED_FROM)}")
    return matching(tx, where.of_dead_letters(), limit=limit)


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
_DEAD_ALIKE = text("""
    select failed_stage, code, case when code = any(:codes) then coalesce(error, '') else '' end as said,
           count(*) as total, suspect
    from instance where state = 'dead'
    group by failed_stage, code, said, suspect order by total desc, failed_stage, code, said, suspect
""")
_FAILED_AGAIN = text("""
    select coalesce(i.failed_stage, i.stage) as failed_at, i.code, coalesce(i.error, '') as said,
           count(*) as total, i.suspect
    from job_item j join instance i on i.id = j.instance_id
    where j.job_id = :job and j.state = 'failed'
      and coalesce(i.parked_state, i.state) in ('dead', 'rejected', 'waiting')
    group by failed_at, i.code, said, i.suspect order by total desc, failed_at, i.code, said, i.suspect
""")
