"""Messages found on the broker that no task could take."""

from sqlalchemy import Connection, text

_LENGTH_MAX = 4_000


def file_stray(tx: Connection, *, queue: str, reason: str, headers: str, body: str) -> None:
    """Keep a stray message, cut to a readable length."""
    parameters = {"queue": queue, "reason": reason, "headers": _cut(headers), "body": _cut(body)}
    tx.execute(_FILE, parameters)


def _cut(value: str) -> str:
    return value[:_LENGTH_MAX].replace("\x00", "")


_FILE = text(
    "insert into stray_message (queue, reason, headers, body) values (:queue, :reason, :headers, :body)",
)
