"""What a worker found on the broker and no process of ours put there: one line in the log, one row in the ledger."""

from typing import Any

from kombu import Message

from shared.errors import LedgerError
from shared.ledger.engine import engine, transaction
from shared.ledger.heartbeats import file_stray
from shared.logs import logger

log = logger(__name__)

_SHOWN = 4_000
"""Characters, or bytes, of which there is something to be read in the ledger; a stray text may have millions."""


def file_message(message: Message, reason: str) -> None:
    """File a message of which the form is known."""
    queue = str((message.delivery_info or {}).get("routing_key") or "")
    body: Any = message.body
    file(queue, reason, headers=repr(message.headers), body=body)


def file(queue: str, reason: str, *, headers: str = "", body: object) -> None:
    """Say in log and ledger that *body* lay in *queue*; neither is anybody's to obey."""
    log.error("stray message on the broker", queue=queue, reason=reason)
    shown = repr(body[:_SHOWN] if isinstance(body, bytes | str) else body)
    try:
        with transaction(engine()) as tx:
            file_stray(tx, queue=queue, reason=reason, headers=headers, body=shown)
    except LedgerError:
        log.exception("could not file the stray message")
