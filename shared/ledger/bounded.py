"""Connections to the ledger that wait for no answer without end.

A server that is frozen, or a pooler that has lost one, keeps its connections alive and says nothing: neither the
server's own time limits nor the network's end that.  After `MEMBERSYNC_LEDGER_ANSWER_S` the connection is given up, as
if it had been cut.  So whoever calls goes on, its main loop too (`shared.liveness`).
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

from shared.settings import settings

R = TypeVar("R")
_LOOKED_UP_EVERY_S = 0.1


class _Bounded(psycopg.Connection[Any]):
    answer_s = 75.0

    def wait(self, gen: PQGen[R], interval: float = _LOOKED_UP_EVERY_S, timeout: float | None = None) -> R:
        """Wait as psycopg does; where it names no limit, as it does for a notification, no longer than `answer_s`."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.answer_s)
        except psycopg.OperationalError as error:
            if error.sqlstate is None and self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()  # its late answer would be taken for that of the next statement
            raise


def bounded(arguments: Mapping[str, Any]) -> "psycopg.Connection[Any]":
    """Return a new connection that is given up when an answer takes too long.

    Raises:
        psycopg.Error: it cannot be opened.
    """
    made = _Bounded.connect(**arguments)
    made.answer_s = settings().ledger_answer_s
    return made
