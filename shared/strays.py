"""What lay on the broker and no process of ours put there: one line in the log, and kept where somebody keeps it."""

from collections.abc import Callable
from typing import Any

from kombu import Message

from shared.logs import logger

log = logger(__name__)

_SHOWN = 4_000
"""Characters, or bytes, of which there is something to be read; a stray text may have millions."""


class _Keeping:
    """Who keeps strays beside the log: a worker has a ledger for them, Flower has none."""

    keep: Callable[..., object] | None = None


keeping = _Keeping()


def file_message(message: Message, reason: str) -> None:
    """File a message of which the form is known."""
    queue = str((message.delivery_info or {}).get("routing_key") or "")
    body: Any = message.body
    file(queue, reason, headers=repr(message.headers), body=body)


def file(queue: str, reason: str, *, headers: str = "", body: object) -> None:
    """Say that *body* lay in *queue*, and keep it; it is nobody's to obey."""
    log.error("stray message on the broker", queue=queue, reason=reason)
    if keeping.keep is not None:
        shown = repr(body[:_SHOWN] if isinstance(body, bytes | str) else body)
        keeping.keep(queue=queue, reason=reason, headers=headers, body=shown)
