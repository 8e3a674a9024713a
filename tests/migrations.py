"""Migrations as tests run them: back to an older schema, and what is inside one."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import create_engine

from shared.ledger.engine import connect_arguments
from shared.ledger.schema import MIGRATIONS


def configured(url: str) -> Config:
    """Return what Alembic's commands need for the ledger at *url*."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url
    return config


@contextmanager
def migrating(url: str) -> Iterator[None]:
    """Run what is inside as a migration runs."""
    own = create_engine("postgresql+psycopg://", connect_args=connect_arguments(url, "membersync migrate", session=""))
    with own.connect() as connection:
        context = MigrationContext.configure(connection, opts={"transaction_per_migration": True})
        with context.begin_transaction(_per_migration=True), Operations.context(context):
            yield
    own.dispose()
