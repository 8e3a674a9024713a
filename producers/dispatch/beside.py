"""What goes on beside the dispatcher's turns, in threads of its own: turn after turn, whatever a turn meets."""

import threading
from collections.abc import Callable

from shared.errors import LedgerError
from shared.logs import logger

log = logger(__name__)


def keep_turning(turn: Callable[[], bool], stop: threading.Event, every_s: float, without: str) -> None:
    """Take one *turn* after another until *stop*: at once where it says that there is more, else after *every_s*.

    A ledger that is away is waited for; *without* says in the log what is not done meanwhile.  Units: seconds.
    """
    bug = f"{without}: a bug"
    while not stop.is_set():
        try:
            has_more = turn()
        except LedgerError as error:
            log.warning(without, cause=str(error))
            has_more = False
        except Exception as error:  # noqa: BLE001  # nobody would start this thread again
            log.error(bug, error=type(error).__name__)
            has_more = False
        if not has_more:
            stop.wait(every_s)
