"""What a migration does to a large table while the ledger is at work: nobody waits for it longer than for a moment.

Each leaves the migration's transaction.  One that was broken off is run again from its start, and does no harm by it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from alembic import op
from sqlalchemy import text

PIECE = 5_000


def create_index(
    name: str, table: str, columns: Sequence[str], *, where: str | None = None, unique: bool = False
) -> None:
    """Build an index beside those who write; what an attempt before has left invalid is built anew."""
    with _outside():
        op.drop_index(name, table_name=table, postgresql_concurrently=True, if_exists=True)
        op.create_index(
            name,
            table,
            list(columns),
            unique=unique,
            postgresql_where=None if where is None else text(where),
            postgresql_concurrently=True,
        )


def drop_index(name: str, table: str) -> None:
    """Drop an index beside those who read by it."""
    with _outside():
        op.drop_index(name, table_name=table, postgresql_concurrently=True, if_exists=True)


def update_in_pieces(table: str, assignments: str, where: str, *, key: str = "id") -> None:
    """Update the rows that are *where*, `PIECE` by *key* at a time, each piece a transaction of its own.

    What is changed must not be *where* any more, or be the same for being done twice.
    """
    with _outside():
        op.execute(f"""
            do $$ declare
                done {table}.{key}%type;
                upto {table}.{key}%type;
            begin loop
                select max(piece.key) into upto from (
                    select t.{key} as key from {table} t where done is null or t.{key} > done order by 1 limit {PIECE}
                ) as piece;
                exit when upto is null;
                update {table} t set {assignments}
                where (done is null or t.{key} > done) and t.{key} <= upto and ({where});
                commit;
                done := upto;
            end loop; end $$""")


def add_check(name: str, table: str, condition: str) -> None:
    """Have new rows checked at once, and those that are there beside those who write."""
    op.execute(f"alter table {table} add constraint {name} check ({condition}) not valid")
    with _outside():
        op.execute(f"alter table {table} validate constraint {name}")


@contextmanager
def _outside() -> Iterator[None]:
    """Leave the migration's transaction; what runs in none waits for others without holding anybody up."""
    with op.get_context().autocommit_block():
        op.execute("set lock_timeout = 0")
        yield
        op.execute("set lock_timeout = '5s'")
