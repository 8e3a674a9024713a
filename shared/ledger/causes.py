"""Dead letters and Data Errors grouped by cause: stage, code, and the message without what differs (`messages`)."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, TextClause, text

from shared.ledger import cause_notes
from shared.ledger.cause_notes import CauseNote
from shared.ledger.filters import Filter, matching
from shared.ledger.jobs import REQUEUED_FROM
from shared.lifecycle.incidents import IncidentKind, fingerprint
from shared.messages import normalised

LOOKED_AT = 100_000


@dataclass(frozen=True, slots=True)
class Cause:
    """Instances that failed for the same cause; *message* is normalised and names nobody.

    Shape: of *count*, a newer event of the member *fixed* so many, and is on its way for *coming*; *fingerprint* that
    of an outage that says the same; *notes* what people know of it.
    """

    stage: str | None
    code: str | None
    message: str
    count: int
    first_at: datetime
    last_at: datetime
    fixed: int
    coming: int
    fingerprint: str
    notes: list[CauseNote]


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
    rows = tx.execute(text(_CAUSES.format(statement.text)), parameters).all()
    known = cause_notes.notes(tx)
    found = [
        Cause(
            alike[0].stage,
            alike[0].code,
            message,
            sum(row.times for row in alike),
            min(row.first_at for row in alike),
            max(row.last_at for row in alike),
            sum(row.fixed for row in alike),
            sum(row.coming for row in alike),
            fingerprint(alike[0].stage or "", IncidentKind.CONNECTION, message),
            cause_notes.on_cause(known, alike[0].stage, alike[0].code, message),
        )
        for message, alike in by_message(rows, "stage", "code")
    ]
    return sorted(found, key=lambda cause: (-cause.count, cause.stage or "", cause.code or "", cause.message))[:limit]


def instances_of(tx: Connection, where: Filter, message: str) -> list[int]:
    """Return the ids of those that match and whose message is *message* when normalised, newest first.

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


def by_message(rows: Iterable[Row[Any]], *same: str) -> Iterator[tuple[str, list[Row[Any]]]]:
    """Group rows that have the columns *same* alike, and an `error` that differs only in what `normalised` takes away.

    Shape: the normalised message of a group, and its rows.
    """
    groups: dict[tuple[object, ...], list[Row[Any]]] = defaultdict(list)
    for row in rows:
        groups[normalised(row.error), *(getattr(row, name) for name in same)].append(row)
    for (message, *_), alike in groups.items():
        yield str(message), alike


def _failed(tx: Connection, where: Filter, limit: int) -> tuple[TextClause, dict[str, Any]]:
    if not set(where.states) <= set(REQUEUED_FROM):
        raise ValueError(f"state: must be one of {', '.join(REQUEUED_FROM)}")
    return matching(tx, where.of_dead_letters(), limit=limit)


_CAUSES = """
    select failed_stage as stage, code, error, count(*) as times, min(finished_at) as first_at,
           max(finished_at) as last_at, count(*) filter (where m.newest_id <> i.id and m.synced) as fixed,
           count(*) filter (where m.newest_id <> i.id and not m.synced and exists (
               select from instance n where n.id = m.newest_id and n.finished_at is null)) as coming
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
      and i.state in ('dead', 'rejected', 'waiting')
    group by failed_at, i.code, said, i.suspect order by total desc, failed_at, i.code, said, i.suspect
""")
