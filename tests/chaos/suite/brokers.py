"""The broker of a run, Valkey or RabbitMQ, and what each does where the other does otherwise."""

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import psycopg
import redis

from deploy.local.servers import embedded_valkey
from deploy.local.supervisor import Event
from tests.chaos.suite.house import signalled
from tests.rabbit import Node, rabbitmq_cluster, url_of
from tests.rig import flush

_MENDED_WITHIN_S = 60.0


def mended(mend: Callable[[], object]) -> None:
    """Do what ends a fault, however long that takes: the server that it is done at may be away itself."""
    until = time.monotonic() + _MENDED_WITHIN_S
    while True:
        try:
            mend()
        except (psycopg.Error, redis.RedisError, OSError):
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            return


class Broker(Protocol):
    """A broker that is started again when it dies."""

    url: str

    def pids(self) -> list[int]:
        """Return its processes."""

    def kill(self, *, emptied: bool) -> None:
        """Kill it, perhaps with all that it holds; it comes back."""

    def flush(self) -> None:
        """Take all that waits in it."""

    def cut(self) -> None:
        """Close every connection to it."""

    def tell(self, condition: str, *, begins: bool) -> None:
        """Let it be `full`, or `read_only`, or no longer."""


class Valkey:
    """One Valkey."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._folder = folder

    def client(self) -> "redis.Redis":
        return redis.Redis.from_url(self.url, socket_timeout=5)

    def pids(self) -> list[int]:
        return [int((self._folder / "valkey.pid").read_text())]

    def kill(self, *, emptied: bool) -> None:
        signalled(self.pids(), signal.SIGKILL)
        if emptied:
            shutil.rmtree(self._folder / "appendonlydir", ignore_errors=True)

    def flush(self) -> None:
        with self.client() as client:
            client.flushall()

    def cut(self) -> None:
        with self.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def tell(self, condition: str, *, begins: bool) -> None:
        words = {
            ("full", True): ("CONFIG", "SET", "maxmemory", "1"),
            ("full", False): ("CONFIG", "SET", "maxmemory", "0"),
            ("read_only", True): ("REPLICAOF", "127.0.0.1", "1"),
            ("read_only", False): ("REPLICAOF", "NO", "ONE"),
        }
        with self.client() as client:
            client.execute_command(*words[condition, begins])


class RabbitMQ:
    """One RabbitMQ; what blocks publishers is its memory (`full`) or its disk (`read_only`)."""

    def __init__(self, node: Node) -> None:
        self.url = url_of(node)
        self._node = node

    def pids(self) -> list[int]:
        return self._node.pids()

    def kill(self, *, emptied: bool) -> None:
        self._node.kill()
        if emptied:
            self._node.forget()
        self._node.start()

    def flush(self) -> None:
        flush(self.url)

    def cut(self) -> None:
        self._command("close_all_connections", "--global", "chaos")

    def tell(self, condition: str, *, begins: bool) -> None:
        if condition == "full":
            self._command("set_vm_memory_high_watermark", "0" if begins else "0.4")
        else:
            self._command("set_disk_free_limit", "1000000GB" if begins else "50MB")

    def _command(self, *words: str) -> None:
        """Command it, once it has started: it takes a while for that."""
        self._node.wait()
        self._node.control(*words)


@contextmanager
def running_broker(kind: str, folder: Path, on_event: Callable[[Event], None]) -> Iterator[Broker]:
    """Run the broker of a *kind*, `valkey` or `rabbitmq`, in *folder*."""
    if kind == "valkey":
        with embedded_valkey(folder, port=0, on_event=on_event) as url:
            yield Valkey(url, folder / "valkey")
    else:
        folder.mkdir(exist_ok=True)
        with rabbitmq_cluster(folder, size=1) as (node,):
            yield RabbitMQ(node)
