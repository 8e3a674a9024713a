"""Who used how much: CPU by kind of process, commits and bytes of WAL of a ledger."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from signal import SIGCONT, SIGSTOP

import psutil
from sqlalchemy import text

from shared.ledger.engine import Ledger


class Accounts:
    """The running processes by kind, each with all that it started."""

    def __init__(self) -> None:
        self._roots: dict[int, str] = {}

    @contextmanager
    def of(self, kind: str, pid: int | None) -> Iterator[None]:
        """Count process *pid* as one of *kind* for the length of the block.

        Raises:
            psutil.NoSuchProcess: it is not there.
        """
        if pid is None:
            raise psutil.NoSuchProcess(0, kind)
        self._roots[pid] = kind
        try:
            yield
        finally:
            del self._roots[pid]

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds that each kind has used, those of children that ended included."""
        used: dict[str, float] = {}
        for pid, kind in self._roots.items():
            for process in _tree(pid):
                with suppress(psutil.NoSuchProcess):
                    used[kind] = used.get(kind, 0.0) + sum(process.cpu_times()[:4])
        return used

    def pids(self, kind: str) -> list[int]:
        """Return the processes of *kind*, each before what it started."""
        return [process.pid for pid, other in self._roots.items() if other == kind for process in _tree(pid)]

    def rss_mb(self, kind: str) -> list[float]:
        """Return the resident memory of each process of *kind*, in MB."""
        roots = [pid for pid, other in self._roots.items() if other == kind]
        return [process.memory_info().rss / 1e6 for pid in roots for process in _tree(pid)]

    @contextmanager
    def frozen(self, *kinds: str) -> Iterator[None]:
        """Stop every process of these kinds for the length of the block: a backlog is laid up, none of it is begun."""
        processes = [process for pid, kind in self._roots.items() if kind in kinds for process in _tree(pid)]
        for process in processes:
            process.send_signal(SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(SIGCONT)


def used_since(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return the CPU seconds of each kind between two readings."""
    return {kind: after[kind] - before.get(kind, 0.0) for kind in after}


def _tree(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


@dataclass(frozen=True, slots=True)
class LedgerWork:
    """What a ledger has done since it was made.  *commits* are complete once the clients have hung up."""

    wal_bytes: int
    commits: int

    def since(self, before: "LedgerWork") -> "LedgerWork":
        """Return the difference."""
        return LedgerWork(self.wal_bytes - before.wal_bytes, self.commits - before.commits)


def ledger_work(ledger: Ledger) -> LedgerWork:
    """Read the counters of *ledger*."""
    with ledger.connect() as tx:
        row = tx.execute(_LEDGER_WORK).one()
    return LedgerWork(int(row.wal_bytes), int(row.commits))


_LEDGER_WORK = text("""
    select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') as wal_bytes, xact_commit as commits
    from pg_stat_database where datname = current_database()
""")
