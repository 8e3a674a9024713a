"""Statements of those who look at jobs."""

from typing import Any

from sqlalchemy import Connection, Row, text

from shared.jobs import Item, ItemState, Job, JobPage, Kind
from shared.ledger.planning import SHOWN
from shared.ledger.records import id_text
from shared.masking import mask_text


def job(tx: Connection, kind: Kind | None, job_id: int) -> Job | None:
    """Read one job and how far it is; None: there is no such job of that kind."""
    row = tx.execute(_JOB, {"id": job_id, "kind": kind}).one_or_none()
    if row is None:
        return None
    troubled = [
        Item(str(one.instance_id), one.member_number, one.verdict, _why(one), id_text(one.newer_id), one.state)
        for one in tx.execute(_TROUBLED, {"id": job_id, "limit": SHOWN})
    ]
    return _job(row, _counts(tx, [job_id])[job_id], troubled)


def jobs(tx: Connection, kind: Kind | None, *, limit: int, before: int | None = None) -> JobPage:
    """List jobs, newest first; *before* is the cursor of the page before."""
    parameters = {"kind": kind, "limit": limit + 1, "before": before}
    rows = tx.execute(_JOBS, parameters).all()
    counts = _counts(tx, [row.id for row in rows])
    items = [_job(row, counts[row.id], []) for row in rows[:limit]]
    return JobPage(items, items[-1].job_id if len(rows) > limit else None)


def _counts(tx: Connection, ids: list[int]) -> dict[int, dict[str, int]]:
    counts = {job_id: {state.value: 0 for state in ItemState} for job_id in ids}
    for row in tx.execute(_COUNTS, {"ids": ids}):
        counts[row.job_id][row.state] = row.total
    return counts


def _job(row: Row[Any], counts: dict[str, int], troubled: list[Item]) -> Job:
    names = set(Job.__dataclass_fields__) - {"job_id", "asked", "total", "counts", "troubled"}
    values = {name: getattr(row, name) for name in names}
    return Job(
        job_id=str(row.id),
        asked=_shortened(row.asked),
        total=sum(counts.values()),
        counts=counts,
        troubled=troubled,
        **values,
    )


def _shortened(asked: dict[str, Any]) -> dict[str, Any]:
    more = len(asked.get("ids", ())) - SHOWN
    return asked if more <= 0 else {"ids": asked["ids"][:SHOWN], "and_more": more}


def _why(row: Row[Any]) -> str:
    """Say why an item is in trouble; of one that failed again, with what."""
    failed_with = mask_text(row.error) if row.state == ItemState.FAILED and row.error else ""
    return failed_with or str(row.reason)


_JOB = text("select * from job where id = :id and kind = coalesce(cast(:kind as text), kind)")
_JOBS = text("""
    select * from job
    where kind = coalesce(cast(:kind as text), kind) and id < coalesce(cast(:before as bigint), 9223372036854775807)
    order by id desc limit :limit
""")
_COUNTS = text("""
    select job_id, state, count(*) as total from job_item where job_id = any(cast(:ids as bigint[])) group by 1, 2
""")
_TROUBLED = text("""
    select j.*, i.error from job_item j left join instance i on i.id = j.instance_id
    where j.job_id = :id and j.state in ('failed', 'refused')
    order by j.state, j.instance_id limit :limit
""")
