"""What instances carry: the event as accepted, and the CrowdTwist user that the oic stage once made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Carried:
    """One instance's event and user; None: never mapped, or pruned."""

    instance_id: int
    member_number: str
    event: Mapping[str, Any] | None
    user: Mapping[str, Any] | None


def carried(connection: Connection, ids: Sequence[int]) -> list[Carried]:
    """Read what *ids* carry, in the order of their ids."""
    return [Carried(*row) for row in connection.execute(_CARRIED, {"ids": list(ids)})]


_CARRIED = text("""
    select i.id, i.member_number, p.event, m.user_object
    from instance i left join payload p on p.instance_id = i.id left join mapping m on m.instance_id = i.id
    where i.id = any(cast(:ids as bigint[])) order by i.id
""")
