"""Hearing the wake-up calls: a session of its own, on the server itself, for PgBouncer lends none for so long."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from shared.errors import LedgerError, LedgerUnwritableError
from shared.ledger.bounded import bounded
from shared.ledger.engine import READ_ONLY, UNWRITABLE, WAKE, connect_arguments, takes_writes


@contextmanager
def wake_calls(url: str) -> Iterator["psycopg.Connection[Any]"]:
    """Open a connection of its own that hears the wake-up calls; `wait_for_call` waits for them.

    Raises:
        LedgerError: it could not be opened, or broke.
    """
    try:
        with bounded({"autocommit": True, **connect_arguments(url, "membersync ears")}) as connection:
            connection.execute(f"listen {WAKE}")
            yield connection
    except psycopg.Error as error:
        raise LedgerError(f"{type(error).__name__} {error.sqlstate or ''}".strip()) from error


def wait_for_call(calls: "psycopg.Connection[Any]", for_s: float) -> None:
    """Wait for a wake-up call, at most *for_s* seconds; on a server that takes no writes nobody would call.

    Raises:
        LedgerUnwritableError: it is on such a server.
    """
    if not any(True for _ in calls.notifies(timeout=for_s, stop_after=1)) and not takes_writes(calls):
        raise LedgerUnwritableError(UNWRITABLE[READ_ONLY])
