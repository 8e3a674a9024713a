"""Keep programs running: start them, start again what dies, stop all of it in order, leave nothing behind.

Nothing outlives the supervisor, even one that was SIGKILLed: see ``guardian.py``.  Programs started in one call stop
together; what was started later stops first.
"""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from deploy.local.guardian import CANNOT_RUN
from deploy.local.processes import Program, Running, log_tail
from deploy.local.signals import Stop, stop_signals

__all__ = ["Event", "ProcessError", "Program", "Stop", "Supervisor", "stop_signals", "write_event"]

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
        """Give the process of each program that has one at this moment, by name."""
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
