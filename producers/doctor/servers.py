"""Whether the ledger serves, and all clocks agree.

The ledger: fast enough, with the schema of this version, nobody holding an old snapshot.  The clocks: this machine's
against those of ledger, broker and systems.
"""

from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from time import time
from timeit import repeat
from typing import Any

import httpx

from producers.doctor.check import MAKE_UTF8, Finding, Subject, UnlookedError, fail, ok, place, warn
from producers.operations import advice
from producers.operations.broker_reached import BrokerError, open_redis
from producers.operations.clock_advice import set_by
from shared.addresses import proxy_for, trusted
from shared.broker_address import is_amqp
from shared.errors import LedgerError, LedgerUnwritableError
from shared.ledger import checkup, clock, snapshots
from shared.ledger.checkup import Server
from shared.ledger.engine import DISK_FULL, engine
from shared.ledger.schema import schema as read_schema
from shared.pipeline import Stage

SERVER, SCHEMA, SNAPSHOTS = "ledger", "ledger's schema", "ledger's snapshots"
VERSION_LEAST = 14
SLOW_MS = 50.0
STEPS = "steps of the ledger's clock"
_READ_ONLY = (
    "end what makes it read-only (default_transaction_read_only, a standby), or let MEMBERSYNC_LEDGER_URL name "
    "the node that takes writes, or all of them: postgresql://…@HOST,HOST/…?target_session_attrs=read-write"
)
_FULL = "make room on the disk of its data folder and tablespaces; all processes go on by themselves"
_POOLER = "unsupported startup parameter"
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
        if _POOLER in cause:
            remedy = "it is PgBouncer: add ?pgbouncer=true, and name the server in MEMBERSYNC_LEDGER_DIRECT_URL"
        return [fail(SERVER, where, f"does not serve: {cause}", why, remedy)]
    try:
        checkup.write(engine(subject.ledger_url))
    except LedgerUnwritableError as error:
        why = "nothing is accepted and nothing is sent: posts are answered 503, and what was accepted waits"
        return [fail(SERVER, where, str(error), why, _FULL if DISK_FULL in str(error) else _READ_ONLY)]
    except LedgerError:
        pass  # what else keeps a write away is said elsewhere
    return [judge_ledger(server, took_ms, where)]


def judge_ledger(server: Server, took_ms: float, where: str) -> Finding:
    """Judge a server by its version and how long one statement took.  Pure.  Units: *took_ms* milliseconds."""
    found = f"PostgreSQL {server.version} answers in {took_ms:.1f} ms"
    if server.encoding != checkup.UTF8:
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
        schema = read_schema(tx)
    if schema.found == schema.wanted:
        return [ok(SCHEMA, where, f"the schema is {schema.found}, that of this version")]
    found = f"the schema is {schema.found or 'not there'}, this version's is {schema.wanted}"
    if schema.trouble is None:
        why = "the ledger was migrated by a newer version, and still serves this one"
        return [warn(SCHEMA, where, found, why, "end the upgrade: run the newer version here too")]
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


WARN_S, FAIL_S = 2.0, 30.0
_CLOCK_WITHIN_S = 4.0
_HALF_A_SECOND = 0.5
_HERE = "this machine's clock against theirs"


def clock_of_ledger(subject: Subject) -> list[Finding]:
    """Compare with the ledger's clock."""
    with subject.reading() as tx:
        checkup.server(tx)  # the next one measures the way, not the connecting

        def theirs() -> float:
            return checkup.server(tx).now.timestamp()

        ahead_s = _ahead_s(theirs)
    return [judge_clock("clock of the ledger", ahead_s)]


def look_for_steps(subject: Subject) -> list[Finding]:
    """Look whether the ledger's clock was set of late."""
    with subject.reading() as tx:
        return [judge_step(clock.newest_step(tx))]


def judge_step(step: clock.Step | None) -> Finding:
    """Judge by the newest step of the ledger's clock within a day.  Pure."""
    looked_at = "whether it was set within a day"
    if step is None:
        return ok(STEPS, looked_at, "no")
    was_set = set_by(step)
    if step.is_doubted:
        return warn(
            STEPS,
            looked_at,
            f"it seems {was_set} while no dispatcher ran, as seen at {step.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC; "
            "leases stay in force, as long as a whole one at most",
            "only wall clocks could be compared, of the ledger and of the dispatchers' machines before and now: one of "
            "them was set, or is wrong",
            "`chronyc tracking` or `timedatectl timesync-status` on each of them",
        )
    return warn(
        STEPS,
        looked_at,
        f"{was_set}, to {step.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC; leases, due times and budgets moved with it",
        "what is counted by time of day is not: some minutes have nothing, or hold what happened in two; while it is "
        "behind, events of a right clock may be refused as of the future",
        "`chronyc tracking` or `timedatectl timesync-status` on the ledger's server, before it is set again",
    )


def clock_of_broker(subject: Subject) -> list[Finding]:
    """Compare with the broker's clock; RabbitMQ does not tell its own."""
    url = subject.broker_url
    if is_amqp(url):
        return []
    try:
        with open_redis(url) as client:
            client.ping()

            def theirs() -> float:
                seconds, microseconds = client.time()
                return float(seconds) + microseconds / 1_000_000

            ahead_s = _ahead_s(theirs)
    except BrokerError as error:
        raise UnlookedError(f"the broker does not serve ({error})", "first what is said of the broker") from error
    return [judge_clock("clock of the broker", ahead_s)]


def clock_of_system(stage: Stage, subject: Subject) -> list[Finding]:
    """Compare with the `Date` of an outside system's answer, where it has one; what keeps it away is not said here."""
    url = subject.of.connection(stage).base_url
    if url is None or subject.offline or (stage is Stage.OIC and subject.of.oic.mode == "builtin"):
        return []
    try:
        return [judge_clock(f"clock of {stage}", _ahead_s(lambda: date_of(url)))]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, TypeError, ImportError):
        return []


def judge_clock(check: str, ahead_s: float) -> Finding:
    """Judge by how far that clock is ahead of ours.  Pure.  Units: seconds, negative when it is behind."""
    found = f"{abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine"
    if abs(ahead_s) <= WARN_S:
        return ok(check, _HERE, f"agrees within {WARN_S:g} s")
    why = "ages, leases and the order of a member's events compare instants of several machines"
    remedy = "`timedatectl status` on both machines; let chrony or ntpd keep them"
    return (fail if abs(ahead_s) > FAIL_S else warn)(check, _HERE, found, why, remedy)


def _ahead_s(theirs: Callable[[], float]) -> float:
    """Return how far a clock is ahead of ours, by ours in the middle of asking for it.  Units: epoch seconds."""
    asked = time()
    answered = theirs()
    return answered - (asked + time()) / 2


def date_of(url: str) -> float:
    """Return the instant of an answer's `Date`, which is cut to whole seconds; no credentials are sent.

    Raises:
        ValueError: it has none.
    """
    proxy = proxy_for(url)
    way: dict[str, Any] = {"proxy": proxy.url if proxy else None, "trust_env": False, "verify": trusted()}
    answer = httpx.head(url, timeout=_CLOCK_WITHIN_S, **way)
    said = parsedate_to_datetime(answer.headers.get("date", ""))
    return (said if said.tzinfo else said.replace(tzinfo=UTC)).timestamp() + _HALF_A_SECOND
