"""What instances carry: the event as accepted, and the CrowdTwist user that the oic stage once made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from shared.personal import Persons


@dataclass(frozen=True, slots=True)
class Carried:
    """One instance's event and user; None: never mapped, or pruned."""

    instance_id: int
    member_number: str
    event: Mapping[str, Any] | None
    user: Mapping[str, Any] | None


def carried(tx: Connection, ids: Sequence[int]) -> list[Carried]:
    """Read what *ids* carry, in the order of their ids."""
    return [Carried(*row) for row in tx.execute(_CARRIED, {"ids": list(ids)})]


def in_trouble(tx: Connection, *, limit: int) -> list[Persons]:
    """Read who the newest *limit* are that failed, or are failing."""
    return [(row.user_object, row.member) for row in tx.execute(_IN_TROUBLE, {"limit": limit})]


def of_late(tx: Connection, *, limit: int) -> list[Persons]:
    """Read who the newest *limit* are, and the newest that failed."""
    newest = [(row.user_object, row.member) for row in tx.execute(_NEWEST, {"limit": limit})]
    return newest + in_trouble(tx, limit=limit)


_NEWEST = text("""
    select p.event->'member' as member, m.user_object
    from (select id from instance order by id desc limit :limit) as i
    left join payload p on p.instance_id = i.id left join mapping m on m.instance_id = i.id
""")
_IN_TROUBLE = text("""
    select p.event->'member' as member, m.user_object
    from (select id from instance where code is not null order by id desc limit :limit) as i
    left join payload p on p.instance_id = i.id left join mapping m on m.instance_id = i.id
""")
_CARRIED = text("""
    select i.id, i.member_number, p.event, m.user_object
    from instance i left join payload p on p.instance_id = i.id left join mapping m on m.instance_id = i.id
    where i.id = any(cast(:ids as bigint[])) order by i.id
""")
