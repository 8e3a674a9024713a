"""What every embedded server needs: a folder to itself, a port, no forerunner in the way, and a start that is true."""

import errno
import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.supervisor import Event, ProcessError, Program, Supervisor

LOOPBACK = "127.0.0.1"
_START_WITHIN_S = 30.0
_LEFTOVER_ENDS_WITHIN_S = 30.0
_PORTS_TRIED = 3
_PORTS_LOOKED_AT = 100
_UNASKED = range(20_000, 32_000)
"""Ports that no system gives out by itself: nobody connects from one between our look and the server's start."""
_DICE = random.SystemRandom()  # a seed would give all who share it the same ports
_LOOK_AGAIN_S = 0.02


class ServerError(RuntimeError):
    """An embedded server cannot be had; the message says why and, where there is one, ends with its log."""


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Own a server's folder for the length of the block; the kernel lets go of it when this process dies.

    Raises:
        ServerError: Another stack uses it.
    """
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise ServerError(f"{folder} is in use by process {lock.read().strip() or 'unknown'}") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def end_leftover(pid_file: Path, folder: Path, stop_signal: signal.Signals) -> None:
    """End the server that an earlier stack left on *folder*, when it was killed too hard to do so itself.

    Call it while holding the folder.  A process that merely got the same number is left alone, and the file goes:
    PostgreSQL would take that process for another server and refuse to start.

    Raises:
        ServerError: It does not end, not even killed.
    """
    try:
        pid = int(pid_file.read_text(encoding="utf-8").split("\n")[0])
    except (FileNotFoundError, ValueError):
        return
    command = _command_line(pid)
    if command is None:
        return  # dead: the server clears up after its forerunner by itself
    if str(folder) not in command and folder != _working_directory(pid):
        pid_file.unlink(missing_ok=True)
        return
    for number in (stop_signal, signal.SIGKILL):
        _send(pid, number)
        give_up_at = time.monotonic() + _LEFTOVER_ENDS_WITHIN_S
        while time.monotonic() < give_up_at:
            if _command_line(pid) != command:
                return
            time.sleep(_LOOK_AGAIN_S)
    raise ServerError(f"process {pid}, left by an earlier run in {folder}, does not end")


def free_port(preferred: int = 0, host: str = LOOPBACK) -> int:
    """Give *preferred* when nobody listens there on *host*, else any free port of it (0 prefers none)."""
    family, where = _bound(host)
    for port in (*filter(None, (preferred,)), *_DICE.sample(_UNASKED, _PORTS_LOOKED_AT)):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((where, port))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    raise ServerError(f"{host} is no address of this machine") from error
                continue
            return port
    raise ServerError(f"no free port on {host}")


def _bound(host: str) -> tuple[socket.AddressFamily, str]:
    try:
        family, *_, where = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise ServerError(f"{host} is no address of this machine: {error.strerror}") from error
    return family, str(where[0])


@contextmanager
def serving(
    program_at: Callable[[int], Program],
    is_ready: Callable[[int, int], bool],
    preferred_port: int,
    on_event: Callable[[Event], None],
) -> Iterator[int]:
    """Run a server, again when it dies, and give the port that it listens on.

    Args:
        program_at: Gives the server's program for a port.
        is_ready: Whether the server with this process number takes work on this port.
        preferred_port: Tried first; 0 for any.
        on_event: As the supervisor's.

    Raises:
        ServerError: It does not start within 30 s, or dies at it.
    """
    for attempt in range(1, _PORTS_TRIED + 1):
        port = free_port(preferred_port if attempt == 1 else 0)
        program = program_at(port)
        with Supervisor(on_event) as supervisor:
            supervisor.start(program)
            try:
                supervisor.wait_until(_readiness(supervisor, program.name, is_ready, port), within_s=_START_WITHIN_S)
            except ProcessError as error:
                supervisor.stop()
                if attempt < _PORTS_TRIED and free_port(port) != port:
                    continue  # somebody took the port between our look and the server's
                raise ServerError(f"{program.name} does not start: {error}") from error
            yield port
            return


def _readiness(
    supervisor: Supervisor, name: str, is_ready: Callable[[int, int], bool], port: int
) -> Callable[[], bool]:
    def ready() -> bool:
        pid = supervisor.pids().get(name)
        return pid is not None and is_ready(pid, port)

    return ready


def _command_line(pid: int) -> str | None:
    """Give a living process's command line; None when there is no such process (a zombie has none either)."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace") or None
        except OSError:
            return None
    found = subprocess.run(
        ["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None


def _working_directory(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise ServerError(f"process {pid}, left by an earlier run, belongs to another user: {error}") from error
