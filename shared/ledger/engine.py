"""The door to the ledger: one pooled engine per process, transactions, ways to repeat one, and wake-up calls.

Connections are proven before they are lent: alive, and on a server that takes writes.  Servers end idle sessions
(time-outs, restarts, PgBouncer), and after a failover a session may stay on the node that is read-only now.  Whoever
begins a transaction gets one that was proven a moment ago, or a new one:

* every time, without asking the server: whether it has said good-bye (not to be measured);
* once in `PROVEN_FOR_S`: whether it answers and takes writes (as long as the least statement, 0.3 ms here);
* a write that is refused as read-only replaces all connections of the pool.

And no answer is waited for without end (`shared.ledger.bounded`).

A server that is read-only as a whole is still read from: a new connection to it is as good as there is.
"""

import re
import select
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event
from time import monotonic
from typing import Any, LiteralString, TypeAlias, TypeVar

import orjson
import psycopg
from psycopg.abc import Buffer
from psycopg.types.array import ListDumper
from psycopg.types.json import set_json_dumps, set_json_loads
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine.interfaces import Dialect, ExceptionContext
from sqlalchemy.exc import DataError, DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from shared.addresses import POOLED, is_pooled, ledger_arguments
from shared.errors import LedgerConflictError, LedgerError, LedgerRefusedError, LedgerSlowError, LedgerUnwritableError
from shared.ledger.bounded import bounded
from shared.settings import settings

Ledger: TypeAlias = Engine
"""What callers hand to `transaction`, so that nobody else need know SQLAlchemy."""
Transaction: TypeAlias = Connection
"""What `transaction` yields, for the same."""
T = TypeVar("T")
R = TypeVar("R")
PROVEN_FOR_S = 1.0
_TRIES = 5
_PAUSE_S = 0.5

WAKE = "membersync_due"
"""The channel on which intake and workers say that something became due."""

# A host that is cut off within a transaction locks its rows until PostgreSQL ends that: 15 s, by which all others wait.
# Every join here is a look-up by key.  Statistics lag behind a burst, and a planner that takes a full table for an
# empty one then hashes all of it, once per batch (measured: 45 us instead of 12 per row of `finish`).
SESSION = (
    *("timezone=UTC", "lock_timeout=10s", "statement_timeout=1min", "idle_in_transaction_session_timeout=15s"),
    *("jit=off", "enable_hashjoin=off", "enable_mergejoin=off", "enable_seqscan=off"),
)
"""What holds in each session of ours.  PgBouncer lets none of it through: there our user has it
(`shared.ledger.availability`).  Values are written as PostgreSQL shows them."""
_SESSION = " ".join(f"-c {setting}" for setting in SESSION)
# A server whose host vanished without a word is given up after a minute, not after the system's two hours.
_NOTICED: dict[str, Any] = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_ASYNCHRONOUSLY = "-c synchronous_commit=off"
_PROVEN_AT = "proven_at"
READ_ONLY = "25006"
DISK_FULL = "53100"
_KINDS = {
    "40001": LedgerConflictError,  # serialization failure
    "40P01": LedgerConflictError,  # deadlock
    "57014": LedgerSlowError,  # statement time-out
    "23505": LedgerConflictError,  # one of a kind, and another has just been written
    READ_ONLY: LedgerUnwritableError,
    DISK_FULL: LedgerUnwritableError,
}
UNWRITABLE = {
    READ_ONLY: f"the ledger takes no writes: its server is read-only ({READ_ONLY})",
    DISK_FULL: f"the ledger takes no writes: its disk is full ({DISK_FULL})",
}
_REFUSED = ("22", "23", "54")
"""Classes of SQLSTATE that are about what was given: a value, a rule it breaks, a limit of PostgreSQL."""
_NOTIFY = text(f"notify {WAKE}")
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""An escaped NUL: an even number of backslashes before it are escaped backslashes."""

set_json_loads(orjson.loads)
set_json_dumps(orjson.dumps)


class Lists(ListDumper):
    """Writes a list of whole numbers or of texts as one; psycopg's own calls and searches for each of them."""

    def dump(self, obj: list[Any]) -> Buffer | None:
        """Return *obj* as PostgreSQL reads it; anything else, or with signs to escape, as psycopg writes it."""
        kinds = set(map(type, obj))
        if kinds == {int}:
            return f"{{{','.join(map(str, obj))}}}".encode()
        if kinds == {str}:
            text = "\0".join(obj)
            if not ('"' in text or "\\" in text or text.count("\0") >= len(obj)):
                return f'{{"{text}"}}'.replace("\0", '","').encode()
        return super().dump(obj)


psycopg.adapters.register_dumper(list, Lists)


def connect_arguments(url: str, name: str, session: str = _SESSION) -> dict[str, Any]:
    """Return what a connection called *name* to the ledger at *url* is made with, whoever makes it.

    What the URL says goes before our patience, and our *session* before its options.  Through PgBouncer a session is
    lent for one transaction: nothing is asked of it that would have to stay, statements that are prepared neither.
    """
    found = dict(ledger_arguments(url))
    if is_pooled(found):
        del found[POOLED]
        lent: dict[str, Any] = {"client_encoding": "utf8", "application_name": name, "prepare_threshold": None}
        return {"connect_timeout": 5, **_NOTICED, **found, **lent}
    found.pop(POOLED, None)
    options = " ".join(filter(None, [found.pop("options", ""), session]))  # of two of a kind the last one counts
    ours = {"client_encoding": "utf8", "application_name": name, "options": options}
    return {"connect_timeout": 5, **_NOTICED, **found, **ours}


def engine(url: str | None = None, *, durable: bool = True) -> Engine:
    """Return this process's engine for *url*, default the setting.  Never share one across a fork.

    *durable* False: it commits asynchronously (not through PgBouncer): a crash of PostgreSQL may undo a commit with
    everything after it, never by itself.  Only for writes whose loss costs a repeated identical call (decision 0003).
    """
    address = url or settings().require_ledger()
    if (address, durable) not in _engines:
        _engines[address, durable] = _made(address, durable=durable)
    return _engines[address, durable]


_engines: dict[tuple[str, bool], Engine] = {}


def _made(address: str, *, durable: bool) -> Engine:
    found = ledger_arguments(address)
    is_one = "," not in found.get("host", "")
    shown = URL.create(  # what SQLAlchemy says of it; it connects with `connect_arguments`
        "postgresql+psycopg",
        found.get("user"),
        found.get("password"),
        host=found.get("host") if is_one else None,
        port=int(found["port"]) if is_one and "port" in found else None,
        database=found.get("dbname"),
    )
    of = create_engine(
        shown,
        pool_size=5,
        pool_use_lifo=True,
        max_overflow=15,
        pool_timeout=10,
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
        hide_parameters=True,
        connect_args=connect_arguments(address, "membersync", _SESSION if durable else f"{_SESSION} {_ASYNCHRONOUSLY}"),
    )
    event.listen(of, "do_connect", _opening)
    event.listen(of, "connect", _opened)
    if is_pooled(found):
        event.listen(of, "connect", _in_utc)
    event.listen(of, "checkout", _lent)
    event.listen(of, "handle_error", _failed)
    return of


def takes_writes(connection: "psycopg.Connection[object]") -> bool:
    """Ask the server of a connection that is in no transaction.

    Raises:
        psycopg.Error: it does not answer.
    """
    return _alone(connection, "show transaction_read_only").fetchone() == ("off",)


def _alone(connection: "psycopg.Connection[object]", statement: LiteralString) -> "psycopg.Cursor[object]":
    before = connection.autocommit
    connection.autocommit = True  # no transaction to end, so one way there and back
    try:
        return connection.execute(statement)
    finally:
        connection.autocommit = before


def _in_utc(connection: "psycopg.Connection[object]", _: ConnectionPoolEntry) -> None:
    _alone(connection, "set timezone = 'UTC'")  # what PgBouncer keeps for whom it lends sessions


def _opening(_: Dialect, __: object, ___: object, arguments: dict[str, Any]) -> "psycopg.Connection[Any]":
    return bounded(arguments)


def _opened(_: "psycopg.Connection[object]", entry: ConnectionPoolEntry) -> None:
    entry.info[_PROVEN_AT] = monotonic()


def _lent(connection: "psycopg.Connection[object]", entry: ConnectionPoolEntry, _: PoolProxiedConnection) -> None:
    if connection.closed or _has_said_something(connection.fileno()):
        raise InvalidatePoolError
    connection.autocommit = False  # whatever it was lent for last
    if monotonic() - entry.info[_PROVEN_AT] < PROVEN_FOR_S:
        return
    try:
        is_good = takes_writes(connection)
    except psycopg.Error:
        is_good = False
    if not is_good:
        raise InvalidatePoolError
    entry.info[_PROVEN_AT] = monotonic()


def _has_said_something(descriptor: int) -> bool:
    """Return whether there is something to read though nothing was asked: the server's good-bye, or the end."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(0))


def _failed(context: ExceptionContext) -> None:
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True  # the others of the pool are on the same node


def forget_inherited() -> None:
    """Drop what a forked child inherited: its parent's connections are the parent's."""
    for of in _engines.values():
        of.dispose(close=False)
    _engines.clear()


@contextmanager
def transaction(of: Engine) -> Iterator[Connection]:
    """Open a transaction that commits at the end of the block and rolls back when it raises.

    Raises:
        LedgerConflictError: another transaction was in the way; repeat.
        LedgerSlowError: a statement took too long.
        LedgerRefusedError: it does not take what it was given.
        LedgerError: it could not be reached, or could not commit.
    """
    with _translating(), of.begin() as tx:
        yield tx


@contextmanager
def statements(of: Engine) -> Iterator[Connection]:
    """Open a connection on which each statement is a transaction of its own: one way there and back instead of three.

    Raises:
        LedgerError: as `transaction`.
    """
    with _translating(), of.connect() as tx:
        driver: Any = tx.connection.driver_connection
        driver.autocommit = True  # by `isolation_level` it takes as long as a statement; `_lent` ends it
        yield tx


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise _translated(error) from error
    except PoolTimeoutError as error:
        raise LedgerError("no connection to the ledger became free") from error


def repeated(action: Callable[[], T]) -> T:
    """Do *action*, a whole transaction, again while another is in its way, or it met a server that takes no writes.

    Raises:
        LedgerConflictError: it was in the way every time.
        LedgerUnwritableError: no server takes writes.
    """
    for _ in range(_TRIES - 1):
        with suppress(LedgerConflictError, LedgerUnwritableError):
            return action()
    return action()


def outlasting(action: Callable[[], T], for_s: float) -> T:
    """Do *action*, a whole transaction, again for up to *for_s* seconds while the ledger is away.

    Raises:
        LedgerRefusedError: it does not take what it was given.
        LedgerError: it is still away.
    """
    deadline = monotonic() + for_s
    while True:
        try:
            return repeated(action)
        except LedgerRefusedError:
            raise
        except LedgerError:
            if monotonic() >= deadline:
                raise
        Event().wait(_PAUSE_S)


def _translated(error: DBAPIError) -> LedgerError:
    """Return our error of *error*.  The statement and its parameters stay out of it: they carry members' data."""
    state = str(getattr(error.orig, "sqlstate", None) or "")
    if (state.startswith(_REFUSED) and state not in _KINDS) or isinstance(error, DataError):
        kind: type[LedgerError] = LedgerRefusedError
    else:
        kind = _KINDS.get(state, LedgerError)
    return kind(UNWRITABLE.get(state) or f"{type(error.orig).__name__} {state}".strip())


def wake(tx: Connection) -> None:
    """Tell the dispatchers, at commit, that something is due.

    It locks out all other calls until the commit is through: where that waits for the disk, call after it.
    """
    tx.execute(_NOTIFY)


def in_halves(
    items: Sequence[T], do: Callable[[Sequence[T]], list[R]], alone: Callable[[T, Exception], list[R]]
) -> list[R]:
    """Do all *items* at once; where that fails because of what they are, do each half, down to the one at fault.

    For statements that take a whole batch: one that nobody spoils costs nothing more, and of one that fails because of
    one item the others go on.  *do* is a whole transaction.  *alone* is told the one at fault and how it failed.

    Raises:
        LedgerError: the ledger is away, or another is in the way: no matter of the items.
    """
    try:
        return do(items)
    except Exception as error:
        if isinstance(error, LedgerError) and not isinstance(error, LedgerRefusedError):
            raise
        if len(items) == 1:
            return alone(items[0], error)
    half = len(items) // 2
    return in_halves(items[:half], do, alone) + in_halves(items[half:], do, alone)


def json_rows(records: Iterable[object]) -> str:
    r"""Return *records*, dicts or dataclasses, as one JSON array that a statement reads with `json_to_recordset`.

    Many rows in one parameter, measured at 200 rows a statement: a tenth of the client's time of one array parameter
    per column.  Bytes become hexadecimal.

    NUL characters, which PostgreSQL cannot hold and no system means, become replacement characters; the six letters
    `\u0000` that somebody wrote stay what they are.
    """
    return _without_nul(orjson.dumps(list(records), default=bytes.hex))


def json_lines(records: Iterable[object]) -> str:
    """Return *records* as one JSON document a line, nothing for None: a column of them; NUL as in `json_rows`."""
    return _without_nul(b"\n".join(b"" if one is None else orjson.dumps(one) for one in records))


def _without_nul(written: bytes) -> str:
    return (_NUL.sub(rb"\1\\ufffd", written) if b"\\u0000" in written else written).decode()
