"""`membersync`, the command line: processes, intake of files, and what the ledger knows.

Each command imports what it needs when it runs, so that `--help` and `show` do not wait for Celery and the web server.
"""

import os
import signal
import sys
from collections.abc import Sequence

_INTERRUPTED, _TERMINATED = 130, 143  # as a shell says it


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with 0 done, 1 nothing matched or refused, 2 not possible as asked."""
    if os.getpid() == 1:
        end_when_told()
    try:
        from producers.cli.app import run  # noqa: PLC0415  # `producers.cli` itself stays free of typer

        run(arguments)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def end_when_told() -> None:
    """Let SIGTERM end this process until a command has a handler of its own.

    The first process of a container is spared what it has no handler for: told to stop while it still imports, it would
    go on, and be killed when its time is over.  Source: pid_namespaces(7).
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(_TERMINATED))
