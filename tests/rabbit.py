"""A RabbitMQ of our own for tests: Debian's server on free ports, with all it writes in a temporary folder."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from deploy.local.ports import free_port

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
    port, distribution, names = (free_port() for _ in range(3))
    environment = os.environ | {
        "HOME": str(folder),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(names),
        "RABBITMQ_NODENAME": f"membersync{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
    }
    log_path = folder / "server.log"
    with ExitStack() as stack:
        log = stack.enter_context(log_path.open("wb"))
        epmd = subprocess.Popen(["epmd"], env=environment, stdout=log, stderr=log)  # noqa: S607
        stack.callback(_end, epmd)
        server = subprocess.Popen([SERVER], env=environment, stdout=log, stderr=log, start_new_session=True)
        stack.callback(_end, server)
        deadline = time.monotonic() + 60
        while not _answers(port):
            assert server.poll() is None, log_path.read_text()
            assert time.monotonic() < deadline, log_path.read_text()
            time.sleep(0.05)
        yield f"amqp://guest:guest@127.0.0.1:{port}//"


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def _answers(port: int) -> bool:
    """Say whether it speaks AMQP: it answers a wrong header with the right one."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"AMQP\x00\x00\x00\x00")
            return connection.recv(4) == b"AMQP"
    except OSError:
        return False
