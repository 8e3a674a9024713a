"""Valkey as others run it: a primary with a replica, and three Sentinels that fail over."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

from deploy.local.programs import LOOPBACK, free_port
from deploy.local.servers import valkey_binary
from deploy.local.supervisor import Program, Running

PASSWORD, SENTINELS_PASSWORD = "kept-secret", "kept-apart"
MASTER_NAME = "membersync"
_WITHIN_S = 30.0
_NOTICED_MS = 1000


class Server:
    """A Valkey, or a Sentinel; it dies and comes back as it is told."""

    def __init__(self, folder: Path, name: str, lines: tuple[str, ...], *more: str) -> None:
        self.port = free_port()
        self._folder = folder / name
        self._folder.mkdir()
        self._configuration = self._folder / "server.conf"
        common = (f"port {self.port}", f"bind {LOOPBACK}", f"dir {self._folder}", 'save ""', *lines)
        self._configuration.write_text("\n".join(common) + "\n")
        self._more = more
        self._life = ExitStack()
        self.pid: int | None = None

    def start(self) -> "Server":
        argv: list[str | Path] = [valkey_binary(), self._configuration, *self._more]
        running = self._life.enter_context(Running(Program("valkey", argv, log=self._folder / "log")))
        self.pid = running.pid
        deadline = time.monotonic() + _WITHIN_S
        while True:
            try:
                with self.client() as client:
                    client.ping()
                    return self
            except redis.RedisError:
                assert time.monotonic() < deadline, (self._folder / "log").read_text()
                time.sleep(0.02)

    def client(self) -> "redis.Redis":
        secret = SENTINELS_PASSWORD if self._more else PASSWORD
        return redis.Redis(host=LOOPBACK, port=self.port, password=secret, socket_timeout=2)

    def kill(self) -> None:
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        self._life.close()


class Sentinels:
    """A primary, its replica and three Sentinels."""

    def __init__(self, folder: Path) -> None:
        secret = (f"requirepass {PASSWORD}", f"masterauth {PASSWORD}", "appendonly yes", "repl-diskless-sync-delay 0")
        self.primary = Server(folder, "primary", secret)
        self.replica = Server(folder, "replica", (*secret, f"replicaof {LOOPBACK} {self.primary.port}"))
        watch = (
            f"requirepass {SENTINELS_PASSWORD}",
            f"sentinel sentinel-pass {SENTINELS_PASSWORD}",
            f"sentinel monitor {MASTER_NAME} {LOOPBACK} {self.primary.port} 2",
            f"sentinel auth-pass {MASTER_NAME} {PASSWORD}",
            f"sentinel down-after-milliseconds {MASTER_NAME} {_NOTICED_MS}",
            f"sentinel failover-timeout {MASTER_NAME} 5000",
        )
        self.sentinels = [Server(folder, f"sentinel{number}", watch, "--sentinel") for number in range(3)]

    @property
    def url(self) -> str:
        where = ",".join(f"{LOOPBACK}:{one.port}" for one in self.sentinels)
        return f"sentinel://:{PASSWORD}@{where}/0?master_name={MASTER_NAME}&sentinel_password={SENTINELS_PASSWORD}"

    def knows_all(self) -> bool:
        """Return whether each Sentinel knows the two others, and a replica that could take over."""
        for one in self.sentinels:
            with one.client() as client:
                found: Any = client.sentinel_master(MASTER_NAME)
                replicas: Any = client.sentinel_slaves(MASTER_NAME)
                if found["num-other-sentinels"] < 2 or [of["master-link-status"] for of in replicas] != ["ok"]:
                    return False
        return True


@contextmanager
def sentinels(folder: Path) -> Iterator[Sentinels]:
    """Run all of them; they know each other when the block begins."""
    made = Sentinels(folder)
    servers = [made.primary, made.replica, *made.sentinels]
    try:
        for one in servers:
            one.start()
        deadline = time.monotonic() + _WITHIN_S
        while not made.knows_all():
            assert time.monotonic() < deadline, "Sentinels do not find each other"
            time.sleep(0.05)
        yield made
    finally:
        for one in reversed(servers):
            one.stop()
