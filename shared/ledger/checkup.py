"""Whether the ledger serves - it is reached, holds every character, has our schema, takes a write - and what is in it.

What `membersync doctor` asks looks, changes nothing, and does not wait long.  What brings the schema up to date is here
too, apart from `engine`: Alembic takes a third of a worker's start to import.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from shared.errors import LedgerConflictError, LedgerError, LedgerUnwritableError
from shared.event_values import MODIFICATION_MAX
from shared.ledger.engine import Ledger, transaction
from shared.ledger.schema import MIGRATIONS, schema

UTF8 = "UTF8"


class MigrationBlockedError(Exception):
    """Somebody holds a lock that a migration needs, and everybody else would have to wait behind it."""


def migrate(url: str) -> None:
    """Bring the schema at *url* up to date; does nothing when it is.

    Raises:
        MigrationBlockedError: a lock cannot be had; the migrations before it are done.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url
    for left in reversed(range(_LOCK_TRIES)):
        try:
            command.upgrade(config, "head")
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCKED:
                raise
            if not left:
                raise MigrationBlockedError("a long transaction holds a lock that a migration needs") from error
        else:
            return


def missing(of: Ledger) -> list[str]:
    """Return what keeps the ledger from serving, in words; nothing: it serves."""
    try:
        encoding = encoding_of(of)
        if encoding != UTF8:
            return [f"the ledger's database is {encoding}, which does not hold every name: it must be {UTF8}"]
        with transaction(of) as tx:
            trouble = schema(tx).trouble
        if trouble is not None:
            return [trouble]
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
        tx.execute(_WRITE_PATIENCE)
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
_LOCK_TRIES = 10
_ENCODING = text("select current_setting('server_encoding')")
_WRITE_PATIENCE = text("set local statement_timeout = '3s'")
_LOCK = text("lock table readiness in access exclusive mode nowait")
_TRUNCATE = text("truncate readiness restart identity")
_INSERT = text("insert into readiness (at) values (clock_timestamp())")


_PATIENCE = text("set local statement_timeout = '5s'")


@dataclass(frozen=True, slots=True)
class Server:
    """The ledger's server.  Shape: *version_number* as PostgreSQL counts, 140012 is 14.12.  *now* is its clock."""

    version: str
    version_number: int
    now: datetime
    encoding: str = "UTF8"
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Leases:
    """Instances and errands that are out: those that wait in the broker (*unbegun*), those that nobody gives back.

    Units: *overdue_s* seconds since the oldest of the *overdue* leases ran out.
    """

    running: int
    unbegun: int
    overdue: int
    overdue_s: float


@dataclass(frozen=True, slots=True)
class Idle:
    """A lane's due instances of a stage: how many, since when the oldest is due, what ended in that lane meanwhile.

    Units: *due_s* seconds.
    """

    lane: str
    stage: str
    due: int
    due_s: float
    finished: int


@dataclass(frozen=True, slots=True)
class Strays:
    """Messages on the broker that no task could take: how many of late, and the newest."""

    count: int
    newest_at: datetime | None
    queue: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class StuckJob:
    """A job whose turn is overdue.  Units: *overdue_s* seconds."""

    job_id: int
    kind: str
    overdue_s: float


@dataclass(frozen=True, slots=True)
class Shut:
    """Members whose newest accepted event is of a time or a count that no real one reaches; *first* is one of them."""

    count: int
    first: str | None


def be_impatient(tx: Connection) -> None:
    """Let no statement of this transaction run for long."""
    tx.execute(_PATIENCE)


def server(tx: Connection) -> Server:
    """Read who serves the ledger."""
    return Server(*tx.execute(_SERVER).one())


def leases(tx: Connection, *, overdue_s: float) -> Leases:
    """Count what is running; overdue is a lease that ran out more than *overdue_s* seconds ago."""
    return Leases(*tx.execute(_LEASES, {"overdue_s": overdue_s}).one())


def idle(tx: Connection, *, period_s: float) -> list[Idle]:
    """Read, by lane and stage, what is due, beside what ended in the last *period_s* seconds.

    What waits in the broker is due too: workers that hang leave it there, and it is sent again and again.
    """
    return [Idle(*row) for row in tx.execute(_IDLE, {"period_s": period_s})]


def strays(tx: Connection, *, period_s: float) -> Strays:
    """Count the stray messages of the last *period_s* seconds."""
    return Strays(*tx.execute(_STRAYS, {"period_s": period_s}).one())


def stuck_jobs(tx: Connection, *, overdue_s: float) -> Sequence[StuckJob]:
    """Read the open jobs whose turn is overdue by more than *overdue_s* seconds, the oldest first."""
    return [StuckJob(*row) for row in tx.execute(_STUCK_JOBS, {"overdue_s": overdue_s})]


def shut(tx: Connection, *, future_s: float) -> Shut:
    """Count the members whose newest event lies more than *future_s* seconds ahead, or counts beyond Siebel's range.

    Walks through all members: it is for a person who waits, under a time-out of its own.
    """
    return Shut(*tx.execute(_SHUT, {"future_s": future_s, "most": MODIFICATION_MAX}).one())


_SHUT = text("""
    select count(*), min(member_number) from member
    where greatest(newest_occurred_at, sequence_from) > clock_timestamp() + make_interval(secs => :future_s)
       or newest_modification > :most
""")
_SERVER = text("""
    select current_setting('server_version'), current_setting('server_version_num')::int, clock_timestamp(),
           current_setting('server_encoding'), current_setting('transaction_read_only')::boolean
""")
_LEASES = text("""
    select count(*), count(*) filter (where not begun),
           count(*) filter (where lease_until < now() - make_interval(secs => :overdue_s)),
           greatest(coalesce(extract(epoch from now() - min(lease_until)), 0), 0)::float8
    from (select begun, lease_until from instance where state = 'running'
          union all select begun, lease_until from errand where token <> 0) as o
""")
_IDLE = text("""
    with ended as (
        select lane, count(*) as total from instance
        where finished_at > now() - make_interval(secs => :period_s) group by lane
    )
    select i.lane, i.stage, count(*), extract(epoch from now() - min(i.due_at))::float8,
           coalesce((select total from ended e where e.lane = i.lane), 0)
    from (select lane, due_stage as stage, due_at from instance
          where state in ('pending', 'waiting') and due_at <= now()
          union all
          select lane, stage, due_at from instance where state = 'running' and not begun) as i
    group by i.lane, i.stage order by i.lane desc, i.stage
""")
_STRAYS = text("""
    select count(*) over () as total, at, queue, reason from stray_message
    where at > now() - make_interval(secs => :period_s)
    union all select 0, null, null, null
    order by at desc nulls last limit 1
""")
_STUCK_JOBS = text("""
    select id, kind, extract(epoch from now() - next_at)::float8 from job
    where ended_at is null and next_at < now() - make_interval(secs => :overdue_s) order by next_at limit 20
""")
