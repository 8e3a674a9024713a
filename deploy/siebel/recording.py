"""A day's messages on file: what was sent, and when after the first; one JSON object a line, for its owner alone.

Shape: the first line says what it is, `{"membersync_recording": 1, "started_at", "pseudonymised"}`; each other one is
`{"at_s", "lane", "content_type", "body"}`, or `body_base64` where it is no UTF-8.  Of the headers nothing else is kept,
least of all a token.  Units: seconds since the recording began.
"""

import os
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from deploy.siebel.pseudonyms import Pseudonyms, UnreadableError

VERSION = 1


class NotARecordingError(ValueError):
    """The file is not one that `Recording` wrote; says where it is not."""


@dataclass(frozen=True, slots=True)
class Message:
    """One request to intake.  Shape: *lane* as its query had it, mostly empty.  Units: seconds."""

    at_s: float
    lane: str
    content_type: str
    body: bytes


class Recording:
    """A file that is written; safe from several threads.

    Shape: *written* messages are in it; *unreadable* could not be given other names, *over* came when it was full:
    of both nothing is kept.
    """

    def __init__(self, path: Path, started_at: datetime, max_bytes: int, pseudonyms: Pseudonyms | None) -> None:
        """Make the file, readable by its owner alone.

        Raises:
            OSError: it cannot be made, or is there already.
        """
        self._file: BinaryIO = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._pseudonyms = pseudonyms
        self._left_bytes = max_bytes
        self._lock = threading.Lock()
        self.written = self.unreadable = self.over = 0
        self._write(
            {"membersync_recording": VERSION, "started_at": started_at, "pseudonymised": pseudonyms is not None}
        )

    def keep(self, message: Message) -> None:
        """Write *message*, with other people in it where that was asked for."""
        body = message.body
        with self._lock:
            try:
                if self._pseudonyms:
                    body = self._pseudonyms.body(message.content_type, body)
            except UnreadableError:
                self.unreadable += 1
                return
            line: dict[str, Any] = {"at_s": round(message.at_s, 3), "lane": message.lane}
            line["content_type"] = message.content_type
            try:
                line["body"] = body.decode()
            except UnicodeDecodeError:
                line["body_base64"] = b64encode(body).decode()
            if self._write(line):
                self.written += 1
            else:
                self.over += 1

    def close(self) -> None:
        """End it."""
        self._file.close()

    def _write(self, line: dict[str, Any]) -> bool:
        text = orjson.dumps(line) + b"\n"
        if len(text) > self._left_bytes:
            return False
        self._file.write(text)
        self._file.flush()
        self._left_bytes -= len(text)
        return True


def messages(lines: Iterator[bytes]) -> Iterator[Message]:
    """Iterate over the messages of a recording, which may have been cut off in its last line.

    Raises:
        NotARecordingError: it is none, or one of a version that is not known here.
    """
    head = _line(next(lines, b""))
    if head is None or head.get("membersync_recording") != VERSION:
        raise NotARecordingError(f"line 1: is not the head of a recording of version {VERSION}")
    for number, text in enumerate(lines, 2):
        line = _line(text) or {}
        if not line and not text.endswith(b"\n"):
            return
        try:
            body = b64decode(line["body_base64"]) if "body_base64" in line else line["body"].encode()
            yield Message(float(line["at_s"]), str(line["lane"]), str(line["content_type"]), body)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise NotARecordingError(f"line {number}: is no message of a recording") from None


def _line(text: bytes) -> dict[str, Any] | None:
    try:
        line = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return line if isinstance(line, dict) else None
