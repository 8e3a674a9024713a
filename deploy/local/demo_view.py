"""How the demo shows that it goes on: one line that changes on a terminal, a plain line now and then elsewhere."""

import sys
import time

from rich.console import Console
from rich.status import Status

from deploy.local.terminal import say

_PLAIN_EVERY_S = 2.0
_WIDTH = 140


def console() -> Console:
    """Give the way to print tables: as wide as the terminal, or as a log is read."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDTH, highlight=False)


class Ticker:
    """Shows how it goes."""

    def __init__(self) -> None:
        self._status: Status | None = None
        self._shown_at = 0.0

    def show(self, text: str, *, done: bool = False) -> None:
        """Show *text* instead of the one before; *done* lets it stand."""
        if done:
            self.close()
            say(f"   {text}")
        elif sys.stdout.isatty():
            if self._status is None:
                self._status = console().status(text)
                self._status.start()
            self._status.update(text)
        elif time.monotonic() - self._shown_at >= _PLAIN_EVERY_S:
            self._shown_at = time.monotonic()
            say(f"   {text}")

    def close(self) -> None:
        """Give the line back."""
        if self._status:
            self._status.stop()
            self._status = None
