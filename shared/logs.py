"""JSON logs: one object a line on stderr, with the ids of what is being worked on bound to each line, and no PII.

Log ids, counts, codes and durations.  Never log an event, a request, an answer or an exception of a parser: they carry
members' data.
"""

import logging
import sys
from typing import Any

import structlog

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_QUIET = (
    *("httpx", "httpcore", "kombu", "amqp", "alembic", "tornado.access", "uvicorn.access"),
    *("celery.app.trace", "celery.worker.strategy"),  # a line when it arrives, one when it ends: `attempt` says more
)


def configure(process: str, level: str = "info") -> None:
    """Send every log line of this process, ours and the libraries', to stderr as JSON."""

    def named(_: object, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {"process": process, **line}  # no context variable: threads that libraries start begin without any

    steps: list[Any] = [
        structlog.contextvars.merge_contextvars,
        named,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*steps, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*steps, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(_LEVELS[level], logging.WARNING))


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound
