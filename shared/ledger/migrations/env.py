"""Alembic's entry: runs the migrations under a lock, so that any number of processes may try at once."""

from alembic import context
from sqlalchemy import create_engine, text

from shared.ledger.engine import connect_arguments
from shared.settings import settings

_LOCK = 7_264_013_110  # any number, only ours

url = context.config.attributes.get("url") or settings().require_ledger()
# Without the session's time limits: a migration takes as long as it takes.
arguments = connect_arguments(url, "membersync migrate", session="-c timezone=UTC")
engine = create_engine("postgresql+psycopg://", connect_args=arguments)
with engine.begin() as connection:
    connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
