"""Programs that listen on a port of this machine: the one that was asked for, else any free one."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.local.embedded_server import LOOPBACK, free_port
from deploy.local.supervisor import Event, ProcessError, Program, Supervisor

_PORTS_TRIED = 3
_LISTENING = "0A"  # the state TCP_LISTEN in /proc/net/tcp


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program listens.

    Attributes:
        port: Tried first; 0 for any.
        host: An address of this machine.
        is_asked_for: That port, or none.
    """

    port: int
    host: str = LOOPBACK
    is_asked_for: bool = False


class Listener:
    """Keeps one program that listens; between `start` and `wait` other things can start too.

    Args:
        program_at: Gives the program for a port.
        answers: Whether who listens on the port is ready.
        place: Where it listens.
        on_event: As the supervisor's.
    """

    def __init__(
        self,
        program_at: Callable[[int], Program],
        answers: Callable[[int], bool],
        place: Place,
        on_event: Callable[[Event], None],
    ) -> None:
        self.port = place.port if place.is_asked_for else free_port(place.port, place.host)
        self._place = place
        self._program_at = program_at
        self._answers = answers
        self._supervisor = Supervisor(on_event)

    def start(self) -> None:
        """Start the program."""
        self._supervisor.start(self._program_at(self.port))

    def wait(self, *, within_s: float, unless: Callable[[], object]) -> None:
        """Wait until it is ready, on another port when somebody was quicker and any will do, or until *unless* says so.

        Raises:
            ProcessError: It is not ready within *within_s* seconds, or died at starting.
        """
        for attempt in range(1, _PORTS_TRIED + 1):
            try:
                self._supervisor.wait_until(lambda: bool(unless()) or self.is_ready(), within_s=within_s, deaths=1)
            except ProcessError:
                if self._place.is_asked_for or attempt == _PORTS_TRIED:
                    raise
                if free_port(self.port, self._place.host) == self.port:
                    raise
                self._supervisor.stop()
                self.port = free_port(host=self._place.host)
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
