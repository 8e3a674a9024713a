"""What PostgreSQL's sessions wait for while something is measured, sampled once a second."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy import text

from shared.ledger.engine import Ledger

EVERY_S = 1.0
_SHOWN = 5


class Waits:
    """Samples of active sessions, by what each waited for, or computed: the beginning of its statement."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self._samples = 0

    def add(self, sample: Iterable[str]) -> None:
        """Add one sample."""
        self._seen.update(sample)
        self._samples += 1

    def top(self) -> str:
        """Return the most frequent, each with how many sessions a sample had of it."""
        shown = (f"{name} {seen / self._samples:.1f}" for name, seen in self._seen.most_common(_SHOWN))
        return ", ".join(shown) or "none seen"


@contextmanager
def sampled_waits(ledger: Ledger) -> Iterator[Waits]:
    """Sample the sessions of *ledger* for the length of the block, on a connection of its own."""
    waits, stop = Waits(), threading.Event()

    def sample() -> None:
        with ledger.connect().execution_options(isolation_level="AUTOCOMMIT") as tx:
            while not stop.wait(EVERY_S):
                waits.add(tx.execute(_SESSIONS).scalars())

    thread = threading.Thread(target=sample, name="waits", daemon=True)
    thread.start()
    try:
        yield waits
    finally:
        stop.set()
        thread.join()


_SESSIONS = text(r"""
    select coalesce(wait_event_type || ':' || wait_event,
                    'CPU of "' || left(regexp_replace(trim(query, E' \n'), '\s+', ' ', 'g'), 48) || '"') as waits_for
    from pg_stat_activity
    where state = 'active' and pid <> pg_backend_pid() and backend_type = 'client backend'
""")
