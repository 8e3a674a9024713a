"""Connections are proven before they are lent: alive, and on a server that takes writes.

Servers end idle sessions (time-outs, restarts, PgBouncer), and after a failover a session may stay on the node that is
read-only now.  Whoever begins a transaction gets one that was proven a moment ago, or a new one:

* every time, without asking the server: whether it has said good-bye (not to be measured);
* once in `PROVEN_FOR_S`: whether it answers and takes writes (as long as the least statement, 0.3 ms here);
* a write that is refused as read-only replaces all connections of the pool.

A server that is read-only as a whole is still read from: a new connection to it is as good as there is.
"""

import select
from time import monotonic

import psycopg
from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

PROVEN_FOR_S = 1.0
READ_ONLY = "25006"
_PROVEN_AT = "proven_at"


def prove(of: Engine) -> None:
    """Prove each connection of this engine from now on."""
    event.listen(of, "connect", _opened)
    event.listen(of, "checkout", _lent)
    event.listen(of, "handle_error", _failed)


def takes_writes(connection: "psycopg.Connection[object]") -> bool:
    """Ask the server of a connection that is in no transaction.

    Raises:
        psycopg.Error: it does not answer.
    """
    before = connection.autocommit
    connection.autocommit = True  # no transaction to end, so one way there and back
    try:
        row = connection.execute("show transaction_read_only").fetchone()
    finally:
        connection.autocommit = before
    return row == ("off",)


def _opened(_: "psycopg.Connection[object]", entry: ConnectionPoolEntry) -> None:
    entry.info[_PROVEN_AT] = monotonic()


def _lent(connection: "psycopg.Connection[object]", entry: ConnectionPoolEntry, _: PoolProxiedConnection) -> None:
    if connection.closed or _has_said_something(connection.fileno()):
        raise InvalidatePoolError
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
    """Say whether there is something to read though nothing was asked: the server's good-bye, or the end."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(0))


def _failed(context: ExceptionContext) -> None:
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True  # the others of the pool are on the same node
