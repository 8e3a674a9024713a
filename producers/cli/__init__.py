"""`membersync`, the command line: processes, intake of files, and what the ledger knows.

Each command imports what it needs when it runs, so that `--help` and `show` do not wait for Celery and the web server.
"""

import sys
from collections.abc import Sequence

_INTERRUPTED = 130  # as a shell says it


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with 0 done, 1 nothing matched or refused, 2 not possible as asked."""
    try:
        from producers.cli.app import run  # noqa: PLC0415  # `producers.cli` itself stays free of typer

        run(arguments)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
