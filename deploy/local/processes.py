"""One program and the running of it: what the supervisor keeps alive, and what the servers run once."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_GUARDIAN = Path(__file__).with_name("guardian.py")
_LOG_MAX_BYTES = 10 * 1024 * 1024  # a longer log becomes NAME.log.1 at the next start; nothing else rotates it
_GUARDIAN_SLACK_S = 2.0  # what the guardian may take on top of the grace before it is killed too


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run, and how it wants to be stopped.

    Attributes:
        name: Its name in events, errors and log files.
        argv: The command, found through PATH when it has no slash.
        env: Its whole environment; ours when None.
        cwd: Its working directory; ours when None.
        log: The file that its output is added to; our own output when None.
        grace_s: Seconds from the stop signal to SIGKILL.
        stop_signal: What asks it to end in order.
        account: User and group number to run as; ours when None.  Only root may set it.
    """

    name: str
    argv: Sequence[str | Path]
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    log: Path | None = None
    grace_s: float = 10.0
    stop_signal: signal.Signals = signal.SIGTERM
    account: tuple[int, int] | None = None


class Running:
    """A program that was started, under its guardian: it ends when this process does, however that happens.

    Attributes:
        pid: The program's own process, not the guardian's; None when it could not even be forked.
    """

    def __init__(self, program: Program, stdin: IO[bytes] | int = subprocess.DEVNULL) -> None:
        self._grace_s = program.grace_s
        self._channel, theirs = socket.socketpair()
        output = _open_log(program.log) if program.log else None
        account = f"{program.account[0]}:{program.account[1]}" if program.account else "-"
        settings = [str(theirs.fileno()), str(program.grace_s), str(int(program.stop_signal)), account]
        try:
            self._guardian = subprocess.Popen(
                [sys.executable, "-I", "-S", _GUARDIAN, *settings, *program.argv],
                env=program.env,
                cwd=program.cwd,
                stdin=stdin,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except BaseException:
            self._channel.close()
            raise
        finally:
            theirs.close()
            if output:
                output.close()
        answer = self._channel.recv(32)  # one small write: it arrives whole, or empty when the guardian died first
        self.pid = int(answer) if answer else None

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the end and give the exit code as a shell would: 137 is killed by signal 9.

        Raises:
            subprocess.TimeoutExpired: It still runs after *timeout_s* seconds.
        """
        code = self._guardian.wait(timeout_s)
        if code < 0 and self.pid is not None:  # somebody killed the guardian: finish its work
            _kill_group(self.pid)
        self._channel.close()
        return code if code >= 0 else 128 - code

    def ask_to_end(self) -> None:
        """Send the stop signal; the guardian kills the group after the grace."""
        self._guardian.terminate()

    def end(self) -> int:
        """Stop it, at the latest after its grace, and give the exit code."""
        self.ask_to_end()
        try:
            return self.wait(self._grace_s + _GUARDIAN_SLACK_S)
        except subprocess.TimeoutExpired:
            self._guardian.kill()
            return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def log_tail(log: Path | None, lines: int = 15) -> str:
    """Give the last lines of a log, indented for an error message; empty when there is no log."""
    if log is None or not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 64 * 1024))
        text = file.read().decode(errors="replace")
    return "".join(f"\n    {line}" for line in text.splitlines()[-lines:])


def _open_log(log: Path) -> IO[bytes]:
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # a server may log a statement with its values
    if log.exists() and log.stat().st_size > _LOG_MAX_BYTES:
        log.replace(log.with_name(log.name + ".1"))
    return log.open("ab")


def _kill_group(leader: int) -> None:
    with contextlib.suppress(OSError):  # nobody left
        os.killpg(leader, signal.SIGKILL)
