"""How a benchmark waits: it polls, seldom enough not to cost what is measured anything."""

import time
from collections.abc import Callable

POLL_S = 0.02


def wait_until(done: Callable[[], bool], within_s: float, what: str) -> None:
    """Poll until *done*.

    Raises:
        TimeoutError: it took longer than *within_s*.
    """
    deadline = time.monotonic() + within_s
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} took longer than {within_s:g} s")
        time.sleep(POLL_S)
