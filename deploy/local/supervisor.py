"""Keep programs running: start them, start again what dies, stop all of it in order, leave nothing behind.

Nothing outlives the supervisor, even one that was SIGKILLed: see ``die_with_parent.py``.  Programs started in one call
stop together; what was started later stops first.  SIGTERM and SIGINT are a value to wait for, instead of an end in the
middle of something.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Self

from deploy.local.die_with_parent import CANNOT_RUN


class Stop:
    """Whether somebody asked this process to end.

    Not a ``threading.Event``: setting one inside a signal handler can deadlock with the ``wait`` that it interrupted.

    Attributes:
        received: The signal that asked, or None.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._read, self._write = os.pipe()

    def __bool__(self) -> bool:
        return self.received is not None

    def ask(self, number: int = signal.SIGTERM, _frame: FrameType | None = None) -> None:
        """Ask for the end: the signal handler, and any thread that wants the same.  Only the first call counts."""
        if self.received is None:
            self.received = signal.Signals(number)
            os.write(self._write, b"!")

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the end is asked for, at most *timeout_s* seconds, and say whether it was."""
        select.select([self._read], [], [], timeout_s)
        return bool(self)

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._read)
        os.close(self._write)


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Turn SIGTERM and SIGINT into a ``Stop`` for the length of the block.  Main thread only."""
    stop = Stop()
    before = {number: signal.signal(number, stop.ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop.close()


_GUARDIAN = Path(__file__).with_name("die_with_parent.py")
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
        output: IO[bytes] | None = None
        if log := program.log:
            log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # a server may log a statement with its values
            if log.exists() and log.stat().st_size > _LOG_MAX_BYTES:
                log.replace(log.with_name(log.name + ".1"))
            output = log.open("ab")
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
            with contextlib.suppress(OSError):  # nobody left
                os.killpg(self.pid, signal.SIGKILL)
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
    """Return the last lines of a log, indented for an error message; empty when there is no log."""
    if log is None or not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 64 * 1024))
        text = file.read().decode(errors="replace")
    return "".join(f"\n    {line}" for line in text.splitlines()[-lines:])


Event = Mapping[str, object]

_FIRST_RESTART_S = 0.5
_LAST_RESTART_S = 10.0
_HEALTHY_AFTER_S = 30.0  # alive this long: the next death starts again at the first delay
_LOOK_AGAIN_S = 0.1  # a look reads the table of all sockets, and takes what starts its time


class ProcessError(RuntimeError):
    """A program that should be ready is not; the message says why and ends with its log."""


def write_event(event: Event) -> None:
    """Write an event as one line of JSON to standard error."""
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more: the restart matters more
        sys.stderr.write(json.dumps(event) + "\n")
        sys.stderr.flush()


class Supervisor:
    """Keeps programs alive until it is left as a context manager.

    Args:
        on_event: Told of each death: ``{"event": "process died", "name", "code", "restart_in_s"}``, the code as a shell
            says it (137: killed by signal 9).  Called from a watching thread.
    """

    def __init__(self, on_event: Callable[[Event], None] = write_event) -> None:
        self._on_event = on_event
        self._generations: list[list[_Watch]] = []

    def start(self, *programs: Program) -> None:
        """Start programs, which will also stop together, and return when each of them has a process.

        Raises:
            ValueError: A program of that name runs already.
        """
        names = [program.name for program in programs] + [watch.program.name for watch in self._watches()]
        if len(names) > len(set(names)):
            raise ValueError(f"two programs of one name: {sorted(names)}")
        generation = [_Watch(program, self._on_event) for program in programs]
        self._generations.append(generation)
        for watch in generation:
            watch.started.wait()

    def pids(self) -> dict[str, int]:
        """Return the process of each program that has one at this moment, by name."""
        return {watch.program.name: watch.pid for watch in self._watches() if watch.pid is not None}

    def wait_until(
        self, ready: Callable[[], bool], *, what: str = "ready", within_s: float = 30.0, deaths: int = 3
    ) -> None:
        """Wait until *ready* says so.

        Raises:
            ProcessError: Not within *within_s* seconds, or a program died *deaths* times meanwhile.
        """
        watches = self._watches()
        before = {watch: watch.deaths for watch in watches}
        give_up_at = time.monotonic() + within_s
        while not ready():
            for watch in watches:
                if watch.deaths - before[watch] >= deaths:
                    raise ProcessError(
                        f"{watch.program.name} keeps dying (exit code {watch.code}){log_tail(watch.program.log)}"
                    )
            if time.monotonic() > give_up_at:
                tails = "".join(f"\n  {watch.program.name}:{log_tail(watch.program.log)}" for watch in watches)
                raise ProcessError(f"not {what} after {within_s:g} s{tails}")
            time.sleep(_LOOK_AGAIN_S)

    def stop(self) -> None:
        """Stop every program, last started first, and return when nothing of them is left."""
        while self._generations:
            generation = self._generations[-1]
            for watch in generation:
                watch.ask_to_end()
            for watch in generation:
                watch.end()
            self._generations.pop()

    def _watches(self) -> list["_Watch"]:
        return [watch for generation in self._generations for watch in generation]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Watch:
    """One program and the thread that waits for its death."""

    def __init__(self, program: Program, on_event: Callable[[Event], None]) -> None:
        self.program = program
        self.deaths = 0
        self.code: int | None = None
        self.started = threading.Event()
        self._on_event = on_event
        self._running: Running | None = None
        self._spawning = threading.Lock()  # so that nothing is started after the order to stop
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, name=f"watch {program.name}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        running = self._running  # the watching thread may take it away
        return running.pid if running else None

    def ask_to_end(self) -> None:
        self._stopping.set()
        with self._spawning:
            if self._running:
                self._running.ask_to_end()

    def end(self) -> None:
        self.ask_to_end()
        if running := self._running:  # the watching thread may take it away
            running.end()
        self._thread.join()

    def _keep_alive(self) -> None:
        delay_s = _FIRST_RESTART_S
        while not self._stopping.is_set():
            began = time.monotonic()
            self.code = self._run()
            if self._stopping.is_set():
                return
            if time.monotonic() - began >= _HEALTHY_AFTER_S:
                delay_s = _FIRST_RESTART_S
            self.deaths += 1
            self._on_event(
                {"event": "process died", "name": self.program.name, "code": self.code, "restart_in_s": delay_s}
            )
            self._stopping.wait(delay_s)
            delay_s = min(2 * delay_s, _LAST_RESTART_S)

    def _run(self) -> int:
        """Run the program once, to its end."""
        try:
            with self._spawning:
                if self._stopping.is_set():
                    return 0
                self._running = running = Running(self.program)
        except OSError as error:  # no such folder, no more processes: may pass, as a death may
            self._on_event({"event": "process not started", "name": self.program.name, "reason": str(error)})
            return CANNOT_RUN
        finally:
            self.started.set()
        code = running.wait()
        self._running = None
        return code
