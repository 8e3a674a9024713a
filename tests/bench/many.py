"""Many rows in a ledger, each as real as the few that it was made from.

A few hundred events go the whole way; then all that they left is copied by SQL, under other numbers.  So a table or a
column that comes later is filled too, as our own code fills it, and nothing here repeats what the tables hold.
"""

from sqlalchemy import Connection, text

from shared.ledger.engine import Ledger

_ROOTS = ("member", "instance")
_OF_INSTANCES = ("payload", "mapping", "activity")
_AT_ONCE = 200
"""Copies of everything in one statement."""


def multiply(ledger: Ledger, instances: int) -> int:
    """Copy all members and instances of *ledger*, with payloads and activity, until there are *instances*.

    Every instance has to have ended.  Returns how many there are now.
    """
    with ledger.begin() as tx:
        own, first, last = tx.execute(text("select count(*), min(id), max(id) from instance")).one()
        copies = max(0, -(-instances // own) - 1)
        span = last - first + 1
        tx.execute(text("select setval(pg_get_serial_sequence('instance', 'id'), :to)"), {"to": last + span * copies})
    for start in range(1, copies + 1, _AT_ONCE):
        some = {"from": start, "to": min(copies, start + _AT_ONCE - 1), "last": last}
        with ledger.begin() as tx:
            for table in (*_ROOTS, *_OF_INSTANCES):
                tx.execute(text(_copy(tx, table, span)), some)
    with ledger.connect().execution_options(isolation_level="AUTOCOMMIT") as tx:
        tx.execute(text("vacuum analyze"))
    return int(own * (copies + 1))


def _copy(tx: Connection, table: str, span: int) -> str:
    """Return the statement that copies the rows of *table* that are the originals'."""
    columns = tx.execute(text(_COLUMNS), {"table": table}).all()
    values = [_value(table, name, kind, span) for name, kind in columns]
    whose = {"member": "newest_id", "instance": "id"}.get(table, "instance_id")
    return f"""
        insert into {table} ({", ".join(name for name, _ in columns)})
        select {", ".join(values)} from generate_series(cast(:from as int), cast(:to as int)) as copy
        cross join {table} as o where o.{whose} <= :last
    """


def _value(table: str, name: str, kind: str, span: int) -> str:
    """Return what a column of copy number `copy` holds: other numbers and names, all else as in the original."""
    if kind == "bigint" and (name == "instance_id" or (name == "id" and table == "instance") or _names_one(name)):
        return f"o.{name} + copy * {span}"
    if name in {"event_id", "member_number", "row_id", "proven_row_id"}:
        return f"o.{name} || '-' || copy"
    if name == "event_hash":
        return f"sha256(o.{name} || int4send(copy))"
    if name in {"email_key", "held_email_key"}:
        return f"sha256(o.{name} || int4send(copy))"
    return f"o.{name}"


def _names_one(name: str) -> bool:
    """Return whether a column of a member names an instance."""
    return name in {"newest_id", "applied_id", "told_id", "ct_user_id", "lost_write_id", "lost_tell_id"}


_COLUMNS = """
    select column_name, data_type from information_schema.columns
    where table_schema = current_schema() and table_name = :table and is_generated = 'NEVER'
    order by ordinal_position
"""
