"""The second checker: what must hold in the ledger once everything has drained."""

from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.chaos.suite.feed import Accepted

_UNCHECKED = """
    from member m join instance i on i.id = m.newest_id
    where m.read_back_at is not null or m.tell_again_at is not null
       or i.state = 'completed' and (m.lost_write_id is not null or m.lost_tell_id is not null)
"""
"""Of whom nothing succeeded since, the next success is checked, and nothing is until then."""
_DRAINED = f"""
    select (select count(*) from instance where state in ('pending', 'running', 'waiting', 'held'))
         + (select count(*) from errand) + (select count(*) {_UNCHECKED})
         + (select count(*) from data_case where closed_at is null
            and (held_by is not null or looked is null and look_at is not null))
"""
_NOTHING = {
    "a dead letter, though no system was up and refused it": """
        select id, member_number, stage, code from instance where state = 'dead'""",
    "not at its end": """
        select id, member_number, state, stage from instance
        where state in ('pending', 'running', 'waiting', 'held')""",
    "a token or a lease without being on its way": """
        select id, member_number, state from instance
        where state <> 'running' and (token <> 0 or lease_until is not null)""",
    "an errand that is left": "select id, instance_id, kind from errand",
    "a member with an errand out": "select member_number, errand_id from member where errand_id is not null",
    "a loss that was never checked": f"select m.member_number, i.state, m.lost_write_id, m.lost_tell_id {_UNCHECKED}",
    "an end whose last line says another": """
        select i.id, i.state, a.state from instance i
        join lateral (select state from activity where instance_id = i.id and state is not null
                      order by id desc limit 1) as a on true
        where i.state <> a.state""",
    "no line of activity": """
        select id from instance i where not exists (select from activity a where a.instance_id = i.id)""",
    "superseded, and nothing newer": """
        select i.id, i.member_number from instance i join member m using (member_number)
        where i.state = 'superseded' and m.newest_id = i.id""",
    "newest, and older than another": """
        select i.member_number, n.id, i.id from instance i join member m using (member_number)
        join instance n on n.id = m.newest_id
        where i.state not in ('skipped', 'superseded', 'unchanged') and i.occurred_at > n.occurred_at""",
    "completed, and not what CrowdTwist was sent last": """
        select i.id, i.member_number, m.applied_id from member m join instance i on i.id = m.newest_id
        where i.state = 'completed' and m.applied_id is distinct from i.id and i.operation <> 'delete'""",
}
"""What must not be: a query that finds it."""


def is_drained(connect: Callable[[], "psycopg.Connection[tuple[object, ...]]"]) -> bool:
    """Return whether nothing is on its way any more: no check of a lost answer, nobody who wants another's address,
    or an address of which CrowdTwist has not said yet who has it.
    """
    try:
        with connect() as tx:
            return tx.execute(_DRAINED.encode()).fetchone() == (0,)
    except psycopg.Error:
        return False


def check(tx: "psycopg.Connection[tuple[Any, ...]]", accepted: Accepted) -> list[str]:
    """Return a line for each invariant that does not hold."""
    found = []
    for what, statement in _NOTHING.items():
        rows = tx.execute(statement.encode()).fetchall()
        found += [f"{what}: {row}" for row in rows[:5]]
        if len(rows) > 5:
            found.append(f"{what}: {len(rows)} in all")
    there = {int(row[0]) for row in tx.execute(b"select id from instance").fetchall()}
    missing = set(accepted.instances.values()) - there
    return found + [f"answered, and not in the ledger: {number}" for number in sorted(missing)[:20]]


_STORY = (
    "select * from member where member_number = %s",
    "select * from data_case where member_number = %s order by id",
    "select * from instance where member_number = %s order by id",
    "select * from errand where member_number = %s order by id",
    """select a.* from activity a join instance i on i.id = a.instance_id
       where i.member_number = %s order by a.id""",
)


def story(tx: "psycopg.Connection[tuple[Any, ...]]", number: str) -> list[str]:
    """Return what the ledger has of a member, a line for each row: for whoever wonders about a finding."""
    found = [f"# {number}"]
    with tx.cursor(row_factory=dict_row) as cursor:
        for statement in _STORY:
            found += [str(row) for row in cursor.execute(statement.encode(), (number,)).fetchall()]
    return found
