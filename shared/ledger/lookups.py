"""Statements that find one thing by what somebody knows of it; each look is one of an index."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from shared.ledger.records import id_text


@dataclass(frozen=True, slots=True)
class Meant:
    """What words name: members, and an instance by its own id, or else by that of its event.

    Shape: *members* is the one of that number; else those of that ROW_ID or CrowdTwist id.
    """

    members: list[str]
    instance_id: str | None


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The instances of the same member before and after one."""

    older_id: str | None
    newer_id: str | None


def meant(tx: Connection, words: str, number: int | None) -> Meant:
    """Say what *words* name; *number* is what they are as a number, None: they are none."""
    row = tx.execute(_MEANT, {"words": words, "id": number}).one()
    others: list[str] = row.by_row_id + row.by_user_id
    members = [words] if row.is_member else list(dict.fromkeys(others))
    return Meant(members, id_text(row.by_id or row.by_event))


def member_of(tx: Connection, row_id: str) -> str | None:
    """Say whose a ROW_ID is; None: nobody's that is known, or not one member's alone."""
    found = tx.execute(_MEMBER_OF, {"row_id": row_id}).scalars().all()
    return str(found[0]) if len(found) == 1 else None


def neighbours(tx: Connection, member_number: str, instance_id: int) -> Neighbours:
    """Find the instances beside *instance_id*, of the member's that are kept."""
    row = tx.execute(_NEIGHBOURS, {"number": member_number, "id": instance_id}).one()
    return Neighbours(id_text(row.older), id_text(row.newer))


def overtaken(tx: Connection, ids: Sequence[int]) -> set[str]:
    """Say which of these instances a newer one of the member has overtaken that succeeded."""
    return {str(one) for one in tx.execute(_OVERTAKEN, {"ids": list(ids)}).scalars()}


def jobs_of(tx: Connection, ids: Sequence[int]) -> dict[str, str]:
    """Say which job that is under way has each of these instances, of those that one has."""
    return {str(row.instance_id): str(row.job_id) for row in tx.execute(_JOBS_OF, {"ids": list(ids)})}


def untold(tx: Connection, ids: Sequence[int]) -> set[str]:
    """Say which of these instances have come to a status that nobody has told Siebel, so far.

    Told means: it ended so; or Siebel shows this status, and since it fails; or a newer one has been told since, and
    this one was before.  Who was overtaken untold stays so.
    """
    return {str(one) for one in tx.execute(_UNTOLD, {"ids": list(ids)}).scalars()}


def put_back(tx: Connection, job_id: int) -> list[int]:
    """Give the instances that a job which stopped has put back, and that stand as they did since."""
    return list(tx.execute(_PUT_BACK, {"job_id": job_id}).scalars())


_OVERTAKEN = text("""
    select i.id from instance i join member m using (member_number)
    where i.id = any(cast(:ids as bigint[])) and m.newest_id > i.id and m.synced
""")
_JOBS_OF = text("""
    select t.instance_id, t.job_id from job o join job_item t on t.job_id = o.id
    where o.ended_at is null and t.instance_id = any(cast(:ids as bigint[])) and t.state in ('planned', 'sent')
""")
_MEMBER_OF = text("select member_number from member where row_id = :row_id limit 2")
_MEANT = text("""
    select exists (select from member where member_number = :words) as is_member,
           (select id from instance where id = cast(:id as bigint)) as by_id,
           (select id from instance where event_id = :words) as by_event,
           array(select member_number from member where row_id = :words order by member_number limit 10) as by_row_id,
           array(select member_number from member where ct_user_id = cast(:id as bigint)
                 order by member_number limit 10) as by_user_id
""")
_UNTOLD = text("""
    select i.id from instance i join member m using (member_number)
    where i.id = any(cast(:ids as bigint[])) and i.status is not null
      and coalesce(i.parked_state, i.state) not in ('completed', 'rejected')
      and not coalesce(case
          when m.told_id > i.id then exists (select from activity a where a.instance_id = i.id and a.stage = 'siebel'
                                             and a.took_ms is not null and a.code is null)
          else m.told_status = i.status and (m.told_id = i.id or m.told_at >= i.failing_since)
      end, false)
""")
_PUT_BACK = text("""
    select i.id from job_item t join instance i on i.id = t.instance_id
    where t.job_id = :job_id and t.state = 'put_back' and i.state in ('dead', 'rejected') order by i.id desc
""")
_NEIGHBOURS = text("""
    select (select id from instance where member_number = :number and id < :id order by id desc limit 1) as older,
           (select id from instance where member_number = :number and id > :id order by id limit 1) as newer
""")
