"""A newer event of a member arrives: what waits is closed, and what it had met is handed on."""

from collections.abc import Mapping

from sqlalchemy import Connection, text


def supersede(tx: Connection, overtaken: Mapping[int, int]) -> None:
    """Close queued instances: key = the overtaken one, value = the newer one."""
    if overtaken:
        parameters = {"ids": list(overtaken), "newer": list(overtaken.values())}
        tx.execute(SUPERSEDE, parameters)


def inherit(tx: Connection, overtaken: Mapping[int, int]) -> None:
    """Hand a failure that lasts on to the newer instance: since when, what, and when Siebel is to be told of it."""
    if overtaken:
        parameters = {"ids": list(overtaken), "newer": list(overtaken.values())}
        tx.execute(INHERIT, parameters)


SUPERSEDE = text("""
    with overtaken as (
        update instance i
        set state = 'superseded', finished_at = now(), reason = 'overtaken by instance ' || r.newer
        from unnest(cast(:ids as bigint[]), cast(:newer as bigint[])) as r (id, newer)
        where i.id = r.id and i.state <> 'running'
        returning i.id, i.stage, i.reason
    )
    insert into activity (instance_id, stage, state, what) select id, stage, 'superseded', reason from overtaken
""")
INHERIT = text("""
    with heirs as (
        update instance n
        set failing_since = o.failing_since, errand_at = o.errand_at, status = o.status, error = o.error, code = o.code,
            failed_stage = o.failed_stage
        from unnest(cast(:ids as bigint[]), cast(:newer as bigint[])) as r (id, newer)
        join instance o on o.id = r.id
        where n.id = r.newer and n.state = 'pending'
    )
    update instance set errand_at = null where id = any(cast(:ids as bigint[]))
""")
