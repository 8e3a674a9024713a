"""Which schema the ledger has, whether this version of the code can work on it, and waiting until it can.

A schema is known by its revision, the number of its newest migration.  Older than what this version was written for, it
does not serve: somebody runs `membersync migrate`, and until then processes wait.  Newer, it serves for as long as
migrations only added to it; one that takes something away says from which revision on the code does without
(`serves_from`), and the ledger keeps the newest of these (`compatibility`).  So two versions run side by side while one
takes the other's place, and the way back stays open (deploy/decisions/0028).
"""

from dataclasses import dataclass
from pathlib import Path
from threading import Event

from sqlalchemy import Connection, text

from shared.errors import LedgerError
from shared.ledger.engine import Ledger, transaction
from shared.liveness import this_process

MIGRATIONS = Path(__file__).parent / "migrations"
REVISIONS = sorted(file.name[:4] for file in (MIGRATIONS / "versions").glob("[0-9]*.py"))
"""Every revision that this version knows, the oldest first; as Alembic finds them, which takes long to import."""
WANTED = REVISIONS[-1]
SERVES_FROM_FIRST = "0046"
"""The first revision that knows of others: what came before it serves its own code only."""
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Schema:
    """The revision that was *found* (None: no schema), and the oldest one whose code it *serves*, where it is newer."""

    found: str | None
    wanted: str = WANTED
    serves_from: str | None = None

    @property
    def is_ours(self) -> bool:
        """Whether this version knows that revision."""
        return self.found is None or self.found in REVISIONS

    @property
    def trouble(self) -> str | None:
        """Why this version cannot work on it, in a sentence; None: it can."""
        if self.found is None:
            return "the ledger has no schema yet: run `membersync migrate`"
        if self.is_ours and self.found < self.wanted:
            return (
                f"the ledger's schema is {self.found}, and this version needs {self.wanted}: run `membersync migrate`"
            )
        if self.is_ours or (self.serves_from is not None and self.serves_from <= self.wanted):
            return None
        least = f"code of {self.serves_from} or later" if self.serves_from else "newer code"
        return f"the ledger's schema is {self.found}, which needs {least}, and this version is of {self.wanted}"


def schema(tx: Connection) -> Schema:
    """Read which schema the ledger has."""
    found = tx.execute(_REVISION).scalar() if tx.execute(_HAS_REVISION).scalar() else None
    if found is None or found in REVISIONS or not tx.execute(_HAS_COMPATIBILITY).scalar():
        return Schema(found)
    return Schema(found, serves_from=tx.execute(_SERVES_FROM).scalar())


def wait_for_schema(of: Ledger, stop: Event) -> bool:
    """Wait until this version can work on the ledger's schema; return whether it can, or *stop* came first.

    Meanwhile this process is alive, and shows what it waits for.
    """
    while not stop.is_set():
        try:
            with transaction(of) as tx:
                trouble = schema(tx).trouble
        except LedgerError as error:
            trouble = f"the ledger cannot be reached: {error}"
        if trouble is None:
            return True
        this_process.waits_for(trouble)
        this_process.went_round()
        stop.wait(_LOOK_EVERY_S)
    return False


_HAS_REVISION = text("select to_regclass('alembic_version') is not null")
_REVISION = text("select version_num from alembic_version")
_HAS_COMPATIBILITY = text("select to_regclass('compatibility') is not null")
_SERVES_FROM = text("select serves_from from compatibility")
