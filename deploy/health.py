"""Whether a process lives, and whether it is ready: the probes of containers, at next to no cost.

``python -m deploy.health alive PROCESS`` ends with 0 unless the process is to be restarted: its own main loop has not
gone round for `MEMBERSYNC_HEALTH__SILENT_S`.  A ledger or a broker that is away is no reason.  ``ready`` ends with 0
when it does its work, and else says in a sentence what it waits for.  Both ask nobody: they read what the process wrote
(`shared.probe_files`), and cost a start of Python.
"""

import os
import sys

from shared.probe_files import PROCESSES, folder_of, trouble

QUESTIONS = ("alive", "ready")


def main(arguments: list[str]) -> int:
    """Answer the question about the process; return the exit code."""
    match arguments:
        case [question, process] if question in QUESTIONS and process in PROCESSES:
            pass
        case _:
            sys.stderr.write(f"usage: python -m deploy.health {'|'.join(QUESTIONS)} {'|'.join(PROCESSES)}\n")
            return 2
    home = os.environ.get("MEMBERSYNC_HOME") or ".membersync"
    folder = folder_of(home, os.environ.get("MEMBERSYNC_HEALTH__FOLDER", ""))
    found = trouble(folder, process, of_readiness=question == "ready")
    sys.stdout.write(f"{process}: {found or question}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
