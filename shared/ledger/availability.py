"""What stands before and beside the ledger's server: PgBouncer, which keeps no session, and standbys.

Through PgBouncer in transaction mode a session is lent for one transaction, and nothing that a client asked of it stays
or is let through.  So our user has it as its own default, which each session begins with, whoever opens it.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, text

from shared.ledger.engine import SESSION


@dataclass(frozen=True, slots=True)
class Standbys:
    """How many standbys receive what is written, and for which of them (`synchronous_standby_names`) a commit waits."""

    connected: int
    waited_for: str


def keep_sessions(tx: Connection) -> None:
    """Let every session of our user in this database begin with what ours ask for, also those of PgBouncer."""
    tx.execute(_LOCK)  # or two that do it at once stumble over each other
    for statement in _KEEP:
        tx.execute(statement)


def sessions_lack(tx: Connection) -> list[str]:
    """Return what this session, which PgBouncer lent, should have and has not: `jit=off` and so on."""
    found = {name: tx.execute(_SETTING, {"name": name}).scalar_one() for name, _, _ in _WANTED}
    return [f"{name}={value}" for name, _, value in _WANTED if found[name] != value]


def standbys(tx: Connection) -> Standbys:
    """Read who would be failed over to."""
    return Standbys(*tx.execute(_STANDBYS).one())


_WANTED = [setting.partition("=") for setting in SESSION]
_LOCK = text("select pg_advisory_xact_lock(7264013114)")
_KEEP = [
    text(
        "do $$ begin execute format('alter role current_user in database %I set "
        f"{name} = %L', current_database(), '{value}'); end $$"
    )
    for name, _, value in _WANTED
]
_SETTING = text("select current_setting(:name)")
_STANDBYS = text("select (select count(*) from pg_stat_replication), current_setting('synchronous_standby_names')")
