"""SIGTERM and SIGINT as a value to wait for, instead of an end in the middle of something."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether somebody asked this process to end.

    Not a ``threading.Event``: setting one inside a signal handler can deadlock with the ``wait`` that it interrupted.

    Attributes:
        received: The signal that asked, or None.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._read, self._write = os.pipe()

    def __bool__(self) -> bool:
        return self.received is not None

    def ask(self, number: int = signal.SIGTERM, _frame: FrameType | None = None) -> None:
        """Ask for the end: the signal handler, and any thread that wants the same.  Only the first call counts."""
        if self.received is None:
            self.received = signal.Signals(number)
            os.write(self._write, b"!")

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the end is asked for, at most *timeout_s* seconds, and say whether it was."""
        select.select([self._read], [], [], timeout_s)
        return bool(self)

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._read)
        os.close(self._write)


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Turn SIGTERM and SIGINT into a ``Stop`` for the length of the block.  Main thread only."""
    stop = Stop()
    before = {number: signal.signal(number, stop.ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop.close()
