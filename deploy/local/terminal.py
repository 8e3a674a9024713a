"""What `up` and `demo` tell the person who started them: one line per event of note."""

import contextlib
import sys
from datetime import datetime
from typing import TextIO

from deploy.local.supervisor import Event


def say(text: str) -> None:
    """Write one line to standard output."""
    _write(sys.stdout, text)


def complain(text: str) -> None:
    """Write one line to standard error."""
    _write(sys.stderr, text)


def tell(event: Event) -> None:
    """Say what happened to a process: on standard output what starts, on standard error what dies."""
    match event:
        case {"event": "started", "name": name, "url": url}:
            say(f"{name:<10} {url}")
        case {"event": "process died", "name": name, "code": code, "restart_in_s": delay_s}:
            complain(f"{_clock()}  {name} died (exit code {code}), starts again in {delay_s} s")
        case _:
            complain(f"{_clock()}  " + "  ".join(f"{key}: {value}" for key, value in event.items()))


def _clock() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")


def _write(stream: TextIO, text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        stream.write(text + "\n")
        stream.flush()
