"""A RabbitMQ of our own for tests: Debian's server on free ports, with all it writes in a temporary folder."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local.programs import LOOPBACK, Listener, Place, free_port
from deploy.local.supervisor import Program, Running

SCRIPTS = Path("/usr/lib/rabbitmq/bin")
SERVER = SCRIPTS / "rabbitmq-server"


def need_rabbitmq() -> None:
    """Skip without Debian's RabbitMQ; in CI that is a failure."""
    if SERVER.exists() and shutil.which("epmd"):
        return
    reason = "needs rabbitmq-server (Debian); .ci/run installs it"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def running_rabbitmq(folder: Path) -> Iterator[str]:
    """Run a broker on *folder*; give its `amqp://` URL."""
    distribution, names, log = free_port(), free_port(), folder / "server.log"

    def program(name: str, command: str | Path, port: int) -> Program:
        environment = os.environ | {
            "HOME": str(folder),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(names),
            "RABBITMQ_NODENAME": f"membersync{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
        }
        return Program(name, [command], env=environment, log=log, grace_s=20)

    broker = Listener(lambda port: program("rabbitmq", SERVER, port), lambda _, port: _answers(port), Place(0), print)
    with Running(program("epmd", "epmd", names)), broker.started():
        broker.wait(within_s=60)
        yield f"amqp://guest:guest@{LOOPBACK}:{broker.port}//"


def _answers(port: int) -> bool:
    """Return whether it speaks AMQP: it answers a wrong header with the right one."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            connection.sendall(b"AMQP\x00\x00\x00\x00")
            return connection.recv(4) == b"AMQP"
    except OSError:
        return False
