"""Programs that listen on a port of this machine: any free one when the usual one is taken."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from deploy.local.embedded_server import LOOPBACK, free_port
from deploy.local.processes import Program
from deploy.local.supervisor import Event, ProcessError, Supervisor

_PORTS_TRIED = 3
_LISTENING = "0A"  # the state TCP_LISTEN in /proc/net/tcp


class Listener:
    """Keeps one program that listens; between `start` and `wait` other things can start too.

    Args:
        program_at: Gives the program for a port.
        answers: Whether who listens on the port is ready.
        preferred_port: Tried first; 0 for any.
        on_event: As the supervisor's.
        host: The address that it listens on.
    """

    def __init__(
        self,
        program_at: Callable[[int], Program],
        answers: Callable[[int], bool],
        preferred_port: int,
        on_event: Callable[[Event], None],
        *,
        host: str = LOOPBACK,
    ) -> None:
        self.port = free_port(preferred_port, host)
        self._host = host
        self._program_at = program_at
        self._answers = answers
        self._supervisor = Supervisor(on_event)

    def start(self) -> None:
        """Start the program."""
        self._supervisor.start(self._program_at(self.port))

    def wait(self, *, within_s: float, unless: Callable[[], object]) -> None:
        """Wait until it is ready, on another port when somebody was quicker than it, or until *unless* says so.

        Raises:
            ProcessError: It is not ready within *within_s* seconds, or died at starting.
        """
        for attempt in range(1, _PORTS_TRIED + 1):
            try:
                self._supervisor.wait_until(lambda: bool(unless()) or self.is_ready(), within_s=within_s, deaths=1)
            except ProcessError:
                if attempt == _PORTS_TRIED or free_port(self.port, self._host) == self.port:
                    raise
                self._supervisor.stop()
                self.port = free_port(host=self._host)
                self.start()
            else:
                return

    def is_ready(self) -> bool:
        """Say whether our program, and not another one, is ready on the port."""
        return any(is_listening(pid, self.port) for pid in self.pids().values()) and self._answers(self.port)

    def pids(self) -> dict[str, int]:
        """Give the program's process by its name, while it has one."""
        return self._supervisor.pids()

    def stop(self) -> None:
        """Stop the program."""
        self._supervisor.stop()


def is_listening(pid: int, port: int) -> bool:
    """Say whether this very process listens on this TCP port."""
    if sys.platform != "linux":
        command = ["lsof", "-nP", "-a", "-p", str(pid), f"-iTCP:{port}", "-sTCP:LISTEN", "-t"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        return bool(found.stdout.strip())
    sockets = _listening_sockets(port)
    return bool(sockets) and not sockets.isdisjoint(_open_files(pid))


def _listening_sockets(port: int) -> set[str]:
    """Name the sockets that listen on *port*.  Source: proc_pid_net(5)."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{columns[9]}]")
    return found


def _open_files(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):  # it ended meanwhile
        for file in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                found.add(str(Path(file.path).readlink()))
    return found
