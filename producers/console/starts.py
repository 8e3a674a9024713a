"""The jobs that forms have started: a form that is sent twice, by a double click or by going back, starts one.

It is kept in this process, for its newest forms; between processes, and beside it, the ledger judges every instance
again before it is sent, so that a second job sends nothing twice.
"""

import secrets
from collections.abc import Callable
from threading import Lock

from fastapi.responses import RedirectResponse, Response

_TICKET_BYTES = 16
_KEPT_MAX = 1_000


def new_ticket() -> str:
    """Give what tells one form from all others."""
    return secrets.token_urlsafe(_TICKET_BYTES)


class Starts:
    """Where each form has led to, by its ticket."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._led_to: dict[str, str] = {}

    def once(self, ticket: str, start: Callable[[], Response]) -> Response:
        """Give the answer of *start*; for a form that has led somewhere already, the way there again."""
        with self._lock:
            if ticket in self._led_to:
                return RedirectResponse(self._led_to[ticket], 303)
            answer = start()
            if ticket and "location" in answer.headers:
                self._led_to[ticket] = answer.headers["location"]
                if len(self._led_to) > _KEPT_MAX:
                    self._led_to.pop(next(iter(self._led_to)))
            return answer
