"""One looks at the ledger for all who want to know the same; nobody waits behind a look that takes long."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from shared.errors import LedgerError, LedgerSlowError

T = TypeVar("T")


class SharedLook(Generic[T]):
    """Gives what was seen last, and looks again when that is no longer fresh.

    While somebody looks, all others are given the look before, or its failure.

    Args:
        read: Looks; whoever asks first does it, in their thread.
        fresh_s: Seconds for which a look is fresh; 0: never.
        patience: It stays fresh for at least this many times as long as it took.
        failed_s: Seconds for which a failure is taken for that of all.
        first_within_s: Seconds that others wait for a look when there was none before.
    """

    def __init__(
        self,
        read: Callable[[], T],
        *,
        fresh_s: float,
        patience: int,
        failed_s: float = 2.0,
        first_within_s: float = 3.0,
    ) -> None:
        self._read = read
        self._fresh_s = fresh_s
        self._patience = patience
        self._failed_s = failed_s
        self._first_within_s = first_within_s
        self._looking = threading.Lock()
        self._fresh_until = float("-inf")
        self._seen: T | LedgerError | None = None

    def get(self) -> T:
        """Give a look.

        Raises:
            LedgerError: the ledger is away, or somebody has been looking for long and there was nothing before.
        """
        seen = self._seen
        if seen is None or time.monotonic() >= self._fresh_until:
            seen = self._newer(seen)
        if isinstance(seen, LedgerError):
            raise type(seen)(str(seen))
        return seen

    def forget(self) -> None:
        """Look anew the next time."""
        with self._looking:
            self._seen = None

    def _newer(self, before: T | LedgerError | None) -> T | LedgerError:
        if not self._looking.acquire(timeout=self._first_within_s if before is None else 0):
            return LedgerSlowError("the first look at the ledger takes long") if before is None else before
        try:
            if self._seen is None or time.monotonic() >= self._fresh_until:
                self._seen = self._look()
            return self._seen
        finally:
            self._looking.release()

    def _look(self) -> T | LedgerError:
        began = time.monotonic()
        seen: T | LedgerError
        try:
            seen = self._read()
            fresh_s = self._patience * (time.monotonic() - began)
        except LedgerError as error:
            seen, fresh_s = error.with_traceback(None), self._failed_s
        self._fresh_until = time.monotonic() + (max(self._fresh_s, fresh_s) if self._fresh_s else 0)
        return seen
