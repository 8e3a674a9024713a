"""The jobs that forms have started: a form that is sent twice, by a double click or by going back, starts one.

It is kept in this process, for its newest forms; between processes, and beside it, the ledger judges every instance
again before it is sent, so that a second job sends nothing twice.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from fastapi.responses import RedirectResponse, Response

_TICKET_BYTES = 16
_KEPT_MAX = 1_000


def new_ticket() -> str:
    """Give what tells one form from all others."""
    return secrets.token_urlsafe(_TICKET_BYTES)


@dataclass(slots=True)
class _Form:
    """One form; whoever sends it again waits until the first has been answered."""

    answering: Lock = field(default_factory=Lock)
    led_to: str = ""


class Starts:
    """Where each form has led to, by its ticket."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._forms: dict[str, _Form] = {}

    def once(self, ticket: str, start: Callable[[], Response]) -> Response:
        """Give the answer of *start*; for a form that has led somewhere already, the way there again."""
        form = self._form(ticket) if ticket else _Form()
        with form.answering:
            if form.led_to:
                return RedirectResponse(form.led_to, 303)
            answer = start()
            form.led_to = answer.headers.get("location", "")
            return answer

    def _form(self, ticket: str) -> _Form:
        with self._lock:
            form = self._forms.setdefault(ticket, _Form())
            if len(self._forms) > _KEPT_MAX:
                self._forms.pop(next(iter(self._forms)))
            return form
