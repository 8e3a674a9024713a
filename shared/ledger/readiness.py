"""Whether the ledger serves: it is reached, holds every character, has our schema, and takes a write.

And what brings the schema up to date.  Apart from `engine`: Alembic takes a third of a worker's start to import.
"""

from contextlib import suppress
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from shared.errors import LedgerConflictError, LedgerError, LedgerUnwritableError
from shared.ledger.engine import Ledger, transaction

MIGRATIONS = Path(__file__).parent / "migrations"


UTF8 = "UTF8"


def migrate(url: str) -> None:
    """Bring the schema at *url* up to date; does nothing when it is."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url
    command.upgrade(config, "head")


def is_current(of: Ledger) -> bool:
    """Return whether the schema is the one this code was written for."""
    with of.connect() as tx:
        return MigrationContext.configure(tx).get_current_revision() == _head()


@cache
def _head() -> str | None:
    return ScriptDirectory(str(MIGRATIONS)).get_current_head()


def missing(of: Ledger) -> list[str]:
    """Return what keeps the ledger from serving, in words; nothing: it serves."""
    try:
        encoding = encoding_of(of)
        if encoding != UTF8:
            return [f"the ledger's database is {encoding}, which does not hold every name: it must be {UTF8}"]
        if not is_current(of):
            return ["the ledger's schema is not that of this version: run `membersync migrate`"]
        with suppress(LedgerConflictError):  # another look writes there just now
            write(of)
    except LedgerUnwritableError as error:
        return [str(error)]
    except LedgerError as error:
        return [f"the ledger cannot be reached: {error}"]
    except SQLAlchemyError as error:
        return [f"the ledger cannot be reached: {type(error).__name__}"]
    return []


def encoding_of(of: Ledger) -> str:
    """Return the encoding of the ledger's database.

    Raises:
        LedgerError: it does not serve.
    """
    with transaction(of) as tx:
        return str(tx.execute(_ENCODING).scalar_one())


def write(of: Ledger) -> None:
    """Write as an event is written: a row that needs room on the disk, and a commit that waits for it.

    Raises:
        LedgerUnwritableError: the ledger is read-only, or its disk is full.
        LedgerError: it does not serve.
    """
    with transaction(of) as tx:
        tx.execute(_PATIENCE)
        # An empty table's next row asks the disk for a page.  Not while a backup or another look reads it.
        try:
            with tx.begin_nested():
                tx.execute(_LOCK)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCKED:
                raise
        else:
            tx.execute(_TRUNCATE)
        tx.execute(_INSERT)


_LOCKED = "55P03"
_ENCODING = text("select current_setting('server_encoding')")
_PATIENCE = text("set local statement_timeout = '3s'")
_LOCK = text("lock table readiness in access exclusive mode nowait")
_TRUNCATE = text("truncate readiness restart identity")
_INSERT = text("insert into readiness (at) values (clock_timestamp())")
