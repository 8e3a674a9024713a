"""Whether the ledger serves, fast enough, with the schema of this version; who holds an old snapshot of it."""

from timeit import repeat

from producers.doctor.check import Finding, Subject, fail, ok, place, warn
from producers.operations import advice
from shared.errors import LedgerError, LedgerUnwritableError
from shared.ledger import checkup, readiness, snapshots
from shared.ledger.checkup import Server
from shared.ledger.engine import DISK_FULL, engine

SERVER, SCHEMA, SNAPSHOTS = "ledger", "ledger's schema", "ledger's snapshots"
VERSION_LEAST = 14
SLOW_MS = 50.0
MAKE_UTF8 = "create another database, `create database membersync encoding 'UTF8' template template0`, and move there"
_READ_ONLY = (
    "end what makes it read-only (default_transaction_read_only, a standby), or let MEMBERSYNC_LEDGER_URL name "
    "the node that takes writes, or all of them: postgresql://…@HOST,HOST/…?target_session_attrs=read-write"
)
_FULL = "make room on the disk of its data folder and tablespaces; all processes go on by themselves"
_PER_MAJOR = 10_000
_TRIES = 5
"""The quickest of them is the way there and back; the others waited for this machine's other checks."""


def look_at_server(subject: Subject) -> list[Finding]:
    """Look at the server, and write to it as an event is written."""
    where = place(subject.ledger_url)
    try:
        with subject.reading() as tx:
            server = checkup.server(tx)
            took_ms = 1000 * min(repeat(lambda: checkup.server(tx), number=1, repeat=_TRIES))
    except LedgerError as error:
        # what the driver says of a connection that it did not get: who, where, why; no password, nobody's data
        said = str(getattr(error.__cause__, "orig", error)).strip()
        cause = said.splitlines()[0] if said else str(error)
        why = "without its ledger nothing is accepted and nothing is sent; what was accepted is safe in it"
        remedy = "start PostgreSQL, or correct MEMBERSYNC_LEDGER_URL; all processes go on by themselves"
        return [fail(SERVER, where, f"does not serve: {cause}", why, remedy)]
    try:
        readiness.write(engine(subject.ledger_url))
    except LedgerUnwritableError as error:
        why = "nothing is accepted and nothing is sent: posts are answered 503, and what was accepted waits"
        return [fail(SERVER, where, str(error), why, _FULL if DISK_FULL in str(error) else _READ_ONLY)]
    except LedgerError:
        pass  # what else keeps a write away is said elsewhere
    return [judge_server(server, took_ms, where)]


def judge_server(server: Server, took_ms: float, where: str) -> Finding:
    """Judge a server by its version and how long one statement took.  Pure.  Units: *took_ms* milliseconds."""
    found = f"PostgreSQL {server.version} answers in {took_ms:.1f} ms"
    if server.encoding != readiness.UTF8:
        why = f"its database is {server.encoding}: an event with a letter that this does not hold cannot be kept"
        return fail(SERVER, where, found, why, MAKE_UTF8)
    if server.version_number // _PER_MAJOR < VERSION_LEAST:
        why = f"membersync is written for PostgreSQL {VERSION_LEAST} and newer"
        return fail(SERVER, where, found, why, f"upgrade the server to {VERSION_LEAST} or newer (pg_upgrade)")
    if took_ms > SLOW_MS:
        why = f"a batch needs several statements, each waits: over {SLOW_MS:g} ms workers mostly wait"
        return warn(SERVER, where, found, why, "run ledger and workers in one network; look at the server's load")
    return ok(SERVER, where, found)


def look_at_schema(subject: Subject) -> list[Finding]:
    """Look at the schema."""
    where = place(subject.ledger_url)
    with subject.reading() as tx:
        schema = checkup.schema(tx)
    if schema.found == schema.wanted:
        return [ok(SCHEMA, where, f"the schema is {schema.found}, that of this version")]
    found = f"the schema is {schema.found or 'not there'}, this version's is {schema.wanted}"
    if not schema.is_ours:
        why = "the ledger was migrated by a newer version; this one reads and writes it wrongly"
        return [fail(SCHEMA, where, found, why, "run the newer version here too")]
    return [fail(SCHEMA, where, found, "statements of this version fail on it", "`membersync migrate`")]


def look_at_snapshots(subject: Subject) -> list[Finding]:
    """Look for sessions, slots, standbys and prepared transactions that keep dead rows from being cleared away."""
    with subject.reading() as tx:
        found = snapshots.holders(tx)
        seen = (
            "" if snapshots.sees_all(tx) else "; only those of its own user are shown: `grant pg_read_all_stats` to it"
        )
    looked_at = f"who has held a snapshot of the ledger for more than {subject.of.snapshot_max_s:g} s"
    old = [one for one in found if one.age_s > subject.of.snapshot_max_s]
    if not old:
        oldest = f"none; the oldest is {found[0].age_s:.0f} s old" if found else "none"
        return [ok(SNAPSHOTS, looked_at, f"{oldest}{seen}")]
    return [
        warn(
            SNAPSHOTS,
            looked_at,
            f"{one.named} for {one.age_s / 60:.0f} min{f': {one.query}' if one.query else ''}",
            advice.HELD,
            advice.let_go(one),
        )
        for one in old
    ]
