"""One looks at the ledger for all who want to know the same; nobody waits behind a look that takes long."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from shared.errors import LedgerError, LedgerSlowError
from shared.logs import logger

T = TypeVar("T")
log = logger(__name__)

_OTHERS_WAIT_S = 3.0


class SharedLook(Generic[T]):
    """Gives what was seen last, and looks again when that is no longer fresh.

    Looks are made in a thread of their own.  Whoever finds the last one stale has a new one made and waits for it, up
    to a limit; all others are given the look before, or its failure.

    Args:
        read: Looks.
        fresh_s: Seconds for which a look is fresh; 0: never.
        patience: It stays fresh for as many times as long as it took, but not for longer than *fresh_max_s*: after one
            that hung, the next must not wait ten times as long.
        within_s: Seconds that they wait; where there is no look before, the others wait too, but not for longer than
            `_OTHERS_WAIT_S`.
        hangs_after_s: Seconds after which a look under way is a failure, also for those who could have the one before;
            None: never.
        failed_s: Seconds for which a failure is taken for that of all.
    """

    def __init__(  # noqa: PLR0913  # how long what may take
        self,
        read: Callable[[], T],
        *,
        fresh_s: float,
        patience: int,
        fresh_max_s: float = 30.0,
        within_s: float = 20.0,
        hangs_after_s: float | None = None,
        failed_s: float = 2.0,
    ) -> None:
        self._read = read
        self._fresh_s = fresh_s
        self._patience = patience
        self._fresh_max_s = fresh_max_s
        self._within_s = within_s
        self._hangs_after_s = hangs_after_s
        self._failed_s = failed_s
        self._lock = threading.Lock()
        self._under_way: _Look[T] | None = None
        self._fresh_until = float("-inf")
        self._seen: T | LedgerError | None = None

    def get(self) -> T:
        """Return a look.

        Raises:
            LedgerError: the ledger is away, hangs, or takes long while there was nothing before.
        """
        seen = self._seen
        if seen is None or time.monotonic() >= self._fresh_until:
            seen = self._newer(seen)
        if isinstance(seen, LedgerError):
            raise type(seen)(str(seen))
        return seen

    def _newer(self, before: T | LedgerError | None) -> T | LedgerError:
        """Return the look that is under way, begun if there is none; the one *before*, where it takes too long."""
        with self._lock:
            is_ours = self._under_way is None
            look = self._under_way = self._under_way or _Look(time.monotonic())
        if is_ours:
            threading.Thread(target=self._look, args=(look,), name="look", daemon=True).start()
        others_wait_s = min(self._within_s, _OTHERS_WAIT_S) if before is None else 0
        if look.over.wait(self._within_s if is_ours else others_wait_s) and look.found is not None:
            return look.found
        took_s = time.monotonic() - look.began
        if before is None or (self._hangs_after_s is not None and took_s > self._hangs_after_s):
            return LedgerSlowError(f"the ledger has been looked at for {took_s:.0f} s")
        return before

    def _look(self, look: "_Look[T]") -> None:
        try:
            look.found = self._read()
            fresh_s = min(self._patience * (time.monotonic() - look.began), self._fresh_max_s)
        except LedgerError as error:
            look.found, fresh_s = error.with_traceback(None), self._failed_s
        except Exception as error:  # noqa: BLE001  # nobody else would say so
            log.error("a look at the ledger failed: a bug", error=type(error).__name__)
            look.found, fresh_s = LedgerError(f"a bug: {type(error).__name__}"), self._failed_s
        with self._lock:
            self._seen, self._under_way = look.found, None
            self._fresh_until = time.monotonic() + (max(self._fresh_s, fresh_s) if self._fresh_s else 0)
        look.over.set()


class _Look(Generic[T]):
    """A look under way, and what came of it."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.over = threading.Event()
        self.found: T | LedgerError | None = None
