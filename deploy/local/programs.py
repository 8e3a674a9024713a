"""The programs of a stack: the ports they listen on, command lines, environments and manners of stopping.

A port is the one that was asked for, else any free one.  The folder of a server is used by one stack at a time, has a
password, and no forerunner in the way.
"""

import errno
import fcntl
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, SecretStr
from pydantic_core import to_jsonable_python

from deploy.local.supervisor import Event, ProcessError, Program, Supervisor
from shared import hosts
from shared.hosts import PortError
from shared.pipeline import Lane, Stage
from shared.settings import Settings

LOOPBACK = "127.0.0.1"
_PORTS_TRIED = 3
_PORTS_LOOKED_AT = 100
_UNASKED = range(20_000, 32_000)
"""Ports that no system gives out by itself: nobody connects from one between our look and the program's start."""
_DICE = random.SystemRandom()  # a seed would give all who share it the same ports
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
        is_ready: Whether the program with this process number takes work on this port: ours, and not another one.
        place: Where it listens.
        on_event: As the supervisor's.
    """

    def __init__(
        self,
        program_at: Callable[[int], Program],
        is_ready: Callable[[int, int], bool],
        place: Place,
        on_event: Callable[[Event], None],
    ) -> None:
        self.port = place.port if place.is_asked_for else free_port(place.port, place.host)
        self._place = place
        self._program_at = program_at
        self._is_ready = is_ready
        self._supervisor = Supervisor(on_event)

    @contextmanager
    def started(self) -> Iterator["Listener"]:
        """Run the program for the length of the block; it is not ready yet when the block begins."""
        self._supervisor.start(self._program_at(self.port))
        try:
            yield self
        finally:
            self._supervisor.stop()

    def wait(self, *, within_s: float, deaths: int = 1, unless: Callable[[], object] = lambda: False) -> None:
        """Wait until it is ready, on another port when somebody was quicker and any will do, or until *unless* says so.

        Raises:
            ProcessError: It is not ready within *within_s* seconds, or died *deaths* times at starting.
        """
        for attempt in range(1, _PORTS_TRIED + 1):
            try:
                self._supervisor.wait_until(
                    lambda: bool(unless()) or any(self._is_ready(pid, self.port) for pid in self.pids().values()),
                    within_s=within_s,
                    deaths=deaths,
                )
            except ProcessError:
                if self._place.is_asked_for or attempt == _PORTS_TRIED:
                    raise
                self._supervisor.stop()
                if free_port(self.port, self._place.host) == self.port:
                    raise
                self.port = free_port(host=self._place.host)
                self._supervisor.start(self._program_at(self.port))
            else:
                return

    def pids(self) -> dict[str, int]:
        """Return the program's process by its name, while it has one."""
        return self._supervisor.pids()


def free_port(preferred: int = 0, host: str = LOOPBACK) -> int:
    """Return *preferred* when nobody listens there on *host*, else any free port of it (0 prefers none).

    Raises:
        PortError: *host* is no address of this machine, or has no free port.
    """
    try:
        family, *_, address = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise PortError(f"{host} is no address of this machine: {error.strerror}") from error
    for port in (*filter(None, (preferred,)), *_DICE.sample(_UNASKED, _PORTS_LOOKED_AT)):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address[0], port))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    raise PortError(f"{host} is no address of this machine") from error
                continue
            return port
    raise PortError(f"no free port on {host}")


def is_listening(pid: int, port: int) -> bool:
    """Return whether this very process listens on this TCP port.  Source: proc_pid_net(5)."""
    if sys.platform != "linux":
        command = ["lsof", "-nP", "-a", "-p", str(pid), f"-iTCP:{port}", "-sTCP:LISTEN", "-t"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        return bool(found.stdout.strip())
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{columns[9]}]")
    if not sockets:
        return False
    with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as files:  # it may end meanwhile
        for file in files:
            with suppress(OSError):
                if str(Path(file.path).readlink()) in sockets:
                    return True
    return False


PREFIX = "MEMBERSYNC_"
PAGES = {"api": "the api", "flower": "Flower"}
"""What has a port and an address of its own: the name of its settings and of its command, and what it is called."""

_CODE = Path(__file__).parents[2]
_WORKER_GRACE_S = 40.0
"""A worker waits for its calls under way, each of which is bounded by its time-out."""
_PROCESSES_OF_A_LANE = 2
"""Unless another number is set: the workers of both lanes have together as many as one that serves both."""


def ours(settings: Settings, name: str, *arguments: str, grace_s: float = 10.0) -> Program:
    """Return the program `membersync ARGUMENTS…`.

    Run as a module, not as the console script: that one is on no PATH while its venv is not activated.
    """
    return Program(
        name,
        [sys.executable, "-m", "producers.cli", *arguments],
        env=inherited_environment() | dict(variables(settings)),
        cwd=_CODE,
        log=settings.home / "logs" / f"{name}.log",
        grace_s=grace_s,
    )


def at_port(settings: Settings, name: str, port: int) -> Settings:
    """Return *settings* with a port for one of `PAGES`."""
    return settings.model_copy(update={name: getattr(settings, name).model_copy(update={"port": port})})


def page(settings: Settings, name: str, port: int) -> Program:
    """Return the program of one of `PAGES` for a port."""
    return ours(at_port(settings, name, port), name, name)


def worker(settings: Settings, lane: Lane) -> Program:
    """Return the program of a lane's worker."""
    is_asked_for = "concurrency" in settings.worker.model_fields_set
    processes = settings.worker.concurrency if is_asked_for else _PROCESSES_OF_A_LANE
    options = ("--lane", lane, "--concurrency", str(processes))
    return ours(settings, f"worker-{lane}", "worker", *options, grace_s=_WORKER_GRACE_S)


def sandbox(settings: Settings, simulated: frozenset[Stage], control_port: int) -> tuple[Program, dict[str, str]]:
    """Return the simulators' program, and their addresses by name.

    The ports are named, so that a restart finds them again; what they hold is kept in ``home/sandbox.json``.
    """
    ports = {"control": control_port} | {stage.value: free_port() for stage in sorted(simulated)}
    options = [text for name, port in ports.items() for text in (f"--{name}-port", str(port))]
    state = settings.home / "sandbox.json"
    program = Program(
        "sandbox",
        [sys.executable, "-m", "deploy.sandbox", *options, "--state-file", state],
        cwd=_CODE,
        log=settings.home / "logs" / "sandbox.log",
    )
    return program, {name: hosts.url(LOOPBACK, port) for name, port in ports.items()}


def pointed_at(sandbox: Mapping[str, str], settings: Settings) -> Settings:
    """Return *settings* with the addresses of these simulators, and what they take for credentials."""
    credentials: dict[Stage, dict[str, object]] = {
        Stage.OIC: {"client_id": "membersync", "client_secret": SecretStr("secret"), "scope": ""},
        Stage.CROWDTWIST: {"api_key": SecretStr("sandbox-key")},
        Stage.SIEBEL: {"username": "SADMIN", "password": SecretStr("SADMIN"), "token": None},
    }
    changes: dict[str, object] = {}
    for stage in Stage:
        if url := sandbox.get(stage):
            update = {"base_url": url, **credentials[stage]}
            if stage is Stage.OIC:
                update["token_url"] = f"{url}/oauth2/v1/token"
            changes[stage.value] = settings.connection(stage).model_copy(update=update)
    return settings.model_copy(update=changes)


def inherited_environment() -> dict[str, str]:
    """Return our own environment without its settings: what a child needs is handed to it, a typing error is not."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}


def variables(model: BaseModel, prefix: str = PREFIX) -> Iterator[tuple[str, str]]:
    """Name every setting, secrets included, as `shared.settings` reads it from the environment; unset is empty."""
    for name, field in type(model).model_fields.items():
        value, variable = getattr(model, name), f"{prefix}{(field.alias or name).upper()}"
        match value:
            case BaseModel():
                yield from variables(value, f"{variable}__")
            case None:
                yield variable, ""
            case SecretStr():
                yield variable, value.get_secret_value()
            case dict() | list() | tuple():
                yield variable, json.dumps(to_jsonable_python(value))
            case _:
                yield variable, str(value)


_LEFTOVER_ENDS_WITHIN_S = 30.0
_LOOK_AGAIN_S = 0.02


class ServerError(RuntimeError):
    """An embedded server cannot be had; the message says why and, where there is one, ends with its log."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
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

    Call it while the folder is locked.  A process that merely got the same number is left alone, and the file goes:
    PostgreSQL would take that process for another server and refuse to start.

    Raises:
        ServerError: It does not end, not even killed, or belongs to another user.
    """
    try:
        pid = int(pid_file.read_text(encoding="utf-8").split("\n")[0])
    except (FileNotFoundError, ValueError):
        return
    command = _command_line(pid)
    if command is None:
        return  # dead: the server clears up after its forerunner by itself
    works_in = None
    with suppress(OSError):  # another user's, or none such on this system
        works_in = Path(f"/proc/{pid}/cwd").readlink()
    if str(folder) not in command and folder != works_in:
        pid_file.unlink(missing_ok=True)
        return
    for number in (stop_signal, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise ServerError(f"process {pid}, left by an earlier run, belongs to another user: {error}") from error
        give_up_at = time.monotonic() + _LEFTOVER_ENDS_WITHIN_S
        while time.monotonic() < give_up_at:
            if _command_line(pid) != command:
                return
            time.sleep(_LOOK_AGAIN_S)
    raise ServerError(f"process {pid}, left by an earlier run in {folder}, does not end")


def password(folder: Path) -> str:
    """Return the password kept in a server's folder, made when there is none.

    Raises:
        ServerError: It cannot be read.
    """
    file = folder / "password"
    try:
        if not file.exists() or not file.read_text(encoding="utf-8").strip():
            write_private(file, secrets.token_urlsafe(24))
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ServerError(f"the password of {folder} cannot be read: {error}") from error


def write_private(file: Path, text: str) -> None:
    """Write *text* to a new file that only its owner, who we are, may read; whole or not at all."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        opened.write(text)
    new.replace(file)


def _command_line(pid: int) -> str | None:
    """Return a living process's command line; None when there is no such process (a zombie has none either)."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace") or None
        except OSError:
            return None
    found = subprocess.run(
        ["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None
