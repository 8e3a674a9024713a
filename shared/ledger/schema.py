"""The ledger's schema: bring it up to date, and say whether it is.

Apart from `engine`: Alembic takes a third of a worker's start to import.
"""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from shared.ledger.engine import Ledger

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(url: str) -> None:
    """Bring the schema at *url* up to date; does nothing when it is."""
    command.upgrade(_alembic(url), "head")


def is_current(of: Ledger) -> bool:
    """Say whether the schema is the one this code was written for."""
    with of.connect() as tx:
        return MigrationContext.configure(tx).get_current_revision() == _head()


@cache
def _head() -> str | None:
    return ScriptDirectory(str(MIGRATIONS)).get_current_head()


def _alembic(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url
    return config
