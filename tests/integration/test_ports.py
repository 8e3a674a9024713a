"""A port that was asked for and is taken is an error that names it, never another port."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine

from deploy.local.programs import free_port, inherited_environment
from shared.hosts import PortError, listening
from tests.forked import run_to_end
from tests.network import V6, port_of_v6
from tests.terminal import eventually_answers, running

NOWHERE = {
    "MEMBERSYNC_LEDGER_URL": "postgresql://nobody@127.0.0.1:1/none",
    "MEMBERSYNC_BROKER_URL": "redis://127.0.0.1:1/0",
    "MEMBERSYNC_FLOWER__PASSWORD": "p",
}
API, FLOWER, METRICS = "MEMBERSYNC_API__PORT", "MEMBERSYNC_FLOWER__PORT", "MEMBERSYNC_DISPATCHER__METRICS_PORT"
NAMES = {API: "the api", FLOWER: "Flower", METRICS: "metrics"}
COMMANDS = {API: "api", FLOWER: "flower", METRICS: "dispatcher"}


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one.getsockname()[1]


def ended(folder: Path, *arguments: str, **given: str) -> tuple[int, str, str]:
    """Return exit code, output and errors of a command that was typed in *folder*."""
    clean = inherited_environment()
    given = clean | {"MEMBERSYNC_HOME": str(folder / "home")} | given
    ran = run_to_end(("-m", "producers.cli", *arguments), given, cwd=folder)
    return ran.returncode, ran.stdout, ran.stderr


def complaint(setting: str, port: int, named: str = "", host: str = "127.0.0.1") -> str:
    why = f"port {port} is taken; stop what listens there, or name another"
    return f"{NAMES[setting]} cannot be served at http://{host}:{port}: {why} ({named or setting})"


@pytest.mark.parametrize("setting", NAMES)
def test_a_process_whose_port_is_taken_ends_with_one_line(tmp_path: Path, taken: int, setting: str) -> None:
    code, out, err = ended(tmp_path, COMMANDS[setting], **NOWHERE, **{setting: str(taken)})
    assert (code, out, err) == (1, "", f"membersync: {complaint(setting, taken)}\n")


@pytest.mark.parametrize("setting", [API, FLOWER])
def test_so_does_one_whose_port_is_an_option(tmp_path: Path, taken: int, setting: str) -> None:
    code, out, err = ended(tmp_path, COMMANDS[setting], "--port", str(taken), **NOWHERE)
    assert (code, out, err) == (1, "", f"membersync: {complaint(setting, taken, '--port')}\n")


@pytest.mark.parametrize("setting", NAMES)
def test_so_does_one_on_ipv6(tmp_path: Path, setting: str) -> None:
    host = setting.replace("PORT", "HOST")
    port = port_of_v6()
    with socket.create_server((V6, port), family=socket.AF_INET6):
        code, _, err = ended(tmp_path, COMMANDS[setting], **NOWHERE, **{setting: str(port), host: V6})
    assert (code, err) == (1, f"membersync: {complaint(setting, port, host='[::1]')}\n")


@pytest.mark.parametrize("setting", NAMES)
def test_up_says_so_before_anything_starts(tmp_path: Path, taken: int, setting: str) -> None:
    code, _, err = ended(tmp_path, "up", **{setting: str(taken)})
    assert (code, err) == (1, f"membersync up: {complaint(setting, taken)}\n")
    assert [one.name for one in (tmp_path / "home").iterdir() if one.is_dir()] == []


@pytest.mark.parametrize("setting", [API, FLOWER])
def test_so_does_demo(tmp_path: Path, taken: int, setting: str) -> None:
    code, _, err = ended(tmp_path, "demo", **{setting: str(taken)})
    assert (code, err) == (1, f"membersync demo: {complaint(setting, taken)}\n")


@pytest.mark.parametrize("command", ["up", "demo", "api"])
def test_a_file_of_settings_asks_too(tmp_path: Path, taken: int, command: str) -> None:
    (tmp_path / ".env").write_text(f"{API}={taken}\n", encoding="utf-8")
    given = NOWHERE if command == "api" else {}
    code, _, err = ended(tmp_path, command, **given)
    assert code == 1
    assert complaint(API, taken) in err


def test_two_that_ask_for_one_port_are_told(tmp_path: Path) -> None:
    port = free_port()
    code, _, err = ended(tmp_path, "up", **{API: str(port), FLOWER: str(port)})
    assert (code, err) == (1, f"membersync up: {complaint(FLOWER, port)}\n")


def test_any_free_port_is_named_in_the_log(ledger: Engine, ledger_url: str) -> None:
    assert ledger.url.database
    with running("api", "--port", "0", MEMBERSYNC_LEDGER_URL=ledger_url) as api:
        assert api.stderr is not None
        serving = next(found for found in map(json.loads, api.stderr) if found["event"] == "serving")
        eventually_answers(f"http://127.0.0.1:{serving['port']}/readyz")


def test_every_address_of_a_name_is_listened_on_at_one_port() -> None:
    with listening("x", "localhost", 0, "X__PORT") as listeners:
        (port,) = {one.getsockname()[1] for one in listeners}
        for one in listeners:
            with closing(socket.create_connection(one.getsockname()[:2], timeout=5)):
                pass
        with pytest.raises(PortError, match=f"http://127.0.0.1:{port}: port {port} is taken"):
            listening("x", "127.0.0.1", port, "X__PORT").__enter__()
    with listening("x", "", port, "X__PORT"):
        assert port


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_what_is_no_address_of_this_machine_is_said(tmp_path: Path, host: str) -> None:
    code, _, err = ended(tmp_path, "flower", **NOWHERE, MEMBERSYNC_FLOWER__HOST=host)
    assert code == 1
    (line,) = err.splitlines()
    assert line.startswith(f"membersync: Flower cannot be served at http://{host}:5555: ")
