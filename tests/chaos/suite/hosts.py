"""Several hosts on one machine: network namespaces, and a network between them that can lose, delay and cut.

A host is a namespace with one interface, a TUN device whose other end is held here: each packet passes through this
process, which drops or keeps it as it was told, for each direction by itself.  So no module of the kernel for traffic
control is needed, only root.  A namespace is held by a descriptor, and is gone with this process, whatever ends it.
"""

import ctypes
import fcntl
import heapq
import os
import selectors
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import TypeVar

_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_TUN = Path("/dev/net/tun")
_WIRE = "wire0"
_PACKET_MAX = 65_536
_SOURCE, _TARGET, _HEADER = slice(12, 16), slice(16, 20), 20
_LOOK_AGAIN_S = 0.05
_T = TypeVar("_T")


def cannot_be_had() -> str:
    """Return why there can be no hosts here; empty: there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not _TUN.exists() or shutil.which("ip") is None:
        return f"network namespaces need {_TUN} and the command ip (iproute2)"
    try:
        _in_a_thread(lambda: _entered(None))
    except OSError as error:
        return f"network namespaces cannot be made here: {error.strerror}"
    return ""


def _entered(namespace: int | None) -> None:
    """Let this thread be in *namespace* from now on; None: in a new one."""
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.unshare(_CLONE_NEWNET) if namespace is None else libc.setns(namespace, _CLONE_NEWNET)
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def enter(namespace: Path) -> None:
    """Let this thread, and what it starts, be on the host whose *namespace* this is."""
    descriptor = os.open(namespace, os.O_RDONLY)
    _entered(descriptor)
    os.close(descriptor)


def _in_a_thread(work: Callable[[], _T]) -> _T:
    """Return what *work* does in a thread of its own, which may be wherever it likes."""
    found: list[_T] = []
    failures: list[OSError] = []

    def run() -> None:
        try:
            found.append(work())
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    for failure in failures:
        raise failure
    return found[0]


@dataclass(frozen=True, slots=True)
class Host:
    """One host; *namespace* and *wire* are descriptors."""

    name: str
    address: str
    namespace: int
    wire: int

    @classmethod
    def made(cls, name: str, address: str) -> "Host":
        """Make a host that others of its network can reach at *address*."""

        def make() -> "Host":
            _entered(None)
            namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            wire = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(wire, _TUNSETIFF, struct.pack("16sH", _WIRE.encode(), _IFF_TUN | _IFF_NO_PI))
            for words in (f"addr add {address}/24 dev {_WIRE}", f"link set {_WIRE} up", "link set lo up"):
                subprocess.run(["ip", *words.split()], check=True)  # noqa: S607  # where the system has it
            return cls(name, address, namespace, wire)

        return _in_a_thread(make)

    @property
    def path(self) -> str:
        """Where other processes find its namespace, as long as this one lives."""
        return f"/proc/{os.getpid()}/fd/{self.namespace}"

    def listener(self) -> socket.socket:
        """Return a socket that listens on any free port of it."""

        def listen() -> socket.socket:
            _entered(self.namespace)
            return socket.create_server((self.address, 0))

        return _in_a_thread(listen)

    def close(self) -> None:
        """Let it go."""
        os.close(self.wire)
        os.close(self.namespace)


@dataclass
class Network:
    """The network between hosts.

    Units: *delay_s* seconds that every packet takes, *loss* the part of all packets that is lost.
    Shape: *deaf* hosts hear nothing, *mute* ones are heard by nobody.
    """

    hosts: Sequence[Host]
    seed: int = 0
    delay_s: float = 0.0
    loss: float = 0.0
    deaf: frozenset[str] = frozenset()
    mute: frozenset[str] = frozenset()
    passed: int = 0
    dropped: int = 0
    _stopping: threading.Event = field(default_factory=threading.Event)

    def _carry(self) -> None:
        dice, order = Random(self.seed), count()  # noqa: S311  # a network, no secret
        by_address = {socket.inet_aton(one.address): one for one in self.hosts}
        under_way: list[tuple[float, int, int, bytes]] = []
        with selectors.DefaultSelector() as ready:
            for one in self.hosts:
                ready.register(one.wire, selectors.EVENT_READ)
            while not self._stopping.is_set():
                next_s = under_way[0][0] - time.monotonic() if under_way else _LOOK_AGAIN_S
                for key, _ in ready.select(max(0.0, min(next_s, _LOOK_AGAIN_S))):
                    packet = os.read(key.fd, _PACKET_MAX)
                    source, target = by_address.get(packet[_SOURCE]), by_address.get(packet[_TARGET])
                    if len(packet) < _HEADER or source is None or target is None:
                        continue  # what a kernel says by itself, to everybody
                    if source.name in self.mute or target.name in self.deaf or dice.random() < self.loss:
                        self.dropped += 1
                        continue
                    heapq.heappush(under_way, (time.monotonic() + self.delay_s, next(order), target.wire, packet))
                while under_way and under_way[0][0] <= time.monotonic():
                    _, _, wire, packet = heapq.heappop(under_way)
                    os.write(wire, packet)
                    self.passed += 1

    @contextmanager
    def up(self) -> Iterator["Network"]:
        """Carry packets while the block runs."""
        thread = threading.Thread(target=self._carry, name="network", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            thread.join()


@contextmanager
def network(*names: str, seed: int = 0) -> Iterator[Network]:
    """Have hosts of these *names* and a network between them while the block runs."""
    hosts: list[Host] = []
    try:
        for number, name in enumerate(names, 1):
            hosts.append(Host.made(name, f"10.77.0.{number}"))
        with Network(hosts, seed).up() as made:
            yield made
    finally:
        for one in hosts:
            one.close()
