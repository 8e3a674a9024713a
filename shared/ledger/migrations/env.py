"""Alembic's entry: runs the migrations under a lock, so that any number of processes may try at once.

Each is a transaction of its own, so that it may step out of it (`autocommit_block`) for what must be in none, as
`create index concurrently`.  The lock is held by a transaction on another connection: so it outlasts all of theirs, and
goes through a pooler, too.
"""

from alembic import context
from sqlalchemy import NullPool, create_engine, text

from shared.ledger.engine import connect_arguments
from shared.ledger.packed_events import PACKS_FROM
from shared.ledger.schema import SERVES_FROM_FIRST
from shared.settings import settings

_LOCK = 7_264_013_110  # any number, only ours

url = context.config.attributes.get("url") or settings().require_ledger()
# Without the session's time limits: a migration takes as long as it takes.  But while it waits for a lock, everybody
# else waits behind it: it lets them by, and comes again (`checkup.migrate`).
arguments = connect_arguments(url, "membersync migrate", session="-c timezone=UTC -c lock_timeout=5s")
engine = create_engine("postgresql+psycopg://", connect_args=arguments, poolclass=NullPool)
with engine.begin() as lock, engine.connect() as connection:
    lock.execute(text("set local lock_timeout = 0"))
    lock.execute(text("set local idle_in_transaction_session_timeout = 0"))
    lock.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    context.configure(connection=connection, transaction_per_migration=True)
    is_new = not context.get_context().get_current_heads()
    with context.begin_transaction():
        context.run_migrations()
    applied = context.get_context().get_current_heads()
    scripts = context.script.iterate_revisions(applied, "base") if applied else ()
    serves_from = max([getattr(one.module, "serves_from", SERVES_FROM_FIRST) for one in scripts], default="")
    head = max(applied, default="")
    if is_new and head >= PACKS_FROM:
        connection.execute(text("update compatibility set packs = true"))
    if head >= SERVES_FROM_FIRST:
        if head >= PACKS_FROM and connection.execute(text("select packs from compatibility")).scalar():
            serves_from = max(serves_from, PACKS_FROM)
        connection.execute(text("update compatibility set serves_from = :oldest"), {"oldest": serves_from})
        connection.commit()
