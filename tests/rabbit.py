"""A RabbitMQ of our own for tests, one node or several: Debian's server on free ports, all it writes in a folder."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from deploy.local.programs import LOOPBACK, free_port
from deploy.local.supervisor import Program, Running

SCRIPTS = Path("/usr/lib/rabbitmq/bin")
SERVER = SCRIPTS / "rabbitmq-server"
_WITHIN_S = 90.0


def has_rabbitmq() -> bool:
    """Return whether Debian's RabbitMQ is there."""
    return SERVER.exists() and shutil.which("epmd") is not None


def need_rabbitmq() -> None:
    """Skip without Debian's RabbitMQ; in CI that is a failure."""
    if has_rabbitmq():
        return
    reason = "needs rabbitmq-server (Debian); .ci/run installs it"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class Node:
    """One node of a RabbitMQ, alone or in a cluster; it dies and comes back as it is told."""

    def __init__(self, folder: Path, names: int) -> None:
        folder.mkdir(exist_ok=True)
        self.port, self._distribution = free_port(), free_port()
        self.name = f"membersync{self.port}@localhost"
        self.log = folder / "server.log"
        self.folder, self._names = folder, names
        self._life = ExitStack()
        self._pid: int | None = None

    @property
    def place(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def environment(self) -> dict[str, str]:
        return os.environ | {
            "HOME": str(self.folder.parent),  # the nodes of a cluster share a cookie
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self._names),
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
        }

    def configure(self, *lines: str) -> None:
        """Write its configuration."""
        (self.folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        """Start it; it may not answer yet."""
        program = Program("rabbitmq", [SERVER], env=self.environment(), log=self.log, grace_s=20)
        self._pid = self._life.enter_context(Running(program)).pid

    def wait(self) -> None:
        """Wait until it speaks AMQP."""
        deadline = time.monotonic() + _WITHIN_S
        while not _answers(self.port):
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill it as a machine that loses its power."""
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
        self.stop()

    def pids(self) -> list[int]:
        """Return its processes."""
        if self._pid is None:
            return []
        with suppress(psutil.Error):
            return [self._pid, *(child.pid for child in psutil.Process(self._pid).children(recursive=True))]
        return []

    def control(self, *words: str) -> None:
        """Command it, as its administrator does.

        Raises:
            ConnectionError: it is away.
        """
        command = [str(SCRIPTS / "rabbitmqctl"), "--quiet", *words]
        done = subprocess.run(command, env=self.environment(), capture_output=True, check=False, timeout=_WITHIN_S)
        if done.returncode:
            raise ConnectionError(done.stderr.decode(errors="replace"))

    def forget(self) -> None:
        """Forget all that it held; it must not run."""
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    def stop(self) -> None:
        self._life.close()


@contextmanager
def _name_server(folder: Path) -> Iterator[int]:
    """Run what tells Erlang's nodes each other's ports, for nobody else's nodes; give its port."""
    port = free_port()
    environment = os.environ | {"ERL_EPMD_ADDRESS": LOOPBACK, "ERL_EPMD_PORT": str(port)}
    with Running(Program("epmd", ["epmd"], env=environment, log=folder / "epmd.log")):
        yield port


@contextmanager
def running_node(folder: Path, *lines: str) -> Iterator[Node]:
    """Run a broker on *folder*, with *lines* in its configuration."""
    with _name_server(folder) as names:
        node = Node(folder / "node", names)
        node.configure(*lines)
        try:
            node.start()
            node.wait()
            yield node
        finally:
            node.stop()


@contextmanager
def running_rabbitmq(folder: Path) -> Iterator[str]:
    """Run a broker on *folder*; give its `amqp://` URL."""
    with running_node(folder) as node:
        yield url_of(node)


@contextmanager
def rabbitmq_cluster(folder: Path, size: int = 3) -> Iterator[list[Node]]:
    """Run a cluster, each node of which knows the others."""
    with _name_server(folder) as names:
        nodes = [Node(folder / f"node{number}", names) for number in range(size)]
        peers = [f"cluster_formation.classic_config.nodes.{number} = {one.name}" for number, one in enumerate(nodes, 1)]
        try:
            for node in nodes:
                node.configure("cluster_formation.peer_discovery_backend = classic_config", *peers)
            for node in nodes:  # one after the other: the first makes the cluster that the others join
                node.start()
                node.wait()
            yield nodes
        finally:
            for node in nodes:
                node.stop()


def url_of(*nodes: Node) -> str:
    """Return the URL of a broker by these nodes."""
    return f"amqp://guest:guest@{','.join(node.place for node in nodes)}//"


def _answers(port: int) -> bool:
    """Return whether it speaks AMQP: it answers a wrong header with the right one."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            connection.sendall(b"AMQP\x00\x00\x00\x00")
            return connection.recv(4) == b"AMQP"
    except OSError:
        return False
