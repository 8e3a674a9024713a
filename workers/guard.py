"""A consumer that rubbish on the broker can neither kill nor stall.

A stock Celery worker dies of well-formed JSON of the wrong shape, and again at each restart.  This one files what no
task can take in the ledger (`stray_message`), acknowledges it and lives on.  Only our producers may write to the
broker; this is for the day somebody else does.  What is no kombu message at all fails below, in the transport: the
process ends, is started again, and does not meet it twice.
"""

from collections.abc import Callable
from typing import Any

from celery.worker.consumer import Consumer

from shared.errors import LedgerError
from shared.ledger.engine import engine, transaction
from shared.ledger.strays import file_stray
from shared.logs import logger

log = logger(__name__)


class GuardedConsumer(Consumer):
    """Celery's consumer with a net under it.  Source: celery/worker/consumer/consumer.py of 5.7."""

    connection_errors: tuple[type[BaseException], ...]

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], Any]:  # noqa: ANN401  # Celery's signature
        """Wrap Celery's handler: what it chokes on is filed and acknowledged."""
        handle = super().create_task_handler(*args, **options)

        def guarded(message: Any) -> Any:  # noqa: ANN401  # a kombu message
            try:
                return handle(message)
            except (KeyError, ValueError, TypeError, AttributeError) as error:
                _file(message, f"not a task message: {type(error).__name__}")
                message.reject_log_error(log, self.connection_errors)

        return guarded

    def on_decode_error(self, message: Any, exc: Exception) -> None:  # noqa: ANN401  # Celery's signature
        """File a body that cannot be decoded."""
        _file(message, f"undecodable: {type(exc).__name__}")
        message.ack()

    def on_unknown_message(self, body: Any, message: Any) -> None:  # noqa: ANN401, ARG002  # Celery's signature
        """File a message that is no task."""
        _file(message, "no task named")
        message.reject_log_error(log, self.connection_errors)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ANN401, ARG002  # same
        """File a task that nobody here knows."""
        _file(message, "unknown task")
        message.reject_log_error(log, self.connection_errors)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ANN401, ARG002  # same
        """File a message of a forbidden content type or with invalid headers."""
        _file(message, f"invalid task: {type(exc).__name__}")
        message.reject_log_error(log, self.connection_errors)


def _file(message: Any, reason: str) -> None:  # noqa: ANN401  # a kombu message
    queue = str((message.delivery_info or {}).get("routing_key") or "")
    log.error("stray message on the broker", queue=queue, reason=reason)
    try:
        with transaction(engine()) as connection:
            file_stray(connection, queue=queue, reason=reason, headers=repr(message.headers), body=repr(message.body))
    except LedgerError:
        log.exception("could not file the stray message")
