"""The product's processes, started again when they die: as `membersync up` runs them, or forked, which is cheap.

Either is asked for its processes by what they do: `dispatcher`, `worker`, `child` (of a worker), `api`, and `up`.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import psutil

from tests.forked import Forked
from tests.rig import WORKER

ROOT = Path(__file__).parents[3]
_LOOK_AGAIN_S = 0.2
_ENDS_WITHIN_S = 60.0


class House(Protocol):
    """Whoever keeps the product's processes running."""

    def pids(self, role: str) -> list[int]:
        """Return the processes of *role* that live at this moment, in a stable order."""


class UpHouse:
    """`membersync up`, started again when it dies, as a service manager would."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._environment = dict(environment)
        self._log = log
        self._stopping = threading.Event()
        self._up = self._start()
        self._watch = threading.Thread(target=self._keep, name="keep up", daemon=True)

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "producers.cli", "up"]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command, env=self._environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )

    def _keep(self) -> None:
        while not self._stopping.wait(_LOOK_AGAIN_S):
            if self._up.poll() is not None:
                self._up = self._start()

    def pids(self, role: str) -> list[int]:
        if role == "up":
            return [self._up.pid] if self._up.poll() is None else []
        found = []
        with suppress(psutil.Error):
            for process in psutil.Process(self._up.pid).children(recursive=True):
                with suppress(psutil.Error):
                    if _role(process) == role:
                        found.append(process.pid)
        return sorted(found)

    @contextmanager
    def kept(self) -> Iterator["UpHouse"]:
        """Keep it running while the block runs; nothing of it is left afterwards."""
        self._watch.start()
        try:
            yield self
        finally:
            self._stopping.set()
            self._watch.join()
            self._up.send_signal(signal.SIGCONT)
            self._up.terminate()
            try:
                self._up.wait(_ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._up.kill()  # its guardians end what it has started
                self._up.wait()


def _role(process: psutil.Process) -> str:
    command = process.cmdline()
    if "producers.cli" not in command or str(process.ppid()) == "1":
        return ""
    what = command[command.index("producers.cli") + 1]
    if what != "worker" or "die_with_parent.py" in " ".join(command):
        return what if "die_with_parent.py" not in " ".join(command) else ""
    parent = process.parent()
    is_child = parent is not None and parent.cmdline()[:4] == command[:4]
    return "child" if is_child else "worker"


class ForkedHouse:
    """Two dispatchers, two workers and an api, forked from a process that has imported what they need."""

    def __init__(self, environment: Mapping[str, str], folder: Path, api_port: int, through: Sequence[str]) -> None:
        api = ("producers.cli", "api", "--port", str(api_port))
        worker = (*WORKER[1:], "-n")
        self._programs = {
            "api": ("api", api),
            "d1": ("dispatcher", ("producers.cli", "dispatcher")),
            "d2": ("dispatcher", ("producers.cli", "dispatcher")),
            "w1": ("worker", (*worker, "w1@chaos")),
            "w2": ("worker", (*worker, "w2@chaos")),
        }
        self._environment = environment
        self._folder = folder
        self._through = tuple(through)
        self._stopping = threading.Event()
        self._lives: dict[str, Forked] = {}
        self._watch = threading.Thread(target=self._keep, name="keep house", daemon=True)

    def _start(self, name: str) -> None:
        _, arguments = self._programs[name]
        self._lives[name] = Forked(
            ("-m", *self._through, *arguments), self._environment, self._folder / f"{name}.log", cwd=ROOT
        )

    def _keep(self) -> None:
        while not self._stopping.wait(_LOOK_AGAIN_S):
            for name, life in list(self._lives.items()):
                if life.poll() is not None:
                    life.kill_group()
                    self._start(name)

    def pids(self, role: str) -> list[int]:
        wanted = "worker" if role == "child" else role
        lives = [self._lives[name].pid for name, (does, _) in self._programs.items() if does == wanted]
        if role != "child":
            return lives
        children = []
        for pid in lives:
            with suppress(psutil.Error):
                children += [child.pid for child in psutil.Process(pid).children()]
        return sorted(children)

    @contextmanager
    def kept(self) -> Iterator["ForkedHouse"]:
        """Keep them running while the block runs; nothing of them is left afterwards."""
        for name in self._programs:
            self._start(name)
        self._watch.start()
        try:
            yield self
        finally:
            self._stopping.set()
            self._watch.join()
            for life in self._lives.values():
                life.kill_group()


def forked_bare() -> None:
    """Keep what is forked from importing the main program anew, as `multiprocessing` has it: that is all of this."""
    main = vars(sys.modules["__main__"])
    main["__spec__"] = main["__file__"] = None


def signalled(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to whoever of *pids* is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
